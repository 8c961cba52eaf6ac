//! The disk has kept only a part of the ledger, or something else in its place.

use super::{device, scene};
use anyhow::Result;
use std::path::PathBuf;
use unbox_tests::{files, sandbox::Sandbox};

#[test]
fn a_damaged_ledger_is_said_put_aside_and_costs_nothing_else() -> Result<()> {
    const LEDGER: &str = "/var/lib/unbox/ledger.json";
    let folder = tempfile::tempdir()?;
    let scene = scene(folder.path())?;
    let device = device(&scene, &folder.path().join("device"))?;
    device.power_on(&folder.path().join("first.log"))?;
    let (before, version) = (snapshot(&device)?, device.installed_version()?);
    let id = scene.device()?["id"].clone();
    let whole = std::fs::read(device.path(LEDGER))?;
    let key = device.read("/var/lib/unbox/exchange/device.key")?;
    let half = whole.get(..whole.len() / 2).unwrap_or_default();
    for (name, damaged) in [("half", half), ("empty", &[]), ("zeros", &[0; 512]), ("strange", b"{\"a\":1}")] {
        files::write(&device.path(LEDGER), damaged)?;
        let shown = device.run_agent(&["status", "--json"])?;
        assert_eq!(shown.status.code(), Some(5), "{name}: {shown:?}");
        assert_eq!(device.status()?["phase"], "damaged", "{name}");
        let said = device.power_on(&folder.path().join(format!("{name}.log")))?;
        assert!(said.contains("This device's own records were damaged"), "{name}: {said}");
        assert_eq!(std::fs::read(device.path(&format!("{LEDGER}.damaged")))?, damaged, "{name}");
        assert_eq!(snapshot(&device)?, before, "{name}: the device changed");
        assert_eq!(device.installed_version()?, version, "{name}");
        assert_eq!(device.read("/var/lib/unbox/exchange/device.key")?, key, "{name}");
        let known = scene.device()?;
        assert_eq!((known["state"].as_str(), &known["id"]), (Some("managed"), &id), "{name}: {known:#}");

        // No loop: the next start finds nothing wrong.
        let said = device.power_on(&folder.path().join(format!("{name}-again.log")))?;
        assert!(!said.contains("damaged"), "{name}: {said}");
        assert_eq!(snapshot(&device)?, before, "{name}");
    }
    assert!(scene.audit("refused")?.is_empty(), "{:#?}", scene.audit("refused")?);
    Ok(())
}

/// Everything but what the DPC writes itself: it counts its own starts.
fn snapshot(device: &Sandbox) -> Result<Vec<(PathBuf, String)>> {
    let own = |path: &PathBuf| path.starts_with("var/lib/demo-dpc");
    Ok(device.snapshot()?.into_iter().filter(|(path, _)| !own(path)).collect())
}
