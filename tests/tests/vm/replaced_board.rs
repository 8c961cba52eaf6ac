//! A main board is replaced under the same disk: the server holds the device until an administrator approves.

use super::common::{
    ENROLLED, SERIAL, device, is_managed, machine, policy, reset, wait_device, wait_managed,
};
use anyhow::{Context as _, Result};
use unbox_tests::{
    scene::Scene,
    vm::{BOOT, Smbios},
};

fn label() -> Smbios {
    Smbios::from_label("Acme", "Gateway 3", SERIAL)
}

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_device_with_another_board_is_managed_again_once_that_is_approved() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create_with(folder.path(), &[("retry_waiting_s", "1")])?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("first"))?;
    scene.claim(super::common::CLAIMS, &[])?;
    let first = label().with_board("BOARD-1", "4c4c4544-0058-4b10-8039-b7c04f513133");
    let mut vm = machine(&scene)?.smbios(first).start()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    let before = wait_device(&scene, |device| is_managed(device, 1))?;

    let second = label().with_board("BOARD-2", "4c4c4544-0058-4b10-8039-b7c04f513199");
    vm.replace_board(second, "00:00:5e:00:53:99");
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    // Whoever repaired it has it enroll again. Its key is still on the disk.
    reset(&mut vm)?;
    vm.succeed("systemctl start --no-block unbox.target unbox-handshake.service")?;
    vm.wait_until("unbox-agent status --json | grep -q hardware_changed", ENROLLED)?;
    wait_device(&scene, |device| device["state"] == "hardware_changed")?;
    assert_eq!(scene.audit("granted")?.len(), 1, "nothing was granted to the new board yet");
    let requests = scene.server.admin_json(&["device", "requests"])?;
    let replaced = requests["requests"][0].to_string();
    for part in ["BOARD-1", "BOARD-2", "00:00:5e:00:53:99"] {
        assert!(replaced.contains(part), "{part} in {requests:#}");
    }

    let id = before["id"].as_str().context("an id")?;
    scene.server.admin(&["device", "approve", id])?;
    wait_managed(&mut vm)?;
    let after = wait_device(&scene, |device| is_managed(device, 2))?;
    // The same device by the same claim: no second one was used up.
    assert_eq!((&after["id"], &after["claim"]), (&before["id"], &before["claim"]));
    assert_eq!(device(&scene)?["id"], before["id"]);
    Ok(())
}
