//! Thousands of units in one run: looked at in parallel, judged one after the other, told in order.
//!
//! A part of them is in memory at a time, and of those before it only what duplicates are found by.

use super::{
    check::{Looked, Tested},
    io::{OrderFile, Unit, look},
    seen::Seen,
    verdict::Verdict,
};
use crate::clock::Stopwatch;
use serde::Serialize;
use std::{
    collections::BTreeMap,
    io,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::Duration,
};

/// Units that are in memory at the same time, and asked for in one request to the server.
pub const PART: usize = 256;

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Units in all.
    pub units: usize,
    /// How many of each verdict.
    pub verdicts: BTreeMap<Verdict, usize>,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Units per second.
    pub units_per_second: f64,
}

impl Summary {
    /// The worst verdict of all units.
    #[must_use]
    pub fn worst(&self) -> Verdict {
        self.verdicts.keys().max().copied().unwrap_or_default()
    }

    /// How many units had this verdict.
    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.verdicts.get(&verdict).copied().unwrap_or_default()
    }

    fn took(self, time: Duration) -> Self {
        let seconds = time.as_secs_f64();
        let units = u32::try_from(self.units).unwrap_or(u32::MAX);
        Self { seconds, units_per_second: f64::from(units) / seconds.max(1e-9), ..self }
    }
}

/// Somebody who knows more about units: the server, if it is asked.
pub trait Registry {
    /// Adds what it knows to each of these units.
    fn ask(&mut self, units: &mut [Looked]);
}

/// Tests every unit, and tells `sink` of each in order.
///
/// # Errors
/// The sink's.
pub fn test_all(
    units: &[Unit],
    order: Option<&OrderFile>,
    mut registry: Option<&mut dyn Registry>,
    mut sink: impl FnMut(&Tested) -> io::Result<()>,
) -> io::Result<Summary> {
    let stopwatch = Stopwatch::start();
    let mut summary = Summary::default();
    let mut seen = Seen::default();
    let named = |number: u32| {
        let unit = usize::try_from(number).ok().and_then(|at| units.get(at));
        unit.map_or_else(String::new, |unit| unit.name.clone())
    };
    let mut numbers = 0_u32..;
    for part in units.chunks(PART) {
        let mut looked = look_at_all(part, order)?;
        if let Some(registry) = registry.as_deref_mut() {
            registry.ask(&mut looked);
        }
        for ((unit, mut looked), number) in part.iter().zip(looked).zip(&mut numbers) {
            looked.compare(&seen, number, named);
            let tested = looked.judged(unit.name.clone());
            if let Some(identity) = &tested.identity {
                seen.note(identity, number);
            }
            summary.units += 1;
            *summary.verdicts.entry(tested.judged.verdict).or_default() += 1;
            sink(&tested)?;
        }
    }
    Ok(summary.took(stopwatch.elapsed()))
}

/// Looks at some units, on as many threads as there are cores.
fn look_at_all(units: &[Unit], order: Option<&OrderFile>) -> io::Result<Vec<Looked>> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(units.len());
    let next = AtomicUsize::new(0);
    let work = || -> io::Result<Vec<(usize, Looked)>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut done = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = units.get(at) else { return Ok(done) };
            done.push((at, runtime.block_on(look(unit, order))));
        }
    };
    let mut all = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let mut all = Vec::with_capacity(units.len());
        for worker in workers {
            let done = worker.join().map_err(|_| io::Error::other("a thread that looks at units ended"))?;
            all.extend(done?);
        }
        io::Result::Ok(all)
    })?;
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, looked)| looked).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;
    use std::path::Path;

    fn captured(folder: &Path, name: &str, serial: &str) {
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
            captured(folder.path(), &format!("u{number:04}"), &format!("S{number:04}"));
        }
        captured(folder.path(), "u0007", "None");
        // The last one is in another part than the one whose number it has.
        captured(folder.path(), &format!("u{:04}", PART + 2), "S0001");
        let units = super::super::io::units_below(folder.path()).unwrap();
        let mut told = Vec::new();
        let summary = test_all(&units, None, None, |tested| {
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
