//! A device is claimed by two customers, each by another of its identifiers.

use super::{CLAIMS, LIMIT, device, policy};
use anyhow::{Context as _, Result};
use serde_json::Value;
use unbox_tests::{
    process::{Running, wait_for},
    sandbox::Sandbox,
    scene::Scene,
};

const UUID: &str = "4c4c4544-0058-4b10-8039-b7c04f513133";
const OTHER_CUSTOMER: &str = "Bolt";

/// The device of the claims, with a UUID beside its serial number.
fn device_with_uuid(scene: &Scene, folder: &std::path::Path) -> Result<Sandbox> {
    let device = device(scene, folder)?;
    device.write("/sys/class/dmi/id/product_uuid", &format!("{UUID}\n"))?;
    Ok(device)
}

fn claim_for_the_other(scene: &Scene) -> Result<String> {
    let claim = scene.server.admin_json(&["claim", "add", "--customer", OTHER_CUSTOMER, "--uuid", UUID])?;
    Ok(claim.get("id").and_then(Value::as_str).context("an id")?.to_owned())
}

fn waits_for(device: &Sandbox, agent: &Running, kind: &str) -> Result<()> {
    wait_for(LIMIT, &format!("the device to say {kind}"), || {
        Ok(device.failure()?.is_some_and(|found| found == kind).then_some(()))
    })
    .with_context(|| agent.output())
}

#[test]
fn a_device_of_two_owners_waits_until_one_claim_is_ended_and_then_stays_with_its_owner() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let scene = Scene::create_with(folder.path(), &[("retry_waiting_s", "1")])?;
    scene.configure(None, &policy("mine\n"))?;
    scene.claim(CLAIMS, &[])?;
    scene.server.admin(&["customer", "create", OTHER_CUSTOMER])?;
    let other = claim_for_the_other(&scene)?;

    let fresh = device_with_uuid(&scene, &folder.path().join("device"))?;
    let before = fresh.snapshot()?;
    let mut agent = Running::start(fresh.agent(&["run", "--once"])?, &folder.path().join("agent.log"))?;
    waits_for(&fresh, &agent, "ambiguous_identity")?;
    assert_eq!(fresh.snapshot()?, before);
    assert!(scene.devices()?.is_empty());
    let listed = scene.server.admin_json(&["claim", "list", "--colliding"])?;
    let collisions: Vec<&Value> =
        listed["claims"].as_array().context("claims")?.iter().map(|claim| &claim["collision"]).collect();
    assert_eq!(collisions.len(), 2, "{listed:#}");
    let text = listed.to_string();
    assert!(
        text.contains("serial_number AC-0007") && text.contains(&format!("system_uuid {UUID}")),
        "{text}"
    );

    scene.server.admin(&["claim", "remove", &other, "--yes"])?;
    assert!(agent.wait(LIMIT)?.success(), "{}", agent.output());
    assert_eq!(fresh.read("/etc/motd")?, "mine\n");

    // Claimed once more by somebody else, and then its disk is lost.
    claim_for_the_other(&scene)?;
    let wiped = device_with_uuid(&scene, &folder.path().join("new-disk"))?;
    let agent = Running::start(wiped.agent(&["run", "--once"])?, &folder.path().join("wiped.log"))?;
    waits_for(&wiped, &agent, "pending_approval")?;
    let known = scene.device()?;
    assert_eq!((known["state"].as_str(), known["generation"].as_u64()), (Some("managed"), Some(1)));
    assert_eq!(scene.audit("claim_contested")?.len(), 2, "both sides are told");
    Ok(())
}
