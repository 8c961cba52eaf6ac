//! A simulated device with real files; packages, units and kernel are a model. It can lose power, and
//! its state after a boot follows from its disk, as on a real device.

use crate::{
    faults::FailAt,
    payloads::{Artifacts, snapshot},
};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::process::ExitStatusExt as _,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::Arc,
    time::Duration,
};
use tempfile::TempDir;
use unbox_agent::{
    files::{Operation, Root},
    install::{
        Change, Choices, Clock, Diversion, InstallError, InstallOutcome, Installer, PackageFile, Packages,
        Relations, Reload, Resource, State, System, SystemError, UnitConflict, UnitPhase, UnitReport,
    },
    programs::ProgramError,
};
use unbox_common::{
    path::{RelativePath, SafePath},
    payload::{AcceptedPayload, PackageName, UnitName},
    protected::is_unit_file,
};

/// A device that is switched on or off.
pub(crate) struct Device {
    home: TempDir,
    pub(crate) artifacts: Artifacts,
    durable: Durable,
    volatile: Volatile,
    /// True if the DPC's own health check succeeds.
    pub(crate) healthy: bool,
    /// The number of further checks that find another program at work on the packages.
    pub(crate) busy: Cell<usize>,
}

/// The durable state beside the files.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Durable {
    packages: BTreeMap<String, String>,
    /// The files of each package.
    lists: BTreeMap<String, Vec<String>>,
    choices: Choices,
    /// Each unit's settings: enabled, masked.
    settings: BTreeMap<String, (bool, bool)>,
}

/// The state that a reboot clears.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Volatile {
    sysctls: BTreeMap<String, String>,
    hostname: String,
    /// The running units, each with the contents of the files that it was started from.
    running: BTreeMap<String, Vec<String>>,
    /// The certificates that the system trusts.
    trusted: Vec<String>,
    /// The unit files that systemd knows.
    known_units: Vec<String>,
}

/// A snapshot of everything that can be observed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Picture {
    files: Vec<String>,
    durable: Durable,
    volatile: Volatile,
}

const KERNEL: [(&str, &str); 2] = [("net.ipv4.ip_forward", "0"), ("vm.swappiness", "60")];

