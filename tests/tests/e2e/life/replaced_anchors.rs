//! The authority that the images of devices trust for TLS is replaced.

use super::{device, policy};
use anyhow::Result;
use unbox_tests::{
    sandbox::{Firmware, Sandbox},
    scene::Scene,
};

const CLAIMS: &str = "serial_number,manufacturer,model\n\
    AC-0007,Acme,Gateway 3\n\
    AC-0008,Acme,Gateway 3\n\
    AC-0009,Acme,Gateway 3\n";

#[test]
fn devices_follow_to_a_new_tls_authority_and_the_old_one_ends() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let mut scene = Scene::create(folder.path())?;
    scene.configure(None, &policy("mine\n"))?;
    scene.claim(CLAIMS, &[])?;
    let another = |scene: &Scene, serial: &str| {
        let firmware = Firmware::new("Acme", "Gateway 3", serial);
        Sandbox::unpack(&folder.path().join(serial), &firmware, &scene.server.url(), &scene.server.bundle())
    };
    let follows = device(&scene, &folder.path().join("device"))?;
    let (switched_off, never_on) = (another(&scene, "AC-0008")?, another(&scene, "AC-0009")?);
    follows.power_on(&folder.path().join("first.log"))?;
    switched_off.power_on(&folder.path().join("off.log"))?;

    let anchored = scene.server.admin_json(&["key", "rotate-anchors"])?;
    assert_eq!(anchored["anchors"].as_array().map(Vec::len), Some(2));
    restart(&mut scene)?;
    follows.check_in()?;
    // An image from before still leads to the server, which certifies itself by both authorities.
    never_on.power_on(&folder.path().join("late.log"))?;
    let doctor = scene.server.admin_json(&["doctor"])?;
    assert!(doctor.to_string().contains("retire-anchors"), "{doctor}");

    scene.server.admin(&["key", "retire-anchors", "--yes"])?;
    restart(&mut scene)?;
    follows.check_in()?;
    never_on.check_in()?;
    let refused = switched_off.run_agent(&["check-in"])?;
    assert!(!refused.status.success() && refused.stdout.contains("server_untrusted"), "{refused:?}");

    let new_image = folder.path().join("AC-0008-again");
    let firmware = Firmware::new("Acme", "Gateway 3", "AC-0008");
    let new_image = Sandbox::unpack(&new_image, &firmware, &scene.server.url(), &scene.server.bundle())?;
    let said = new_image.run_agent(&["run", "--once", "--attempts", "1"])?;
    assert!(!said.stdout.contains("server_untrusted"), "{said:?}");
    Ok(())
}

fn restart(scene: &mut Scene) -> Result<()> {
    scene.server.stop()?;
    scene.server.start_again()
}
