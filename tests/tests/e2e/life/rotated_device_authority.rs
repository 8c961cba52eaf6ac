//! The authority of device certificates is replaced by command, and the old one retired.

use super::{certificate, device, policy};
use anyhow::Result;
use unbox_tests::{
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};

const CLAIMS: &str = "serial_number,manufacturer,model\nAC-0007,Acme,Gateway 3\nAC-0008,Acme,Gateway 3\n";

#[test]
fn devices_follow_to_a_new_device_authority_and_one_that_was_off_enrolls_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::create(folder.path())?;
    scene.configure(None, &policy("mine\n"))?;
    scene.claim(CLAIMS, &[])?;
    let follows = device(&scene, &folder.path().join("follows"))?;
    let firmware = Firmware::new("Acme", "Gateway 3", "AC-0008");
    let folder_off = folder.path().join("off");
    let was_off = Sandbox::unpack(&folder_off, &firmware, &scene.server.url(), &scene.server.bundle())?;
    follows.power_on(&folder.path().join("first.log"))?;
    was_off.power_on(&folder.path().join("first-off.log"))?;
    let (first, snapshot) = (certificate(&follows)?, was_off.snapshot()?);

    scene.server.admin(&["key", "rotate-device-ca"])?;
    restart(&mut scene)?;
    follows.check_in()?;
    let second = certificate(&follows)?;
    assert_ne!(second, first, "it has none of the new authority");
    assert_eq!(scene.audit("certificate_renewed")?.len(), 1);

    scene.server.admin(&["key", "retire-device-ca", "--yes"])?;
    restart(&mut scene)?;
    follows.check_in()?;
    assert_eq!(generations(&scene)?, [1, 1], "the one that followed goes on");
    was_off.check_in()?;
    was_off.power_on(&folder.path().join("second-off.log"))?;
    assert_eq!(generations(&scene)?, [1, 2], "the other enrolled again");
    assert_eq!(was_off.snapshot()?, snapshot);
    assert_eq!(certificate(&follows)?, second, "once is enough");
    for known in scene.devices()? {
        assert_eq!(known["state"], "managed", "{known}");
    }
    Ok(())
}

/// The generations of all devices, lowest first.
fn generations(scene: &Scene) -> Result<Vec<u64>> {
    let mut found: Vec<u64> =
        scene.devices()?.iter().filter_map(|known| known["generation"].as_u64()).collect();
    found.sort_unstable();
    Ok(found)
}

fn restart(scene: &mut Scene) -> Result<()> {
    scene.server.stop()?;
    scene.server.start_again()
}
