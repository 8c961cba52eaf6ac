//! The running machine: systemd, dpkg, the kernel's parameters, its host name.

use super::{
    Packages, Reload, System, SystemError, UnitPhase, UnitReport,
    dpkg::Dpkg,
    kernel::{self, Kernel},
    paths::mismatch,
    systemctl::Systemctl,
};
use crate::{
    files::Root,
    install::{Change, Resource, State},
    programs::{Program, exit_code},
};
use std::{path::PathBuf, time::Duration};
use unbox_common::{path::SafePath, payload::UnitName};

/// Time limit for reading every certificate.
const CA_LIMIT: Duration = Duration::from_mins(5);

/// The machine that the agent runs on.
pub(crate) struct Live {
    root: Root,
    dpkg: Dpkg,
    systemctl: Systemctl,
    kernel: Kernel,
}

impl Live {
    pub(crate) fn new(root: Root) -> Self {
        Self { root, dpkg: Dpkg::live(), systemctl: Systemctl::live(), kernel: Kernel::new() }
    }
}

impl System for Live {
    fn root(&self) -> &Root {
        &self.root
    }

    fn covers(&self, _resource: &Resource) -> bool {
        true
    }

    fn look(&self, resource: &Resource) -> Result<State, SystemError> {
        match resource {
            Resource::Package(name) => self.dpkg.look(name),
            Resource::Choices => Ok(State::Choices(Box::new(self.dpkg.choices()?))),
            Resource::Sysctl(key) => Ok(self.kernel.read(key.as_str())?.map_or(State::Absent, State::Value)),
            Resource::RunningHostname => {
                Ok(self.kernel.read(kernel::HOSTNAME)?.map_or(State::Absent, State::Value))
            }
            Resource::UnitSetting(unit) => self.systemctl.setting(unit),
            Resource::UnitActivity(unit) => Ok(match self.systemctl.report(unit)?.phase {
                UnitPhase::Active | UnitPhase::Changing => State::Active { of: None },
                UnitPhase::Inactive | UnitPhase::Failed => State::Inactive,
            }),
            Resource::Path(_) | Resource::Tree { .. } => Err(mismatch(resource, &State::Absent)),
        }
    }

    fn change(&mut self, change: &Change, debs: &[PathBuf]) -> Result<(), SystemError> {
        match (&change.resource, &change.after) {
            (Resource::Package(name), after) => self.dpkg.change(name, after, debs),
            (Resource::Choices, after) => self.dpkg.set_choices(after),
            (Resource::Sysctl(key), State::Value(value)) => self.kernel.write(key.as_str(), value),
            (Resource::RunningHostname, State::Value(name)) => self.kernel.write(kernel::HOSTNAME, name),
            (Resource::UnitSetting(unit), after) => self.systemctl.set(unit, &change.before, after),
            (Resource::UnitActivity(unit), State::Active { .. }) => self.systemctl.restart(unit),
            (Resource::UnitActivity(unit), State::Inactive) => self.systemctl.stop(unit),
            (resource, after) => Err(mismatch(resource, after)),
        }
    }

    fn packages(&self) -> &dyn Packages {
        &self.dpkg
    }

    fn covers_reload(&self, _what: Reload) -> bool {
        true
    }

    fn reload(&mut self, what: Reload) -> Result<(), SystemError> {
        match what {
            Reload::Units => self.systemctl.reload(),
            Reload::CaCertificates => {
                Program::new("update-ca-certificates").succeed(CA_LIMIT)?;
                Ok(())
            }
        }
    }

    fn unit(&mut self, unit: &UnitName) -> Result<UnitReport, SystemError> {
        self.systemctl.report(unit)
    }

    fn check(&mut self, program: &SafePath, arguments: &[String], limit: Duration) -> Option<String> {
        run_check(Program::new(program.as_str()).args(arguments), limit)
    }
}

/// Runs a DPC's health check, and returns its complaint, if any.
pub(super) fn run_check(program: Program, limit: Duration) -> Option<String> {
    match program.run(limit) {
        Ok(finished) if finished.status.success() => None,
        Ok(finished) => Some(format!("exit code {} {}", exit_code(finished.status), finished.complaint())),
        Err(error) => Some(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_health_check_that_cannot_run_complains() {
        let limit = Duration::from_secs(10);
        assert_eq!(run_check(Program::new("true"), limit), None);
        let complaint = run_check(Program::new("sh").args(["-c", "echo no >&2; exit 7"]), limit);
        assert_eq!(complaint.as_deref(), Some("exit code 7 no"));
        assert!(run_check(Program::new("/nowhere"), limit).is_some());
    }
}