impl Device {
    /// Makes a device in its factory state: a few files, one unit that runs, one that is masked.
    pub(crate) fn new() -> Self {
        let shared_memory = Path::new("/dev/shm");
        let home = if shared_memory.is_dir() {
            tempfile::tempdir_in(shared_memory).unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let artifacts = Artifacts::new(home.path().join("artifacts"));
        let mut device = Self {
            home,
            artifacts,
            durable: Durable::default(),
            volatile: Volatile::default(),
            healthy: true,
            busy: Cell::new(0),
        };
        device.write("etc/issue", "factory\n");
        device.write("etc/banner", "factory\n");
        device.write("etc/passwd", "root:x:0:0::/root:/bin/sh\nada:x:1000:1000::/home/ada:/bin/sh\n");
        device.write("etc/group", "root:x:0:\n");
        device.write("etc/hostname", "factory\n");
        device.write("usr/share/zoneinfo/Europe/Zurich", "TZif");
        device.write("usr/lib/systemd/system/old.service", "[Service]\nExecStart=/bin/old\n");
        for directory in
            ["home/ada", "root", "opt", "var/lib/unbox", "etc/systemd/system", "usr/bin", "usr/share/empty"]
        {
            fs::create_dir_all(device.root().join(directory)).unwrap();
        }
        device.durable.settings.insert("old.service".to_owned(), (true, false));
        device.durable.settings.insert("held.service".to_owned(), (true, true));
        device.reboot();
        device
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    pub(crate) fn state_dir(&self) -> PathBuf {
        self.root().join("var/lib/unbox")
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub(crate) fn install(
        &mut self,
        payload: &AcceptedPayload,
        faults: &Arc<FailAt>,
    ) -> Result<InstallOutcome, InstallError> {
        let artifacts = self.artifacts.dir();
        self.with(faults, |installer| installer.install(payload, &artifacts))
    }

    pub(crate) fn resume(&mut self, faults: &Arc<FailAt>) -> Result<Option<InstallOutcome>, InstallError> {
        let artifacts = self.artifacts.dir();
        self.with(faults, |installer| installer.resume(&artifacts))
    }

    pub(crate) fn uninstall(&mut self, faults: &Arc<FailAt>) -> Result<InstallOutcome, InstallError> {
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method's own lifetime is not general enough"
        )]
        self.with(faults, |installer| installer.uninstall())
    }

    pub(crate) fn drift(&mut self) -> Vec<Change> {
        self.with(&FailAt::never(), |installer| installer.drift()).unwrap()
    }

    fn with<T>(&mut self, faults: &Arc<FailAt>, act: impl FnOnce(&mut Installer<'_>) -> T) -> T {
        let state_dir = self.state_dir();
        let root = Root::open(&self.root()).unwrap().with_faults(Arc::<FailAt>::clone(faults));
        let mut model = Model { device: self, root };
        let mut clock = FakeClock::default();
        act(&mut Installer {
            system: &mut model,
            state_dir: &state_dir,
            clock: &mut clock,
            progress: &mut |_, _| (),
        })
    }

    /// Installs a package as another program would.
    pub(crate) fn has_package(&mut self, name: &str, version: &str) {
        self.durable.packages.insert(name.to_owned(), version.to_owned());
        self.durable.lists.insert(name.to_owned(), vec![format!("usr/bin/{name}")]);
    }

    /// Makes an identical copy of the device.
    pub(crate) fn fork(&self) -> Self {
        let mut other = Self::new();
        fs::remove_dir_all(other.root()).unwrap();
        copy(&self.root(), &other.root());
        copy(&self.artifacts.directory, &other.artifacts.directory);
        other.durable = self.durable.clone();
        other.volatile = self.volatile.clone();
        other.healthy = self.healthy;
        other.busy = self.busy.clone();
        other
    }

    /// Switches the device off and on again.
    pub(crate) fn reboot(&mut self) {
        self.volatile = self.after_boot();
    }

    fn after_boot(&self) -> Volatile {
        let mut sysctls: BTreeMap<String, String> =
            KERNEL.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let settings = fs::read_to_string(self.root().join("etc/sysctl.d/60-unbox.conf")).unwrap_or_default();
        for line in settings.lines().filter(|line| !line.starts_with('#')) {
            let (key, value) = line.split_once(" = ").unwrap();
            sysctls.insert(key.to_owned(), value.to_owned());
        }
        let hostname = fs::read_to_string(self.root().join("etc/hostname")).unwrap_or_default();
        let enabled = self.durable.settings.iter().filter(|(_, setting)| **setting == (true, false));
        let running = enabled.map(|(unit, _)| (unit.clone(), self.files_of(unit))).collect();
        Volatile {
            sysctls,
            hostname: hostname.trim().to_owned(),
            running,
            trusted: self.certificates(),
            known_units: self.unit_files(),
        }
    }

    pub(crate) fn picture(&self) -> Picture {
        Picture {
            files: snapshot(&self.root()),
            durable: self.durable.clone(),
            volatile: self.volatile.clone(),
        }
    }

    /// Returns true if the device looks like the picture, or as it would after a boot: where a payload
    /// leaves the state of a unit open, a boot decides it.
    pub(crate) fn looks_like(&self, picture: &Picture) -> bool {
        let now = self.picture();
        let booted = self.after_boot();
        let Volatile { sysctls, hostname, running, trusted, known_units } = &now.volatile;
        let units = running.keys().chain(picture.volatile.running.keys()).chain(booted.running.keys());
        let runs_as_it_should = |unit: &String| {
            let run = running.get(unit);
            run == picture.volatile.running.get(unit) || run == booted.running.get(unit)
        };
        now.files == picture.files
            && now.durable == picture.durable
            && *sysctls == picture.volatile.sysctls
            && *hostname == picture.volatile.hostname
            && *trusted == picture.volatile.trusted
            && *known_units == picture.volatile.known_units
            && units.into_iter().all(runs_as_it_should)
    }

    /// Lists the agent's own files, which must not grow without bound.
    pub(crate) fn list_records(&self) -> Vec<String> {
        let install = self.state_dir().join("install");
        let names =
            |directory: PathBuf| fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        let mut kept: Vec<String> = names(install.clone())
            .chain(names(install.join("blobs")))
            .map(|name| name.into_string().unwrap())
            .collect();
        kept.sort();
        kept
    }

    /// Returns the contents of the files that a unit is started from.
    fn files_of(&self, unit: &str) -> Vec<String> {
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        let etc = self.root().join("etc/systemd/system");
        let mut files = vec![read(&etc.join(unit)), read(&etc.join(format!("{unit}.d/50-unbox.conf")))];
        if unit == "acme.service" {
            files.push(read(&self.root().join("opt/unbox/dpc/acme/current/bin/dpc")));
        }
        files
    }

    fn certificates(&self) -> Vec<String> {
        let directory = fs::read_dir(self.root().join("usr/local/share/ca-certificates"));
        let mut certificates: Vec<String> = directory
            .into_iter()
            .flatten()
            .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
            .collect();
        certificates.sort();
        certificates
    }

    fn unit_files(&self) -> Vec<String> {
        let mut files = snapshot(&self.root().join("etc/systemd/system"));
        files.retain(|line| line.contains(" file "));
        files
    }
}

/// Copies a tree with its links and permissions.
fn copy(from: &Path, to: &Path) {
    let metadata = from.symlink_metadata().unwrap();
    if metadata.is_symlink() {
        std::os::unix::fs::symlink(from.read_link().unwrap(), to).unwrap();
    } else if metadata.is_dir() {
        if !to.exists() {
            fs::create_dir(to).unwrap();
        }
        for entry in fs::read_dir(from).unwrap() {
            let name = entry.unwrap().file_name();
            copy(&from.join(&name), &to.join(name));
        }
        fs::set_permissions(to, metadata.permissions()).unwrap();
    } else {
        fs::copy(from, to).unwrap();
    }
}

/// The running device as the install stage sees it.
struct Model<'a> {
    device: &'a mut Device,
    root: Root,
}

impl Model<'_> {
    /// Loses power, if that is due: possible before and after every durable change.
    fn cut(&self) -> Result<(), SystemError> {
        self.root
            .check(Operation::Attributes)
            .map_err(|source| SystemError::Kernel { what: "anything".to_owned(), source })
    }

