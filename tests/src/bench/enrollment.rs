//! A fleet that powers on: enrollments per second, latencies, and what one costs the server.

use super::usage::Usage;
use crate::{
    fleet::{Fleet, FleetImage},
    scene::Scene,
    server,
};
use anyhow::{Result, ensure};
use serde_json::json;
use std::{path::Path, time::Duration};

/// What a fleet's power-on cost.
#[derive(Debug)]
pub struct EnrollmentFigures {
    /// Devices that enrolled.
    pub devices: usize,
    /// Devices in the middle of something at the same time.
    pub at_once: usize,
    /// Enrollments per second, load generator on the same machine.
    pub per_second: f64,
    /// Half of the enrollments were faster.
    pub p50: Duration,
    /// One in a hundred was slower.
    pub p99: Duration,
    /// CPU of the server for each enrollment: two TLS handshakes, hello, prove, report.
    pub server_cpu: Duration,
    /// Memory of the server before the first device, in KiB.
    pub idle_kib: u64,
    /// The most memory of the server, in KiB.
    pub peak_kib: u64,
}

/// Switches `devices` on, and a few before them that warm the server up.
///
/// # Errors
/// If a device does not enroll.
pub async fn measure(folder: &Path, devices: usize, at_once: usize) -> Result<EnrollmentFigures> {
    let scene = Scene::set_with(folder, &[("address_burst", "0"), ("series_burst", "0")])?;
    scene.configure(None, &json!([{"type": "file", "path": "/etc/motd", "content": {"text": "hello"}}]))?;
    let fleet = |prefix: &str, devices| Fleet {
        devices,
        at_once,
        prefix: prefix.to_owned(),
        manufacturer: "Acme".to_owned(),
        model: "Gateway 3".to_owned(),
    };
    let (warm_up, measured) = (fleet("W", 200.min(devices)), fleet("B", devices));
    scene.claim(&warm_up.claims_csv(), &[])?;
    scene.claim(&measured.claims_csv(), &[])?;
    let image = FleetImage::from_bundle(scene.server.address, server::NAME, &scene.server.bundle())?;
    let idle_kib = Usage::of(scene.server.id())?.resident_kib;
    warm_up.power_on(&image).await?;

    let before = Usage::of(scene.server.id())?;
    let outcome = measured.power_on(&image).await?;
    let after = Usage::of(scene.server.id())?;
    ensure!(outcome.failures.is_empty(), "devices failed: {:?}", outcome.failures.first());
    ensure!(outcome.devices.len() == devices, "{} of {devices} devices enrolled", outcome.devices.len());
    let count = u32::try_from(devices)?;
    Ok(EnrollmentFigures {
        devices,
        at_once,
        per_second: f64::from(count) / outcome.elapsed.as_secs_f64(),
        p50: outcome.percentile(50),
        p99: outcome.percentile(99),
        server_cpu: after.cpu.saturating_sub(before.cpu) / count,
        idle_kib,
        peak_kib: after.peak_kib,
    })
}
