//! A managed device is offered a configuration that is older than its own, signed and for it.

use super::{LIMIT, device_of, world};
use anyhow::Result;
use std::sync::Arc;
use unbox_common::{payload::Payload, protocol::latest::CHECK_IN_PATH};
use unbox_tests::{
    process::{Running, wait_for},
    world::Reply,
};

#[test]
fn older_payload_is_rejected() -> Result<()> {
    let mut world = world()?;
    world.check_in_after_s = 1;
    let installed = world.payload.version;
    let world = Arc::new(world);
    let served = world.serve(move |world, request| {
        if request.path != CHECK_IN_PATH {
            return world.honest_reply(request);
        }
        let older = Payload { version: installed - 1, ..world.payload.clone() };
        world
            .news(Some(&older))
            .map_or_else(|error| Reply::text(500, format!("{error:#}")), |news| Reply::json(&news))
    })?;
    let folder = tempfile::tempdir()?;
    let device = device_of(&world, &served, folder.path())?;
    let log = folder.path().join("agent.log");
    let _agent = Running::start(device.agent(&["run"])?, &log)?;
    wait_for(LIMIT, "the device to be managed", || {
        Ok(device.installed_version()?.filter(|one| *one == installed))
    })?;
    wait_for(LIMIT, "the device to refuse the older payload", || {
        Ok(device.failure()?.is_some_and(|failure| failure == "payload_older").then_some(()))
    })
    .map_err(|error| error.context(std::fs::read_to_string(&log).unwrap_or_default()))?;
    assert_eq!(device.installed_version()?, Some(installed));
    Ok(())
}
