//! What the installer's sandbox lets through: packages with all that their scripts do, and units; not the network.

use std::fs;
use std::path::Path;

use anyhow::Result;
use unbox_tests::host::{self, Program};
use unbox_tests::vm::{BOOT, Image, Machine, SOON};

use crate::stand_in;

/// What the scripts of real packages do.
const POSTINST: &str = "#!/bin/sh
set -e
groupadd --system probe
useradd --system --gid probe --home-dir /var/lib/probe --create-home probe
install -d -o probe -g probe -m 2775 /var/lib/probe/shared
setcap cap_net_raw+ep /usr/bin/probe-ping
runuser -u probe -- touch /var/lib/probe/shared/by-probe
ldconfig
systemctl daemon-reload
systemctl enable --quiet probe.service
systemctl restart probe.service
";

const SERVICE: &str = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n";

const CONTROL: &str = "Package: probe\nVersion: 1\nArchitecture: all\n\
                       Maintainer: Nobody <nobody@example.invalid>\nDescription: probe\n";

/// Each line: what is tried, and how it has to end.
const WORK: &str = "
try() { local name=$1; shift; \"$@\" >/run/$name.log 2>&1; echo $name=$? >> /run/tried; }
systemd-notify --ready
try package  dpkg --install /root/probe.deb
try unit     systemctl restart probe.service
try boot     systemctl enable probe.service
try kernel   systemctl restart systemd-sysctl.service
try own      sh -c 'echo x > /etc/probe && chown probe:probe /etc/probe && chmod 4755 /etc/probe'
try home     sh -c 'install -d -m 700 /root/.ssh && echo key > /root/.ssh/authorized_keys'
try grant    sh -c 'cat /var/lib/unbox/exchange/grant.json && rm /var/lib/unbox/exchange/grant.json'
try state    sh -c 'echo x > /var/lib/unbox/ledger.json && chown root:unbox /var/lib/unbox/ledger.json'
try network  bash -c 'exec 3<>/dev/tcp/10.0.2.100/443'
try sysctl   sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'
try mount    mount -t tmpfs none /mnt
try module   modprobe dummy
try disk     sh -c 'head -c1 /dev/nvme0n1'
try leave    nsenter -t 1 -n true
mv /run/tried /run/tried.all
";

const ALLOWED: &[&str] = &["package", "unit", "boot", "kernel", "own", "home", "grant", "state"];
const FORBIDDEN: &[&str] = &["network", "sysctl", "mount", "module", "disk", "leave"];

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn packages_install_and_nothing_reaches_the_network() -> Result<()> {
    let machine = Machine::new(&Image::agent()?)
        .file("/root/probe.deb", package()?, 0o644)
        .file("/etc/sysctl.d/probe.conf", "net.ipv4.ip_forward = 1\n", 0o644)
        .file("/var/lib/unbox/exchange/grant.json", "{}", 0o600);
    let mut vm = stand_in::installing(machine, WORK).start()?;
    vm.wait_ready(BOOT)?;
    let tried = vm.wait_until("cat /run/tried.all", BOOT)?;
    for name in ALLOWED {
        let log = vm.shell(&format!("tail -n 20 /run/{name}.log"))?.text;
        assert!(tried.lines().any(|line| line == format!("{name}=0")), "{name} did not work: {log}");
    }
    for name in FORBIDDEN {
        let failed = tried.lines().any(|line| line.starts_with(&format!("{name}=")) && !line.ends_with("=0"));
        assert!(failed, "{name} was let through");
    }

    vm.wait_until("systemctl is-active --quiet probe.service", SOON)?;
    assert_eq!(
        vm.succeed("stat -c '%a %U' /var/lib/probe/shared/by-probe /usr/bin/probe-root")?,
        "644 probe\n4755 root"
    );
    assert!(vm.succeed("getcap /usr/bin/probe-ping")?.contains("cap_net_raw=ep"));
    // Applied by systemd-sysctl where the network is, which is not where the installer is.
    assert_eq!(vm.succeed("cat /proc/sys/net/ipv4/ip_forward")?, "1");
    Ok(())
}

/// A package with a setuid program, one with a capability, a user, a service and a script.
fn package() -> Result<Vec<u8>> {
    let work = tempfile::tempdir()?;
    let root = work.path().join("probe");
    let add = |path: &str, text: &str, mode| host::write(&root.join(path), text.as_bytes(), mode);
    add("DEBIAN/control", CONTROL, 0o644)?;
    add("DEBIAN/postinst", POSTINST, 0o755)?;
    add("lib/systemd/system/probe.service", SERVICE, 0o644)?;
    let program = fs::read("/bin/true")?;
    host::write(&root.join("usr/bin/probe-root"), &program, 0o4755)?;
    host::write(&root.join("usr/bin/probe-ping"), &program, 0o755)?;
    let package = work.path().join("probe.deb");
    build(&root, &package)?;
    Ok(fs::read(package)?)
}

fn build(root: &Path, package: &Path) -> Result<()> {
    Program::new("dpkg-deb").args(["--root-owner-group", "--build"]).arg(root).arg(package).run()
}
