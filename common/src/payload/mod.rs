//! The software and settings to install on one device: its DPC, its policy, and their validity.
//!
//! A payload arrives as `Signed<Payload>`, becomes `Verified<Payload>` by its signature, and
//! [`AcceptedPayload`] by [`judge`]: only that can be installed. Unknown fields and unknown
//! policy items refuse the whole payload, because "completely or not at all" leaves no third way.

mod address;
mod judge;
mod names;
mod policy;

pub use address::{ArtifactUrl, InvalidArtifactUrl, MAX_ARTIFACT_URL_BYTES};
pub use judge::{AcceptedPayload, Expectation, MAX_FUTURE_MS, PayloadRejected, check_contents, judge};
pub use names::{
    CertificateName, DpcName, FileMode, Hostname, InvalidName, PackageName, SysctlKey, SysctlValue, TimeZone,
    UnitName, UserName, VersionText,
};
pub use policy::{
    FileContent, InvalidPolicy, MAX_POLICY_ITEMS, PolicyItem, ResourceKey, check_dpc, check_policy,
    privileged_items,
};

use crate::{
    bytes::Nonce,
    digest::Sha256,
    ids::{ConfigurationId, DeviceId, Generation},
    path::SafePath,
    timestamp::Timestamp,
    trust::Signable,
};
use serde::{Deserialize, Serialize};

/// The largest payload document; artifacts are not in it.
pub const MAX_PAYLOAD_BYTES: usize = 1024 * 1024;
/// The largest artifact that a payload may name.
pub const MAX_ARTIFACT_BYTES: u64 = 16 * 1024 * 1024 * 1024;
/// The largest `extras` document handed to a DPC, serialised.
pub const MAX_EXTRAS_BYTES: usize = 64 * 1024;
/// The longest that a health check may take, in seconds.
pub const MAX_HEALTH_TIMEOUT_S: u32 = 3600;

/// All that one device is to become, and the handshake that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Payload {
    /// The device that may install it.
    pub device: DeviceId,
    /// The enrollment that it belongs to.
    pub generation: Generation,
    /// Digest of that device's public key, as DER `SubjectPublicKeyInfo`.
    pub key_digest: Sha256,
    /// The nonce of the request that it answers: `hello` or `check-in`.
    pub nonce: Nonce,
    /// The time of the last change of the configuration, in ms since the epoch; a device never goes back.
    pub version: u64,
    /// The time of its signature.
    pub issued_at: Timestamp,
    /// The time from which it may no longer be installed.
    pub expires_at: Timestamp,
    /// The configuration that it was made from, for people.
    pub configuration: ConfigurationRef,
    /// The device policy controller, if the configuration names one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dpc: Option<Dpc>,
    /// The settings of the device itself.
    #[serde(default)]
    pub policy: Vec<PolicyItem>,
    /// The behaviour of first set-up until this is installed.
    #[serde(default)]
    pub setup: Setup,
}

impl Signable for Payload {
    const PAYLOAD_TYPE: &'static str = "application/vnd.unbox.payload.v1+json";
    const MAX_BYTES: usize = MAX_PAYLOAD_BYTES;
}

/// The configuration that a payload was made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationRef {
    /// Its id.
    pub id: ConfigurationId,
    /// The customer's name for it.
    pub name: String,
}

/// The device policy controller: the program that manages the device from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dpc {
    /// Its name; for a Debian package, the package's.
    pub name: DpcName,
    /// Its version, for people and for the report.
    pub version: VersionText,
    /// The form of its package.
    pub kind: DpcKind,
    /// The package itself.
    pub artifact: Artifact,
    /// The systemd unit to enable and start, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<UnitName>,
    /// A JSON object, handed to the DPC unchanged at its first start.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub extras: serde_json::Map<String, serde_json::Value>,
    /// The check that it works.
    #[serde(default)]
    pub health: HealthCheck,
}

/// The form of a DPC's package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DpcKind {
    /// A tar archive, plain or gzip, unpacked below `/opt/unbox/dpc/<name>/<digest>`.
    Tar,
    /// A Debian binary package, installed by `dpkg`.
    Deb,
    /// A systemd system extension image.
    Sysext,
}

/// A file to fetch, streamed and checked by its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// SHA-256 of the whole file.
    pub sha256: Sha256,
    /// Size in bytes.
    pub size: u64,
    /// The address to fetch it from; the server's own `/artifacts/sha256/<hex>` if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<ArtifactUrl>,
}

/// The check that an installed DPC works. Nothing is final until it succeeds.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum HealthCheck {
    /// No check beyond the installation.
    #[default]
    None,
    /// The unit becomes active within the time limit, and then stays so.
    UnitActive {
        /// The time for which the unit must stay active, in seconds.
        #[serde(default)]
        stable_for_s: u32,
        /// The time limit for the whole check, in seconds.
        timeout_s: u32,
    },
    /// A program of the DPC exits with code 0 within the time limit. It is run again until then.
    Command {
        /// The program.
        program: SafePath,
        /// Its arguments.
        #[serde(default)]
        arguments: Vec<String>,
        /// The time limit for the whole check, in seconds.
        timeout_s: u32,
    },
}

/// The behaviour of first set-up until the payload is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// The longest time to hold back the login prompt, in seconds; 0 does not hold it.
    #[serde(default)]
    pub hold_for_s: u32,
    /// The behaviour without a network.
    #[serde(default)]
    pub without_network: WithoutNetwork,
}

/// The behaviour of a device without a network at set-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutNetwork {
    /// Set-up goes on; enrollment follows once there is a network.
    #[default]
    Continue,
    /// Set-up is held as long as allowed.
    Hold,
}

impl HealthCheck {
    /// Returns the time limit in seconds; `None` if there is nothing to wait for.
    #[must_use]
    pub const fn timeout_s(&self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::UnitActive { timeout_s, .. } | Self::Command { timeout_s, .. } => Some(*timeout_s),
        }
    }
}

impl Payload {
    /// Returns every artifact that must be there before the installation starts, without duplicates.
    #[must_use]
    pub fn artifacts(&self) -> Vec<&Artifact> {
        let mut all = self.named_artifacts();
        all.dedup_by_key(|artifact| artifact.sha256);
        all
    }

    /// Returns an artifact that is named more than once, with differences.
    fn contradicted_artifact(&self) -> Option<Sha256> {
        let all = self.named_artifacts();
        let mut pairs = all.iter().zip(all.iter().skip(1));
        pairs.find(|(one, next)| one.sha256 == next.sha256 && one != next).map(|(one, _)| one.sha256)
    }

    /// Returns every mention of an artifact, by digest.
    fn named_artifacts(&self) -> Vec<&Artifact> {
        let of_dpc = self.dpc.iter().map(|dpc| &dpc.artifact);
        let mut all: Vec<&Artifact> =
            of_dpc.chain(self.policy.iter().filter_map(PolicyItem::artifact)).collect();
        all.sort_by_key(|artifact| artifact.sha256);
        all
    }
}
