//! The places themselves, by pattern.
//!
//! A pattern names a tree: the paths that it matches, and everything below. `*` stands for any part of one
//! name, `{units}` for every directory that systemd reads units from, `{conf}` for every directory that
//! programs read settings from, `{share}` for every directory that they read data from, and `{home}` for every
//! directory, because any may be somebody's home.

use super::{OWN, Reach, matches_name};

/// A list of patterns, and their common description.
type Group = (&'static str, &'static [&'static str]);

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

/// Directories of data that programs read, one over the other (XDG Base Directory Specification).
const DATA_DIRECTORIES: &[&str] = &["/usr/share", "/usr/local/share"];

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
///
/// Single applications are not listed: they run what their own configuration says, and no device needs them.
/// Those that start others as root (supervisors, containers, virtual machines) are.
const PRIVILEGED: &[Group] = &[
    (
        "who may log in and who becomes root",
        &[
            "/etc/adduser.conf",
            "/etc/deluser.conf",
            "/etc/doas*",
            "/etc/dropbear*",
            "/etc/gdm*",
            "/etc/greetd",
            "/etc/group*",
            "/etc/gshadow*",
            "/etc/hosts.equiv",
            "/etc/lightdm",
            "/etc/login.defs",
            "/etc/nsswitch.conf",
            "/etc/passwd*",
            "/etc/polkit-1",
            "/etc/sddm*",
            "/etc/securetty",
            "/etc/shadow*",
            "/etc/shosts.equiv",
            "/etc/skel",
            "/etc/ssh",
            "/etc/sssd",
            "/etc/subgid*",
            "/etc/subuid*",
            "/etc/sudo*",
            "/root",
            "/usr/local/sbin/adduser.local",
            "/var/lib/AccountsService",
            "/var/lib/extrausers",
            "/var/lib/pam",
            "/var/lib/polkit-1",
            "{conf}/credstore*",
            "{conf}/pam.*",
            "{conf}/security",
            "{conf}/userdb",
            "{home}/.gnupg",
            "{home}/.k5*",
            "{home}/.pam_environment",
            "{home}/.rhosts",
            "{home}/.shosts",
            "{home}/.ssh",
            "{share}/pam-configs",
            "{share}/polkit-1",
        ],
    ),
    (
        "whom every program trusts",
        &["/etc/ca-certificates*", "/etc/pki", "/etc/ssl/certs", "{share}/ca-certificates"],
    ),
    (
        "what every program loads",
        &[
            "/etc/bash*",
            "/etc/csh*",
            "/etc/emacs",
            "/etc/environment",
            "/etc/fish",
            "/etc/gdb",
            "/etc/gitconfig",
            "/etc/gss",
            "/etc/inputrc",
            "/etc/krb5*",
            "/etc/ksh*",
            "/etc/ld-musl-*",
            "/etc/ld.so.*",
            "/etc/lsb-release",
            "/etc/mailcap*",
            "/etc/nanorc",
            "/etc/npmrc",
            "/etc/os-release",
            "/etc/perl",
            "/etc/pip.conf",
            "/etc/pkcs11",
            "/etc/profile*",
            "/etc/python*",
            "/etc/sasl2",
            "/etc/screenrc",
            "/etc/ssl/*.cnf*",
            "/etc/suid_profile",
            "/etc/tmux.conf",
            "/etc/vim",
            "/etc/xdg",
            "/etc/zlogin",
            "/etc/zlogout",
            "/etc/zprofile",
            "/etc/zsh*",
            "/usr/local/etc/npmrc",
            "/usr/local/lib/*-linux-*",
            "/usr/local/lib/*.so*",
            "/usr/local/lib/glibc-hwcaps",
            "/usr/local/lib/lua",
            "/usr/local/lib/node_modules",
            "/usr/local/lib/perl*",
            "/usr/local/lib/python*",
            "/usr/local/lib/ruby",
            "/usr/local/lib/site_*",
            "/usr/local/lib32",
            "/usr/local/lib64",
            "/usr/local/libx32",
            "/usr/local/ssl",
            "{conf}/environment.d",
            "{home}/.bash*",
            "{home}/.config/autostart",
            "{home}/.config/autostart-scripts",
            "{home}/.config/environment.d",
            "{home}/.config/fish",
            "{home}/.config/git",
            "{home}/.config/plasma-workspace",
            "{home}/.config/systemd",
            "{home}/.cshrc",
            "{home}/.gitconfig",
            "{home}/.gnomerc",
            "{home}/.inputrc",
            "{home}/.kshrc",
            "{home}/.local/bin",
            "{home}/.local/lib",
            "{home}/.local/share/dbus-1",
            "{home}/.local/share/systemd",
            "{home}/.login",
            "{home}/.logout",
            "{home}/.profile",
            "{home}/.tcshrc",
            "{home}/.xinitrc",
            "{home}/.xprofile",
            "{home}/.xserverrc",
            "{home}/.xsession*",
            "{home}/.zlog*",
            "{home}/.zprofile",
            "{home}/.zsh*",
            "{share}/bash-completion",
            "{share}/emacs",
            "{share}/fish",
            "{share}/gdb",
            "{share}/lua",
            "{share}/p11-kit",
            "{share}/perl*",
            "{share}/python*",
            "{share}/vim",
            "{share}/zsh",
        ],
    ),
    (
        "what runs as root by itself",
        &[
            "/etc/acpi",
            "/etc/anacrontab",
            "/etc/apm",
            "/etc/audisp",
            "/etc/audit",
            "/etc/auto.*",
            "/etc/autofs*",
            "/etc/chkrootkit*",
            "/etc/cloud",
            "/etc/cni",
            "/etc/console-setup",
            "/etc/containerd",
            "/etc/containers",
            "/etc/cron*",
            "/etc/default",
            "/etc/dhcp*",
            "/etc/docker",
            "/etc/e2scrub.conf",
            "/etc/hosts.allow",
            "/etc/hosts.deny",
            "/etc/incron*",
            "/etc/inetd.conf",
            "/etc/init",
            "/etc/init.d",
            "/etc/inittab",
            "/etc/kernel",
            "/etc/kubernetes",
            "/etc/libvirt",
            "/etc/logrotate*",
            "/etc/lvm",
            "/etc/mdadm*",
            "/etc/multipath*",
            "/etc/network",
            "/etc/networkd-dispatcher",
            "/etc/NetworkManager/dispatcher.d",
            "/etc/pm",
            "/etc/popularity-contest.conf",
            "/etc/ppp",
            "/etc/rancher",
            "/etc/rc*",
            "/etc/request-key*",
            "/etc/resolvconf*",
            "/etc/rsyslog*",
            "/etc/runit",
            "/etc/service",
            "/etc/smartd.conf",
            "/etc/smartmontools",
            "/etc/supervisor*",
            "/etc/sv",
            "/etc/sysconfig",
            "/etc/syslog*",
            "/etc/ufw",
            "/etc/update-motd.d",
            "/etc/wpa_supplicant",
            "/etc/X11",
            "/etc/xinetd*",
            "/usr/src",
            "/var/lib/cloud",
            "/var/lib/rancher",
            "/var/spool/anacron",
            "/var/spool/at*",
            "/var/spool/cron",
            "/var/spool/incron",
            "{conf}/binfmt.d",
            "{conf}/kernel",
            "{conf}/sysusers.d",
            "{conf}/tmpfiles.d",
            "{share}/containers",
            "{share}/X11",
        ],
    ),
    ("what the kernel runs as root", &["/etc/sysctl*", "{conf}/sysctl.d"]),
    (
        "how the device starts",
        &[
            "/boot",
            "/efi",
            "/etc/*tab",
            "/etc/cryptsetup-initramfs",
            "/etc/dkms",
            "/etc/dracut*",
            "/etc/grub*",
            "/etc/initramfs-tools",
            "/etc/mkinitcpio*",
            "/etc/modules",
            "/etc/selinux",
            "/initrd*",
            "/var/lib/dkms",
            "/vmlinuz*",
            "{conf}/modprobe.d",
            "{conf}/modules-load.d",
            "{conf}/udev",
            "{share}/initramfs-tools",
            "{units}/*.automount",
            "{units}/*.mount",
            "{units}/*.swap",
            "{units}/-.slice*",
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
        ],
    ),
    (
        "systemd as a whole, or every unit of a kind",
        &[
            "/var/lib/systemd",
            "{conf}/systemd/*-generators",
            "{conf}/systemd/system-preset",
            "{conf}/systemd/system-shutdown",
            "{conf}/systemd/system-sleep",
            "{conf}/systemd/system.conf*",
            "{conf}/systemd/user*",
            "{share}/systemd",
            "{units}/automount.d",
            "{units}/dbus*",
            "{units}/device.d",
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
    (
        "which packages are installed, and how",
        &[
            "/etc/apt",
            "/etc/debconf.conf",
            "/etc/dpkg",
            "/etc/etckeeper",
            "/etc/needrestart",
            "/etc/ucf.conf",
            "/snap",
            "/var/cache/apt",
            "/var/cache/debconf",
            "/var/lib/apt",
            "/var/lib/snapd",
            "/var/lib/ucf",
            "{share}/debconf",
            "{share}/dpkg",
            "{share}/keyrings",
        ],
    ),
    (
        "the system's own programs and libraries",
        &[
            "/etc/dbus-1",
            "/usr/bin",
            "/usr/lib",
            "/usr/lib32",
            "/usr/lib64",
            "/usr/libexec",
            "/usr/libx32",
            "/usr/sbin",
            "{share}/dbus-1",
        ],
    ),
    // A directory of drop-ins is there for another program than its author's.
    ("how other programs work", &["{conf}/*.d"]),
];

/// Returns the owner of a path that a payload cannot even name; `None` for every other path.
#[must_use]
pub fn holder_of_path(path: &str) -> Option<&'static str> {
    group_of(&canonical_path(path), UNNAMEABLE)
}

/// Returns which policies reach a path.
#[must_use]
pub fn reach_of_path(path: &str) -> Reach {
    let path = canonical_path(path);
    if let Some(holder) = group_of(&path, UNNAMEABLE).or_else(|| group_of(&path, RESERVED)) {
        return Reach::Never(holder);
    }
    group_of(&path, PRIVILEGED).map_or(Reach::Open, Reach::Privileged)
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

/// Returns true if systemd reads a unit or a drop-in from this path.
#[must_use]
pub fn is_unit_file(path: &str) -> bool {
    let path = canonical_path(path);
    UNIT_DIRECTORIES
        .iter()
        .any(|directory| path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/')))
}

/// Returns the path with its first directories as a merged `/usr` names them.
fn canonical_path(path: &str) -> String {
    let below =
        |alias: &str| path.strip_prefix(alias).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    let renamed = ALIASES.iter().find_map(|(alias, name)| Some(format!("{name}{}", below(alias)?)));
    renamed.unwrap_or_else(|| path.to_owned())
}

fn group_of(path: &str, groups: &[Group]) -> Option<&'static str> {
    let found = groups.iter().find(|(_, patterns)| patterns.iter().any(|pattern| contains(pattern, path)));
    found.map(|(name, _)| *name)
}

/// Returns true if a path is in the tree of a pattern.
fn contains(pattern: &str, path: &str) -> bool {
    if let Some(rest) = pattern.strip_prefix("{home}") {
        return path
            .match_indices('/')
            .any(|(at, _)| path.get(at..).is_some_and(|path| contains(rest, path)));
    }
    for (word, directories) in
        [("{units}", UNIT_DIRECTORIES), ("{conf}", SETTINGS_DIRECTORIES), ("{share}", DATA_DIRECTORIES)]
    {
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

#[cfg(test)]
mod tests {
    use super::contains;

    #[test]
    fn a_pattern_names_a_tree_in_every_directory_that_it_stands_for() {
        for (pattern, path, is_in) in [
            ("/etc/*.wants/x", "/etc/a.wants/x/y", true),
            ("/etc/*.wants/x", "/etc/a/b.wants/x", false),
            ("{conf}/*.d", "/etc/a.d", true),
            ("{conf}/*.d", "/etc/a/b.d/x", false),
            ("{share}/a", "/usr/local/share/a/x", true),
            ("{home}/.ssh", "/.ssh", true),
            ("{home}/.ssh", "/srv/git/.ssh/rc", true),
            ("{home}/.ssh", "/srv/git/a.ssh", false),
        ] {
            assert_eq!(contains(pattern, path), is_in, "{pattern} {path}");
        }
    }
}
