//! Places and units that no policy reaches, and those that only an explicitly privileged item reaches.
//!
//! A policy is signed for, and a unit file in it is code that runs as root: these lists do not make a hostile
//! administrator harmless. They keep a configuration from taking the device away from Unbox, by mistake or by
//! an innocent-looking name, and they make every power over the whole device visible: in the configuration,
//! in the audit, and on the device, which checks both again with links resolved.
//!
//! A pattern names a tree: the paths that it matches, and everything below. `*` stands for any part of one
//! name, `{units}` for every directory that systemd reads units from, `{conf}` for every directory that
//! programs read settings from. To protect more: one more pattern here, and a row in the test.

mod unit_file;

pub use unit_file::{MAX_UNIT_FILE_BYTES, own_unit_in, replaced_target_in};

/// The policies that reach a place, a unit or a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Any policy.
    Open,
    /// A policy item with `"privileged": true`; with the matter that such an item decides.
    Privileged(&'static str),
    /// No policy; with the owner.
    Never(&'static str),
}

/// A list of patterns, and their common description.
type Group = (&'static str, &'static [&'static str]);

/// The owner of the agent's own places.
const OWN: &str = "Unbox";

/// Directories that the system's systemd reads units from (systemd.unit(5)). Those below `/run` are in
/// [`UNNAMEABLE`] already, and `/lib` is read as `/usr/lib`.
const UNIT_DIRECTORIES: &[&str] = &[
    "/etc/systemd/system",
    "/etc/systemd/system.attached",
    "/etc/systemd/system.control",
    "/usr/lib/systemd/system",
    "/usr/local/lib/systemd/system",
];

/// Directories that programs read settings from, one over the other (file-hierarchy(7)).
const SETTINGS_DIRECTORIES: &[&str] = &["/etc", "/usr/lib", "/usr/local/lib"];

/// Other names of the same directories on a system with a merged `/usr` (and `/var/run`).
const ALIASES: &[(&str, &str)] = &[
    ("/bin", "/usr/bin"),
    ("/lib", "/usr/lib"),
    ("/lib32", "/usr/lib32"),
    ("/lib64", "/usr/lib64"),
    ("/libx32", "/usr/libx32"),
    ("/sbin", "/usr/sbin"),
    ("/var/lock", "/run/lock"),
    ("/var/run", "/run"),
];

/// Paths that a payload cannot even name.
const UNNAMEABLE: &[Group] = &[
    ("the kernel", &["/dev", "/proc", "/sys"]),
    ("the running system", &["/run"]),
    (
        OWN,
        &[
            "/etc/confexts",
            "/etc/credstore*/unbox.*",
            "/etc/extensions",
            "/etc/unbox",
            "/usr/bin/unbox-*",
            "/usr/lib/confexts",
            "/usr/lib/credstore*/unbox.*",
            "/usr/lib/extensions",
            "/usr/lib/unbox",
            "/usr/local/bin/unbox-*",
            "/usr/local/lib/confexts",
            "/usr/local/lib/extensions",
            "/usr/local/lib/unbox",
            "/usr/local/sbin/unbox-*",
            "/usr/sbin/unbox-*",
            "/usr/share/doc/unbox-*",
            "/usr/share/man/*/unbox-*",
            "/usr/share/unbox",
            // Merged over the whole system, whatever they hold.
            "/var/lib/confexts",
            "/var/lib/extensions*",
            "/var/lib/unbox",
            "{conf}/systemd/system-preset/*unbox*",
            "{conf}/sysusers.d/*unbox*",
            "{conf}/tmpfiles.d/*unbox*",
            "{conf}/udev/rules.d/*unbox*",
            "{units}/unbox-*",
            "{units}/unbox.*",
            "{units}/*.requires/unbox*",
            "{units}/*.upholds/unbox*",
            "{units}/*.wants/unbox*",
            // A mount there would hide its files.
            "{units}/etc-unbox*",
            "{units}/usr-bin-unbox*",
            "{units}/var-lib-unbox*",
        ],
    ),
];

/// Paths that the installer itself writes to, and no policy item or package does.
const RESERVED: &[Group] = &[
    ("Unbox's DPCs", &["/opt/unbox"]),
    ("the package system", &["/var/lib/dpkg", "/etc/alternatives", "/etc/dpkg/dpkg.cfg*"]),
];

/// Paths that give power over the whole device.
const PRIVILEGED: &[Group] = &[
    (
        "who may log in and who becomes root",
        &[
            "/etc/doas*",
            "/etc/group*",
            "/etc/gshadow*",
            "/etc/login.defs",
            "/etc/nsswitch.conf",
            "/etc/passwd*",
            "/etc/polkit-1",
            "/etc/securetty",
            "/etc/shadow*",
            "/etc/ssh",
            "/etc/subgid*",
            "/etc/subuid*",
            "/etc/sudo*",
            "/etc/userdb",
            "/home/*/.ssh",
            "/root",
            "/usr/local/share/polkit-1",
            "/usr/share/polkit-1",
            "{conf}/pam.*",
            "{conf}/security",
        ],
    ),
    (
        "what every program loads",
        &["/etc/environment", "/etc/ld.so.*", "/etc/profile*", "/etc/bash*", "{conf}/environment.d"],
    ),
    (
        "what runs as root by itself",
        &[
            "/etc/acpi",
            "/etc/anacrontab",
            "/etc/cron*",
            "/etc/dhcp",
            "/etc/init.d",
            "/etc/inittab",
            "/etc/kernel",
            "/etc/logrotate*",
            "/etc/NetworkManager/dispatcher.d",
            "/etc/network",
            "/etc/networkd-dispatcher",
            "/etc/rc*",
            "/var/spool/at*",
            "/var/spool/anacron",
            "/var/spool/cron",
            "{conf}/binfmt.d",
            "{conf}/kernel",
            "{conf}/sysusers.d",
            "{conf}/tmpfiles.d",
        ],
    ),
    (
        "how the device starts",
        &[
            "/boot",
            "/efi",
            "/etc/crypttab",
            "/etc/default/grub*",
            "/etc/dracut*",
            "/etc/fstab",
            "/etc/grub*",
            "/etc/initramfs-tools",
            "/etc/modules",
            "{conf}/modprobe.d",
            "{conf}/modules-load.d",
            "{conf}/udev",
            "{units}/*.automount",
            "{units}/*.mount",
            "{units}/*.swap",
            "{units}/basic.target*",
            "{units}/default.target*",
            "{units}/emergency*",
            "{units}/graphical.target*",
            "{units}/init.scope*",
            "{units}/local-fs*",
            "{units}/multi-user.target*",
            "{units}/network-online.target*",
            "{units}/nss-lookup.target*",
            "{units}/paths.target*",
            "{units}/rescue*",
            "{units}/runlevel*.target*",
            "{units}/sockets.target*",
            "{units}/sysinit.target*",
            "{units}/system.slice*",
            "{units}/timers.target*",
            "{units}/-.slice*",
        ],
    ),
    (
        "systemd as a whole, or every unit of a kind",
        &[
            "{conf}/systemd/*-generators",
            "{conf}/systemd/system-preset",
            "{conf}/systemd/system-shutdown",
            "{conf}/systemd/system-sleep",
            "{conf}/systemd/system.conf*",
            "{conf}/systemd/user.conf*",
            "{units}/automount.d",
            "{units}/device.d",
            "{units}/dbus*",
            "{units}/mount.d",
            "{units}/path.d",
            "{units}/scope.d",
            "{units}/service.d",
            "{units}/slice.d",
            "{units}/socket.d",
            "{units}/swap.d",
            "{units}/systemd-*",
            "{units}/target.d",
            "{units}/timer.d",
        ],
    ),
    ("which packages are installed, and how", &["/etc/apt", "/etc/dpkg", "/etc/debconf.conf"]),
    (
        "the system's own programs and libraries",
        &[
            "/usr/bin",
            "/usr/lib",
            "/usr/lib32",
            "/usr/lib64",
            "/usr/libexec",
            "/usr/libx32",
            "/usr/sbin",
            "/usr/share/dbus-1",
            "/etc/dbus-1",
        ],
    ),
];

/// Units of the agent.
const OWN_UNITS: &[&str] = &["unbox-*", "unbox.*"];

/// Units without which a device does not come up or go down, among them those that the agent's units hang
/// below, wait for or run in: without one of them, no unit of the agent starts.
const PRIVILEGED_UNITS: &[&str] = &[
    "*.automount",
    "*.mount",
    "*.swap",
    "-.slice",
    "basic.target",
    "ctrl-alt-del.target",
    "dbus*",
    "default.target",
    "emergency.*",
    "exit.target",
    "final.target",
    "graphical.target",
    "halt.target",
    "hibernate.target",
    "hybrid-sleep.target",
    "init.scope",
    "initrd*",
    "kexec.target",
    "local-fs*",
    "multi-user.target",
    "network-online.target",
    "nss-lookup.target",
    "paths.target",
    "poweroff.target",
    "reboot.target",
    "rescue.*",
    "runlevel*.target",
    "shutdown.target",
    "sleep.target",
    "sockets.target",
    "suspend*",
    "sysinit.target",
    "system.slice",
    "systemd-halt.service",
    "systemd-hibernate.service",
    "systemd-journald*",
    "systemd-kexec.service",
    "systemd-poweroff.service",
    "systemd-reboot.service",
    "systemd-remount-fs.service",
    "systemd-suspend*",
    "systemd-sysusers.service",
    "systemd-tmpfiles*",
    "systemd-udev*",
    "timers.target",
    "umount.target",
];

/// Kernel parameters that name a program for the kernel to run as root, or let programs leak root's memory.
const PRIVILEGED_SYSCTLS: &[&str] = &[
    "fs.binfmt_misc.*",
    "fs.suid_dumpable",
    "kernel.core_pattern",
    "kernel.hotplug",
    "kernel.modprobe",
    "kernel.poweroff_cmd",
    "kernel.usermodehelper.*",
];

/// Returns the owner of a path that a payload cannot even name; `None` for every other path.
#[must_use]
pub fn holder_of_path(path: &str) -> Option<&'static str> {
    group_of(&canonical(path), UNNAMEABLE)
}

/// Returns which policies reach a path.
#[must_use]
pub fn reach_of_path(path: &str) -> Reach {
    let path = canonical(path);
    if let Some(holder) = group_of(&path, UNNAMEABLE).or_else(|| group_of(&path, RESERVED)) {
        return Reach::Never(holder);
    }
    group_of(&path, PRIVILEGED).map_or(Reach::Open, Reach::Privileged)
}

/// Returns which policies reach a unit.
#[must_use]
pub fn reach_of_unit(unit: &str) -> Reach {
    let is_in = |list: &[&str]| list.iter().any(|pattern| matches_name(pattern, unit));
    if is_in(OWN_UNITS) {
        Reach::Never(OWN)
    } else if is_in(PRIVILEGED_UNITS) {
        Reach::Privileged("whether the device starts and stays up")
    } else {
        Reach::Open
    }
}

/// Returns which policies reach a kernel parameter.
#[must_use]
pub fn reach_of_sysctl(key: &str) -> Reach {
    if PRIVILEGED_SYSCTLS.iter().any(|pattern| matches_name(pattern, key)) {
        Reach::Privileged("what the kernel runs as root")
    } else {
        Reach::Open
    }
}

/// Returns which policies may let somebody log in, as root or as another user.
#[must_use]
pub const fn reach_of_login(as_root: bool) -> Reach {
    if as_root { Reach::Privileged("who may log in and who becomes root") } else { Reach::Open }
}

/// Returns the directories of Unbox itself, for callers that resolve links.
pub fn own_directories() -> impl Iterator<Item = &'static str> {
    let unnameable = UNNAMEABLE.iter().filter(|(holder, _)| *holder == OWN);
    unnameable.flat_map(|(_, patterns)| *patterns).copied().filter(|path| !path.contains(['*', '{']))
}

/// Returns the directories that systemd reads units from, without those below `/run`.
#[must_use]
pub const fn unit_directories() -> &'static [&'static str] {
    UNIT_DIRECTORIES
}

