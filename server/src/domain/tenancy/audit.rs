//! The audit trail: records of who did what, to which object, and when.

use crate::domain::closed_set::closed_set;
use serde::Serialize;
use serde_json::Value;
use std::{fmt, str::FromStr};
use unbox_common::{
    digest::Sha256,
    ids::{AccountId, ClaimId, CompanyId, ConfigurationId, DeviceId, OperationId, TokenId},
    timestamp::Timestamp,
};

closed_set! {
    /// An action in the audit trail.
    pub enum Action {
        /// A company was created.
        CompanyCreated = "company_created",
        /// A company got another name.
        CompanyRenamed = "company_renamed",
        /// Something else about a company was changed.
        CompanyUpdated = "company_updated",
        /// A company was deleted, with its accounts.
        CompanyDeleted = "company_deleted",
        /// A customer accepted the terms of service, or there are new ones.
        TermsSet = "terms_set",
        /// A reseller, vendor or EMM was linked to a customer.
        CompanyLinked = "company_linked",
        /// Such a link ended.
        CompanyUnlinked = "company_unlinked",
        /// The default configuration of a customer was changed or removed.
        DefaultConfigurationSet = "default_configuration_set",
        /// A configuration was created.
        ConfigurationCreated = "configuration_created",
        /// A configuration was changed.
        ConfigurationUpdated = "configuration_updated",
        /// A configuration was deleted.
        ConfigurationDeleted = "configuration_deleted",
        /// An artifact was registered.
        ArtifactRegistered = "artifact_registered",
        /// An artifact was deleted.
        ArtifactDeleted = "artifact_deleted",
        /// A DPC was added to the catalogue, or changed.
        DpcSaved = "dpc_saved",
        /// A DPC was removed from the catalogue.
        DpcDeleted = "dpc_deleted",
        /// A token was created.
        TokenCreated = "token_created",
        /// A token was revoked.
        TokenRevoked = "token_revoked",
        /// A device was claimed.
        Claimed = "claimed",
        /// Devices were claimed from a file; one entry for each batch of rows.
        ClaimsImported = "claims_imported",
        /// A claim was ended.
        Unclaimed = "unclaimed",
        /// The configuration of a claim was changed or removed.
        ClaimConfigurationSet = "claim_configuration_set",
        /// A temporary release of a claim began or was ended.
        VacationSet = "vacation_set",
        /// The metadata of a claim was changed.
        MetadataSet = "metadata_set",
        /// The proof that a claim demands was changed.
        ClaimProofSet = "claim_proof_set",
        /// Test stations of an organisation registered devices; one entry for each request.
        DevicesRegistered = "devices_registered",
        /// A record of a registered device was deleted.
        FactoryRecordDeleted = "factory_record_deleted",
        /// The device of a claim also matched claims of other owners, and stayed with its own.
        ClaimContested = "claim_contested",
        /// A claim got the device key that the factory registered.
        ClaimKeyRegistered = "claim_key_registered",
        /// A claim lost that key because its record was deleted.
        ClaimKeyWithdrawn = "claim_key_withdrawn",
        /// An operation was started.
        OperationStarted = "operation_started",
        /// An operation was cancelled before its end.
        OperationCancelled = "operation_cancelled",
        /// The record of an ended operation was deleted.
        OperationDeleted = "operation_deleted",
        /// A device was granted an enrollment.
        Granted = "granted",
        /// A device was refused.
        Refused = "refused",
        /// A device asked with a key or hardware that needs an administrator's approval.
        ApprovalRequested = "approval_requested",
        /// Other hardware showed the key of a device.
        KeyCopied = "key_copied",
        /// An administrator approved such a request.
        RequestApproved = "request_approved",
        /// An administrator refused such a request.
        RequestRefused = "request_refused",
        /// A device reported.
        Reported = "reported",
        /// A device was disabled.
        DeviceDisabled = "device_disabled",
        /// A device was enabled again.
        DeviceEnabled = "device_enabled",
        /// A device was released permanently.
        DeviceDeprovisioned = "device_deprovisioned",
        /// A device was asked to enroll again.
        ReEnrollmentRequested = "re_enrollment_requested",
        /// A reset ticket was minted.
        ResetTicketMinted = "reset_ticket_minted",
        /// A certificate was renewed.
        CertificateRenewed = "certificate_renewed",
        /// An account was created.
        AccountCreated = "account_created",
        /// The name or role of an account was changed.
        AccountUpdated = "account_updated",
        /// An account was disabled.
        AccountDisabled = "account_disabled",
        /// An account was enabled again.
        AccountEnabled = "account_enabled",
        /// An account was deleted, with all its credentials.
        AccountDeleted = "account_deleted",
        /// An API key was created for an account.
        ApiKeyCreated = "api_key_created",
        /// An API key was replaced by a new one.
        ApiKeyRotated = "api_key_rotated",
        /// An API key was revoked.
        ApiKeyRevoked = "api_key_revoked",
        /// A key was created or imported for a service account.
        ServiceAccountKeyCreated = "service_account_key_created",
        /// A key of a service account was replaced by a new one.
        ServiceAccountKeyRotated = "service_account_key_rotated",
        /// A key of a service account was revoked.
        ServiceAccountKeyRevoked = "service_account_key_revoked",
        /// A command changed keys or certificates of the server.
        KeysChanged = "keys_changed",
        /// A service account received an access token.
        SignedIn = "signed_in",
    }
}

