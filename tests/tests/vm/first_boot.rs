//! First boot: from power-on to managed, with the DPC running and every policy item in place.

use super::common::{is_managed, machine, scene, wait_device, wait_managed};
use anyhow::Result;
use unbox_tests::vm::BOOT;

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_device_that_is_switched_on_becomes_managed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let mut vm = machine(&scene)?.start()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;

    assert_eq!(vm.succeed("systemctl is-active demo-dpc.service")?, "active");
    let shown = vm.succeed("journalctl -o cat -u demo-dpc.service")?;
    assert!(shown.contains("\"site\":\"zurich-1\""), "the DPC did not get its extras: {shown}");
    assert_eq!(vm.succeed("cat /etc/kiosk/kiosk.conf; stat -c %a /etc/kiosk/kiosk.conf")?, "first640");
    assert_eq!(vm.succeed("cat /proc/sys/net/ipv4/ip_forward")?, "1");
    assert_eq!(vm.succeed("hostname; cat /etc/hostname")?, "kiosk-7001\nkiosk-7001");
    assert_eq!(vm.succeed("readlink /etc/localtime")?, "/usr/share/zoneinfo/Europe/Zurich");
    assert!(vm.succeed("cat /root/.ssh/authorized_keys")?.contains("admin@acme"));
    assert_eq!(vm.shell("systemctl is-enabled systemd-timesyncd.service")?.text.trim(), "masked");
    // Only the network side's user holds the key, and nobody else reads it.
    assert_eq!(vm.succeed("stat -c '%U %a' /var/lib/unbox/exchange/device.key")?, "unbox 600");

    wait_device(&scene, |device| is_managed(device, 1))?;
    Ok(())
}