/// Whether systemd reads a unit or a drop-in from this path.
#[must_use]
pub fn is_unit_file(path: &str) -> bool {
    let path = canonical(path);
    UNIT_DIRECTORIES
        .iter()
        .any(|directory| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')))
}

/// Whether a unit that is named with specifiers may turn out to be one of Unbox's: only the text before the
/// first specifier is known.
fn may_be_own_unit(unit: &str) -> bool {
    match unit.split_once('%') {
        None => matches!(reach_of_unit(unit), Reach::Never(_)),
        Some((known, _)) => OWN_UNITS.iter().any(|pattern| {
            let own = pattern.trim_end_matches('*');
            own.starts_with(known) || known.starts_with(own)
        }),
    }
}

/// Returns the path with its first directories as a merged `/usr` names them.
fn canonical(path: &str) -> String {
    let below =
        |alias: &str| path.strip_prefix(alias).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let renamed = ALIASES.iter().find_map(|(alias, name)| Some(format!("{name}{}", below(alias)?)));
    renamed.unwrap_or_else(|| path.to_owned())
}

fn group_of(path: &str, groups: &[Group]) -> Option<&'static str> {
    let found = groups.iter().find(|(_, patterns)| patterns.iter().any(|pattern| contains(pattern, path)));
    found.map(|(name, _)| *name)
}

