//! What is installed, and what was there before the first payload: `installed.json`.
//!
//! One document for both, because they change together: it is replaced in one step, and only
//! after the health check has said yes.

use super::{States, resource::states_as_list};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use unbox_common::{
    digest::Sha256,
    ids::{ConfigurationId, Generation},
    payload::{HealthCheck, PackageName, Payload, UnitName},
    protocol::latest,
};

use super::State;

/// The version of the document that this agent writes.
const FORMAT: u32 = 1;

/// What is installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    format: u32,
    /// The enrollment that it belongs to.
    pub(crate) generation: Generation,
    /// The payload's version.
    pub(crate) version: u64,
    configuration: ConfigurationId,
    dpc: Option<latest::InstalledDpc>,
    /// The DPC's unit.
    pub(crate) unit: Option<UnitName>,
    /// How to tell that it works.
    pub(crate) health: HealthCheck,
    /// The DPC's extras, among the blobs.
    extras: Option<Sha256>,
    /// Everything that is managed, as it is to be.
    #[serde(with = "states_as_list")]
    pub(crate) target: States,
    /// The same resources, as they were before they were managed.
    #[serde(with = "states_as_list")]
    pub(crate) baseline: States,
    /// For each managed package, what nobody had managed and was at its places before it.
    #[serde(default, skip_serializing_if = "Replaced::is_empty")]
    pub(crate) replaced: Replaced,
}

/// What packages replaced, by package.
pub(crate) type Replaced = BTreeMap<PackageName, ReplacedStates>;

/// What one package replaced.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct ReplacedStates(#[serde(with = "states_as_list")] pub(crate) States);

/// A document that this agent cannot use.
#[derive(Debug, thiserror::Error)]
pub enum UnusableDocument {
    /// It is not what this agent writes.
    #[error("it cannot be read")]
    Unreadable(#[source] serde_json::Error),
    /// A newer agent wrote it.
    #[error("it has format {0}, and this agent knows formats up to {FORMAT}")]
    TooNew(u32),
    /// It ends in the middle, or is empty.
    #[error("it is not complete")]
    Incomplete,
}

/// Every document begins with its format, which is read before anything else.
#[derive(Deserialize)]
struct Formatted {
    format: u32,
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
        }
    }

    /// The same, with what its packages replaced.
    pub(crate) fn with_replaced(self, replaced: Replaced) -> Self {
        Self { replaced, ..self }
    }

    pub(crate) fn parse(document: &[u8]) -> Result<Self, UnusableDocument> {
        check_format(document)?;
        serde_json::from_slice(document).map_err(UnusableDocument::Unreadable)
    }

    /// Every blob that is needed as long as this is installed: what there is to go back to, and
    /// what the DPC reads.
    pub(crate) fn blobs(&self) -> BTreeSet<Sha256> {
        let deb = |state: &State| match state {
            State::Installed { deb, .. } => *deb,
            _ => None,
        };
        let file = |state: &State| match state {
            State::File { digest, .. } => Some(*digest),
            _ => None,
        };
        let debs = self.target.values().filter_map(deb);
        let before = self.baseline.values().filter_map(|state| deb(state).or_else(|| file(state)));
        let replaced = self.replaced.values().flat_map(|replaced| replaced.0.values()).filter_map(file);
        debs.chain(before).chain(replaced).chain(self.extras).collect()
    }

    /// What a device says of itself when it checks in.
    pub(crate) fn installed(&self) -> latest::Installed {
        latest::Installed { configuration: self.configuration, version: self.version, dpc: self.dpc.clone() }
    }
}
