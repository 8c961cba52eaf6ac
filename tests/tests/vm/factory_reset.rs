//! A factory reset: a fresh disk with the same identifiers enrolls again, as generation 2.

use super::common::{CLAIMS, device, is_managed, machine, policy, wait_device, wait_managed};
use anyhow::Result;
use serde_json::Value;
use tokio::runtime::Runtime;
use unbox_tests::{copied_identity::CopiedIdentity, fleet::FleetImage, scene::Scene, server, vm::BOOT};

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_wiped_device_comes_back_by_itself_and_its_old_certificate_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("again"))?;
    scene.claim(CLAIMS, &["--proof", "token"])?;
    let token = scene.token()?;
    let mut vm = machine(&scene)?.credential("unbox.token", &token).start()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    let exchange = "/var/lib/unbox/exchange";
    let enrollment = vm.succeed(&format!("cat {exchange}/enrollment.json"))?;
    let key = vm.succeed(&format!("cat {exchange}/device.key"))?;
    let copied = CopiedIdentity::read(&enrollment, &key)?;
    let image = FleetImage::from_bundle(scene.server.address, server::NAME, &scene.server.bundle())?;
    let runtime = Runtime::new()?;
    let answer = runtime.block_on(copied.check_in(&image))?;
    assert_eq!(answer.status, 200, "the certificate is in force");

    vm.factory_reset()?;
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    let before = wait_device(&scene, |device| is_managed(device, 2))?;

    let refused = runtime.block_on(copied.check_in(&image))?;
    let problem: Value = serde_json::from_slice(&refused.body)?;
    assert_eq!((refused.status, problem["kind"].as_str()), (401, Some("proof_required")), "{problem:#}");
    assert_eq!(device(&scene)?, before, "a refusal changed the device");
    assert_eq!(vm.succeed("cat /etc/kiosk/kiosk.conf")?, "again");
    Ok(())
}
