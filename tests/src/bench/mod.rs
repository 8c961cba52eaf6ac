//! The benchmark: the cost of Unbox, beside the floor of the same run.
//!
//! Other programs disturb every figure, so each is the median of rounds, and its floor is measured
//! in the same rounds: the ratio of the two says more than either. To add a figure: a [`report::Row`]
//! with its target and its floor, from the file that already starts the programs it needs.

mod agent;
mod api;
mod claims;
mod enrollment;
pub mod floor;
mod machine;
mod payload;
pub mod report;
mod station;
mod tls_handshake;
pub mod usage;

use crate::{
    binaries,
    process::{command, run as run_program},
};
use anyhow::{Context as _, Result};
use clap::ValueEnum as _;
use report::Report;
use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

/// The size of a measurement.
#[derive(Debug, Clone)]
pub struct Size {
    /// Devices that power on in each round.
    pub devices: usize,
    /// Devices that are busy at the same time.
    pub at_once: usize,
    /// Rounds that count, of every part that is measured in rounds.
    pub rounds: usize,
    /// The repetitions of anything that takes microseconds.
    pub samples: usize,
    /// Claims of the import.
    pub claims: usize,
    /// Claims before it.
    pub few_claims: usize,
    /// Starts of the real agent.
    pub agents: usize,
    /// Captured units of the test station.
    pub units: usize,
    /// Sizes of payloads, in MiB.
    pub payloads: Vec<usize>,
    /// The agent to measure.
    pub agent: PathBuf,
    /// Program of the test station.
    pub station: PathBuf,
    /// The way in which all this was built, in a few words.
    pub how: String,
    /// The parts to measure, in their order.
    pub parts: Vec<Part>,
}

/// A part that can be measured alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// A fleet powers on.
    Fleet,
    /// The real agent.
    Agent,
    /// Payloads.
    Payload,
    /// Claims.
    Claims,
    /// The management API.
    Api,
    /// The test station.
    Station,
}

impl Size {
    /// Returns the size of the README's figures: some minutes. The agent is built in the profile for devices.
    ///
    /// # Errors
    /// If the agent cannot be built.
    pub fn full() -> Result<Self> {
        Ok(Self {
            devices: 2000,
            at_once: 64,
            rounds: 5,
            samples: 400,
            claims: 1_000_000,
            few_claims: 10_000,
            agents: 25,
            units: 10_000,
            payloads: vec![1, 64],
            agent: device_agent()?,
            station: binaries::station()?,
            how: "release build".to_owned(),
            parts: Part::value_variants().to_vec(),
        })
    }

    /// Returns a size of a few seconds, with meaningless figures: a check that the benchmark works.
    ///
    /// # Errors
    /// If the agent cannot be built.
    pub fn quick() -> Result<Self> {
        Ok(Self {
            devices: 8,
            at_once: 4,
            rounds: 1,
            samples: 3,
            claims: 200,
            few_claims: 20,
            agents: 1,
            units: 3,
            payloads: vec![1],
            agent: binaries::agent()?,
            station: binaries::station()?,
            how: "a quick run, whose figures say nothing".to_owned(),
            parts: Part::value_variants().to_vec(),
        })
    }
}

/// Measures everything, in directories below `folder`; `say` gets each next step.
///
/// # Errors
/// If something did not work, never because it was slow.
pub fn run(size: &Size, folder: &Path, say: &mut dyn FnMut(&str)) -> Result<Report> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("start a runtime")?;
    let circumstances = machine::describe_machine(folder, &size.how)?;
    let mut rows = Vec::new();
    for part in &size.parts {
        match part {
            Part::Fleet => {
                say("a fleet powers on");
                rows.extend(runtime.block_on(enrollment::measure(&folder.join("fleet"), size))?);
            }
            Part::Agent => {
                say("the real agent");
                rows.extend(agent::measure(&folder.join("agents"), size)?);
            }
            Part::Payload => {
                for &mebibytes in &size.payloads {
                    say(&format!("a payload of {mebibytes} MiB"));
                    let folder = folder.join(format!("payload-{mebibytes}"));
                    rows.extend(payload::measure(&folder, size, mebibytes)?);
                }
            }
            Part::Claims => {
                say("claims");
                rows.extend(runtime.block_on(claims::measure(&folder.join("claims"), size))?);
            }
            Part::Api => {
                say("the management API");
                rows.extend(runtime.block_on(api::measure(&folder.join("api"), size))?);
            }
            Part::Station => {
                say("the test station");
                rows.extend(station::measure(&folder.join("station"), size)?);
            }
        }
    }
    Ok(Report { circumstances, rows })
}

/// Builds the agent in the profile for devices: small, and without unwinding of panics.
fn device_agent() -> Result<PathBuf> {
    let folder = binaries::agent()?;
    let target = folder.ancestors().nth(2).context("find the target directory")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = command(
        cargo,
        &["build", "--quiet", "--profile=device", "--package=unbox-agent", "--bin=unbox-agent"],
    );
    build.current_dir(binaries::workspace()).env("CARGO_TARGET_DIR", target);
    run_program(build)?.success().context("build the agent for devices")?;
    Ok(target.join("device").join("unbox-agent"))
}

/// Returns the time that half of them do not exceed.
fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

fn median_of(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}

fn megabytes(bytes: u64) -> f64 {
    Duration::from_micros(bytes).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No figure is judged here: other tests run at the same time.
    #[test]
    fn a_quick_run_measures_everything() {
        let folder = tempfile::tempdir().unwrap();
        let mut said = Vec::new();
        let report =
            run(&Size::quick().unwrap(), folder.path(), &mut |what| said.push(what.to_owned())).unwrap();
        assert_eq!(
            said,
            [
                "a fleet powers on",
                "the real agent",
                "a payload of 1 MiB",
                "claims",
                "the management API",
                "the test station"
            ]
        );
        assert_eq!(report.rows.len(), 18, "{report}");
        for row in &report.rows {
            assert!(row.measured.value.is_finite() && row.measured.value > 0.0, "{row:?}");
        }
        let table = report.to_string().lines().filter(|line| line.starts_with("| ")).count();
        assert_eq!(table, report.rows.len() + 1, "{report}");
    }
}
