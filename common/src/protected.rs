//! Places and units that no policy reaches, and those that only an explicitly privileged item reaches.
//!
//! A policy is signed for, and a unit file in it is code that runs as root: these lists do not make a hostile
//! administrator harmless. They keep a configuration from taking the device away from Unbox, by mistake or by
//! an innocent-looking name, and they make every power over the whole device visible: in the configuration,
//! in the audit, and on the device, which checks both again with links resolved.
//!
//! To protect another place: one more pattern in `places.rs`, and a row in the test.

mod places;
mod unit_file;

pub use places::{holder_of_path, is_unit_file, own_directories, reach_of_path, unit_directories};
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

/// The owner of the agent's own places.
const OWN: &str = "Unbox";

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

/// Kernel parameters with a value that stops the device, at every boot anew: it panics, or no program gets
/// the memory, processes, files, mounts, watches or modules that it needs.
const STOPPING_SYSCTLS: &[&str] = &[
    "*panic*",
    "fs.epoll.*",
    "fs.file-max",
    "fs.inotify.*",
    "fs.mount-max",
    "fs.nr_open",
    "kernel.modules_disabled",
    "kernel.pid_max",
    "kernel.threads-max",
    "user.max_*",
    "vm.max_map_count",
    "vm.min_free_kbytes",
    "vm.mmap_min_addr",
    "vm.nr_hugepages*",
    "vm.overcommit_*",
];

/// The matter that the units and kernel parameters decide without which a device does not run.
const AVAILABILITY: &str = "whether the device starts and stays up";

/// Returns which policies reach a unit.
#[must_use]
pub fn reach_of_unit(unit: &str) -> Reach {
    let is_in = |list: &[&str]| list.iter().any(|pattern| matches_name(pattern, unit));
    if is_in(OWN_UNITS) {
        Reach::Never(OWN)
    } else if is_in(PRIVILEGED_UNITS) {
        Reach::Privileged(AVAILABILITY)
    } else {
        Reach::Open
    }
}

/// Returns which policies reach a kernel parameter.
#[must_use]
pub fn reach_of_sysctl(key: &str) -> Reach {
    let is_in = |list: &[&str]| list.iter().any(|pattern| matches_name(pattern, key));
    if is_in(PRIVILEGED_SYSCTLS) {
        Reach::Privileged("what the kernel runs as root")
    } else if is_in(STOPPING_SYSCTLS) {
        Reach::Privileged(AVAILABILITY)
    } else {
        Reach::Open
    }
}

/// Returns which policies may let somebody log in, as root or as another user.
#[must_use]
pub const fn reach_of_login(as_root: bool) -> Reach {
    if as_root { Reach::Privileged("who may log in and who becomes root") } else { Reach::Open }
}

/// Returns true if a unit that is named with specifiers may turn out to be one of Unbox's: only the text
/// before the first specifier is known.
fn may_be_own_unit(unit: &str) -> bool {
    match unit.split_once('%') {
        None => matches!(reach_of_unit(unit), Reach::Never(_)),
        Some((known, _)) => OWN_UNITS.iter().any(|pattern| {
            let own = pattern.trim_end_matches('*');
            own.starts_with(known) || known.starts_with(own)
        }),
    }
}

