//! Attacks on the device: one file each. The agent names the fault, and nothing changes.
//!
//! To add one: a file here that changes the honest world's reply, and its `mod` line.

mod artifact_larger_than_declared;
mod artifact_with_another_digest;
mod escaping_archive;
mod escaping_path;
mod expired_payload;
mod older_payload;
mod payload_for_another_device;
mod payload_for_another_generation;
mod payload_for_another_key;
mod payload_signed_by_a_stranger;
mod replayed_payload;
mod tampered_payload;

use anyhow::Result;
use std::{path::Path, sync::Arc, time::Duration};
use unbox_common::{
    payload::{Artifact, Payload, PolicyItem},
    protocol::latest::{Grant, PROVE_PATH},
    trust::{Envelope, Signed},
};
use unbox_server::clock::{Clock as _, SystemClock};
use unbox_tests::{
    process::{Running, wait_for},
    sandbox::{Firmware, Sandbox},
    world::{Reply, Request, SERVER_NAME, Served, World},
};

/// Ample time for one exchange on a busy machine.
const LIMIT: Duration = Duration::from_mins(3);

/// Makes a world for an attack.
fn world() -> Result<World> {
    World::new(SystemClock.now())
}

/// Switches a device on in this world, waits until it reports `kind`, and checks that it is untouched.
fn is_refused(
    kind: &str,
    world: World,
    reply: impl Fn(&World, &Request) -> Reply + Send + Sync + 'static,
) -> Result<()> {
    let world = Arc::new(world);
    let served = world.serve(reply)?;
    let folder = tempfile::tempdir()?;
    let device = device_of(&world, &served, folder.path())?;
    let before = device.snapshot()?;

    let log = folder.path().join("agent.log");
    let _agent = Running::start(device.agent(&["run", "--once"])?, &log)?;
    wait_for(LIMIT, &format!("the device to say {kind}"), || {
        Ok(device.failure()?.is_some_and(|failure| failure == kind).then_some(()))
    })
    .map_err(|error| error.context(std::fs::read_to_string(&log).unwrap_or_default()))?;

    assert_eq!(device.snapshot()?, before, "{kind}: the device changed");
    assert_eq!(device.installed_version()?, None, "{kind}: the ledger says that something is installed");
    Ok(())
}

/// Makes a device whose image belongs to this world.
fn device_of(world: &World, served: &Served, folder: &Path) -> Result<Sandbox> {
    let bundle = folder.join("bundle");
    world.write_bundle(&bundle)?;
    let url = format!("https://{SERVER_NAME}:{}", served.address.port());
    Sandbox::unpack(&folder.join("device"), &Firmware::new("Acme", "Gateway 3", "AC-0001"), &url, &bundle)
}

/// Replies honestly, but changes the grant.
fn with_grant(change: impl Fn(&World, &mut Grant) -> Result<()>) -> impl Fn(&World, &Request) -> Reply {
    move |world, request| {
        if request.path != PROVE_PATH {
            return world.honest_reply(request);
        }
        let grant = world.grant().and_then(|mut grant| change(world, &mut grant).map(|()| grant));
        grant.map_or_else(|error| Reply::text(500, format!("{error:#}")), |grant| Reply::json(&grant))
    }
}

/// Replies honestly, but signs another payload, with the right key.
fn with_payload(change: impl Fn(&mut Payload)) -> impl Fn(&World, &Request) -> Reply {
    with_grant(move |world, grant| {
        let mut payload: Payload = serde_json::from_slice(grant.payload.envelope().payload.as_ref())?;
        change(&mut payload);
        grant.payload = world.keys.sign(&payload)?;
        Ok(())
    })
}

/// Returns a policy item that needs this artifact.
fn file_from(artifact: &Artifact) -> Result<PolicyItem> {
    Ok(serde_json::from_value(serde_json::json!({
        "type": "file", "path": "/etc/from-artifact", "content": {"artifact": artifact},
    }))?)
}

/// Replaces the envelope of a grant's payload by a changed one.
fn change_envelope(grant: &mut Grant, change: impl FnOnce(&mut Envelope)) {
    let mut envelope = grant.payload.envelope().clone();
    change(&mut envelope);
    grant.payload = Signed::new(envelope);
}
