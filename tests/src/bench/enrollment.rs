//! A fleet that powers on: enrollments per second, latencies, and the server's cost of one.

use super::{
    Size,
    floor::{Floor, durable_write},
    median, median_of,
    report::{Row, Unit, format_grouped},
    usage::Usage,
};
use crate::{
    fleet::{Fleet, FleetImage},
    scene::Scene,
    server,
};
use anyhow::{Result, ensure};
use serde_json::json;
use std::{path::Path, time::Duration};

/// One power-on, with the floor of the same moment.
struct Round {
    floor: Floor,
    /// Enrollments per second.
    rate: f64,
    p50: Duration,
    p99: Duration,
    /// The server's CPU for one enrollment.
    server_cpu: Duration,
}

/// Switches a fleet on, again and again, beside the floor.
///
/// # Errors
/// If a device does not enroll.
pub(super) async fn measure(folder: &Path, size: &Size) -> Result<Vec<Row>> {
    let scene = Scene::create_with(folder, &[("address_burst", "0"), ("series_burst", "0")])?;
    scene.configure(None, &json!([{"type": "file", "path": "/etc/motd", "content": {"text": "hello"}}]))?;
    let image = FleetImage::from_bundle(scene.server.address, server::NAME, &scene.server.bundle())?;
    let process = scene.server.id();
    let idle = Usage::of(process)?.resident_mib();
    // The first round warms everything up, and does not count.
    let mut rounds = Vec::new();
    for number in 0..=size.rounds {
        let devices = if number == 0 { size.devices.min(200) } else { size.devices };
        let (manufacturer, model) = ("Acme".to_owned(), "Gateway 3".to_owned());
        let fleet =
            Fleet { devices, at_once: size.at_once, prefix: format!("B{number}-"), manufacturer, model };
        scene.claim(&fleet.claims_csv(), &[])?;
        rounds.push(round(&fleet, &image, process, size).await?);
    }
    let peak = Usage::of(process)?.peak_mib();
    let durable = durable_write(folder, size.samples)?;
    Ok(rows(rounds.get(1..).unwrap_or_default(), size, durable, (idle, peak)))
}

async fn round(fleet: &Fleet, image: &FleetImage, process: u32, size: &Size) -> Result<Round> {
    let floor = Floor::measure(size.samples)?;
    let before = Usage::of(process)?;
    let outcome = fleet.power_on(image).await?;
    let after = Usage::of(process)?;
    ensure!(outcome.failures.is_empty(), "devices failed: {:?}", outcome.failures.first());
    let (enrolled, devices) = (outcome.devices.len(), fleet.devices);
    ensure!(enrolled == devices, "{enrolled} of {devices} devices enrolled");
    let count = u32::try_from(devices)?;
    Ok(Round {
        floor,
        rate: f64::from(count) / outcome.elapsed.as_secs_f64(),
        p50: outcome.percentile(50),
        p99: outcome.percentile(99),
        server_cpu: after.cpu.saturating_sub(before.cpu) / count,
    })
}

fn rows(rounds: &[Round], size: &Size, durable: Duration, (idle, peak): (f64, f64)) -> Vec<Row> {
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let each = |figure: fn(&Round) -> f64| median_of(rounds.iter().map(figure).collect());
    let time = |figure: fn(&Round) -> Duration| median(rounds.iter().map(figure).collect());
    let unavoidable = time(|round| round.floor.server_floor());
    let ratio = each(|round| round.server_cpu.as_secs_f64() / round.floor.server_floor().as_secs_f64());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let most = time(|round| round.floor.server_floor() + round.floor.device_floor());
    let most = f64::from(u32::try_from(cores).unwrap_or(1)) / most.as_secs_f64();
    let parts = format!(
        "{ratio:.1} times the floor of {} ms: TLS {} us, mutual TLS {} us, P-256 verify {} us and sign {} us, Ed25519 sign {} us",
        (millis(unavoidable) * 100.0).round() / 100.0,
        time(|round| round.floor.tls.server).as_micros(),
        time(|round| round.floor.mutual_tls.server).as_micros(),
        time(|round| round.floor.p256_verify).as_micros(),
        time(|round| round.floor.p256_sign).as_micros(),
        time(|round| round.floor.ed25519_sign).as_micros(),
    );
    let appends = 1.0 / durable.as_secs_f64();
    let together = format!(
        "{} if server and load generator did nothing but that cryptography on {cores} cores; {} durable appends per second, one by one",
        format_grouped(most),
        format_grouped(appends)
    );
    let at_once = size.at_once;
    vec![
        Row::new(
            "Server CPU for one enrollment: 2 connections, hello, prove, report",
            millis(time(|round| round.server_cpu)),
            Unit::Millis,
        )
        .at_most(0.6)
        .with_floor(parts),
        Row::new(
            format!("Enrollments, {at_once} devices at a time, load generator on the same cores"),
            each(|round| round.rate),
            Unit::PerSecond,
        )
        .at_least(1500.0)
        .with_floor(together),
        Row::new(
            format!("Latency of an enrollment among {at_once}, median"),
            millis(time(|round| round.p50)),
            Unit::Millis,
        )
        .with_floor(format!("99 of 100 within {:.0} ms", millis(time(|round| round.p99)))),
        Row::new("Memory of an idle server", idle, Unit::Mebibytes)
            .at_most(32.0)
            .with_floor(format!("{peak:.1} MiB at most, under load")),
    ]
}
