//! A device that nobody has claimed waits, says what to do, and enrolls once it is claimed.

use super::common::{CLAIMS, ENROLLED, SERIAL, machine, policy, wait_managed};
use anyhow::Result;
use unbox_tests::{scene::Scene, vm::BOOT};

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_device_that_is_claimed_later_enrolls_then() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("later"))?;
    let mut vm = machine(&scene)?.start()?;
    vm.wait_ready(BOOT)?;
    vm.wait_until("unbox-agent status --json | grep -q not_claimed", ENROLLED)?;
    vm.wait_console(SERIAL, ENROLLED)?;
    assert!(scene.devices()?.is_empty());
    scene.claim(CLAIMS, &[])?;
    wait_managed(&mut vm)
}
