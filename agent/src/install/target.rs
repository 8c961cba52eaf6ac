//! The states of resources that a payload asks for. Pure: the device is surveyed elsewhere.

use super::{Resource, State, States, accounts::Accounts, package::UnitConflict, resource::DPC_DIRECTORY};
use crate::files::Owner;
use std::{collections::BTreeMap, fmt::Write as _};
use unbox_common::{
    digest::{Hasher, Sha256},
    path::{SafePath, UnsafePath},
    payload::{
        Dpc, DpcKind, FileContent, HealthCheck, InvalidName, InvalidPolicy, Payload, PolicyItem, SysctlKey,
        SysctlValue, UnitName, UserName,
    },
};

const SYSCTL_FILE: &str = "/etc/sysctl.d/60-unbox.conf";
const CA_DIRECTORY: &str = "/usr/local/share/ca-certificates";
const UNIT_DIRECTORY: &str = "/etc/systemd/system";
/// Name of the credential with a DPC's extras (systemd.exec(5), `LoadCredential=`).
pub(crate) const EXTRAS_CREDENTIAL: &str = "unbox.extras";

/// The intended state of the device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Target {
    /// Every resource that the payload names. Paths are as written in the payload.
    pub(crate) states: States,
    /// Unit settings; values that an item leaves open stay as they were.
    pub(crate) settings: BTreeMap<UnitName, Setting>,
    /// Contents of files that are not artifacts, by digest.
    pub(crate) texts: BTreeMap<Sha256, Vec<u8>>,
    /// The DPC's extras, one of the texts.
    pub(crate) extras: Option<Sha256>,
}

/// A payload's setting of a unit for the next boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setting {
    pub(crate) enabled: Option<bool>,
    pub(crate) masked: Option<bool>,
}

/// The facts about the device that the target depends on.
pub(crate) struct Means<'a> {
    /// Its users and groups.
    pub(crate) accounts: &'a Accounts,
    /// The unit file in the DPC's archive.
    pub(crate) unit_file: Option<&'a [u8]>,
    /// The blobs' path as seen from inside the device.
    pub(crate) blobs: &'a str,
}

