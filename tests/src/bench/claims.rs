//! A million claims: the speed of their import, and a device's waiting time afterwards.

use super::{
    Size, median,
    report::{Row, Unit, format_grouped},
    usage::Usage,
};
use crate::{
    clock::Stopwatch,
    fleet::{Connection, Fleet, FleetImage, SimulatedDevice},
    process::wait_for,
    scene::Scene,
    server,
};
use anyhow::{Context as _, Result};
use serde_json::json;
use std::{path::Path, time::Duration};

/// The longest that the import may take.
const LIMIT: Duration = Duration::from_mins(30);

/// Imports a few claims, then many more, and says hello among both.
///
/// # Errors
/// If a claim is not imported or a device is refused.
pub(super) async fn measure(folder: &Path, size: &Size) -> Result<Vec<Row>> {
    let scene = Scene::create_with(folder, &[("address_burst", "0"), ("series_burst", "0")])?;
    scene.configure(None, &json!([]))?;
    let image = FleetImage::from_bundle(scene.server.address, server::NAME, &scene.server.bundle())?;
    let fleet = |prefix: &str, devices| Fleet {
        devices,
        at_once: 1,
        prefix: prefix.to_owned(),
        manufacturer: "Acme".to_owned(),
        model: "Gateway 3".to_owned(),
    };
    let (few, many) = (fleet("F", size.few_claims), fleet("M", size.claims));
    scene.claim(&few.claims_csv(), &[])?;
    let among_few = hellos(&image, &few, size).await?;

    let started = Stopwatch::start();
    let mut import = scene.start_claim(&many.claims_csv())?;
    let (mut peak, process) = (0.0_f64, import.id());
    let took = wait_for(LIMIT, "the import to end", || {
        peak = Usage::of(process).map_or(0.0, |usage| usage.peak_mib()).max(peak);
        Ok((!import.is_running()).then(|| started.elapsed()))
    })?;
    let among_many = hellos(&image, &many, size).await.with_context(|| import.output())?;

    let count = |claims: usize| format_grouped(f64::from(u32::try_from(claims).unwrap_or(u32::MAX)));
    let rate = f64::from(u32::try_from(size.claims)?) / took.as_secs_f64();
    let micros = |time: Duration| time.as_secs_f64() * 1e6;
    Ok(vec![
        Row::new(format!("Import of {} claims from CSV", count(size.claims)), took.as_secs_f64(), Unit::Secs)
            .at_most(15.0)
            .with_floor(format!("{} per second, with at most {peak:.0} MiB of memory", format_grouped(rate))),
        Row::new(
            format!("Hello among {} claims, median", count(size.few_claims + size.claims)),
            micros(among_many),
            Unit::Micros,
        )
        .at_most((micros(among_few) * 1.5).round())
        .with_floor(format!(
            "{} us among {} claims: flat is within a half of that",
            micros(among_few).round(),
            count(size.few_claims)
        )),
    ])
}

/// Returns the median of hellos, one after the other on one connection, spread over the fleet.
async fn hellos(image: &FleetImage, fleet: &Fleet, size: &Size) -> Result<Duration> {
    let mut times = Vec::new();
    let mut connection = image.connect().await?;
    for n in 0..size.samples {
        let serial = fleet.serial(n * (fleet.devices / size.samples).max(1) % fleet.devices);
        let device = SimulatedDevice::new(&serial, &fleet.manufacturer, &fleet.model)?;
        times.push(
            hello(&device, image, &mut connection).await.with_context(|| format!("{serial} says hello"))?,
        );
    }
    Ok(median(times))
}

async fn hello(
    device: &SimulatedDevice,
    image: &FleetImage,
    connection: &mut Connection,
) -> Result<Duration> {
    let started = Stopwatch::start();
    let challenged = device.hello(image, connection).await?;
    let took = started.elapsed();
    challenged.map_err(|answer| anyhow::anyhow!("refused: {}", String::from_utf8_lossy(&answer.body)))?;
    Ok(took)
}
