//! The places that a survey examines, and the result of each look, so that nothing is skipped silently.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A place that may hold identifiers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The SMBIOS tables that the firmware wrote.
    SmbiosTables,
    /// The kernel's copy of some of the tables' fields.
    SmbiosFields,
    /// The root node of the device tree.
    DeviceTree,
    /// The keys of the vital product data.
    Vpd,
    /// The partitions that the keys come from.
    VpdPartition,
    /// The serial number of the processor of an ARM board.
    Cpu,
    /// The TPM.
    Tpm,
    /// The network interfaces.
    Network,
    /// The modems.
    Modem,
}

/// The result of reading a place or a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The place was read.
    Read,
    /// This machine does not have it.
    Absent,
    /// Access was denied; root is usually needed.
    NotPermitted,
    /// It exists, but has the wrong content.
    Invalid,
    /// It did not answer in time.
    TimedOut,
    /// The operating system could not read it.
    Failed,
}

/// One place, with the result of reading it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaceResult {
    /// The place.
    pub place: Place,
    /// The result.
    pub state: State,
    /// The reason, unless it was simply read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A file or interface that exists, but could not be read or parsed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unreadable {
    /// The file.
    pub from: String,
    /// The result.
    pub state: State,
    /// The reason, in the operating system's words where it has any.
    pub reason: String,
}

impl Place {
    /// Returns the name for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::SmbiosTables => "SMBIOS tables",
            Self::SmbiosFields => "SMBIOS in sysfs",
            Self::DeviceTree => "device tree",
            Self::Vpd => "vital product data",
            Self::VpdPartition => "VPD partitions",
            Self::Cpu => "processor",
            Self::Tpm => "TPM",
            Self::Network => "network",
            Self::Modem => "modems",
        }
    }
}

impl State {
    /// Returns the state in words.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Absent => "absent",
            Self::NotPermitted => "not permitted",
            Self::Invalid => "invalid",
            Self::TimedOut => "timed out",
            Self::Failed => "failed",
        }
    }
}

impl PlaceResult {
    /// Summarises a look from the number of files or answers found, the errors, and the reason to give if
    /// there were neither.
    pub(super) fn new(place: Place, found: usize, troubles: &[Unreadable], absent: &str) -> Self {
        let told = |one: &Unreadable| {
            let name = one.from.rsplit_once('/').map_or(one.from.as_str(), |(_, name)| name);
            format!("{name}: {}", one.reason)
        };
        let (state, reason) = match (troubles, found) {
            ([], 0) => (State::Absent, Some(absent.to_owned())),
            ([], _) => (State::Read, None),
            ([one], _) => (one.state, Some(told(one))),
            ([one, rest @ ..], _) => (one.state, Some(format!("{}, and {} more", told(one), rest.len()))),
        };
        Self { place, state, reason }
    }
}

impl fmt::Display for PlaceResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<20} {:<14}", self.place.name(), self.state.name())?;
        self.reason.as_deref().map_or(Ok(()), |reason| f.write_str(reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_summed_up_with_its_first_trouble() {
        let trouble = |from: &str, state, reason: &str| Unreadable {
            from: from.to_owned(),
            state,
            reason: reason.to_owned(),
        };
        let denied = trouble("/sys/class/dmi/id/product_serial", State::NotPermitted, "Permission denied");
        let broken = trouble("netlink", State::Failed, "closed");
        for (found, troubles, state, reason) in [
            (0, vec![], State::Absent, Some("none here")),
            (3, vec![], State::Read, None),
            (3, vec![denied.clone()], State::NotPermitted, Some("product_serial: Permission denied")),
            (0, vec![broken.clone(), denied], State::Failed, Some("netlink: closed, and 1 more")),
        ] {
            let looked = PlaceResult::new(Place::Network, found, &troubles, "none here");
            assert_eq!((looked.state, looked.reason.as_deref()), (state, reason));
        }
    }
}
