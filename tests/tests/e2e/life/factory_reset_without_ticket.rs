//! A factory reset of a device that has nothing to prove itself with but its identifiers.

use super::{CLAIMS, LIMIT, device, policy};
use anyhow::{Context as _, Result};
use serde_json::Value;
use unbox_tests::{
    process::{Running, wait_for},
    scene::Scene,
};

#[test]
fn a_new_key_waits_for_an_administrator_and_never_evicts_the_old_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create_with(folder.path(), &[("retry_waiting_s", "1")])?;
    scene.configure(None, &policy("mine\n"))?;
    scene.claim(CLAIMS, &[])?;
    let old = device(&scene, &folder.path().join("old-disk"))?;
    old.power_on(&folder.path().join("old.log"))?;
    let id = scene.device()?["id"].as_str().context("an id")?.to_owned();

    let new = device(&scene, &folder.path().join("new-disk"))?;
    let before = new.snapshot()?;
    let mut agent = Running::start(new.agent(&["run", "--once"])?, &folder.path().join("new.log"))?;
    wait_for(LIMIT, "the device to wait for approval", || {
        Ok(new.failure()?.is_some_and(|kind| kind == "pending_approval").then_some(()))
    })
    .with_context(|| agent.output())?;
    assert_eq!(new.snapshot()?, before);
    assert_eq!(scene.audit("granted")?.len(), 1, "a stranger's key was let in");
    // The old disk works as before.
    let checked = old.run_agent(&["check-in"])?;
    assert!(checked.status.success(), "{checked:?}");

    let requests = scene.server.admin_json(&["device", "requests"])?;
    let waiting = requests["requests"].as_array().context("requests in what was printed")?;
    assert_eq!(waiting.len(), 1, "{requests:#}");
    let key = waiting.first().and_then(|one| one["key"].as_str()).context("the key that waits")?;
    scene.server.admin(&["device", "approve", &id, "--key", key])?;
    assert!(agent.wait(LIMIT)?.success(), "{}", agent.output());
    assert_eq!(new.read("/etc/motd")?, "mine\n");
    let known: Value = scene.device()?;
    assert_eq!((known["id"].as_str(), known["generation"].as_u64()), (Some(id.as_str()), Some(2)));
    assert_eq!(known["state"], "managed");
    Ok(())
}
