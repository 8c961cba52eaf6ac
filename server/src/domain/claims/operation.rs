//! Long-running operations: the work on many devices, and the result for each.

use super::claim::{ClaimSets, ClaimTarget, Metadata};
use crate::domain::closed_set::closed_set;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, HashMap};
use unbox_common::{
    ids::{AccountId, ClaimId, CompanyId, ConfigurationId, OperationId},
    timestamp::Timestamp,
};

/// The maximum number of devices of one operation.
pub const MAX_ITEMS: usize = 100_000;

closed_set! {
    /// The action of an operation on each of its devices.
    pub enum OperationKind {
        /// Claiming devices.
        Claim = "claim",
        /// Ending claims, or releasing them temporarily.
        Unclaim = "unclaim",
        /// Changing the metadata of claims.
        UpdateMetadata = "update_metadata",
    }
}

/// An operation and its progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// The reseller or vendor that started it.
    pub company: CompanyId,
    /// The kind of work.
    pub kind: OperationKind,
    /// The name of the actor who started it.
    pub created_by: String,
    /// The account of that actor, if any: the operation stops when the account loses its rights.
    #[serde(skip)]
    pub account: Option<AccountId>,
    /// The number of its devices.
    pub items: u32,
    /// The number of devices processed, successfully or not.
    pub done: u32,
    /// The number of devices processed successfully.
    pub succeeded: u32,
    /// The time at which it was started.
    pub created_at: Timestamp,
    /// The time at which the last device was processed, or the operation was cancelled.
    pub done_at: Option<Timestamp>,
    /// The time at which it was cancelled; the remaining devices stay unchanged.
    pub cancelled_at: Option<Timestamp>,
}

/// Returns the operations to continue next, one for each company, so that no company waits for all of
/// another's work. Within a company operations take turns, so that a short one does not wait for a long
/// one.
///
/// `waiting` is in order of arrival; `last` is the operation last continued for each company.
#[must_use]
pub fn next_turns(
    waiting: &[(OperationId, CompanyId)],
    last: &BTreeMap<CompanyId, OperationId>,
) -> Vec<OperationId> {
    let mut next: Vec<(CompanyId, OperationId)> = Vec::new();
    let mut places: HashMap<CompanyId, usize> = HashMap::new();
    for (id, company) in waiting {
        let had_turn = |id: &OperationId| last.get(company).is_some_and(|last| id <= last);
        match places.get(company).and_then(|place| next.get_mut(*place)) {
            None => {
                places.insert(*company, next.len());
                next.push((*company, *id));
            }
            Some((_, chosen)) if had_turn(chosen) && !had_turn(id) => *chosen = *id,
            Some(_) => {}
        }
    }
    next.into_iter().map(|(_, id)| id).collect()
}

/// One device of an operation: the request, as it is echoed, and the work to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The request's own JSON.
    pub echo: String,
    /// The parsed work.
    pub work: Work,
}

/// The work on one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Claims the device.
    Claim {
        /// The customer that gets it.
        customer: CompanyId,
        /// The configuration; the customer's default if absent.
        configuration: Option<ConfigurationId>,
        /// The identifier sets.
        #[serde(serialize_with = "write_sets", deserialize_with = "read_sets")]
        sets: ClaimSets,
        /// The metadata of the claim.
        metadata: Metadata,
        /// True if it is claimed with device protection.
        protected: bool,
    },
    /// Ends the claim, or releases it temporarily.
    Unclaim {
        /// The claim.
        target: ClaimTarget,
        /// The end of the release; permanent if absent.
        until: Option<Timestamp>,
    },
    /// Changes the metadata of the claim.
    UpdateMetadata {
        /// The claim.
        target: ClaimTarget,
        /// The changed entries.
        changes: BTreeMap<String, String>,
    },
    /// Does nothing, because the request itself was invalid.
    Refused(ItemResult),
}

fn write_sets<S: Serializer>(sets: &ClaimSets, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&sets.to_text())
}

fn read_sets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClaimSets, D::Error> {
    ClaimSets::from_text(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

closed_set! {
    /// The status of one device of an operation, named as in the Android Device Provisioning Partner API
    /// (`PerDeviceStatusInBatch.status`), without the common prefix.
    pub enum ItemStatus {
        /// A failure of this server.
        UnknownError = "UNKNOWN_ERROR",
        /// An error without a name of its own.
        OtherError = "OTHER_ERROR",
        /// Success.
        Success = "SUCCESS",
        /// The requester lacks permission.
        PermissionDenied = "PERMISSION_DENIED",
        /// The identifiers are invalid.
        InvalidDeviceIdentifier = "INVALID_DEVICE_IDENTIFIER",
        /// Sections with this name cannot be claimed.
        InvalidSectionType = "INVALID_SECTION_TYPE",
        /// Somebody else has claimed the device.
        SectionNotYours = "SECTION_NOT_YOURS",
        /// The pre-provisioning token is not one of the customer's.
        InvalidToken = "INVALID_TOKEN",
        /// The pre-provisioning token was revoked.
        RevokedToken = "REVOKED_TOKEN",
        /// The customer has reached its limit of devices.
        DeviceLimitExceeded = "DEVICE_LIMIT_EXCEEDED",
    }
}

/// The result for one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemResult {
    /// The status.
    pub status: ItemStatus,
    /// The claim, in case of success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<ClaimId>,
    /// The short name of the error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The explanation of the error, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ItemResult {
    /// Returns a success.
    #[must_use]
    pub const fn success(device: ClaimId) -> Self {
        Self { status: ItemStatus::Success, device: Some(device), error: None, message: None }
    }

    /// Returns a failure with its reason.
    pub fn failure(status: ItemStatus, error: &str, message: impl Into<String>) -> Self {
        Self { status, device: None, error: Some(error.to_owned()), message: Some(message.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_company_has_its_turn_and_its_operations_take_theirs() {
        let operation = |id| OperationId::new(id).unwrap();
        let company = |id| CompanyId::new(id).unwrap();
        let busy = (1..=110).map(|id| (operation(id), company(7)));
        let waiting: Vec<_> = busy.chain([(operation(111), company(8))]).collect();
        let mut last = BTreeMap::new();
        for expected in [1, 2, 3] {
            let next = next_turns(&waiting, &last);
            assert_eq!(next, [operation(expected), operation(111)]);
            last.insert(company(7), next[0]);
        }
        last.insert(company(7), operation(110));
        assert_eq!(next_turns(&waiting, &last)[0], operation(1), "after the last comes the first");
        assert_eq!(next_turns(&[], &last), []);
    }

    #[test]
    fn work_reads_and_writes_the_same() {
        let sets = ClaimSets::from_text(
            r#"[[["serial_number","PF0ABCDE"],["manufacturer","LENOVO"],["model","20QES0XX00"]]]"#,
        );
        let customer = CompanyId::new(7).unwrap();
        for work in [
            Work::Claim {
                customer,
                configuration: None,
                sets: sets.unwrap(),
                metadata: Metadata::default(),
                protected: false,
            },
            Work::Unclaim { target: ClaimTarget::Id(ClaimId::new(9).unwrap()), until: Some(Timestamp(5)) },
            Work::Refused(ItemResult::failure(ItemStatus::InvalidSectionType, "INVALID_SECTION_TYPE", "No.")),
        ] {
            let text = serde_json::to_string(&work).unwrap();
            assert_eq!(serde_json::from_str::<Work>(&text).unwrap(), work, "{text}");
        }
    }
}
