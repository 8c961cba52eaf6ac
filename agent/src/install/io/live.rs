//! This machine itself: systemd, dpkg, the kernel's parameters, its host name.

use super::{
    PackageFile, Reload, System, SystemError, UnitPhase, UnitReport,
    dpkg::{self, Dpkg},
    paths::mismatch,
    systemctl::Systemctl,
};
use crate::{
    files::Root,
    install::{Change, Resource, State},
    programs::{Program, code_of},
};
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::{
    path::SafePath,
    payload::{SysctlKey, UnitName},
};

/// How long reading every certificate may take.
const CA_LIMIT: Duration = Duration::from_mins(5);

/// The machine that the agent runs on.
pub(crate) struct Live {
    root: Root,
    dpkg: Dpkg,
    systemctl: Systemctl,
}

impl Live {
    pub(crate) fn new(root: Root) -> Self {
        Self { root, dpkg: Dpkg::live(), systemctl: Systemctl::live() }
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
            Resource::Sysctl(key) => sysctl(key),
            Resource::RunningHostname => {
                let name = nix::unistd::gethostname().map_err(|errno| SystemError::Kernel {
                    what: "a question for the host name".to_owned(),
                    source: errno.into(),
                })?;
                Ok(State::Value(name.to_string_lossy().into_owned()))
            }
            Resource::UnitSetting(unit) => self.systemctl.setting(unit),
            Resource::UnitActivity(unit) => Ok(match self.systemctl.report(unit)?.phase {
                UnitPhase::Active | UnitPhase::Changing => State::Active { of: None },
                UnitPhase::Inactive | UnitPhase::Failed => State::Inactive,
            }),
            Resource::Path(_) | Resource::Tree { .. } => Err(mismatch(resource, &State::Absent)),
        }
    }

    fn change(&mut self, change: &Change, deb: Option<&Path>) -> Result<(), SystemError> {
        match (&change.resource, &change.after) {
            (Resource::Package(name), after) => self.dpkg.change(name, after, deb),
            (Resource::Sysctl(key), State::Value(value)) => set_sysctl(key, value),
            (Resource::RunningHostname, State::Value(name)) => {
                nix::unistd::sethostname(name).map_err(|errno| SystemError::Kernel {
                    what: format!("the host name {name:?}"),
                    source: errno.into(),
                })
            }
            (Resource::UnitSetting(unit), State::Setting { enabled, masked }) => {
                self.systemctl.set(unit, *enabled, *masked)
            }
            (Resource::UnitActivity(unit), State::Active { .. }) => self.systemctl.restart(unit),
            (Resource::UnitActivity(unit), State::Inactive) => self.systemctl.stop(unit),
            (resource, after) => Err(mismatch(resource, after)),
        }
    }

    fn describe(&self, deb: &Path) -> Result<PackageFile, SystemError> {
        dpkg::describe(deb)
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

/// Runs a DPC's health check: its complaint, if it has one.
pub(super) fn run_check(program: Program, limit: Duration) -> Option<String> {
    match program.run(limit) {
        Ok(finished) if finished.status.success() => None,
        Ok(finished) => Some(format!("exit code {} {}", code_of(finished.status), finished.complaint())),
        Err(error) => Some(error.to_string()),
    }
}

fn sysctl(key: &SysctlKey) -> Result<State, SystemError> {
    match fs::read_to_string(sysctl_path(key)) {
        Ok(value) => Ok(State::Value(value.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::Absent),
        Err(source) => Err(SystemError::Kernel { what: format!("a question for {key}"), source }),
    }
}

fn set_sysctl(key: &SysctlKey, value: &str) -> Result<(), SystemError> {
    // The kernel takes a value in one write (proc_sys(5)).
    let written = OpenOptions::new()
        .write(true)
        .open(sysctl_path(key))
        .and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()));
    written.map_err(|source| SystemError::Kernel { what: format!("{key} = {value}"), source })
}

fn sysctl_path(key: &SysctlKey) -> PathBuf {
    Path::new("/proc/sys").join(key.as_str().replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_parameter_is_read_by_its_dotted_name() {
        let look = |key: &str| sysctl(&key.parse().unwrap()).unwrap();
        assert!(matches!(look("kernel.ostype"), State::Value(value) if value == "Linux"));
        assert_eq!(look("kernel.no_such_parameter"), State::Absent);
    }

    #[test]
    fn a_health_check_that_cannot_run_complains() {
        let limit = Duration::from_secs(10);
        assert_eq!(run_check(Program::new("true"), limit), None);
        let complaint = run_check(Program::new("sh").args(["-c", "echo no >&2; exit 7"]), limit);
        assert_eq!(complaint.as_deref(), Some("exit code 7 no"));
        assert!(run_check(Program::new("/nowhere"), limit).is_some());
    }
}