    /// Installs a package, or removes it without a `deb`. Bad packages overwrite unowned files, divert files
    /// of others, or fail.
    fn set_package(&mut self, name: &str, deb: Option<&Deb>) -> Result<(), SystemError> {
        self.cut()?;
        self.device.durable.packages.insert(name.to_owned(), "half".to_owned());
        self.cut()?;
        for from in deb.iter().flat_map(|deb| &deb.diverts) {
            let diversion = diversion(from, name);
            if !self.device.durable.choices.diversions.contains(&diversion) {
                self.rename(from, &diversion.to);
                self.device.durable.choices.diversions.insert(diversion);
            }
        }
        self.cut()?;
        let root = self.device.root();
        let old = self.device.durable.lists.remove(name).unwrap_or_default();
        let brings = |path: &str| deb.is_some_and(|deb| deb.files.iter().any(|(other, _)| other == path));
        for path in old.iter().filter(|path| !brings(path)) {
            let _ = fs::remove_file(root.join(path));
            // Directories that this leaves empty, no matter who made them.
            let _ = fs::remove_dir(root.join(path).parent().unwrap());
        }
        if let Some(deb) = deb {
            for (path, text) in &deb.files {
                self.device.write(path, text);
            }
            let files = deb.files.iter().map(|(path, _)| path.clone()).collect();
            self.device.durable.lists.insert(name.to_owned(), files);
        }
        self.cut()?;
        if deb.is_some_and(|deb| deb.fails) {
            let status = ExitStatus::from_raw(256);
            let (program, complaint) = ("dpkg".to_owned(), "postinst failed".to_owned());
            return Err(ProgramError::Failed { program, status, complaint }.into());
        }
        let packages = &mut self.device.durable.packages;
        match deb {
            Some(deb) => packages.insert(name.to_owned(), deb.version.clone()),
            None => packages.remove(name),
        };
        if deb.is_none() {
            let of_package = |diversion: &Diversion| diversion.package.as_deref() == Some(name);
            let now = self.device.durable.choices.clone();
            let rest = now.diversions.iter().filter(|one| !of_package(one)).cloned().collect();
            self.set_choices(&Choices { diversions: rest, ..now });
        }
        self.cut()
    }

    fn set_choices(&mut self, after: &Choices) {
        let now = self.device.durable.choices.clone();
        for made in now.diversions.difference(&after.diversions) {
            self.rename(&made.to, &made.from);
        }
        for gone in after.diversions.difference(&now.diversions) {
            self.rename(&gone.from, &gone.to);
        }
        self.device.durable.choices = after.clone();
    }

    fn rename(&self, from: &str, to: &str) {
        let _ = fs::rename(self.device.root().join(&from[1..]), self.device.root().join(&to[1..]));
    }
}

fn diversion(from: &str, package: &str) -> Diversion {
    Diversion { from: from.to_owned(), to: format!("{from}.real"), package: Some(package.to_owned()) }
}

