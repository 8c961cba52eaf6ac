//! A managed device that restarts does nothing twice.

use super::common::{device, machine, scene, wait_managed};
use anyhow::Result;
use unbox_tests::vm::BOOT;

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_reboot_does_nothing_twice() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let mut vm = machine(&scene)?.start()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    let before = vm.succeed("cat /var/lib/unbox/ledger.json")?;
    vm.shell("systemctl reboot")?;
    vm.wait_off(BOOT)?;

    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    vm.wait_until("systemctl is-active demo-dpc.service", BOOT)?;
    assert_eq!(vm.shell("systemctl is-system-running --wait")?.text, "running");
    assert_eq!(vm.succeed("cat /var/lib/unbox/ledger.json")?, before);
    assert_eq!(vm.succeed("cat /proc/sys/net/ipv4/ip_forward; hostname")?, "1\nkiosk-7001");
    let device = device(&scene)?;
    assert_eq!(device["generation"].as_u64(), Some(1), "{device}");
    Ok(())
}
