//! Somebody else answers at the server's address: the device does not talk to them.

use super::common::{ENROLLED, machine, scene, wait_managed};
use anyhow::Result;
use std::fs;
use unbox_tests::{scene::Scene, vm::BOOT};

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_strangers_server_is_not_believed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (right, wrong) = (scene(&folder.path().join("right"))?, Scene::create(&folder.path().join("wrong"))?);
    // The image belongs to the right server; the network leads to the wrong one.
    let bundle = right.server.bundle();
    let mut vm = machine(&wrong)?
        .file("/etc/unbox/trust/anchors.pem", fs::read(bundle.join("anchors.pem"))?, 0o644)
        .file("/etc/unbox/trust/root.json", fs::read(bundle.join("root.json"))?, 0o644)
        .start()?;
    vm.wait_ready(BOOT)?;
    vm.wait_until("unbox-agent status --json | grep -q server_untrusted", ENROLLED)?;
    assert!(vm.shell("test -e /var/lib/unbox/exchange/grant.json")?.status != 0);
    assert!(wrong.devices()?.is_empty(), "the device talked to a stranger");
    drop(vm);
    let mut vm = machine(&right)?.name("the-same-at-home").start()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)
}
