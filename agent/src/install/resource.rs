//! The resources that can be managed, their states, and the changes between states.
//!
//! Doing and undoing are the same operation: a [`Change`] with its states swapped undoes the original.
//!
//! To add a resource: a variant of [`Resource`] with its states in [`State`], its place in
//! [`Change::phase`], its reading and changing in `io/mod.rs`, and a row in the tests.

use super::{Choices, choices::Made};
use crate::files::Owner;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};
use unbox_common::{
    digest::Sha256,
    path::SafePath,
    payload::{DpcName, PackageName, SysctlKey, UnitName, VersionText},
};

/// The directory of all trees of tar DPCs: one directory per DPC, and in it one per artifact.
pub(crate) const DPC_DIRECTORY: &str = "/opt/unbox/dpc";

/// Anything on the device that has a state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A file, link or directory, at its real place.
    Path(SafePath),
    /// An unpacked tar DPC, below `/opt/unbox/dpc/<dpc>/<digest>`: complete, or absent.
    Tree {
        /// The DPC.
        dpc: DpcName,
        /// The artifact that it was unpacked from.
        digest: Sha256,
    },
    /// A Debian package.
    Package(PackageName),
    /// Diversions, overridden modes and alternatives: no package lists them, and any package may change
    /// them.
    Choices,
    /// The current value of a kernel parameter.
    Sysctl(SysctlKey),
    /// The current host name.
    RunningHostname,
    /// The setting of a unit for the next boot.
    UnitSetting(UnitName),
    /// The current activity of a unit.
    UnitActivity(UnitName),
}

/// The state of a [`Resource`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The resource does not exist.
    Absent,
    /// A regular file.
    File {
        /// Digest of its contents.
        digest: Sha256,
        /// Its size in bytes.
        size: u64,
        /// Permission bits.
        mode: u32,
        /// Its owner.
        #[serde(flatten)]
        owner: Owner,
    },
    /// A symbolic link.
    Symlink {
        /// Its target.
        target: String,
    },
    /// A directory, whatever its content.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Its owner.
        #[serde(flatten)]
        owner: Owner,
    },
    /// A complete tree.
    Unpacked,
    /// An installed package.
    Installed {
        /// Its version.
        version: VersionText,
        /// The `.deb` that it came from, if stored. The package system does not know it.
        deb: Option<Sha256>,
    },
    /// A package that is neither installed nor absent, with the package system's name for its status.
    /// Only found, never intended.
    Partial(String),
    /// These diversions, overridden modes and alternatives.
    Choices(Box<Choices>),
    /// Any diversions, overridden modes and alternatives without these changes. Only intended, never found.
    ChoicesWithout(Box<Made>),
    /// The value of a kernel parameter or the host name.
    Value(String),
    /// The setting of a unit.
    Setting {
        /// True if it starts at boot.
        enabled: bool,
        /// True if starting it is impossible.
        masked: bool,
    },
    /// The unit is not running.
    Inactive,
    /// The unit is running.
    Active {
        /// Digest of everything that it was started from, if known. systemd does not know it; a
        /// difference means that the unit has to be restarted.
        of: Option<Sha256>,
    },
}

/// Resources with their states.
pub type States = BTreeMap<Resource, State>;

/// The change of one resource from one state to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The resource.
    pub resource: Resource,
    /// The state it was found in.
    pub before: State,
    /// The intended state.
    pub after: State,
}

/// The order of changes. Within a phase, the order is that of the resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Units to stop, while their files still exist.
    Stop,
    /// Units to disable, likewise.
    Disable,
    /// Packages to remove. Anything that they leave behind or take with them is corrected afterwards.
    RemovePackage,
    /// Directories to make, outermost first.
    MakeDirectory,
    /// Trees to unpack, which nothing refers to yet.
    Unpack,
    /// Packages to install; later phases may replace their files.
    Package,
    /// Files and links.
    Write,
    /// Readers of the files: systemd, the certificate store.
    Reload,
    /// Kernel parameters and the host name.
    Kernel,
    /// Units to enable at boot.
    Enable,
    /// Units to start now.
    Start,
    /// Trees that nothing refers to any more.
    RemoveTree,
    /// Directories that are empty now, innermost first.
    RemoveDirectory,
}

