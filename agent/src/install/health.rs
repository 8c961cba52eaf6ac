//! The health check: nothing is final until it passes.

use super::{InstallError, Resource, System, SystemError, UnitPhase, UnitReport};
use std::time::Duration;
use unbox_common::payload::{HealthCheck, UnitName};

/// Interval between looks at a unit.
const UNIT_POLL: Duration = Duration::from_millis(250);
/// Pause before a failed check is run again.
const CHECK_PAUSE: Duration = Duration::from_secs(1);
/// Time limit for a check that is run once, for a check-in.
const MAX_CHECK_NOW: Duration = Duration::from_secs(10);

/// The clock and the sleep for waiting.
pub trait Clock {
    /// Returns the time since some point in the past; never runs backwards.
    fn monotonic(&self) -> Duration;

    /// Returns after `span`.
    fn sleep(&mut self, span: Duration);
}

/// The current health of the installed payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// Healthy, or no check is configured.
    Healthy,
    /// Unhealthy, with the reason for people.
    Unhealthy(String),
}

/// Waits until the check passes, within its time limit.
pub(super) fn wait(
    system: &mut dyn System,
    clock: &mut dyn Clock,
    unit: Option<&UnitName>,
    check: &HealthCheck,
) -> Result<(), InstallError> {
    let start = clock.monotonic();
    let limit = Duration::from_secs(check.timeout_s().unwrap_or(0).into());
    let mut waiting = Waiting { clock, end: start + limit };
    match check {
        HealthCheck::None => Ok(()),
        HealthCheck::UnitActive { stable_for_s, .. } => {
            let unit = unit.ok_or_else(|| InstallError::Unhealthy("it has no unit".to_owned()))?;
            let stable_for = Duration::from_secs((*stable_for_s).into());
            waiting.wait_for_unit(system, unit, stable_for)
        }
        HealthCheck::Command { program, arguments, .. } => loop {
            let Some(complaint) = system.check(program, arguments, waiting.remaining()) else {
                return Ok(());
            };
            // A check that is stopped before it had a fair chance would hide the real complaint.
            if !waiting.pause(CHECK_PAUSE) || waiting.remaining() < CHECK_PAUSE {
                return Err(InstallError::Unhealthy(format!("{program}: {complaint}")));
            }
        },
    }
}

/// Checks once, without waiting.
pub(super) fn check_once(
    system: &mut dyn System,
    unit: Option<&UnitName>,
    check: &HealthCheck,
) -> Result<Health, InstallError> {
    let complaint = match check {
        HealthCheck::None => None,
        HealthCheck::UnitActive { .. } => match unit {
            Some(unit) => match report(system, unit)?.phase {
                UnitPhase::Active => None,
                phase => Some(format!("unit {unit} is {}", phase.name())),
            },
            None => Some("it has no unit".to_owned()),
        },
        HealthCheck::Command { program, arguments, timeout_s } => {
            let limit = Duration::from_secs((*timeout_s).into()).min(MAX_CHECK_NOW);
            system.check(program, arguments, limit).map(|complaint| format!("{program}: {complaint}"))
        }
    };
    Ok(complaint.map_or(Health::Healthy, Health::Unhealthy))
}

fn report(system: &mut dyn System, unit: &UnitName) -> Result<UnitReport, InstallError> {
    let look =
        |source: SystemError| InstallError::Look { resource: Resource::UnitActivity(unit.clone()), source };
    system.unit(unit).map_err(look)
}

/// A wait with a deadline.
struct Waiting<'a> {
    clock: &'a mut dyn Clock,
    end: Duration,
}

impl Waiting<'_> {
    fn remaining(&self) -> Duration {
        self.end.saturating_sub(self.clock.monotonic())
    }

    /// Waits, but not beyond the deadline; `false` if that has passed.
    fn pause(&mut self, span: Duration) -> bool {
        let left = self.remaining();
        self.clock.sleep(span.min(left));
        !left.is_zero()
    }

    fn wait_for_unit(
        &mut self,
        system: &mut dyn System,
        unit: &UnitName,
        stable_for: Duration,
    ) -> Result<(), InstallError> {
        let unhealthy = |what: &str| Err(InstallError::Unhealthy(format!("unit {unit} {what}")));
        let mut run: Option<(UnitReport, Duration)> = None;
        loop {
            let report = report(system, unit)?;
            let now = self.clock.monotonic();
            match (report.phase, &run) {
                (UnitPhase::Failed, _) => return unhealthy("failed"),
                // Still the same run: a unit that keeps restarting is not stable.
                (UnitPhase::Active, Some((first, since))) if *first == report => {
                    if now.saturating_sub(*since) >= stable_for {
                        return Ok(());
                    }
                }
                (UnitPhase::Active, _) if stable_for.is_zero() => return Ok(()),
                (UnitPhase::Active, _) => run = Some((report, now)),
                (UnitPhase::Changing | UnitPhase::Inactive, _) => run = None,
            }
            if !self.pause(UNIT_POLL) {
                return unhealthy(if run.is_some() {
                    "did not stay active for long enough in time"
                } else {
                    "did not become active in time"
                });
            }
        }
    }
}

#[cfg(test)]
#[path = "health_tests.rs"]
mod tests;
