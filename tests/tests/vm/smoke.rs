//! The harness itself: a machine boots with its identity, loses its power and comes back, and can be reset.

use anyhow::Result;
use unbox_tests::vm::{BOOT, Image, Machine, SOON, Smbios};

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_machine_boots_with_its_identity_and_survives_a_power_cut() -> Result<()> {
    let mut vm = Machine::new(&Image::base()?)
        .smbios(Smbios::from_label("Acme, Inc.", "Edge 1", "7XK9Q13"))
        .file("/etc/unbox/trust/note", "from the factory", 0o640)
        .credential("unbox.token", "sesame")
        .start()?;
    vm.wait_ready(BOOT)?;
    assert_eq!(vm.succeed("cat /sys/class/dmi/id/product_serial")?, "7XK9Q13");
    assert_eq!(vm.succeed("cat /sys/class/dmi/id/sys_vendor")?, "Acme, Inc.");
    assert_eq!(vm.succeed("systemd-creds --system cat unbox.token")?, "sesame");
    assert_eq!(vm.succeed("stat -c %a-%U /etc/unbox/trust/note")?, "640-root");

    vm.succeed("echo kept > /var/kept && sync /var/kept /var; echo lost > /var/lost")?;
    vm.cut_power();
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    assert_eq!(vm.succeed("cat /var/kept")?, "kept");
    assert_eq!(vm.shell("cat /var/lost")?.status, 1, "what was not synced is gone");

    vm.factory_reset()?;
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    assert_eq!(
        vm.succeed("cat /etc/unbox/trust/note; ls /var/kept 2>/dev/null || true")?,
        "from the factory"
    );
    Ok(())
}

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_cable_can_be_pulled_and_a_clock_can_be_wrong() -> Result<()> {
    let mut vm = Machine::new(&Image::base()?).rtc("2040-01-01T00:00:00").start()?;
    vm.wait_ready(BOOT)?;
    assert_eq!(vm.succeed("date +%Y")?, "2040");
    vm.wait_until("networkctl status | grep -q 'State: routable'", SOON)?;
    vm.link(false)?;
    vm.wait_until("networkctl status | grep -q 'State: no-carrier'", SOON)?;
    vm.link(true)?;
    vm.wait_until("networkctl status | grep -q 'State: routable'", SOON)?;
    vm.press_power_button()?;
    vm.wait_off(SOON)
}
