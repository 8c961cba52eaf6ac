//! A claim that asks for a token, and a device without one: it says what is missing, and goes on when somebody
//! plugs in the right stick.

use super::common::{CLAIMS, ENROLLED, is_managed, machine, policy, wait_device, wait_managed};
use anyhow::Result;
use unbox_tests::{
    scene::Scene,
    vm::{BOOT, SOON, make_stick},
};

const STATUS: &str = "unbox-agent status --json";

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_device_without_a_token_enrolls_by_itself_when_the_right_stick_is_plugged_in() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("by stick"))?;
    scene.claim(CLAIMS, &["--proof", "token"])?;
    let token = scene.token()?;
    let stick = |name: &str, label: &str, files: &[(&str, &[u8])]| -> Result<_> {
        let path = folder.path().join(name);
        make_stick(&path, label, files)?;
        Ok(path)
    };
    let photos = stick("photos", "PHOTOS", &[("unbox-token", token.as_bytes())])?;
    let hostile =
        [("unbox-token", &[0xff; 4096][..]), ("agent.toml", b"server = \"https://evil.example\"\n")];
    let hostile = stick("hostile", "UNBOX", &hostile)?;
    let right = stick("right", "UNBOX", &[("unbox-token.txt", format!("{token}\r\n").as_bytes())])?;

    let mut vm = machine(&scene)?.stick_port().start()?;
    vm.wait_ready(BOOT)?;
    vm.wait_console("USB stick labelled UNBOX", ENROLLED)?;
    vm.wait_console("Code: proof_required", SOON)?;
    assert!(scene.devices()?.is_empty());

    // A stick of somebody's photos is nobody's business.
    vm.plug_in("photos", &photos)?;
    vm.wait_until("udevadm settle && test -e /dev/disk/by-label/PHOTOS", SOON)?;
    vm.plug_in("hostile", &hostile)?;
    vm.wait_console("is not used: unbox-token is larger than the 256 bytes of a token", SOON)?;
    let status = vm.succeed(STATUS)?;
    assert!(status.contains("unbox-token is larger") && !status.contains("evil.example"), "{status}");
    assert_eq!(vm.succeed("systemctl list-units --plain --no-legend 'unbox-medium@*' | wc -l")?, "1");
    vm.succeed("! grep -q ' /dev/sd' /proc/mounts && ! lsmod | grep -qw vfat")?;
    assert!(scene.devices()?.is_empty());
    vm.pull_out("hostile")?;
    vm.wait_until("[ -z \"$(ls /run/unbox/media)\" ]", SOON)?;

    // Its reader has the user of the device's key, and not the key: without this, it would find nothing.
    vm.succeed("runuser -u unbox -- test -r /var/lib/unbox/exchange/device.key")?;
    vm.succeed(
        "mkdir -p /run/systemd/system/unbox-medium@.service.d && printf '[Service]\\nExecStartPost=/bin/sh -c \
         \"! test -r /var/lib/unbox/exchange && ! ls /var/lib/unbox\"\\n' \
         > /run/systemd/system/unbox-medium@.service.d/probe.conf && systemctl daemon-reload",
    )?;
    vm.plug_in("right", &right)?;
    vm.wait_console("Found a pre-provisioning token on the removable medium sd", SOON)?;
    let found = vm.succeed("stat -c '%a %U:%G' /run/unbox/media/* /run/unbox/media/*/found.json")?;
    assert_eq!(found, "700 unbox:unbox\n600 unbox:unbox");
    vm.succeed("! runuser -u nobody -- ls /run/unbox/media")?;
    wait_managed(&mut vm)?;
    wait_device(&scene, |device| is_managed(device, 1))?;
    assert_eq!(vm.succeed("cat /etc/kiosk/kiosk.conf")?, "by stick");
    assert_eq!(scene.audit("granted")?[0]["detail"]["proof"], "token");
    let status = vm.succeed(STATUS)?;
    assert!(status.contains("\"token_from\": \"the removable medium sd"), "{status}");

    // It is nowhere but on the stick, and in memory for as long as that is plugged in.
    vm.succeed("systemd-analyze security --threshold=20 $(systemctl list-units --plain --no-legend 'unbox-medium@*' | cut -d' ' -f1)")?;
    vm.pull_out("right")?;
    vm.wait_until("[ -z \"$(ls /run/unbox/media)\" ]", SOON)?;
    let token = token.trim();
    vm.succeed(&format!("! journalctl --no-pager | grep -q '{token}'"))?;
    vm.succeed(&format!("! grep -rq '{token}' /run/unbox /var/lib/unbox /etc /var/log"))?;
    assert!(!vm.console()?.contains(token));
    Ok(())
}
