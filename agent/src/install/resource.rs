//! What can be managed, in which states, and what changing one from state to state means.
//!
//! Doing and undoing are the same: a [`Change`] whose states are swapped takes back what it did.
//!
//! To add a resource: a variant of [`Resource`] with its states in [`State`], its place in
//! [`Change::phase`], how it is looked at and changed in `io/mod.rs`, and a row in the tests.

use super::Choices;
use crate::files::Owner;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};
use unbox_common::{
    digest::Sha256,
    path::SafePath,
    payload::{DpcName, PackageName, SysctlKey, UnitName, VersionText},
};

/// Where the trees of tar DPCs lie: one directory per DPC, and in it one per artifact.
pub(crate) const DPC_DIRECTORY: &str = "/opt/unbox/dpc";

/// One thing on the device that has a state.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// A file, link or directory, at its real place.
    Path(SafePath),
    /// An unpacked tar DPC, below `/opt/unbox/dpc/<dpc>/<digest>`: there in full, or not at all.
    Tree {
        /// The DPC.
        dpc: DpcName,
        /// The artifact that it was unpacked from.
        digest: Sha256,
    },
    /// A Debian package.
    Package(PackageName),
    /// Diversions, overridden modes and alternatives: no package lists them, and each may change them.
    Choices,
    /// The present value of a kernel parameter.
    Sysctl(SysctlKey),
    /// The present host name.
    RunningHostname,
    /// What a unit does at the next boot.
    UnitSetting(UnitName),
    /// What a unit does now.
    UnitActivity(UnitName),
}

/// The state of a [`Resource`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is there.
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
        /// Where it points to.
        target: String,
    },
    /// A directory, whatever is in it.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Its owner.
        #[serde(flatten)]
        owner: Owner,
    },
    /// A tree is there in full.
    Unpacked,
    /// A package is installed.
    Installed {
        /// Its version.
        version: VersionText,
        /// The `.deb` that it came from, if that is kept. The package system does not know it.
        deb: Option<Sha256>,
    },
    /// A package is neither installed nor gone; what the package system calls it. Found, never
    /// wanted.
    Partial(String),
    /// Diversions, overridden modes and alternatives are these.
    Choices(Box<Choices>),
    /// A kernel parameter or the host name has this value.
    Value(String),
    /// How a unit is set.
    Setting {
        /// Started at boot.
        enabled: bool,
        /// Impossible to start.
        masked: bool,
    },
    /// The unit is not running.
    Inactive,
    /// The unit is running.
    Active {
        /// Digest of everything that it was started from, if that is known. systemd does not
        /// know it; a difference means that the unit has to be started anew.
        of: Option<Sha256>,
    },
}

/// Resources with their states.
pub type States = BTreeMap<Resource, State>;

/// One resource that is to go from one state to another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Which.
    pub resource: Resource,
    /// The state that it was found in.
    pub before: State,
    /// The state that it is to be in.
    pub after: State,
}

/// When a change takes its turn. Within a phase, the order is that of the resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// What is to stop, stops while its files are still there.
    Stop,
    /// So does what is not to start again.
    Disable,
    /// Packages that go. What they leave behind, or take with them, is put right afterwards.
    RemovePackage,
    /// Directories, outermost first.
    MakeDirectory,
    /// Trees, which nothing refers to yet.
    Unpack,
    /// Packages; what they bring, files may then replace.
    Package,
    /// Files and links.
    Write,
    /// What reads the files: systemd, the certificate store.
    Reload,
    /// Kernel parameters and the host name.
    Kernel,
    /// What is to start at boot.
    Enable,
    /// What is to run now.
    Start,
    /// Trees that nothing refers to any more.
    RemoveTree,
    /// Directories that are empty now, innermost first.
    RemoveDirectory,
}

impl State {
    /// Whether a resource that looks like `found` is in this state.
    ///
    /// What the device cannot tell (which `.deb`, what a unit was started from) is not compared.
    #[must_use]
    pub fn matches(&self, found: &Self) -> bool {
        match (self, found) {
            (Self::Installed { version, .. }, Self::Installed { version: other, .. }) => version == other,
            (Self::Active { .. }, Self::Active { .. }) => true,
            // The kernel sets lists apart by tabs, people by blanks.
            (Self::Value(value), Self::Value(other)) => value.split_whitespace().eq(other.split_whitespace()),
            _ => self == found,
        }
    }
}

impl Change {
    /// The change that takes this one back.
    #[must_use]
    pub fn undone(&self) -> Self {
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
    /// Whether a reboot changes it: its state then follows from what is on disk.
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

/// Whether a path is a tree's top, or inside it.
pub(crate) fn within(path: &SafePath, tree: &str) -> bool {
    path.as_str().strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// [`States`] as JSON: a list, because a resource is no text that could be a key.
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