/// The reason why a payload does not make sense on this device.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Two items concern one resource, perhaps by different names.
    #[error("two parts of the payload are about {0}")]
    Contradiction(Resource),
    /// A file is where another item needs a directory.
    #[error("the payload has {outer} as a file, and {inner} inside it")]
    Nested {
        /// The file.
        outer: SafePath,
        /// The path inside it.
        inner: SafePath,
    },
    /// A place belongs to Unbox on this device, perhaps under another name.
    #[error("{what} belongs to {holder}")]
    Reserved {
        /// The file or unit.
        what: String,
        /// The owner of the place.
        holder: &'static str,
    },
    /// The user does not exist on the device.
    #[error("there is no user {0} on this device")]
    NoUser(UserName),
    /// The group does not exist on the device.
    #[error("there is no group {0} on this device")]
    NoGroup(UserName),
    /// The user has no home directory.
    #[error("user {0} has no home directory on this device")]
    NoHome(UserName),
    /// The time zone is not installed on the device.
    #[error("time zone {0} is not installed on this device")]
    NoTimeZone(String),
    /// This kernel does not have the parameter.
    #[error("this kernel has no parameter {0}")]
    NoSysctl(SysctlKey),
    /// The archive lacks the unit to start.
    #[error("the DPC's archive holds no {0}, neither at the top nor in lib/systemd/system")]
    NoUnitFile(UnitName),
    /// No service could read the extras.
    #[error("the payload has extras for the DPC, but names no service that could read them")]
    ExtrasWithoutService,
    /// The health check is about a unit that is not named.
    #[error("the payload asks whether the DPC's unit is active, but names no unit")]
    HealthWithoutUnit,
    /// The package file does not match the payload.
    #[error("the package file is {found}, the payload says {expected}")]
    WrongPackage {
        /// Name and version according to the payload.
        expected: String,
        /// Name and version in the file.
        found: String,
    },
    /// A unit file affects units that must stay as they are.
    #[error(transparent)]
    Unit(#[from] UnitConflict),
    /// A policy item exceeds its rights, perhaps by a link on this device.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// A package must not be installed on this device.
    #[error("package {package} is not installed: {why}")]
    PackageUnfit {
        /// Name of the package.
        package: String,
        /// The reason.
        why: String,
    },
    /// A path made from the payload is invalid.
    #[error("the payload makes a path that cannot be used")]
    Path(#[from] UnsafePath),
    /// A name made from the payload is invalid.
    #[error("the payload makes a name that cannot be used")]
    Name(#[from] InvalidName),
    /// This version of the agent does not support the item.
    #[error("{0} cannot be installed by this version of the agent")]
    Unsupported(String),
}

/// Computes the target of a payload.
pub(crate) fn target(payload: &Payload, means: &Means<'_>) -> Result<Target, TargetError> {
    let mut builder = TargetBuilder { payload, means, target: Target::default(), sysctls: BTreeMap::new() };
    for item in &payload.policy {
        builder.add_item(item)?;
    }
    builder.add_sysctl_file()?;
    if let Some(dpc) = &payload.dpc {
        builder.add_dpc(dpc)?;
    }
    Ok(builder.target)
}

struct TargetBuilder<'a> {
    payload: &'a Payload,
    means: &'a Means<'a>,
    target: Target,
    sysctls: BTreeMap<&'a SysctlKey, &'a SysctlValue>,
}

impl<'a> TargetBuilder<'a> {
    fn add_item(&mut self, item: &'a PolicyItem) -> Result<(), TargetError> {
        match item {
            PolicyItem::File { path, content, mode, owner, group, .. } => {
                let (digest, size) = match content {
                    FileContent::Text(text) => self.add_text(text.as_bytes()),
                    FileContent::Base64(bytes) => self.add_text(bytes.as_ref()),
                    FileContent::Artifact(artifact) => (artifact.sha256, artifact.size),
                };
                let mode = mode.map_or(0o644, unbox_common::payload::FileMode::bits);
                let owner = self.owner(owner.as_ref(), group.as_ref())?;
                self.put(Resource::Path(path.clone()), State::File { digest, size, mode, owner })
            }
            PolicyItem::Unit { name, enabled, active, masked, .. } => {
                let starts = *enabled == Some(true) || *active == Some(true);
                // A masked unit cannot start, so a unit that is to start must be unmasked.
                let masked = if *masked { Some(true) } else { starts.then_some(false) };
                self.add_setting(name, Setting { enabled: *enabled, masked })?;
                let activity = match active {
                    Some(true) => State::Active { of: self.unit_item(name) },
                    Some(false) => State::Inactive,
                    None => return Ok(()),
                };
                self.put(Resource::UnitActivity(name.clone()), activity)
            }
            PolicyItem::Sysctl { key, value, .. } => {
                self.sysctls.insert(key, value);
                self.put(Resource::Sysctl(key.clone()), State::Value(value.to_string()))
            }
            PolicyItem::Hostname { name } => {
                self.add_file("/etc/hostname", format!("{name}\n").as_bytes(), 0o644)?;
                self.put(Resource::RunningHostname, State::Value(name.to_string()))
            }
            PolicyItem::TimeZone { zone } => {
                let target = format!("/usr/share/zoneinfo/{zone}");
                self.put(Resource::Path(SafePath::parse("/etc/localtime")?), State::Symlink { target })?;
                self.add_file("/etc/timezone", format!("{zone}\n").as_bytes(), 0o644)
            }
            PolicyItem::CaCertificate { name, pem } => {
                self.add_file(&format!("{CA_DIRECTORY}/unbox-{name}.crt"), pem.as_bytes(), 0o644)
            }
            PolicyItem::AuthorizedKeys { user, keys, .. } => self.add_authorized_keys(user, keys),
            PolicyItem::Package { name, version, artifact } => {
                let deb = Some(artifact.sha256);
                let state = State::Installed { version: version.clone(), deb };
                self.put(Resource::Package(name.clone()), state)
            }
            PolicyItem::NetworkProfile { .. } => Err(TargetError::Unsupported(item.key().to_string())),
        }
    }

    /// Returns the digest of a unit file in the payload: a new one makes the unit restart.
    fn unit_item(&self, unit: &UnitName) -> Option<Sha256> {
        let wanted = SafePath::parse(&format!("{UNIT_DIRECTORY}/{unit}")).ok()?;
        self.payload.policy.iter().find_map(|item| match item {
            PolicyItem::File { path, content, .. } if *path == wanted => Some(match content {
                FileContent::Text(text) => Sha256::of(text.as_bytes()),
                FileContent::Base64(bytes) => Sha256::of(bytes.as_ref()),
                FileContent::Artifact(artifact) => artifact.sha256,
            }),
            _ => None,
        })
    }

    fn add_authorized_keys(&mut self, user: &UserName, keys: &[String]) -> Result<(), TargetError> {
        let account = self.means.accounts.user(user);
        let account = account.ok_or_else(|| TargetError::NoUser(user.clone()))?;
        let directory = SafePath::parse(&format!("{}/.ssh", account.home))
            .map_err(|_| TargetError::NoHome(user.clone()))?;
        let file = SafePath::parse(&format!("{directory}/authorized_keys"))?;
        let owner = account.owner;
        let text: String = keys.iter().flat_map(|key| [key.trim(), "\n"]).collect();
        let (digest, size) = self.add_text(text.as_bytes());
        self.put(Resource::Path(directory), State::Directory { mode: 0o700, owner })?;
        self.put(Resource::Path(file), State::File { digest, size, mode: 0o600, owner })
    }

    fn add_sysctl_file(&mut self) -> Result<(), TargetError> {
        if self.sysctls.is_empty() {
            return Ok(());
        }
        let mut text = "# Set by the owner of this device; the next payload replaces this file.\n".to_owned();
        for (key, value) in &self.sysctls {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        }
        self.add_file(SYSCTL_FILE, text.as_bytes(), 0o644)
    }

    fn add_dpc(&mut self, dpc: &Dpc) -> Result<(), TargetError> {
        let mut origin = Hasher::new();
        origin.update(&dpc.artifact.sha256.0);
        match dpc.kind {
            DpcKind::Tar => {
                let digest = dpc.artifact.sha256;
                self.put(Resource::Tree { dpc: dpc.name.clone(), digest }, State::Unpacked)?;
                let current = SafePath::parse(&format!("{DPC_DIRECTORY}/{}/current", dpc.name))?;
                self.put(Resource::Path(current), State::Symlink { target: digest.to_string() })?;
                if let Some(unit) = &dpc.unit {
                    let text = self.means.unit_file;
                    let text = text.ok_or_else(|| TargetError::NoUnitFile(unit.clone()))?;
                    self.add_file(&format!("{UNIT_DIRECTORY}/{unit}"), text, 0o644)?;
                }
            }
            DpcKind::Deb => {
                let state = State::Installed { version: dpc.version.clone(), deb: Some(dpc.artifact.sha256) };
                self.put(Resource::Package(dpc.name.as_str().parse()?), state)?;
            }
            DpcKind::Sysext => return Err(TargetError::Unsupported("a DPC of kind sysext".to_owned())),
        }
        if !dpc.extras.is_empty() {
            let service = dpc.unit.as_ref().and_then(service_of);
            let service = service.ok_or(TargetError::ExtrasWithoutService)?;
            let extras = serde_json::Value::Object(dpc.extras.clone()).to_string();
            let (digest, _) = self.add_text(extras.as_bytes());
            self.target.extras = Some(digest);
            let drop_in =
                format!("[Service]\nLoadCredential={EXTRAS_CREDENTIAL}:{}/{digest}\n", self.means.blobs);
            self.add_file(&format!("{UNIT_DIRECTORY}/{service}.d/50-unbox.conf"), drop_in.as_bytes(), 0o644)?;
            origin.update(drop_in.as_bytes());
        }
        match (&dpc.unit, &dpc.health) {
            (Some(unit), _) => {
                self.add_setting(unit, Setting { enabled: Some(true), masked: Some(false) })?;
                let of = Some(origin.finish());
                self.put(Resource::UnitActivity(unit.clone()), State::Active { of })
            }
            (None, HealthCheck::UnitActive { .. }) => Err(TargetError::HealthWithoutUnit),
            (None, _) => Ok(()),
        }
    }

    fn add_file(&mut self, path: &str, bytes: &[u8], mode: u32) -> Result<(), TargetError> {
        let (digest, size) = self.add_text(bytes);
        let owner = self.means.accounts.root();
        self.put(Resource::Path(SafePath::parse(path)?), State::File { digest, size, mode, owner })
    }

    fn add_text(&mut self, bytes: &[u8]) -> (Sha256, u64) {
        let digest = Sha256::of(bytes);
        self.target.texts.entry(digest).or_insert_with(|| bytes.to_vec());
        (digest, bytes.len() as u64)
    }

    fn owner(&self, user: Option<&UserName>, group: Option<&UserName>) -> Result<Owner, TargetError> {
        let accounts = self.means.accounts;
        let root = accounts.root();
        let uid = match user {
            Some(name) => {
                let user = accounts.user(name);
                user.ok_or_else(|| TargetError::NoUser(name.clone()))?.owner.uid
            }
            None => root.uid,
        };
        let gid = match group {
            Some(name) => accounts.group(name).ok_or_else(|| TargetError::NoGroup(name.clone()))?,
            None => root.gid,
        };
        Ok(Owner { uid, gid })
    }

    fn add_setting(&mut self, unit: &UnitName, setting: Setting) -> Result<(), TargetError> {
        if setting == (Setting { enabled: None, masked: None }) {
            return Ok(());
        }
        match self.target.settings.insert(unit.clone(), setting) {
            Some(other) if other != setting => {
                Err(TargetError::Contradiction(Resource::UnitSetting(unit.clone())))
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, resource: Resource, state: State) -> Result<(), TargetError> {
        put(&mut self.target.states, resource, state)
    }
}

/// Adds a resource, which must not be present in another state.
pub(crate) fn put(states: &mut States, resource: Resource, state: State) -> Result<(), TargetError> {
    match states.get(&resource) {
        Some(other) if *other != state => Err(TargetError::Contradiction(resource)),
        Some(_) => Ok(()),
        None => {
            states.insert(resource, state);
            Ok(())
        }
    }
}

/// Refuses a path inside another that is not a directory.
pub(crate) fn check_nesting(states: &States) -> Result<(), TargetError> {
    for resource in states.keys() {
        let Resource::Path(inner) = resource else { continue };
        for outer in inner.parents() {
            match states.get(&Resource::Path(outer.clone())) {
                None | Some(State::Directory { .. }) => (),
                Some(_) => return Err(TargetError::Nested { outer, inner: inner.clone() }),
            }
        }
    }
    Ok(())
}

/// Returns the service that a unit starts, since only a service can read credentials.
fn service_of(unit: &UnitName) -> Option<String> {
    let (stem, kind) = unit.as_str().rsplit_once('.')?;
    matches!(kind, "service" | "socket" | "timer" | "path").then(|| format!("{stem}.service"))
}

#[cfg(test)]
#[path = "target_tests.rs"]
pub(in crate::install) mod tests;
