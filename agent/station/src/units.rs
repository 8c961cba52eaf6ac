//! Thousands of units in one run: surveyed in parallel, judged one after the other, reported in order.
//!
//! Only a part of them is in memory at a time, and of earlier ones only the digests for finding
//! duplicates.

use super::{
    check::{SurveyedUnit, TestedUnit},
    duplicates::IdentifierIndex,
    io::{Reference, Unit, survey_unit},
    verdict::Verdict,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io,
    sync::mpsc::{self, Receiver, SyncSender},
    thread::{self, Scope},
    time::Duration,
};
use unbox_agent::clock::Stopwatch;

/// The number of units in memory at the same time, and in one request to the server.
pub const PART: usize = 256;

/// The summary of a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// The number of units.
    pub units: usize,
    /// The number of units for each verdict.
    pub verdicts: BTreeMap<Verdict, usize>,
    /// The duration, in seconds.
    pub seconds: f64,
    /// Units per second.
    pub units_per_second: f64,
}

impl Summary {
    /// Returns the worst verdict of all units.
    #[must_use]
    pub fn worst(&self) -> Verdict {
        self.verdicts.keys().max().copied().unwrap_or_default()
    }

    /// Returns the number of units with this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.get(&verdict).copied().unwrap_or_default()
    }

    fn with_time(self, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        let units = u32::try_from(self.units).unwrap_or(u32::MAX);
        Self { seconds, units_per_second: f64::from(units) / seconds.max(1e-9), ..self }
    }
}

/// A further source about units: the server, if it is asked.
pub trait Registry {
    /// Adds its answers to each of these units.
    fn ask(&mut self, units: &mut [SurveyedUnit]);
}

/// Tests every unit, and passes each to `sink`, in order.
///
/// # Errors
/// The sink's error.
pub fn test_all(
    units: &[Unit],
    reference: &Reference,
    mut registry: Option<&mut dyn Registry>,
    mut sink: impl FnMut(&TestedUnit) -> io::Result<()>,
) -> io::Result<Summary> {
    let stopwatch = Stopwatch::start();
    let mut summary = Summary::default();
    let mut index = IdentifierIndex::default();
    let named = |number: u32| {
        let unit = usize::try_from(number).ok().and_then(|at| units.get(at));
        unit.map_or_else(String::new, |unit| unit.name.clone())
    };
    let mut numbers = 0_u32..;
    thread::scope(|scope| {
        let mut in_order = survey_all(units, reference, scope);
        for part in units.chunks(PART) {
            let mut looked = in_order.by_ref().take(part.len()).collect::<io::Result<Vec<SurveyedUnit>>>()?;
            if let Some(registry) = registry.as_deref_mut() {
                registry.ask(&mut looked);
            }
            for ((unit, mut looked), number) in part.iter().zip(looked).zip(&mut numbers) {
                looked.compare(&index, number, named);
                let tested = looked.judge(unit.name.clone());
                if let Some(identity) = &tested.identity {
                    index.record(identity, number);
                }
                summary.units += 1;
                *summary.verdicts.entry(tested.judged.verdict).or_default() += 1;
                sink(&tested)?;
            }
        }
        Ok(())
    })
    .map(|()| summary.with_time(stopwatch.elapsed()))
}

/// Surveys all units, and returns them in order. There is a thread for each core; with n threads, each
/// takes every n-th unit, and gets no further ahead than half a part.
fn survey_all<'s>(
    units: &'s [Unit],
    reference: &'s Reference,
    scope: &'s Scope<'s, '_>,
) -> impl Iterator<Item = io::Result<SurveyedUnit>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(units.len().max(1));
    let workers: Vec<Receiver<io::Result<SurveyedUnit>>> = (0..threads)
        .map(|first| {
            let (sender, receiver) = mpsc::sync_channel(PART / 2);
            scope.spawn(move || survey_each(units.iter().skip(first).step_by(threads), reference, &sender));
            receiver
        })
        .collect();
    (0..units.len()).map(move |at| {
        let gone = || io::Error::other("a thread that looks at units ended");
        let next = workers.get(at % threads).and_then(|worker| worker.recv().ok());
        next.ok_or_else(gone).flatten()
    })
}

/// Surveys some units until they end, or until the receiver is gone.
fn survey_each<'u>(
    units: impl Iterator<Item = &'u Unit>,
    reference: &Reference,
    sender: &SyncSender<io::Result<SurveyedUnit>>,
) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // If the receiver is gone, it needs no reason.
            let _ = sender.send(Err(error));
            return;
        }
    };
    for unit in units {
        if sender.send(Ok(runtime.block_on(survey_unit(unit, reference)))).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use unbox_agent::files;

    fn write_unit(folder: &Path, name: &str, serial: &str) {
        let id = folder.join(name).join("sys/class/dmi/id");
        files::make_directory(&id, files::PUBLIC_DIRECTORY).unwrap();
        for (field, value) in
            [("product_serial", serial), ("sys_vendor", "Acme"), ("product_name", "Gateway 3")]
        {
            files::replace(&id.join(field), value.as_bytes(), files::PUBLIC_FILE).unwrap();
        }
    }

    #[test]
    fn every_unit_is_told_in_order_with_what_is_wrong_with_it() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..PART + 3 {
            write_unit(folder.path(), &format!("u{number:04}"), &format!("S{number:04}"));
        }
        write_unit(folder.path(), "u0007", "None");
        // The last one is in another part than the unit whose number it has.
        write_unit(folder.path(), &format!("u{:04}", PART + 2), "S0001");
        let units = crate::io::list_units(folder.path()).unwrap();
        let mut told = Vec::new();
        let summary = test_all(&units, &Reference::default(), None, |tested| {
            told.push((tested.name.clone(), tested.judged.clone()));
            Ok(())
        })
        .unwrap();
        assert!(told.is_sorted_by_key(|(name, _)| name.clone()));
        assert_eq!((summary.units, summary.count(Verdict::Fail)), (PART + 3, 2));
        assert_eq!(summary.worst(), Verdict::Fail);
        assert!(summary.units_per_second > 0.0);
        let last = told.last().unwrap();
        assert_eq!(last.1.findings[0].problem, "The serial number S0001 was shown by u0001 already.");
    }
}
