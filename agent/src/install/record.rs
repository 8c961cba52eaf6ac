//! The record of the installed payload, and of the state before the first payload: `installed.json`.
//!
//! Both are in one document, because they change together: it is replaced atomically, and only after the
//! health check has passed.

use super::{States, choices::Made, resource::states_as_list};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use unbox_common::{
    digest::Sha256,
    ids::{ConfigurationId, Generation},
    payload::{HealthCheck, PackageName, Payload, UnitName},
    protocol::latest,
};

use super::{Resource, State};

/// The version of the document that this agent writes.
const FORMAT: u32 = 1;

/// The record of the installed payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// The generation of its enrollment.
    pub(crate) generation: Generation,
    /// The payload's version.
    pub(crate) version: u64,
    configuration: ConfigurationId,
    dpc: Option<latest::InstalledDpc>,
    /// The DPC's unit.
    pub(crate) unit: Option<UnitName>,
    /// The health check.
    pub(crate) health: HealthCheck,
    /// The DPC's extras, among the blobs.
    extras: Option<Sha256>,
    /// Every managed resource, in its intended state.
    #[serde(with = "states_as_list")]
    pub(crate) target: States,
    /// The same resources, in their state before they were managed.
    #[serde(with = "states_as_list")]
    pub(crate) baseline: States,
    /// Unmanaged files that each managed package replaced.
    #[serde(default, skip_serializing_if = "Replaced::is_empty")]
    pub(crate) replaced: Replaced,
    /// The changes that its packages, and those of earlier payloads, have made to diversions, overridden
    /// modes and alternatives.
    #[serde(default, skip_serializing_if = "Made::is_empty")]
    pub(crate) made: Made,
}

/// The replaced states, by package.
pub(crate) type Replaced = BTreeMap<PackageName, ReplacedStates>;

/// The states that one package replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ReplacedStates(#[serde(with = "states_as_list")] pub(crate) States);

/// The reason why this agent cannot use a document.
#[derive(Debug, thiserror::Error)]
pub enum UnusableDocument {
    /// The document is not in this agent's format.
    #[error("it cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// A newer agent wrote the document.
    #[error("it has format {0}, and this agent knows formats up to {FORMAT}")]
    TooNew(u32),
    /// The document is truncated or empty.
    #[error("it is not complete")]
    Incomplete,
}

/// The beginning of every document: its format, checked before the rest is parsed.
#[derive(Deserialize)]
struct Formatted {
    format: u32,
}

const fn deb_of(state: &State) -> Option<Sha256> {
    match state {
        State::Installed { deb, .. } => *deb,
        _ => None,
    }
}

const fn file_of(state: &State) -> Option<Sha256> {
    match state {
        State::File { digest, .. } => Some(*digest),
        _ => None,
    }
}

pub(crate) fn check_format(document: &[u8]) -> Result<(), UnusableDocument> {
    let Formatted { format } = serde_json::from_slice(document).map_err(UnusableDocument::Unreadable)?;
    if format == FORMAT { Ok(()) } else { Err(UnusableDocument::TooNew(format)) }
}

impl Record {
    pub(crate) fn new(payload: &Payload, extras: Option<Sha256>, target: States, baseline: States) -> Self {
        let dpc = payload.dpc.as_ref();
        Self {
            format: FORMAT,
            generation: payload.generation,
            version: payload.version,
            configuration: payload.configuration.id,
            dpc: dpc
                .map(|dpc| latest::InstalledDpc { name: dpc.name.to_string(), version: dpc.version.clone() }),
            unit: dpc.and_then(|dpc| dpc.unit.clone()),
            health: dpc.map(|dpc| dpc.health.clone()).unwrap_or_default(),
            extras,
            target,
            baseline,
            replaced: Replaced::new(),
            made: Made::default(),
        }
    }

    /// Returns the same record, with the states that its packages replaced.
    pub(crate) fn with_replaced(self, replaced: Replaced) -> Self {
        Self { replaced, ..self }
    }

    pub(crate) fn parse(document: &[u8]) -> Result<Self, UnusableDocument> {
        check_format(document)?;
        serde_json::from_slice(document).map_err(UnusableDocument::Unreadable)
    }

    /// Returns every blob needed while this is installed: for the rollback, and for the DPC to read.
    pub(crate) fn blobs(&self) -> BTreeSet<Sha256> {
        let debs = self.target.values().filter_map(deb_of);
        self.blobs_for_reset().into_iter().chain(debs).chain(self.extras).collect()
    }

    /// Returns every blob needed to restore the state before the first payload.
    pub(crate) fn blobs_for_reset(&self) -> BTreeSet<Sha256> {
        let before = self.baseline.values().filter_map(|state| deb_of(state).or_else(|| file_of(state)));
        let replaced = self.replaced.values().flat_map(|replaced| replaced.0.values()).filter_map(file_of);
        before.chain(replaced).collect()
    }

    /// Returns true if it has packages.
    pub(crate) fn has_packages(&self) -> bool {
        self.target.keys().any(|resource| matches!(resource, Resource::Package(_)))
    }

    /// Returns the description that a device sends when it checks in.
    pub(crate) fn to_installed(&self) -> latest::Installed {
        latest::Installed { configuration: self.configuration, version: self.version, dpc: self.dpc.clone() }
    }
}
