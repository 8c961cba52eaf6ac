//! Long-running operations: what is to be done with many devices, and what became of each.

use super::{
    claim::{ClaimSets, ClaimTarget, Metadata},
    words::words,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, HashMap};
use unbox_common::{
    ids::{AccountId, ClaimId, CompanyId, ConfigurationId, OperationId},
    timestamp::Timestamp,
};

/// The most devices of one operation.
pub const MAX_ITEMS: usize = 100_000;

words! {
    /// What an operation does with every one of its devices.
    pub enum OperationKind {
        /// It claims them.
        Claim = "claim",
        /// It ends their claims, or releases them for a time.
        Unclaim = "unclaim",
        /// It changes what is written beside their claims.
        UpdateMetadata = "update_metadata",
    }
}

/// An operation: how far it has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// Whose it is: the reseller or vendor that asked for it.
    pub company: CompanyId,
    /// What it does.
    pub kind: OperationKind,
    /// Who asked for it.
    pub created_by: String,
    /// Their account, if they have one: the operation ends with its rights.
    #[serde(skip)]
    pub account: Option<AccountId>,
    /// How many devices it is about.
    pub items: u32,
    /// How many of them are dealt with, whatever became of them.
    pub done: u32,
    /// How many of them succeeded.
    pub succeeded: u32,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When the last device was dealt with, or it was cancelled.
    pub done_at: Option<Timestamp>,
    /// When it was cancelled: the devices that were left then stay as they are.
    pub cancelled_at: Option<Timestamp>,
}

/// The operations to go on with next, one of each company, so that nobody waits for all that another
/// one asked for. Within a company they take turns: a short one does not wait for a long one.
///
/// `waiting` is in the order in which they came; `last` is what was gone on with for each company.
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

/// One device of an operation: what was asked, as it is echoed, and what is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// The request's own JSON.
    pub echo: String,
    /// What it means.
    pub work: Work,
}

/// What is to be done with one device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "work", rename_all = "snake_case")]
pub enum Work {
    /// Claim it.
    Claim {
        /// For this customer.
        customer: CompanyId,
        /// With this configuration; the customer's default if absent.
        configuration: Option<ConfigurationId>,
        /// By these identifiers.
        #[serde(serialize_with = "write_sets", deserialize_with = "read_sets")]
        sets: ClaimSets,
        /// What is written beside it.
        metadata: Metadata,
        /// With device protection.
        protected: bool,
    },
    /// End its claim, or release it until then.
    Unclaim {
        /// Which.
        target: ClaimTarget,
        /// Until when; for good if absent.
        until: Option<Timestamp>,
    },
    /// Change what is written beside its claim.
    UpdateMetadata {
        /// Which.
        target: ClaimTarget,
        /// What changes.
        changes: BTreeMap<String, String>,
    },
    /// Nothing: the request itself was wrong.
    Refused(ItemResult),
}

fn write_sets<S: Serializer>(sets: &ClaimSets, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&sets.to_text())
}

fn read_sets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ClaimSets, D::Error> {
    ClaimSets::from_text(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

words! {
    /// What became of one device of an operation; the names of the Android Device Provisioning
    /// Partner API (`PerDeviceStatusInBatch.status`), without their common prefix.
    pub enum ItemStatus {
        /// Something failed here.
        UnknownError = "UNKNOWN_ERROR",
        /// Anything that has no name of its own.
        OtherError = "OTHER_ERROR",
        /// It is done.
        Success = "SUCCESS",
        /// Not for whoever asks.
        PermissionDenied = "PERMISSION_DENIED",
        /// The identifiers cannot be used.
        InvalidDeviceIdentifier = "INVALID_DEVICE_IDENTIFIER",
        /// No section of this name can be claimed.
        InvalidSectionType = "INVALID_SECTION_TYPE",
        /// Somebody else has claimed it.
        SectionNotYours = "SECTION_NOT_YOURS",
        /// The pre-provisioning token is not one of the customer's.
        InvalidToken = "INVALID_TOKEN",
        /// The pre-provisioning token was revoked.
        RevokedToken = "REVOKED_TOKEN",
        /// The customer may have no more devices.
        DeviceLimitExceeded = "DEVICE_LIMIT_EXCEEDED",
    }
}

/// What became of one device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemResult {
    /// In one word.
    pub status: ItemStatus,
    /// Its claim, if it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<ClaimId>,
    /// Short name of what is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What is wrong, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl ItemResult {
    /// It is done.
    #[must_use]
    pub const fn success(device: ClaimId) -> Self {
        Self { status: ItemStatus::Success, device: Some(device), error: None, message: None }
    }

    /// It is not, and why.
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
