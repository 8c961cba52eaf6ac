//! A simulated fleet that powers on: real TLS, real handshakes, a key for each device, bounded.

mod device;
mod http;

pub use device::{Challenged, Enrolled, FleetImage, Granted, SimulatedDevice};
pub use http::{Anchors, Answer, Connection};

use anyhow::Result;
use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::task::JoinSet;

/// The description of a fleet; device `n` has the serial number `{prefix}{n:07}`.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The number of devices.
    pub devices: usize,
    /// The number of devices that are busy at the same time.
    pub at_once: usize,
    /// Start of each serial number.
    pub prefix: String,
    /// Maker of all of them.
    pub manufacturer: String,
    /// Model of all of them.
    pub model: String,
}

/// The outcome of a fleet's power-on.
#[derive(Debug, Default)]
pub struct FleetOutcome {
    /// Time of each enrollment that succeeded, from connect to acknowledged report, sorted.
    pub latencies: Vec<Duration>,
    /// Device ids that were granted; as many as latencies if none was granted twice.
    pub devices: BTreeSet<i64>,
    /// The number of times that a device was told to come back later, and did.
    pub told_to_wait: u32,
    /// The reasons of failures, one text each.
    pub failures: Vec<String>,
    /// The time from the first start to the last end.
    pub elapsed: Duration,
}

impl Fleet {
    /// Returns the serial number of device `n`.
    #[must_use]
    pub fn serial(&self, n: usize) -> String {
        format!("{}{n:07}", self.prefix)
    }

    /// Writes a claims file for the whole fleet.
    #[must_use]
    pub fn claims_csv(&self) -> String {
        let mut csv = String::from("serial_number,manufacturer,model\n");
        for n in 0..self.devices {
            csv.extend([&self.serial(n), ",", &self.manufacturer, ",", &self.model, "\n"]);
        }
        csv
    }

    /// Switches every device on, `at_once` at a time, each one once.
    ///
    /// # Errors
    /// If a device cannot even be made; a failed enrollment is in the outcome.
    pub async fn power_on(&self, image: &FleetImage) -> Result<FleetOutcome> {
        let devices = (0..self.devices)
            .map(|n| SimulatedDevice::new(&self.serial(n), &self.manufacturer, &self.model))
            .collect::<Result<Vec<_>>>()?;
        let (devices, next) = (Arc::new(devices), Arc::new(AtomicUsize::new(0)));
        let started = crate::clock::Stopwatch::start();
        let mut workers = JoinSet::new();
        for _ in 0..self.at_once {
            workers.spawn(enroll_in_turn(Arc::clone(&devices), Arc::clone(&next), image.clone()));
        }
        let mut outcome = FleetOutcome::default();
        while let Some(part) = workers.join_next().await {
            let part = part?;
            outcome.latencies.extend(part.latencies);
            outcome.devices.extend(part.devices);
            outcome.told_to_wait += part.told_to_wait;
            outcome.failures.extend(part.failures);
        }
        outcome.elapsed = started.elapsed();
        outcome.latencies.sort_unstable();
        Ok(outcome)
    }
}

async fn enroll_in_turn(
    devices: Arc<Vec<SimulatedDevice>>,
    next: Arc<AtomicUsize>,
    image: FleetImage,
) -> FleetOutcome {
    let mut outcome = FleetOutcome::default();
    while let Some(device) = devices.get(next.fetch_add(1, Ordering::Relaxed)) {
        let started = crate::clock::Stopwatch::start();
        match device.enroll(&image).await {
            Ok(enrolled) => {
                outcome.latencies.push(started.elapsed());
                outcome.devices.insert(enrolled.grant.device_id.get());
                outcome.told_to_wait += enrolled.told_to_wait;
            }
            Err(error) => outcome.failures.push(format!("{error:#}")),
        }
    }
    outcome
}

impl FleetOutcome {
    /// Returns the latency that `percent` of the enrollments stayed below.
    #[must_use]
    pub fn percentile(&self, percent: usize) -> Duration {
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or_default()
    }
}
