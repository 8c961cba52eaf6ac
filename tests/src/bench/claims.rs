//! A million claims: how fast they are imported, and what a device then waits for.

use super::usage::Usage;
use crate::{
    clock::Stopwatch,
    fleet::{Fleet, FleetImage, SimulatedDevice},
    process::wait_for,
    scene::Scene,
    server,
};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::{path::Path, time::Duration};

/// Claims of the smaller look-up.
const FEW: usize = 10_000;
/// Handshakes of each look-up.
const HANDSHAKES: usize = 200;
/// The longest that the import may take.
const LIMIT: Duration = Duration::from_mins(10);

/// What claims cost.
#[derive(Debug)]
pub struct ClaimsFigures {
    /// Claims of the import.
    pub claims: usize,
    /// From start to end of the command.
    pub import: Duration,
    /// Its most memory, in KiB.
    pub import_peak_kib: u64,
    /// Claims of the smaller look-up.
    pub few: usize,
    /// One whole handshake among few claims.
    pub hello_among_few: Duration,
    /// One whole handshake among all.
    pub hello_among_many: Duration,
}

/// Imports a few claims, then `claims` more, and shakes hands among both.
///
/// # Errors
/// If a claim is not imported or a device is refused.
pub async fn measure(folder: &Path, claims: usize) -> Result<ClaimsFigures> {
    let scene = Scene::set_with(folder, &[("address_burst", "0"), ("series_burst", "0")])?;
    scene.configure(None, &json!([]))?;
    let image = FleetImage::from_bundle(scene.server.address, server::NAME, &scene.server.bundle())?;
    let fleet = |prefix: &str, devices| Fleet {
        devices,
        at_once: 1,
        prefix: prefix.to_owned(),
        manufacturer: "Acme".to_owned(),
        model: "Gateway 3".to_owned(),
    };
    let (few, many) = (fleet("F", FEW), fleet("M", claims));
    scene.claim(&few.claims_csv(), &[])?;
    let hello_among_few = handshakes(&image, &few).await?;

    let started = Stopwatch::start();
    let mut import = scene.start_claim(&many.claims_csv())?;
    let (mut import_peak_kib, process) = (0, import.id());
    let took = wait_for(LIMIT, "the import to end", || {
        import_peak_kib = Usage::of(process).map_or(0, |usage| usage.peak_kib).max(import_peak_kib);
        Ok((!import.is_running()).then(|| started.elapsed()))
    })?;
    let hello_among_many = handshakes(&image, &many).await.with_context(|| import.output())?;
    Ok(ClaimsFigures { claims, import: took, import_peak_kib, few: FEW, hello_among_few, hello_among_many })
}

/// The median of whole handshakes, one after the other, spread over the fleet.
async fn handshakes(image: &FleetImage, fleet: &Fleet) -> Result<Duration> {
    let mut times = Vec::new();
    for n in 0..HANDSHAKES {
        let serial = fleet.serial(n * (fleet.devices / HANDSHAKES).max(1) % fleet.devices);
        let device = SimulatedDevice::new(&serial, &fleet.manufacturer, &fleet.model)?;
        let started = Stopwatch::start();
        let granted = device.handshake(image).await?;
        times.push(started.elapsed());
        granted.map_err(|answer| {
            anyhow::anyhow!("{serial} was refused: {}", String::from_utf8_lossy(&answer.body))
        })?;
    }
    times.sort_unstable();
    times.get(times.len() / 2).copied().context("a handshake")
}