/// Returns true if a name matches a pattern, in which `*` stands for any text, even none.
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
    fn what_root_reads_or_runs_by_itself_needs_a_word() {
        for path in [
            "/etc/apt/preferences",
            "/etc/auto.master",
            "/etc/auto.master.d/x.autofs",
            "/etc/bash.bashrc",
            "/etc/binfmt.d/x.conf",
            "/etc/ca-certificates.conf",
            "/etc/ca-certificates/update.d/x",
            "/etc/credstore/passwd.hashed-password.root",
            "/etc/default/ssh",
            "/etc/dhcp/dhclient-exit-hooks.d/x",
            "/etc/dhcpcd.exit-hook",
            "/etc/environment.d/x.conf",
            "/etc/initramfs-tools/hooks/x",
            "/etc/kernel/postinst.d/x",
            "/etc/logrotate.d/x",
            "/etc/modules-load.d/x.conf",
            "/etc/network/if-up.d/x",
            "/etc/NetworkManager/dispatcher.d/x",
            "/etc/perl/sitecustomize.pl",
            "/etc/polkit-1/rules.d/x.rules",
            "/etc/profile.d/x.sh",
            "/etc/python3.13/sitecustomize.py",
            "/etc/rsyslog.conf",
            "/etc/rsyslog.d/x.conf",
            "/etc/security/pam_env.conf",
            "/etc/skel/.profile",
            "/etc/ssl/certs/x.pem",
            "/etc/ssl/openssl.cnf",
            "/etc/sysctl.conf",
            "/etc/sysctl.d/60-unbox.conf",
            "/etc/systemd/user/x.service",
            "/etc/udev/rules.d/x.rules",
            "/etc/update-motd.d/x",
            "/etc/xdg/systemd/user/x.service",
            "/etc/zsh/zshenv",
            "/etc/any-other.d/x",
            "/home/ada/.bashrc",
            "/srv/git/.ssh/authorized_keys",
            "/srv/git/.ssh/rc",
            "/usr/local/lib/libc.so.6",
            "/usr/local/lib/perl5/x.pm",
            "/usr/local/lib/python3.13/dist-packages/sitecustomize.py",
            "/usr/local/lib/sysctl.d/x.conf",
            "/usr/local/lib/x86_64-linux-gnu/libpam.so.0",
            "/usr/local/lib/x86_64-linux-gnu/perl/5.40/x.pm",
            "/usr/local/share/ca-certificates/x.crt",
            "/usr/local/share/dbus-1/system-services/x.service",
            "/usr/local/share/perl/5.40/x.pm",
            "/usr/share/initramfs-tools/hooks/x",
            "/usr/share/pam-configs/x",
            "/usr/share/perl5/x.pm",
            "/var/lib/postgresql/.config/systemd/user/x.service",
            "/var/lib/postgresql/.profile",
            "/var/lib/systemd/linger/ada",
            "/vmlinuz",
        ] {
            assert!(matches!(reach_of_path(path), Reach::Privileged(_)), "{path}");
        }
    }

    #[test]
    fn what_starts_programs_as_root_needs_a_word() {
        for path in [
            "/etc/audit/plugins.d/x.conf",
            "/etc/chkrootkit.conf",
            "/etc/chkrootkit/chkrootkit.conf",
            "/etc/console-setup/cached_setup_font.sh",
            "/etc/containers/systemd/x.container",
            "/etc/cryptsetup-initramfs/conf-hook",
            "/etc/docker/daemon.json",
            "/etc/e2scrub.conf",
            "/etc/incron.conf",
            "/etc/incron.d/x",
            "/etc/init/x.conf",
            "/etc/kubernetes/manifests/x.yaml",
            "/etc/libvirt/hooks/qemu",
            "/etc/popularity-contest.conf",
            "/etc/runit/1",
            "/etc/service/x/run",
            "/etc/supervisor/supervisord.conf",
            "/etc/sv/x/run",
            "/etc/userdb/x.user",
            "/etc/wpa_supplicant/action_wpa.sh",
            "/etc/X11/xorg.conf.d/x.conf",
            "/lib/userdb/x.user",
            "/snap/x/current/bin/x",
            "/usr/local/lib/userdb/x.user",
            "/usr/local/lib/userdb/x:wheel.membership",
            "/usr/share/containers/systemd/x.container",
            "/var/cache/apt/pkgcache.bin",
            "/var/lib/snapd/seed/seed.yaml",
            "/var/spool/incron/root",
        ] {
            assert!(matches!(reach_of_path(path), Reach::Privileged(_)), "{path}");
        }
        // No policy file can be named below /run.
        assert!(matches!(reach_of_path("/run/userdb/x.user"), Reach::Never(_)));
    }

    #[test]
    fn what_a_login_or_everybodys_tools_read_needs_a_word() {
        for path in [
            "/etc/emacs/site-start.d/x.el",
            "/etc/gdb/gdbinit",
            "/etc/gitconfig",
            "/etc/inputrc",
            "/etc/lsb-release",
            "/etc/mailcap",
            "/etc/mailcap.order",
            "/etc/nanorc",
            "/etc/npmrc",
            "/etc/os-release",
            "/etc/pip.conf",
            "/etc/screenrc",
            "/etc/tmux.conf",
            "/etc/vim/vimrc.local",
            "/etc/xdg/autostart/x.desktop",
            "/home/ada/.config/autostart/x.desktop",
            "/home/ada/.config/environment.d/x.conf",
            "/home/ada/.gitconfig",
            "/home/ada/.gnupg/gpg.conf",
            "/home/ada/.local/bin/ls",
            "/home/ada/.local/lib/python3.13/site-packages/x.pth",
            "/home/ada/.pam_environment",
            "/home/ada/.xinitrc",
            "/home/ada/.xprofile",
            "/home/ada/.xsession",
            "/home/ada/.xsessionrc",
            "/usr/lib/os-release",
            "/usr/local/share/emacs/site-lisp/x.el",
        ] {
            assert!(matches!(reach_of_path(path), Reach::Privileged(_)), "{path}");
        }
    }

    #[test]
    fn a_kernel_parameter_that_stops_the_device_needs_a_word() {
        for key in [
            "fs.file-max",
            "fs.inotify.max_user_watches",
            "kernel.hung_task_panic",
            "kernel.modules_disabled",
            "kernel.panic",
            "kernel.panic_on_oops",
            "kernel.pid_max",
            "user.max_mnt_namespaces",
            "vm.mmap_min_addr",
            "vm.nr_hugepages",
            "vm.overcommit_memory",
            "vm.panic_on_oom",
        ] {
            assert_eq!(reach_of_sysctl(key), Reach::Privileged(AVAILABILITY), "{key}");
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
            "/etc/acme/acme.conf",
            "/etc/acme/conf.d/site.conf",
            "/etc/acme.conf",
            "/etc/hosts",
            "/etc/initech/x",
            "/etc/services",
            "/etc/systemd/network/10-lan.network",
            "/etc/NetworkManager/system-connections/lan.nmconnection",
            "/etc/ssl/private/acme.pem",
            "/opt/acme/lib/libacme.so",
            "/usr/local/bin/acme",
            "/usr/local/etc/acme.conf",
            "/usr/local/lib/acme/plugin.so",
            "/usr/local/share/acme/logo.svg",
            "/usr/share/acme/logo.svg",
            "/var/lib/unbox-dpc/x",
            "/var/cache/acme/x",
            "/var/lib/acme/state.json",
            "/srv/www/index.html",
            "/srv/www/.well-known/security.txt",
            "/home/ada/.config/acme/x",
            "/home/ada/notes",
            "/home/kiosk/.config/openbox/autostart",
            "/binary",
            "/library/x",
        ] {
            assert_eq!(reach_of_path(path), Reach::Open, "{path}");
        }
        for unit in ["ssh.service", "getty@tty1.service", "unboxed.service", "systemd-networkd.socket"] {
            assert_eq!(reach_of_unit(unit), Reach::Open, "{unit}");
        }
        for key in ["net.ipv4.ip_forward", "net.core.somaxconn", "vm.swappiness", "kernel.sysrq"] {
            assert_eq!(reach_of_sysctl(key), Reach::Open, "{key}");
        }
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
    }
}