impl State {
    /// Returns true if a resource observed as `found` is in this state.
    ///
    /// Facts that the device does not record (the `.deb` of a package, the inputs of a unit) are not
    /// compared.
    #[must_use]
    pub fn matches(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Installed { version, .. }, Self::Installed { version: other, .. }) => version == other,
            (Self::Active { .. }, Self::Active { .. }) => true,
            (Self::ChoicesWithout(made), Self::Choices(found)) => made.revert(found) == **found,
            // The kernel separates list items by tabs, people by blanks.
            (Self::Value(value), Self::Value(other)) => value.split_whitespace().eq(other.split_whitespace()),
            _ => self == found,
        }
    }
}

impl Change {
    /// Returns the change that undoes this one.
    #[must_use]
    pub fn inverse(&self) -> Self {
        Self { resource: self.resource.clone(), before: self.after.clone(), after: self.before.clone() }
    }

    pub(crate) fn phase(&self) -> Phase {
        match (&self.resource, &self.after) {
            (Resource::UnitActivity(_), State::Active { .. }) => Phase::Start,
            (Resource::UnitActivity(_), _) => Phase::Stop,
            (Resource::UnitSetting(_), State::Setting { enabled: true, masked: false }) => Phase::Enable,
            (Resource::UnitSetting(_), _) => Phase::Disable,
            (Resource::Path(_), State::Directory { .. }) => Phase::MakeDirectory,
            (Resource::Path(_), State::Absent) if matches!(self.before, State::Directory { .. }) => {
                Phase::RemoveDirectory
            }
            (Resource::Path(_), _) => Phase::Write,
            (Resource::Tree { .. }, State::Unpacked) => Phase::Unpack,
            (Resource::Tree { .. }, _) => Phase::RemoveTree,
            (Resource::Package(_), State::Absent) => Phase::RemovePackage,
            (Resource::Package(_) | Resource::Choices, _) => Phase::Package,
            (Resource::Sysctl(_) | Resource::RunningHostname, _) => Phase::Kernel,
        }
    }
}

impl Resource {
    /// Returns true if a reboot changes it: its state then follows from the files on disk.
    #[must_use]
    pub const fn is_volatile(&self) -> bool {
        matches!(self, Self::Sysctl(_) | Self::RunningHostname | Self::UnitActivity(_))
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "{path}"),
            Self::Tree { dpc, digest } => write!(f, "{DPC_DIRECTORY}/{dpc}/{digest}"),
            Self::Package(name) => write!(f, "package {name}"),
            Self::Choices => f.write_str("diversions and alternatives"),
            Self::Sysctl(key) => write!(f, "kernel parameter {key}"),
            Self::RunningHostname => f.write_str("running host name"),
            Self::UnitSetting(unit) => write!(f, "setting of unit {unit}"),
            Self::UnitActivity(unit) => write!(f, "activity of unit {unit}"),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::File { digest, size, mode, owner } => {
                write!(f, "file {mode:04o} {}:{} {size} bytes {digest}", owner.uid, owner.gid)
            }
            Self::Symlink { target } => write!(f, "link to {target}"),
            Self::Directory { mode, owner } => write!(f, "directory {mode:04o} {}:{}", owner.uid, owner.gid),
            Self::Unpacked => f.write_str("unpacked"),
            Self::Installed { version, .. } => write!(f, "version {version}"),
            Self::Partial(status) => f.write_str(status),
            Self::Choices(choices) => {
                let Choices { diversions, alternatives, .. } = &**choices;
                write!(f, "{} diversions and {} alternatives", diversions.len(), alternatives.len())
            }
            Self::ChoicesWithout(_) => f.write_str("as before the packages"),
            Self::Value(value) => write!(f, "{value:?}"),
            Self::Setting { enabled, masked } => {
                let enabled = if *enabled { "enabled" } else { "disabled" };
                write!(f, "{enabled}{}", if *masked { ", masked" } else { "" })
            }
            Self::Inactive => f.write_str("inactive"),
            Self::Active { .. } => f.write_str("active"),
        }
    }
}

/// Returns true if a path is a tree's top, or inside it.
pub(crate) fn is_within(path: &SafePath, tree: &str) -> bool {
    path.as_str().strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// [`States`] as JSON: a list, because a resource is not a string that could be a key.
pub(crate) mod states_as_list {
    use super::{Resource, State, States};
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(states: &States, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(states)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<States, D::Error> {
        Vec::<(Resource, State)>::deserialize(deserializer).map(|list| list.into_iter().collect())
    }
}