/// A package file of these tests: a line with name and version, then one line for each action.
struct Deb {
    name: String,
    version: String,
    files: Vec<(String, String)>,
    diverts: Vec<String>,
    fails: bool,
}

impl Deb {
    fn read(deb: &Path) -> Self {
        let text = fs::read_to_string(deb).unwrap();
        let mut lines = text.lines();
        let (name, version) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
        let own = (format!("usr/bin/{name}"), version.to_owned());
        let mut deb = Self {
            name: name.to_owned(),
            version: version.to_owned(),
            files: vec![own],
            diverts: Vec::new(),
            fails: false,
        };
        for line in lines {
            match line.split_once(' ').unwrap_or((line, "")) {
                ("divert", path) => deb.diverts.push(path.to_owned()),
                ("fail", _) => deb.fails = true,
                (path, text) => deb.files.push((path.to_owned(), text.to_owned())),
            }
        }
        deb
    }
}

impl Packages for Model<'_> {
    fn describe(&self, deb: &Path) -> Result<PackageFile, SystemError> {
        let deb = Deb::read(deb);
        let files: BTreeSet<RelativePath> =
            deb.files.iter().map(|(path, _)| RelativePath::parse(path).unwrap()).collect();
        let directories = files.iter().filter_map(|file| file.as_str().rsplit_once('/'));
        let directories = directories.map(|(parent, _)| RelativePath::parse(parent).unwrap()).collect();
        let installed_bytes = 1;
        let mut conflicts = deb.files.iter().map(|(path, text)| (format!("/{path}"), text));
        let conflict = conflicts.find_map(|(path, text)| {
            is_unit_file(&path).then(|| UnitConflict::find(&path, text.as_bytes())).flatten()
        });
        Ok(PackageFile {
            name: deb.name,
            version: deb.version,
            installed_bytes,
            conflict,
            files,
            directories,
            is_lasting: false,
            ..PackageFile::default()
        })
    }

    fn complete(&self) -> Result<(), SystemError> {
        Ok(())
    }

    fn relations_of(&self, _name: &PackageName) -> Result<Relations, SystemError> {
        Ok(Relations::default())
    }

    fn paths_of(&self, name: &PackageName) -> Result<Vec<String>, SystemError> {
        let files = self.device.durable.lists.get(name.as_str()).cloned().unwrap_or_default();
        let parents =
            files.iter().filter_map(|file| file.rsplit_once('/')).map(|(parent, _)| parent.to_owned());
        Ok(parents.chain(files.iter().cloned()).map(|path| format!("/{path}")).collect())
    }

    fn conffiles_of(&self, _name: &PackageName) -> Result<Vec<String>, SystemError> {
        Ok(Vec::new())
    }

    fn lists(&self) -> Result<BTreeMap<String, Vec<String>>, SystemError> {
        let lists = self.device.durable.lists.iter();
        let absolute = |list: &Vec<String>| list.iter().map(|path| format!("/{path}")).collect();
        Ok(lists.map(|(name, list)| (name.clone(), absolute(list))).collect())
    }

    fn installed(&self) -> Result<BTreeSet<String>, SystemError> {
        Ok(self.device.durable.packages.keys().map(|name| format!("{name}:all")).collect())
    }

    fn rehearse(&self, _debs: &[PathBuf], _after_removals: bool) -> Result<BTreeSet<String>, SystemError> {
        Ok(BTreeSet::new())
    }

    fn choices(&self) -> Result<Choices, SystemError> {
        Ok(self.device.durable.choices.clone())
    }

    fn holder(&self) -> Result<Option<String>, SystemError> {
        let left = self.device.busy.get();
        self.device.busy.set(left.saturating_sub(1));
        Ok((left > 0).then(|| "apt-get (process 7)".to_owned()))
    }
}

