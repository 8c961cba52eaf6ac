//! The power is cut at random instants of enrollment and installation, again and again: after
//! every boot the device is in the old state or in the new one, and in the end it is managed.

use super::common::{CLAIMS, ENROLLED, check_in, difference, machine, manifest, policy, scene, wait_managed};
use anyhow::Result;
use std::time::Duration;
use unbox_tests::{
    scene::Scene,
    seed::Seed,
    vm::{BOOT, Vm},
};

/// Cuts of each of the two devices.
const CUTS: usize = 10;

/// The longest that a machine runs between the message that is waited for and the cut, in milliseconds: about as
/// long as an installation takes without hardware virtualisation.
const LONGEST_MS: u64 = 9000;

#[test]
#[ignore = "needs QEMU: run tests/run"]
fn a_device_that_loses_power_while_it_enrolls_becomes_managed() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("first"))?;
    let mut seed = Seed::from_environment(1);
    let mut vm = machine(&scene)?.credential("unbox.token", &scene.token()?).start()?;
    vm.wait_ready(BOOT)?;
    let factory = manifest(&mut vm)?;
    vm.succeed("sync")?;
    scene.claim(CLAIMS, &["--proof", "token"])?;

    let mut found = Vec::new();
    for cut in 0..CUTS {
        if has_ended(&mut vm)? {
            vm.factory_reset()?;
            vm.start_again()?;
        }
        // Not always in the middle of the installation: handshake and download are cut, too. What a
        // cut interrupted may also be brought to its end without another word.
        let moments = ["Contacting", "Installing", "managed by"];
        let first = usize::from(seed.draw_below(3) != 0);
        let moment = vm.wait_console_for(&moments[first..], ENROLLED)?;
        cut_after_a_while(&mut vm, &mut seed, cut, moment)?;
        found.push(manifest(&mut vm)?);
    }
    wait_managed(&mut vm)?;
    let managed = manifest(&mut vm)?;
    for (cut, found) in found.iter().enumerate() {
        if *found != factory && *found != managed {
            let difference = difference(&managed, found);
            panic!("after cut {cut} the device was between the old state and the new:\n{difference}");
        }
    }
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
    let mut old = manifest(&mut vm)?;
    for cut in 0..CUTS {
        // The padding makes each archive another one.
        let dpc = scene.demo_dpc(&format!("1.1.{cut}"), (1 << 20) + cut)?;
        scene.configure(Some(&dpc), &policy(&format!("round {cut}")))?;
        let installations = "journalctl -b -o cat -u unbox-install.service | grep -c Installing || true";
        let before = vm.succeed(installations)?;
        check_in(&mut vm)?;
        vm.wait_until(&format!("test $({installations}) -gt {before}"), ENROLLED)?;
        cut_after_a_while(&mut vm, &mut seed, cut, "Installing")?;
        let found = manifest(&mut vm)?;

        vm.wait_until(&format!("grep -qx 'round {cut}' /etc/kiosk/kiosk.conf"), ENROLLED)?;
        wait_managed(&mut vm)?;
        let new = manifest(&mut vm)?;
        if found != old && found != new {
            let difference = difference(&new, &found);
            panic!("after cut {cut} the device was between the old state and the new:\n{difference}");
        }
        old = new;
    }
    assert_eq!(vm.succeed("systemctl is-active demo-dpc.service")?, "active");
    Ok(())
}

/// Whether the installation came to its end before the power was cut.
fn has_ended(vm: &mut Vm) -> Result<bool> {
    Ok(vm.shell("grep -q '\"managed\"' /var/lib/unbox/ledger.json")?.success())
}

/// Lets the guest run for a random time, cuts the power, and boots again.
#[expect(clippy::print_stdout, reason = "the cuts are what this scenario shows")]
fn cut_after_a_while(vm: &mut Vm, seed: &mut Seed, cut: usize, moment: &str) -> Result<()> {
    // The one pause of the suite that is meant: the instant of the cut is what varies.
    let pause = Duration::from_millis(seed.draw_below(LONGEST_MS));
    vm.cut_power_after(pause);
    println!("cut {cut}: {} ms after {moment:?}", pause.as_millis());
    vm.start_again()?;
    vm.wait_ready(BOOT)
}
