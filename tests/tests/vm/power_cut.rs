//! The power is cut at random instants of enrollment and installation, again and again: at every
//! boot the device is in the old state or in the new one, and in the end it is managed.

use super::common::{ENROLLED, machine, policy, scene, wait_managed};
use anyhow::{Context as _, Result};
use std::{thread, time::Duration};
use unbox_tests::{
    scene::Scene,
    seed::Seed,
    vm::{BOOT, Vm},
};

/// Cuts of each of the two devices.
const CUTS: usize = 10;

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_device_that_loses_power_while_it_enrolls_becomes_managed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let mut seed = Seed::from_environment(1);
    let mut vm = machine(&scene)?.start()?;
    vm.wait_ready(BOOT)?;
    for cut in 0..CUTS {
        cut_after_a_while(&mut vm, &mut seed, cut, 4000)?;
        let (file, dpc) = shown(&mut vm)?;
        let old = file.is_empty() && dpc.is_empty();
        let new = file == "first" && !dpc.is_empty();
        assert!(old || new, "between the old state and the new: file {file:?}, DPC {dpc:?}");
    }
    wait_managed(&mut vm)?;
    assert_eq!(vm.succeed("systemctl is-active demo-dpc.service")?, "active");
    Ok(())
}

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_managed_device_that_loses_power_while_it_updates_has_the_old_state_or_the_new() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let mut seed = Seed::from_environment(2);
    let mut vm = machine(&scene)?.start()?;
    vm.wait_ready(BOOT)?;
    wait_managed(&mut vm)?;
    let mut old = shown(&mut vm)?;
    for cut in 0..CUTS {
        let new = configure(&scene, cut)?;
        // The padding makes each archive another one, and takes a moment to unpack.
        vm.shell("systemctl start --no-block unbox-report.service")?;
        cut_after_a_while(&mut vm, &mut seed, cut, 4000)?;
        let found = shown(&mut vm)?;
        let is_new = found.0 == new.0 && found.1.starts_with(new.1.get(..12).context("a digest")?);
        assert!(found == old || is_new, "between {old:?} and {new:?}: {found:?}");

        vm.succeed("systemctl start unbox-report.service || true")?;
        vm.wait_until(&format!("grep -qx '{}' /etc/kiosk/kiosk.conf", new.0), ENROLLED)?;
        wait_managed(&mut vm)?;
        old = shown(&mut vm)?;
    }
    assert_eq!(vm.succeed("systemctl is-active demo-dpc.service")?, "active");
    Ok(())
}

/// Another configuration: its text, and the digest of its DPC.
fn configure(scene: &Scene, round: usize) -> Result<(String, String)> {
    let text = format!("round {round}");
    let dpc = scene.demo_dpc(&format!("1.1.{round}"), (1 << 20) + round)?;
    scene.configure(Some(&dpc), &policy(&text))?;
    let digest = dpc["artifact"]["sha256"].as_str().context("a digest")?;
    Ok((text, digest.to_owned()))
}

/// What is in place once an interrupted installation has been brought to its end: the text of
/// the policy file, and which archive the DPC was unpacked from.
fn shown(vm: &mut Vm) -> Result<(String, String)> {
    vm.wait_until("test ! -e /var/lib/unbox/install/journal.json", ENROLLED)?;
    let file = vm.succeed("cat /etc/kiosk/kiosk.conf 2>/dev/null || true")?;
    let dpc = vm.succeed("basename \"$(readlink /opt/unbox/dpc/demo-dpc/current)\" 2>/dev/null || true")?;
    Ok((file, dpc))
}

/// Lets the guest run for a random time, cuts the power, and boots again.
fn cut_after_a_while(vm: &mut Vm, seed: &mut Seed, cut: usize, longest_ms: u64) -> Result<()> {
    let pause = Duration::from_millis(seed.below(longest_ms));
    // The one pause of the suite that is meant: the instant of the cut is what varies.
    thread::sleep(pause);
    vm.cut_power();
    println!("cut {cut}: {} ms after the shell answered", pause.as_millis());
    vm.start_again()?;
    vm.wait_ready(BOOT)
}
