//! A factory reset: a fresh disk with the same identifiers enrolls again, as generation 2.

use super::common::{CLAIMS, device, machine, policy, wait_managed};
use anyhow::Result;
use unbox_tests::{scene::Scene, vm::BOOT};

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_wiped_device_comes_back_by_itself_and_its_old_certificate_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::set(folder.path())?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("again"))?;
    scene.claim(CLAIMS, &["--proof", "token"])?;
    let token = scene.token()?;
    let mut vm = machine(&scene)?.credential("unbox.token", &token).start()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    let old = vm.succeed("tar -C /var/lib/unbox -cz exchange | base64 -w0")?;

    vm.factory_reset()?;
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    assert!(
        vm.shell("test -e /var/lib/unbox/ledger.json && grep -q managed /var/lib/unbox/ledger.json")?.status
            != 0
    );
    wait_managed(&mut vm)?;
    assert_eq!(device(&scene)?["generation"].as_u64(), Some(2));

    // The disk that was taken away still holds the old key and certificate: they open nothing.
    vm.succeed(&format!("systemctl stop unbox-report.timer unbox-report.path; mkdir /tmp/old && echo {old} | base64 -d | tar -C /tmp/old -xz"))?;
    vm.succeed("rm -rf /var/lib/unbox/exchange && cp -a /tmp/old/exchange /var/lib/unbox/")?;
    let report = vm.shell(
        "systemctl start unbox-report.service; journalctl -o cat -u unbox-report.service | tail -20",
    )?;
    let audit = scene.server.admin(&["audit", "--json"])?;
    assert!(audit.contains("\"generation\":2") || audit.contains("\"generation\": 2"), "{}", report.text);
    assert_eq!(device(&scene)?["generation"].as_u64(), Some(2), "{}", report.text);
    Ok(())
}