impl System for Model<'_> {
    fn root(&self) -> &Root {
        &self.root
    }

    fn covers(&self, _resource: &Resource) -> bool {
        true
    }

    fn look(&self, resource: &Resource) -> Result<State, SystemError> {
        let device = &*self.device;
        Ok(match resource {
            Resource::Package(name) => match device.durable.packages.get(name.as_str()).map(String::as_str) {
                None => State::Absent,
                Some("half") => State::Partial("half installed".to_owned()),
                Some(version) => State::Installed { version: version.parse().unwrap(), deb: None },
            },
            Resource::Choices => State::Choices(Box::new(device.durable.choices.clone())),
            Resource::Sysctl(key) => match device.volatile.sysctls.get(key.as_str()) {
                None => State::Absent,
                Some(value) => State::Value(value.clone()),
            },
            Resource::RunningHostname => State::Value(device.volatile.hostname.clone()),
            Resource::UnitSetting(unit) => {
                let setting = device.durable.settings.get(unit.as_str());
                let (enabled, masked) = setting.copied().unwrap_or_default();
                State::Setting { enabled, masked }
            }
            Resource::UnitActivity(unit) => match device.volatile.running.get(unit.as_str()) {
                Some(_) => State::Active { of: None },
                None => State::Inactive,
            },
            Resource::Path(_) | Resource::Tree { .. } => unreachable!("the stage looks at files itself"),
        })
    }

    fn change(&mut self, change: &Change, debs: &[PathBuf]) -> Result<(), SystemError> {
        match (&change.resource, &change.after) {
            (Resource::Package(name), State::Installed { version, .. }) => {
                if let Some(holder) = self.holder()? {
                    return Err(SystemError::PackagesBusy(holder));
                }
                let held = Deb::read(&debs[0]);
                let wanted = (name.as_str(), version.as_str());
                assert_eq!((held.name.as_str(), held.version.as_str()), wanted, "another package is kept");
                return self.set_package(name.as_str(), Some(&held));
            }
            (Resource::Choices, State::Choices(choices)) => {
                self.cut()?;
                self.set_choices(choices);
                return self.cut();
            }
            (Resource::Choices, State::ChoicesWithout(made)) => {
                self.cut()?;
                self.set_choices(&made.revert(&self.device.durable.choices.clone()));
                return self.cut();
            }
            (Resource::Package(name), State::Absent) => return self.set_package(name.as_str(), None),
            _ => self.cut()?,
        }
        let files = match &change.resource {
            Resource::UnitActivity(unit) => self.device.files_of(unit.as_str()),
            _ => Vec::new(),
        };
        let Device { durable, volatile, .. } = &mut *self.device;
        match (&change.resource, &change.after) {
            (Resource::Sysctl(key), State::Value(value)) => {
                volatile.sysctls.insert(key.to_string(), value.clone());
            }
            (Resource::RunningHostname, State::Value(name)) => volatile.hostname.clone_from(name),
            (Resource::UnitSetting(unit), State::Setting { enabled: false, masked: false }) => {
                durable.settings.remove(unit.as_str());
            }
            (Resource::UnitSetting(unit), State::Setting { enabled, masked }) => {
                durable.settings.insert(unit.to_string(), (*enabled, *masked));
            }
            (Resource::UnitActivity(unit), State::Active { .. }) => {
                let masked = durable.settings.get(unit.as_str()).is_some_and(|(_, masked)| *masked);
                if masked {
                    let (what, why) = (format!("starting {unit}"), "it is masked".to_owned());
                    return Err(SystemError::Unsupported { what, why });
                }
                volatile.running.insert(unit.to_string(), files);
            }
            (Resource::UnitActivity(unit), State::Inactive) => drop(volatile.running.remove(unit.as_str())),
            (resource, after) => panic!("{resource} as {after}"),
        }
        self.cut()
    }

    fn packages(&self) -> &dyn Packages {
        self
    }

    fn covers_reload(&self, _what: Reload) -> bool {
        true
    }

    fn reload(&mut self, what: Reload) -> Result<(), SystemError> {
        self.cut()?;
        match what {
            Reload::Units => self.device.volatile.known_units = self.device.unit_files(),
            Reload::CaCertificates => self.device.volatile.trusted = self.device.certificates(),
        }
        Ok(())
    }

    fn unit(&mut self, unit: &UnitName) -> Result<UnitReport, SystemError> {
        let runs = self.device.volatile.running.contains_key(unit.as_str());
        let phase = match (runs, self.device.healthy) {
            (true, true) => UnitPhase::Active,
            (true, false) => UnitPhase::Failed,
            (false, _) => UnitPhase::Inactive,
        };
        Ok(UnitReport { phase, restarts: 0, invocation: String::new() })
    }

    fn check(&mut self, _program: &SafePath, _arguments: &[String], _limit: Duration) -> Option<String> {
        (!self.device.healthy).then(|| "not today".to_owned())
    }
}

/// A clock that advances only during a sleep.
#[derive(Debug, Default)]
struct FakeClock(Duration);

impl Clock for FakeClock {
    fn monotonic(&self) -> Duration {
        self.0
    }

    fn sleep(&mut self, span: Duration) {
        self.0 += span;
    }
}