/// The object of an action: a kind and an id, `device 42` as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An object that this server does not know.
    Unknown,
    /// A company.
    Company(CompanyId),
    /// A configuration.
    Configuration(ConfigurationId),
    /// An artifact.
    Artifact(Sha256),
    /// A token.
    Token(TokenId),
    /// A claim.
    Claim(ClaimId),
    /// An operation.
    Operation(OperationId),
    /// A device.
    Device(DeviceId),
    /// An account.
    Account(AccountId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("unknown"),
            Self::Company(id) => write!(f, "company {id}"),
            Self::Configuration(id) => write!(f, "configuration {id}"),
            Self::Artifact(sha256) => write!(f, "artifact {sha256}"),
            Self::Token(id) => write!(f, "token {id}"),
            Self::Claim(id) => write!(f, "claim {id}"),
            Self::Operation(id) => write!(f, "operation {id}"),
            Self::Device(id) => write!(f, "device {id}"),
            Self::Account(id) => write!(f, "account {id}"),
        }
    }
}

/// The text names no kind of subject, or lacks its id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected `unknown`, or company, configuration, artifact, token, claim, operation, device or account and an id"
)]
pub struct NotASubject;

impl FromStr for Subject {
    type Err = NotASubject;

    fn from_str(text: &str) -> Result<Self, NotASubject> {
        fn id<T: FromStr>(text: &str) -> Result<T, NotASubject> {
            text.parse().map_err(|_| NotASubject)
        }
        match text.split_once(' ') {
            None if text == "unknown" => Ok(Self::Unknown),
            Some(("company", rest)) => id(rest).map(Self::Company),
            Some(("configuration", rest)) => id(rest).map(Self::Configuration),
            Some(("artifact", rest)) => id(rest).map(Self::Artifact),
            Some(("token", rest)) => id(rest).map(Self::Token),
            Some(("claim", rest)) => id(rest).map(Self::Claim),
            Some(("operation", rest)) => id(rest).map(Self::Operation),
            Some(("device", rest)) => id(rest).map(Self::Device),
            Some(("account", rest)) => id(rest).map(Self::Account),
            _ => Err(NotASubject),
        }
    }
}

impl Serialize for Subject {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// An event that has no id yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The time of the event.
    pub at: Timestamp,
    /// The name of the actor.
    pub actor: String,
    /// The company of the actor.
    pub company: Option<CompanyId>,
    /// The action.
    pub action: Action,
    /// The object of the action.
    pub subject: Subject,
    /// The customer that owns the object.
    pub customer: Option<CompanyId>,
    /// Details: a JSON object without secrets.
    pub detail: Value,
}

