//! A claim that asks for the TPM: from power-on to managed, after a factory reset, and in front of another TPM.

use super::common::{CLAIMS, check_in, is_managed, machine, policy, reset, wait_device, wait_managed};
use anyhow::Result;
use unbox_tests::{
    scene::Scene,
    swtpm::{Certified, Manufacturer},
    vm::{BOOT, SOON},
};

const KEY: &str = "/var/lib/unbox/exchange/device.key";

#[test]
#[ignore = "needs QEMU and swtpm: run tests/run"]
fn a_device_enrolls_by_its_tpm_comes_back_by_it_and_a_cloned_disk_does_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("tpm.sock");
    let manufacturer = Manufacturer::new(&folder.path().join("maker"))?;
    let mut tpm = manufacturer.make(&folder.path().join("tpm"), Certified::Rsa)?;
    let mut another = manufacturer.make(&folder.path().join("another"), Certified::Rsa)?;
    let roots = format!("{:?}", manufacturer.roots()?.to_string_lossy());
    let scene = Scene::create_with(folder.path(), &[("roots", &roots)])?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("first"))?;
    scene.claim(CLAIMS, &["--proof", "tpm"])?;

    tpm.attach(&socket)?;
    let mut vm = machine(&scene)?.tpm(&socket).start()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    wait_device(&scene, |device| is_managed(device, 1))?;
    assert!(vm.succeed(&format!("cat {KEY}"))?.contains("\"held_in\": \"tpm\""), "the key is in the TPM");
    assert_eq!(vm.succeed("stat -c '%a %G' /dev/tpmrm0")?, "660 tss");
    check_in(&mut vm)?;
    let identity = vm.succeed("cat /run/unbox/identity.json")?;
    assert!(identity.contains("tpm_key"), "{identity}");

    // The disk is wiped; the TPM is not, and stands for the new key.
    vm.factory_reset()?;
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    wait_device(&scene, |device| is_managed(device, 2))?;
    assert_eq!(scene.audit("granted")?[0]["detail"]["why"], "tpm");
    assert!(scene.audit("approval_requested")?.is_empty(), "nobody had to approve it");

    // The same disk and the same label in front of another TPM of the same manufacturer.
    vm.cut_power();
    tpm.switch_off();
    another.attach(&socket)?;
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    let said = vm.shell("runuser -u unbox -- unbox-agent check-in 2>&1")?;
    assert!(!said.success() && said.text.contains("another TPM"), "{}", said.text);
    vm.succeed("systemctl stop unbox-report.timer unbox-handshake.service")?;
    reset(&mut vm)?;
    vm.succeed("systemctl start --no-block unbox-handshake.service")?;
    vm.wait_until("unbox-agent status --json | grep -q hardware_changed", SOON)?;
    let known = wait_device(&scene, |device| is_managed(device, 2))?;
    assert_eq!(scene.audit("granted")?.len(), 2, "nothing was granted: {known:#}");

    // The device itself is not disturbed by any of it.
    vm.cut_power();
    another.switch_off();
    tpm.attach(&socket)?;
    vm.factory_reset()?;
    vm.start_again()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    wait_device(&scene, |device| is_managed(device, 3))?;
    Ok(())
}
