//! A DPC that does not become healthy is rolled back exactly, reported, and tried again only
//! when the payload changes.

use super::common::{
    CLAIMS, ENROLLED, check_in, device, difference, is_managed, machine, manifest, policy, wait_device,
    wait_managed,
};
use anyhow::Result;
use serde_json::json;
use unbox_tests::{scene::Scene, vm::BOOT};

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn an_unhealthy_dpc_is_rolled_back_and_the_next_one_is_installed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    let mut dpc = scene.demo_dpc("1.0.0", 0)?;
    dpc["health"] = json!({"type": "command", "program": "/bin/false", "timeout_s": 5});
    scene.configure(Some(&dpc), &policy("sick"))?;
    let mut vm = machine(&scene)?.start()?;
    vm.wait_ready(BOOT)?;
    let factory = manifest(&mut vm)?;
    scene.claim(CLAIMS, &[])?;
    // It would ask again by itself, but only after a while.
    vm.succeed("systemctl restart unbox-handshake.service")?;
    vm.wait_until("unbox-agent status --json | grep -q '\"phase\": *\"rolled_back\"'", ENROLLED)?;

    let after = manifest(&mut vm)?;
    assert!(after == factory, "not as it was:\n{}", difference(&factory, &after));
    assert_eq!(vm.succeed("hostname; cat /proc/sys/net/ipv4/ip_forward")?, "device\n0");
    assert!(!vm.shell("systemctl is-active demo-dpc.service")?.success(), "the DPC still runs");
    let shown = wait_device(&scene, |device| device["outcome"]["result"] == "rolled_back")?;
    assert_eq!(shown["outcome"]["kind"], "unhealthy", "{shown:#}");
    assert_ne!(shown["state"], "managed", "{shown:#}");

    // The same payload is not tried again.
    vm.succeed("systemctl start unbox-install.service unbox-report.service")?;
    let log = vm.succeed("journalctl -o cat -u unbox-install.service")?;
    assert_eq!(log.matches("Installing Kiosk").count(), 1, "{log}");
    assert_eq!(device(&scene)?["generation"], 1);

    scene.configure(Some(&scene.demo_dpc("1.0.1", 0)?), &policy("well"))?;
    check_in(&mut vm)?;
    vm.wait_until("grep -qx well /etc/kiosk/kiosk.conf", ENROLLED)?;
    wait_managed(&mut vm)?;
    wait_device(&scene, |device| is_managed(device, 1))?;
    Ok(())
}