/// An entry of the audit trail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Its id; entries are ordered by it.
    pub id: i64,
    /// The time of the event; the first time if the entry counts several.
    pub at: Timestamp,
    /// The name of the actor.
    pub actor: String,
    /// The company of the actor.
    pub company: Option<CompanyId>,
    /// The action.
    pub action: Action,
    /// The object of the action.
    pub subject: Subject,
    /// The customer that owns the object.
    pub customer: Option<CompanyId>,
    /// Details; those of the last event if the entry counts several.
    pub detail: Value,
    /// The number of events: those that can recur without limit are counted, one entry an hour.
    pub count: u64,
    /// The time of the last event.
    pub last_at: Timestamp,
}

/// The time for which events of one kind and subject share an entry, in ms.
const SLOT_MS: u64 = 3600 * 1000;

impl Event {
    /// Returns the key of the entry that this event is counted in, if a stranger or a faulty device can
    /// cause events of its kind without limit. Such events must not fill the disk: there is one entry for
    /// each action, kind, generation, subject and hour. Grants, which have a new generation each time,
    /// share an entry by reason and key, so that each admitted key is recorded.
    #[must_use]
    pub fn fold(&self) -> Option<String> {
        let folds = matches!(
            self.action,
            Action::Refused
                | Action::ClaimContested
                | Action::Granted
                | Action::ApprovalRequested
                | Action::KeyCopied
                | Action::Reported
                | Action::CertificateRenewed
                | Action::SignedIn
        );
        let text = |name: &str| self.detail.get(name).and_then(Value::as_str).unwrap_or_default();
        let generation = self.detail.get("generation").and_then(Value::as_u64).unwrap_or_default();
        let kind = match self.action {
            Action::Granted => format!("{} {}", text("why"), text("key")),
            _ => format!("{} {generation}", text("kind")),
        };
        let slot = self.at.0 / SLOT_MS;
        folds.then(|| format!("{} {kind} {} {slot}", self.action, self.subject))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_subject_reads_and_writes_the_same() {
        for subject in [
            Subject::Unknown,
            Subject::Device(DeviceId::new(7).unwrap()),
            Subject::Artifact(Sha256::of(b"x")),
            Subject::Claim(ClaimId::new(9).unwrap()),
            Subject::Account(AccountId::new(11).unwrap()),
        ] {
            assert_eq!(subject.to_string().parse(), Ok(subject));
        }
        for bad in ["", "device", "device 0", "thing 5", "claim 1 2"] {
            assert_eq!(bad.parse::<Subject>(), Err(NotASubject), "{bad}");
        }
    }

    #[test]
    fn only_what_can_happen_without_end_is_folded() {
        let event = |action, at| Event {
            at: Timestamp(at),
            actor: "device".to_owned(),
            company: None,
            action,
            subject: Subject::Unknown,
            customer: None,
            detail: json!({"kind": "not_claimed"}),
        };
        assert_eq!(event(Action::Claimed, 0).fold(), None);
        let first = event(Action::Refused, 0).fold();
        assert!(first.is_some());
        assert_eq!(first, event(Action::Refused, SLOT_MS - 1).fold());
        assert_ne!(first, event(Action::Refused, SLOT_MS).fold());
    }

    #[test]
    fn grants_of_one_device_fold_by_reason_and_key_and_not_by_their_generation() {
        let granted = |device, why, key, generation| {
            let event = Event {
                at: Timestamp(0),
                actor: "device".to_owned(),
                company: None,
                action: Action::Granted,
                subject: Subject::Device(DeviceId::new(device).unwrap()),
                customer: None,
                detail: json!({"why": why, "key": key, "generation": generation}),
            };
            event.fold().unwrap()
        };
        assert_eq!(granted(7, "known_key", "a", 2), granted(7, "known_key", "a", 3));
        assert_ne!(granted(7, "first_key", "a", 1), granted(7, "known_key", "a", 2));
        assert_ne!(granted(7, "known_key", "a", 2), granted(8, "known_key", "a", 2));
        assert_ne!(granted(7, "token", "a", 2), granted(7, "token", "b", 3), "each key is told");
    }
}
