//! The agent's Debian package on a running device: upgraded, removed and purged.

use std::fs;

use anyhow::Result;
use unbox_tests::architecture::Architecture;
use unbox_tests::dist::{self, Product};
use unbox_tests::vm::{BOOT, Image, Machine};

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn an_upgrade_keeps_the_administrators_choice_and_a_purge_leaves_nothing() -> Result<()> {
    let mut vm = Machine::new(&Image::agent()?)
        .file("/root/agent.deb", fs::read(dist::path(Product::Deb, Architecture::HERE))?, 0o644)
        .start()?;
    vm.wait_ready(BOOT)?;
    vm.succeed("systemctl is-system-running --wait || true")?;

    vm.succeed("dpkg --install /root/agent.deb")?;
    assert_eq!(vm.succeed("systemctl is-enabled unbox.target")?, "enabled");
    vm.succeed("systemctl is-active unbox-install.path unbox-report.path unbox-report.timer")?;

    vm.succeed("systemctl disable unbox.target")?;
    vm.succeed("dpkg --install /root/agent.deb")?;
    assert_eq!(vm.shell("systemctl is-enabled unbox.target")?.text, "disabled");

    vm.succeed("dpkg --remove unbox-agent")?;
    assert_eq!(vm.succeed("systemctl list-units --plain --no-legend 'unbox*'")?, "");
    vm.succeed("test -d /var/lib/unbox")?;
    vm.succeed("dpkg --purge unbox-agent")?;
    let left = "find / -xdev -path /proc -prune -o -name '*unbox*' ! -path '/root/*' -print";
    assert_eq!(vm.succeed(left)?, "");
    assert_eq!(vm.succeed("dpkg --audit")?, "");
    Ok(())
}
