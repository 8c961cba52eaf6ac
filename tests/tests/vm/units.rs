//! The agent's units, as the package installs them: enabled, sound, confined, and in the right order.

use anyhow::Result;
use unbox_tests::vm::{BOOT, Image, Machine, SOON, Smbios};

use crate::stand_in;

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_fresh_device_reads_its_identity_and_says_what_is_missing() -> Result<()> {
    let mut vm = Machine::new(&Image::agent()?)
        .smbios(Smbios::from_label("Dell Inc.", "PowerEdge R650", "7XK9Q13"))
        .start()?;
    vm.wait_ready(BOOT)?;
    assert_eq!(vm.succeed("systemctl is-enabled unbox.target")?, "enabled");
    assert_eq!(vm.succeed("systemd-analyze verify --man=no /lib/systemd/system/unbox* 2>&1")?, "");
    vm.succeed("for unit in /lib/systemd/system/unbox-*.service; do systemd-analyze security --threshold=20 ${unit##*/}; done")?;

    vm.wait_until("test -s /run/unbox/identity.json", SOON)?;
    assert_eq!(
        vm.succeed("stat -c '%a %U:%G' /run/unbox /run/unbox/identity.json")?,
        "750 root:unbox\n640 root:unbox"
    );
    assert!(vm.succeed("cat /run/unbox/identity.json")?.contains("7XK9Q13"));
    // Nobody told it whom to trust, and whoever stands in front of it learns that.
    vm.wait_console("trust anchors", SOON)?;
    assert_eq!(
        vm.succeed("stat -c '%a %U:%G' /var/lib/unbox /var/lib/unbox/exchange /var/lib/unbox/install")?,
        "750 root:unbox\n700 unbox:unbox\n700 root:root"
    );
    Ok(())
}

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn an_enrolled_device_boots_without_shaking_hands() -> Result<()> {
    let machine = Machine::new(&Image::agent()?).file("/var/lib/unbox/enrolled", "", 0o644);
    let mut vm = stand_in::installing(machine, "exit 3").start()?;
    vm.wait_ready(BOOT)?;
    assert_eq!(vm.succeed("systemctl is-system-running --wait")?, "running");
    for unit in ["unbox-handshake", "unbox-install", "unbox-resume", "unbox-report"] {
        assert_eq!(
            vm.succeed(&format!("systemctl show --value -p ActiveState {unit}"))?,
            "inactive",
            "{unit}"
        );
    }
    assert_eq!(vm.succeed("systemctl show --value -p ConditionResult unbox-handshake")?, "no");
    Ok(())
}

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn what_is_half_installed_is_not_started_until_it_is_whole() -> Result<()> {
    let work = "until [ -e /run/whole ]; do sleep 0.2; done
                systemd-notify --ready
                systemctl start managed.service && rm /var/lib/unbox/install/journal.jsonl";
    let machine = Machine::new(&Image::agent()?)
        .file("/var/lib/unbox/install/journal.jsonl", "{}\n", 0o600)
        .file("/etc/systemd/system/managed.service", "[Service]\nExecStart=/bin/sleep infinity\n", 0o644)
        .file(
            "/etc/systemd/system/multi-user.target.d/managed.conf",
            "[Unit]\nWants=managed.service\n",
            0o644,
        );
    let mut vm = stand_in::installing(machine, work).start()?;
    vm.wait_ready(BOOT)?;
    vm.wait_until("[ $(systemctl is-active unbox-install) = activating ]", SOON)?;
    vm.wait_until("[ $(systemctl is-active unbox-resume) = activating ]", SOON)?;
    assert_eq!(vm.shell("systemctl is-active basic.target managed.service")?.text, "inactive\ninactive");

    vm.succeed("touch /run/whole")?;
    vm.wait_until("systemctl is-active --quiet managed.service", SOON)?;
    vm.wait_until("[ ! -e /var/lib/unbox/install/journal.jsonl ]", SOON)?;
    assert_eq!(vm.succeed("systemctl is-system-running --wait")?, "running");
    Ok(())
}

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_boot_goes_on_when_an_interrupted_installation_cannot() -> Result<()> {
    let machine = Machine::new(&Image::agent()?).file("/var/lib/unbox/install/journal.jsonl", "{}\n", 0o600);
    let mut vm = stand_in::installing(machine, "exit 3").start()?;
    vm.wait_ready(BOOT)?;
    vm.wait_until("systemctl is-active --quiet multi-user.target", SOON)?;
    assert_eq!(vm.shell("systemctl is-active unbox-install unbox-resume")?.text, "failed\nfailed");
    Ok(())
}
