//! No network for the first minutes: the device waits, says so, and enrolls when the cable is in.

use super::common::{ENROLLED, machine, scene, wait_managed};
use anyhow::Result;
use unbox_tests::vm::BOOT;

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_device_without_network_waits_and_then_enrolls() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let mut vm = machine(&scene)?.start()?;
    vm.link(false)?;
    vm.wait_ready(BOOT)?;
    vm.wait_until("systemctl show -P StatusText unbox-handshake.service | grep -qi network", ENROLLED)?;
    assert!(scene.devices()?.is_empty(), "a device without network enrolled");
    vm.link(true)?;
    wait_managed(&mut vm)
}
