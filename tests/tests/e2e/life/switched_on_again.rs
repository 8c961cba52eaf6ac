//! A managed device is switched off and on again.

use super::{CLAIMS, device, policy};
use anyhow::Result;
use unbox_tests::scene::Scene;

#[test]
fn nothing_happens_twice_on_a_managed_device() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create(folder.path())?;
    scene.configure(Some(&scene.demo_dpc("1.0.0", 0)?), &policy("once\n"))?;
    scene.claim(CLAIMS, &[])?;
    let device = device(&scene, &folder.path().join("device"))?;
    device.power_on(&folder.path().join("first.log"))?;
    let (snapshot, version) = (device.snapshot()?, device.installed_version()?);
    let (reported, known) = (scene.audit("reported")?, scene.device()?);

    let ledger = device.read("/var/lib/unbox/ledger.json")?;
    let key = device.read("/var/lib/unbox/exchange/device.key")?;
    for boot in 2..4 {
        let said = device.power_on(&folder.path().join(format!("boot-{boot}.log")))?;
        assert!(!said.contains("Installing"), "{said}");
        assert_eq!(device.snapshot()?, snapshot, "boot {boot} changed the device");
        assert_eq!(device.installed_version()?, version);
        assert_eq!(device.read("/var/lib/unbox/ledger.json")?, ledger);
        assert_eq!(device.read("/var/lib/unbox/exchange/device.key")?, key);
    }
    assert_eq!(scene.audit("granted")?.len(), 1, "it enrolled again");
    assert_eq!(scene.audit("reported")?, reported, "it told again what it had told");
    assert_eq!(scene.device()?, known);
    Ok(())
}
