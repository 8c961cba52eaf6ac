//! Health checks against a unit that follows a script, in time that passes only while waiting.

use super::*;
use crate::{
    files::Root,
    install::{Change, Packages, Reload, State},
};
use std::path::PathBuf;
use unbox_common::path::SafePath;

/// The states of unit and check, second by second; the last one stays.
struct Scripted {
    units: Vec<(UnitPhase, u32)>,
    checks: Vec<bool>,
    seen: usize,
}

impl Scripted {
    fn next<T: Clone>(&mut self, script: fn(&Self) -> &Vec<T>) -> T {
        let said = script(self);
        let now = said.get(self.seen).or_else(|| said.last()).cloned().unwrap();
        self.seen += 1;
        now
    }
}

impl System for Scripted {
    fn root(&self) -> &Root {
        unreachable!()
    }
    fn covers(&self, _resource: &Resource) -> bool {
        unreachable!()
    }
    fn look(&self, _resource: &Resource) -> Result<State, SystemError> {
        unreachable!()
    }
    fn change(&mut self, _change: &Change, _debs: &[PathBuf]) -> Result<(), SystemError> {
        unreachable!()
    }
    fn packages(&self) -> &dyn Packages {
        unreachable!()
    }
    fn covers_reload(&self, _what: Reload) -> bool {
        unreachable!()
    }
    fn reload(&mut self, _what: Reload) -> Result<(), SystemError> {
        unreachable!()
    }
    fn unit(&mut self, _unit: &UnitName) -> Result<UnitReport, SystemError> {
        let (phase, restarts) = self.next(|script| &script.units);
        Ok(UnitReport { phase, restarts, invocation: restarts.to_string() })
    }
    fn check(&mut self, _program: &SafePath, _arguments: &[String], _limit: Duration) -> Option<String> {
        (!self.next(|script| &script.checks)).then(|| "not yet".to_owned())
    }
}

#[derive(Default)]
struct Fake(Duration);

impl Clock for Fake {
    fn monotonic(&self) -> Duration {
        self.0
    }
    fn sleep(&mut self, span: Duration) {
        assert!(span <= CHECK_PAUSE);
        self.0 += span;
    }
}

/// Waits, and returns the complaint, if any, with the time taken.
fn waited(script: &mut Scripted, check: &HealthCheck) -> (Option<String>, Duration) {
    let mut clock = Fake::default();
    let unit: UnitName = "dpc.service".parse().unwrap();
    let result = wait(script, &mut clock, Some(&unit), check);
    (result.err().map(|error| error.to_string()), clock.0)
}

fn units(units: &[(UnitPhase, u32)]) -> Scripted {
    Scripted { units: units.to_vec(), checks: Vec::new(), seen: 0 }
}

#[test]
fn a_unit_must_become_active_in_time_and_stay_so() {
    use UnitPhase::{Active, Changing, Failed, Inactive};
    let at_once = HealthCheck::UnitActive { stable_for_s: 0, timeout_s: 2 };
    let stable = HealthCheck::UnitActive { stable_for_s: 1, timeout_s: 2 };
    let flapping: Vec<(UnitPhase, u32)> = (0..20).map(|restarts| (Active, restarts)).collect();
    for (script, check, complaint) in [
        (&[(Active, 0)][..], &at_once, None),
        (&[(Active, 0)], &stable, None),
        (&[(Inactive, 0), (Changing, 0), (Active, 0)], &stable, None),
        (&[(Active, 0), (Changing, 1), (Active, 1)], &stable, None),
        (&[(Failed, 0)], &at_once, Some("unit dpc.service failed")),
        (&[(Active, 0), (Failed, 0)], &stable, Some("unit dpc.service failed")),
        (&[(Changing, 0)], &at_once, Some("unit dpc.service did not become active in time")),
        (&flapping, &stable, Some("unit dpc.service did not stay active for long enough in time")),
    ] {
        let (said, took) = waited(&mut units(script), check);
        let expected = complaint.map(|complaint| format!("the DPC is not healthy: {complaint}"));
        assert_eq!(said, expected, "{script:?} {check:?}");
        assert!(took <= Duration::from_secs(2), "{took:?}");
    }
}

#[test]
fn a_check_is_run_again_until_its_time_is_over() {
    let check: HealthCheck =
        serde_json::from_str(r#"{"type":"command","program":"/bin/check","timeout_s":3}"#).unwrap();
    let script = |checks: &[bool]| Scripted { units: Vec::new(), checks: checks.to_vec(), seen: 0 };
    assert_eq!(waited(&mut script(&[false, false, true]), &check), (None, Duration::from_secs(2)));
    let (said, took) = waited(&mut script(&[false]), &check);
    assert_eq!(said.as_deref(), Some("the DPC is not healthy: /bin/check: not yet"));
    assert_eq!(took, Duration::from_secs(3));
}

#[test]
fn a_check_for_now_does_not_wait() {
    let unit: UnitName = "dpc.service".parse().unwrap();
    let active = HealthCheck::UnitActive { stable_for_s: 60, timeout_s: 100 };
    let now = |script: &[(UnitPhase, u32)]| check_once(&mut units(script), Some(&unit), &active).unwrap();
    assert_eq!(now(&[(UnitPhase::Active, 5)]), Health::Healthy);
    assert_eq!(now(&[(UnitPhase::Failed, 0)]), Health::Unhealthy("unit dpc.service is failed".to_owned()));
}
