//! A DPC that does not become healthy is rolled back exactly, reported, and tried again only
//! when the payload changes.

use super::common::{CLAIMS, ENROLLED, device, machine, policy, wait_managed};
use anyhow::Result;
use serde_json::json;
use unbox_tests::{scene::Scene, vm::BOOT};

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn an_unhealthy_dpc_is_rolled_back_and_the_next_one_is_installed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::set(folder.path())?;
    let mut dpc = scene.demo_dpc("1.0.0", 0)?;
    dpc["health"] = json!({"type": "command", "program": "/bin/false", "timeout_s": 5});
    scene.configure(Some(&dpc), &policy("sick"))?;
    scene.claim(CLAIMS, &[])?;
    let mut vm = machine(&scene)?.start()?;
    vm.wait_ready(BOOT)?;
    vm.wait_until("unbox-agent status --json | grep -q '\"phase\": *\"rolled_back\"'", ENROLLED)?;
    for (what, command) in [
        ("policy file", "test ! -e /etc/kiosk"),
        ("DPC", "test ! -e /opt/unbox"),
        ("unit", "test ! -e /etc/systemd/system/demo-dpc.service"),
        ("host name", "test $(hostname) = device"),
        ("sysctl", "test $(sysctl -n net.ipv4.ip_forward) = 0"),
        ("authorised keys", "test ! -e /root/.ssh"),
        ("mask", "test ! -e /etc/systemd/system/systemd-timesyncd.service"),
    ] {
        assert!(vm.shell(command)?.success(), "the {what} was not rolled back");
    }
    let shown = device(&scene)?;
    assert_ne!(shown["state"].as_str(), Some("managed"), "{shown}");

    scene.configure(Some(&scene.demo_dpc("1.0.1", 0)?), &policy("well"))?;
    vm.succeed("systemctl start unbox-report.service")?;
    wait_managed(&mut vm)?;
    assert_eq!(vm.succeed("cat /etc/kiosk/kiosk.conf")?, "well");
    Ok(())
}
