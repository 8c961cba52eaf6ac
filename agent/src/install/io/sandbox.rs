//! A device in any root but `/`: files, packages and unit settings are real, and a DPC really runs.
//! Unsupported changes are reported and left out: kernel parameters, the running host name, reloads.
//!
//! There is no systemd in a sandbox. A unit "runs" as a process group that the agent starts itself, as
//! its own user, and that ends with the agent.

use super::{
    Packages, Reload, System, SystemError, UnitPhase, UnitReport,
    dpkg::Dpkg,
    live::run_check,
    paths::mismatch,
    systemctl::{self, Systemctl},
    unit_file::{self, Service},
};
use crate::{
    files::{self, FilesError, Root},
    install::{Change, Resource, State},
    programs::{Program, Running},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::{path::SafePath, payload::UnitName};

/// systemd's directories for unit files, in its order.
const UNIT_DIRECTORIES: [&str; 4] =
    ["etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
/// The largest unit file or credential, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A directory that stands for a device.
pub(crate) struct Sandbox {
    root: Root,
    dpkg: Dpkg,
    systemctl: Systemctl,
    running: BTreeMap<UnitName, Run>,
    /// The number of runs so far, so that each has its own name.
    runs: u64,
}

struct Run {
    process: Running,
    remains: bool,
    name: String,
}

impl Sandbox {
    pub(crate) fn new(root: Root) -> Self {
        let path = root.path().to_owned();
        Self {
            root,
            dpkg: Dpkg::with_root(path.clone()),
            systemctl: Systemctl::with_root(path),
            running: BTreeMap::new(),
            runs: 0,
        }
    }

    fn start(&mut self, unit: &UnitName) -> Result<(), SystemError> {
        self.running.remove(unit);
        let service = self.service(unit)?;
        let place = self.root.path().join("run/unbox").join(unit.as_str());
        files::make_directory(&place, files::PRIVATE_DIRECTORY)?;
        let mut program = Program::new(self.resolve_program(&service.program)?).args(&service.arguments);
        for (name, value) in &service.environment {
            program = program.env(name, value);
        }
        if let Some(name) = &service.state_directory {
            let directory = self.root.path().join("var/lib").join(name);
            files::make_directory(&directory, files::PUBLIC_DIRECTORY)?;
            program = program.env("STATE_DIRECTORY", directory);
        }
        if !service.credentials.is_empty() {
            program = program.env("CREDENTIALS_DIRECTORY", self.credentials(&place, &service)?);
        }
        let (output, _) = files::open_growing(&place.join("output"), files::PRIVATE_FILE)?;
        let process = program.start(&output)?;
        self.runs += 1;
        let run = Run { process, remains: service.remains, name: self.runs.to_string() };
        self.running.insert(unit.clone(), run);
        Ok(())
    }

    fn service(&self, unit: &UnitName) -> Result<Service, SystemError> {
        let unsupported =
            |why: String| SystemError::Unsupported { what: format!("starting {unit} in a sandbox"), why };
        let mut texts = Vec::new();
        for directory in UNIT_DIRECTORIES {
            if let Some(text) = text(&self.root.path().join(directory).join(unit.as_str()))? {
                texts.push(text);
                break;
            }
        }
        if texts.is_empty() {
            return Err(unsupported("there is no unit file".to_owned()));
        }
        let drop_in = format!("etc/systemd/system/{unit}.d/50-unbox.conf");
        texts.extend(text(&self.root.path().join(drop_in))?);
        unit_file::parse(&texts).map_err(unsupported)
    }

    /// Copies credentials to a directory for this unit alone, as `LoadCredential=` does.
    fn credentials(&self, place: &Path, service: &Service) -> Result<PathBuf, SystemError> {
        let directory = place.join("credentials");
        files::make_directory(&directory, files::PRIVATE_DIRECTORY)?;
        for (name, path) in &service.credentials {
            let below = path.strip_prefix("/").unwrap_or(path);
            let missing = || SystemError::Unsupported {
                what: format!("credential {name}"),
                why: format!("{} is missing", path.display()),
            };
            let secret = files::read(&self.root.path().join(below), MAX_FILE_BYTES)?.ok_or_else(missing)?;
            files::replace(&directory.join(name), &secret, files::PRIVATE_FILE)?;
        }
        Ok(directory)
    }

    /// Returns the real path of a program in the sandbox, if no link leads out of it.
    fn resolve_program(&self, program: &SafePath) -> Result<PathBuf, SystemError> {
        let path = program.to_path(self.root.path());
        let failed = |source| FilesError::Read { path: path.clone(), source };
        let real = path.canonicalize().map_err(failed)?;
        let root = self.root.path().canonicalize().map_err(failed)?;
        if real.starts_with(&root) {
            return Ok(real);
        }
        let why = "it leads out of the sandbox";
        Err(FilesError::Blocked { path, why }.into())
    }
}

fn text(path: &Path) -> Result<Option<String>, FilesError> {
    let bytes = files::read(path, MAX_FILE_BYTES)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

impl System for Sandbox {
    fn root(&self) -> &Root {
        &self.root
    }

    fn covers(&self, resource: &Resource) -> bool {
        match resource {
            Resource::Sysctl(_) | Resource::RunningHostname => false,
            Resource::UnitSetting(_) => systemctl::is_available(),
            _ => true,
        }
    }

    fn look(&self, resource: &Resource) -> Result<State, SystemError> {
        match resource {
            Resource::Package(name) => self.dpkg.look(name),
            Resource::Choices => Ok(State::Choices(Box::new(self.dpkg.choices()?))),
            Resource::UnitSetting(unit) => self.systemctl.setting(unit),
            Resource::UnitActivity(unit) => Ok(match self.running.get(unit) {
                Some(_) => State::Active { of: None },
                None => State::Inactive,
            }),
            _ => Err(mismatch(resource, &State::Absent)),
        }
    }

    fn change(&mut self, change: &Change, debs: &[PathBuf]) -> Result<(), SystemError> {
        match (&change.resource, &change.after) {
            (Resource::Package(name), after) => self.dpkg.change(name, after, debs),
            (Resource::Choices, after) => self.dpkg.set_choices(after),
            (Resource::UnitSetting(unit), after) => self.systemctl.set(unit, &change.before, after),
            (Resource::UnitActivity(unit), State::Active { .. }) => self.start(unit),
            (Resource::UnitActivity(unit), State::Inactive) => {
                self.running.remove(unit);
                Ok(())
            }
            (resource, after) => Err(mismatch(resource, after)),
        }
    }

    fn packages(&self) -> &dyn Packages {
        &self.dpkg
    }

    fn covers_reload(&self, _what: Reload) -> bool {
        false
    }

    fn reload(&mut self, what: Reload) -> Result<(), SystemError> {
        Err(SystemError::Unsupported { what: what.name().to_owned(), why: "this is a sandbox".to_owned() })
    }

    fn unit(&mut self, unit: &UnitName) -> Result<UnitReport, SystemError> {
        let Some(run) = self.running.get_mut(unit) else {
            let invocation = String::new();
            return Ok(UnitReport { phase: UnitPhase::Inactive, restarts: 0, invocation });
        };
        let phase = match run.process.exit_status()? {
            None => UnitPhase::Active,
            Some(status) if status.success() && run.remains => UnitPhase::Active,
            Some(status) if status.success() => UnitPhase::Inactive,
            Some(_) => UnitPhase::Failed,
        };
        Ok(UnitReport { phase, restarts: 0, invocation: run.name.clone() })
    }

    fn check(&mut self, program: &SafePath, arguments: &[String], limit: Duration) -> Option<String> {
        match self.resolve_program(program) {
            Ok(program) => run_check(Program::new(program).args(arguments), limit),
            Err(error) => Some(error.to_string()),
        }
    }
}