/// Whether a path is in the tree of a pattern.
fn contains(pattern: &str, path: &str) -> bool {
    for (word, directories) in [("{units}", UNIT_DIRECTORIES), ("{conf}", SETTINGS_DIRECTORIES)] {
        if let Some(rest) = pattern.strip_prefix(word) {
            let below = |directory: &str| path.strip_prefix(directory).filter(|rest| rest.starts_with('/'));
            return directories
                .iter()
                .filter_map(|directory| below(directory))
                .any(|path| contains(rest, path));
        }
    }
    let mut names = path.split('/');
    pattern.split('/').all(|wanted| names.next().is_some_and(|name| matches_name(wanted, name)))
}

/// Whether a name matches a pattern, in which `*` stands for any text, even none.
fn matches_name(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len()).any(|at| name.get(at..).is_some_and(|end| matches_name(rest, end)))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_unbox_is_reached_by_any_of_its_names() {
        for path in [
            "/etc/unbox/trust/root.json",
            "/usr/bin/unbox-agent",
            "/bin/unbox-agent",
            "/var/run/unbox/x",
            "/etc/systemd/system/unbox-install.service",
            "/etc/systemd/system/unbox-install.service.d/x.conf",
            "/etc/systemd/system/unbox-.service.d/x.conf",
            "/etc/systemd/system/unbox.target.wants/x.service",
            "/etc/systemd/system/multi-user.target.wants/unbox.target",
            "/etc/systemd/system.control/unbox-report.timer.d/50-x.conf",
            "/etc/systemd/system.attached/unbox-report.timer",
            "/usr/local/lib/systemd/system/unbox-resume.service",
            "/usr/lib/systemd/system/unbox-handshake.service",
            "/lib/systemd/system/unbox-handshake.service",
            "/etc/systemd/system/var-lib-unbox.mount",
            "/etc/systemd/system-preset/00-unbox.preset",
            "/etc/tmpfiles.d/unbox.conf",
            "/etc/sysusers.d/unbox.conf",
            "/etc/udev/rules.d/90-unbox-tpm.rules",
            "/etc/credstore/unbox.server",
            "/var/lib/extensions/e/usr/bin/unbox-agent",
            "/var/lib/extensions.mutable/usr/x",
            "/var/lib/confexts/e/etc/unbox/agent.toml",
            "/etc/extensions/e.raw",
            "/usr/local/lib/extensions/e.raw",
            "/lib/confexts/e.raw",
            "/etc/credstore.encrypted/unbox.token",
            "/opt/unbox/dpc/acme/current",
            "/etc/dpkg/dpkg.cfg.d/x",
            "/var/lib/dpkg/status",
        ] {
            assert!(matches!(reach_of_path(path), Reach::Never(_)), "{path}");
        }
        for unit in ["unbox.target", "unbox-install.path", "unbox-medium@sda1.service"] {
            assert_eq!(reach_of_unit(unit), Reach::Never("Unbox"), "{unit}");
        }
    }

    #[test]
    fn power_over_the_device_needs_a_word() {
        for path in [
            "/etc/sudoers",
            "/etc/sudoers.d/acme",
            "/etc/ld.so.preload",
            "/etc/passwd",
            "/etc/shadow-",
            "/etc/cron.d/acme",
            "/etc/crontab",
            "/etc/pam.d/login",
            "/lib/x86_64-linux-gnu/security/pam_acme.so",
            "/etc/ssh/sshd_config",
            "/home/ada/.ssh/authorized_keys",
            "/root/.bashrc",
            "/etc/systemd/system/service.d/x.conf",
            "/usr/local/lib/systemd/system/timer.d/x.conf",
            "/etc/systemd/system.conf.d/x.conf",
            "/etc/systemd/system-generators/x",
            "/etc/systemd/system/systemd-udevd.service.d/x.conf",
            "/etc/dpkg/origins/x",
            "/etc/apt/apt.conf.d/99x",
            "/etc/tmpfiles.d/x.conf",
            "/usr/bin/dpkg",
            "/sbin/init",
            "/boot/vmlinuz",
        ] {
            assert!(matches!(reach_of_path(path), Reach::Privileged(_)), "{path}");
        }
        for unit in ["dbus.service", "sysinit.target", "poweroff.target", "usr.mount", "runlevel3.target"] {
            assert!(matches!(reach_of_unit(unit), Reach::Privileged(_)), "{unit}");
        }
        for key in ["kernel.core_pattern", "kernel.usermodehelper.bset"] {
            assert!(matches!(reach_of_sysctl(key), Reach::Privileged(_)), "{key}");
        }
    }

    #[test]
    fn ordinary_places_are_open() {
        for path in [
            "/etc/motd",
            "/etc/unboxed",
            "/etc/systemd/system/acme.service",
            "/etc/systemd/system/acme.service.d/50-unbox.conf",
            "/etc/systemd/journald.conf.d/x.conf",
            "/etc/sysctl.d/60-unbox.conf",
            "/usr/local/bin/acme",
            "/usr/share/acme/logo.svg",
            "/var/lib/unbox-dpc/x",
            "/srv/www/index.html",
            "/home/ada/notes",
            "/binary",
            "/library/x",
        ] {
            assert_eq!(reach_of_path(path), Reach::Open, "{path}");
        }
        for unit in ["ssh.service", "getty@tty1.service", "unboxed.service", "systemd-networkd.socket"] {
            assert_eq!(reach_of_unit(unit), Reach::Open, "{unit}");
        }
        assert_eq!(reach_of_sysctl("net.ipv4.ip_forward"), Reach::Open);
    }

    /// Targets and slices that the agent's own units name, and those that systemd adds by itself.
    #[test]
    fn what_unboxs_units_hang_below_needs_a_word() {
        let units = concat!(env!("CARGO_MANIFEST_DIR"), "/../systemd/agent");
        let mut needed: Vec<String> = ["basic.target", "default.target", "graphical.target", "system.slice"]
            .into_iter()
            .chain(["paths.target", "timers.target"])
            .map(str::to_owned)
            .collect();
        for file in std::fs::read_dir(units).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let values = text.lines().filter_map(|line| line.split_once('='));
            let about = ["After", "BindsTo", "Requires", "Wants", "WantedBy"];
            let values = values.filter(|(key, _)| about.contains(key)).map(|(_, value)| value);
            let named = values.flat_map(str::split_whitespace).filter(|unit| unit.ends_with(".target"));
            needed.extend(named.map(str::to_owned));
        }
        assert!(needed.iter().any(|unit| unit == "multi-user.target"), "{needed:?}");
        for unit in needed {
            assert!(matches!(reach_of_unit(&unit), Reach::Privileged(_)), "{unit}");
            let file = format!("/usr/lib/systemd/system/{unit}");
            for path in [format!("{file}.d/x.conf"), file] {
                assert!(matches!(reach_of_path(&path), Reach::Privileged(_)), "{path}");
            }
        }
    }

    #[test]
    fn a_star_stands_for_any_part_of_one_name() {
        for (pattern, name, matches) in [
            ("a*", "a", true),
            ("*b*", "abc", true),
            ("a*c*e", "abcde", true),
            ("a*c", "abcd", false),
            ("*", "", true),
            ("é*", "éa", true),
            ("*é", "aé", true),
        ] {
            assert_eq!(matches_name(pattern, name), matches, "{pattern} {name}");
        }
        assert!(!contains("/etc/*.wants/x", "/etc/a/b.wants/x"));
    }
}
