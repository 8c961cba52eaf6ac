//! Devices: what the server remembers of one, and the states that it goes through.
//!
//! ```text
//! claimed -> enrolling -> managed          granted, then completed
//!    |  \________^  ^________/             every enrollment begins again with a grant
//!    v             \
//! pending approval  hardware changed       held for an administrator; a grant ends it
//!
//! any of these <-> disabled                with the administrator's message
//! any          ->  deprovisioned           for good
//! ```
//!
//! A state changes only by what was proven or by an administrator. Somebody who merely shows a
//! device's identifiers leaves an [`ApprovalRequest`], and the state as it was.

use super::{configuration::MAX_MESSAGE_CHARS, name::is_plain_text, network::Network, words::words};
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use unbox_common::{
    digest::Sha256,
    identity::HardwareIdentity,
    ids::{ClaimId, CompanyId, DeviceId, Generation},
    matching::{Bound, ReplacedPart},
    protocol::latest::{Installed, Outcome},
    refusal::RefusalKind,
    timestamp::Timestamp,
    trust::DevicePublicKey,
};

words! {
    /// A device's state, without what belongs to it.
    pub enum StateName {
        /// Registered, and never enrolled.
        Claimed = "claimed",
        /// Granted, and not yet managed.
        Enrolling = "enrolling",
        /// It runs its payload.
        Managed = "managed",
        /// It never enrolled, and the time in which it could without asking is over.
        PendingApproval = "pending_approval",
        /// The device proved to be itself, and parts of it were replaced.
        HardwareChanged = "hardware_changed",
        /// The owner disabled it.
        Disabled = "disabled",
        /// The owner released it for good.
        Deprovisioned = "deprovisioned",
    }
}

/// A device's state, with what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DeviceState {
    /// Registered, and never enrolled.
    Claimed,
    /// Granted, and not yet managed.
    Enrolling {
        /// Which enrollment.
        generation: Generation,
        /// When it was granted.
        since: Timestamp,
    },
    /// It runs its payload.
    Managed {
        /// Which enrollment.
        generation: Generation,
        /// When it was complete.
        since: Timestamp,
    },
    /// It never enrolled, and somebody has to approve that it does.
    PendingApproval {
        /// When it first asked.
        since: Timestamp,
    },
    /// Parts of it were replaced, and somebody has to approve that.
    HardwareChanged {
        /// When it first showed them.
        since: Timestamp,
        /// What it was before, and is again if the change is refused.
        was: Box<DeviceState>,
    },
    /// The owner disabled it.
    Disabled {
        /// When.
        since: Timestamp,
        /// What whoever holds it should read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// What it was before, and is again when it is enabled.
        was: Box<DeviceState>,
    },
    /// The owner released it for good.
    Deprovisioned {
        /// When.
        since: Timestamp,
    },
}

/// A step that a state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device that is {from} cannot be {attempted}")]
pub struct IllegalTransition {
    /// The state that it is in.
    pub from: StateName,
    /// What was attempted.
    pub attempted: &'static str,
}

impl DeviceState {
    /// The state without what belongs to it.
    #[must_use]
    pub const fn name(&self) -> StateName {
        match self {
            Self::Claimed => StateName::Claimed,
            Self::Enrolling { .. } => StateName::Enrolling,
            Self::Managed { .. } => StateName::Managed,
            Self::PendingApproval { .. } => StateName::PendingApproval,
            Self::HardwareChanged { .. } => StateName::HardwareChanged,
            Self::Disabled { .. } => StateName::Disabled,
            Self::Deprovisioned { .. } => StateName::Deprovisioned,
        }
    }

    fn illegal<T>(&self, attempted: &'static str) -> Result<T, IllegalTransition> {
        Err(IllegalTransition { from: self.name(), attempted })
    }

    /// The device was granted an enrollment.
    pub fn granted(self, generation: Generation, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Claimed
            | Self::Enrolling { .. }
            | Self::Managed { .. }
            | Self::PendingApproval { .. }
            | Self::HardwareChanged { .. } => Ok(Self::Enrolling { generation, since: now }),
            Self::Disabled { .. } | Self::Deprovisioned { .. } => self.illegal("enrolled"),
        }
    }

    /// The enrollment of this generation is complete.
    pub fn completed(self, generation: Generation, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Enrolling { generation: own, .. } if own == generation => {
                Ok(Self::Managed { generation, since: now })
            }
            Self::Managed { generation: own, .. } if own == generation => Ok(self),
            // What the device was doing when the change was seen goes on.
            Self::HardwareChanged { since, was } => {
                Ok(Self::HardwareChanged { since, was: Box::new(was.completed(generation, now)?) })
            }
            _ => self.illegal("managed by this generation"),
        }
    }

    /// A device that never enrolled asks too late to be enrolled unseen.
    pub fn held(self, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Claimed => Ok(Self::PendingApproval { since: now }),
            Self::PendingApproval { .. } => Ok(self),
            _ => self.illegal("held for approval"),
        }
    }

    /// The device, proven by its key, shows other parts than before.
    pub fn hardware_changed(self, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Enrolling { .. } | Self::Managed { .. } => {
                Ok(Self::HardwareChanged { since: now, was: Box::new(self) })
            }
            Self::HardwareChanged { .. } => Ok(self),
            _ => self.illegal("held for changed hardware"),
        }
    }

    /// An administrator refused what the device was held for.
    #[must_use]
    pub fn refused(self) -> Self {
        match self {
            Self::PendingApproval { .. } => Self::Claimed,
            Self::HardwareChanged { was, .. } => *was,
            other => other,
        }
    }

    /// The owner disables it, or changes the message.
    pub fn disabled(self, message: Option<String>, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Deprovisioned { .. } => self.illegal("disabled"),
            Self::Disabled { since, was, .. } => Ok(Self::Disabled { since, message, was }),
            other => Ok(Self::Disabled { since: now, message, was: Box::new(other) }),
        }
    }

    /// The owner enables it again.
    pub fn enabled(self) -> Result<Self, IllegalTransition> {
        match self {
            Self::Disabled { was, .. } => Ok(*was),
            _ => self.illegal("enabled"),
        }
    }

    /// The owner releases it for good.
    pub fn deprovisioned(self, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Deprovisioned { .. } => self.illegal("deprovisioned"),
            _ => Ok(Self::Deprovisioned { since: now }),
        }
    }

    /// What every request of this device is answered with, if its state alone refuses it.
    #[must_use]
    pub fn refusal(&self) -> Option<(RefusalKind, Option<&str>)> {
        match self {
            Self::Disabled { message, .. } => Some((RefusalKind::Disabled, message.as_deref())),
            Self::Deprovisioned { .. } => Some((RefusalKind::Deprovisioned, None)),
            _ => None,
        }
    }
}

/// One enrollment of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Enrollment {
    /// Its number.
    pub generation: Generation,
    /// The key that it is bound to.
    pub key: DevicePublicKey,
}

/// Whether whoever holds a disabled device can be shown this.
///
/// # Errors
/// The rule, for whoever wrote it.
pub fn check_message(message: Option<&str>) -> Result<(), String> {
    match message {
        Some(text) if !is_plain_text(text, MAX_MESSAGE_CHARS, true) => {
            Err(format!("expected plain text of at most {MAX_MESSAGE_CHARS} characters"))
        }
        _ => Ok(()),
    }
}

/// What the server remembers of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// The claim that it enrolled by.
    pub claim: ClaimId,
    /// Who owns it.
    pub customer: CompanyId,
    /// Its state.
    pub state: DeviceState,
    /// The enrollment that was complete last.
    pub active: Option<Enrollment>,
    /// The enrollment that was granted last; the active one if that is complete.
    pub latest: Option<Enrollment>,
    /// Digest of the handshake ticket that the latest enrollment was granted for.
    pub latest_ticket: Option<Sha256>,
    /// What it showed when it was granted last.
    pub identity: Option<HardwareIdentity>,
    /// When an administrator asked it to enroll again; until it has.
    pub re_enroll_requested_at: Option<Timestamp>,
    /// When it was first seen.
    pub created_at: Timestamp,
    /// When it first enrolled.
    pub bound_at: Option<Timestamp>,
    /// The network from which its own key was last heard.
    pub source: Option<Network>,
    /// What it said last.
    pub last_said: LastSaid,
}

/// What a device said of itself last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastSaid {
    /// When it was heard.
    pub at: Option<Timestamp>,
    /// Version of its agent.
    pub agent_version: Option<String>,
    /// Whether its DPC passes its health check.
    pub healthy: Option<bool>,
    /// What it runs.
    pub installed: Option<Installed>,
    /// The payload that failed there.
    pub failed_version: Option<u64>,
    /// How the last installation ended.
    pub outcome: Option<Outcome>,
}

impl Device {
    /// A device that has not asked for anything yet.
    #[must_use]
    pub fn new(id: DeviceId, claim: ClaimId, customer: CompanyId, now: Timestamp) -> Self {
        Self {
            id,
            claim,
            customer,
            state: DeviceState::Claimed,
            active: None,
            latest: None,
            latest_ticket: None,
            identity: None,
            re_enroll_requested_at: None,
            created_at: now,
            bound_at: None,
            source: None,
            last_said: LastSaid::default(),
        }
    }

    /// The generation that was granted last; 0 before the first.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.latest.as_ref().map_or(Generation(0), |one| one.generation)
    }

    /// The enrollment of this generation, if its certificates are still good: the latest that
    /// was granted, or the one that works until then.
    #[must_use]
    pub fn enrollment(&self, generation: Generation) -> Option<&Enrollment> {
        [&self.latest, &self.active].into_iter().flatten().find(|one| one.generation == generation)
    }

    /// Whether it was ever granted an enrollment.
    #[must_use]
    pub const fn has_enrolled(&self) -> bool {
        self.latest.is_some() || self.active.is_some()
    }

    /// Whether this is a key that the device is bound to.
    #[must_use]
    pub fn knows_key(&self, key: Sha256) -> bool {
        [&self.latest, &self.active].into_iter().flatten().any(|one| one.key.digest() == key)
    }

    /// The device as matching sees it, when one with this key asks; `None` before it enrolled.
    #[must_use]
    pub fn bound(&self, key: Sha256) -> Option<Bound> {
        let since = self.bound_at?;
        Some(Bound { since, has_key: self.knows_key(key), identity: self.identity.clone() })
    }

    /// An administrator asks it to enroll again.
    ///
    /// # Errors
    /// [`IllegalTransition`] if it never enrolled, or may not.
    pub fn ask_to_enroll_again(&mut self, now: Timestamp) -> Result<(), IllegalTransition> {
        if self.latest.is_none() || self.state.refusal().is_some() {
            return self.state.illegal("asked to enroll again");
        }
        self.re_enroll_requested_at = Some(now);
        Ok(())
    }

    /// The latest enrollment becomes the active one; what was asked for before is settled.
    ///
    /// # Errors
    /// [`IllegalTransition`] unless `generation` is the one that the device is enrolling with or
    /// is managed by.
    pub fn complete(&mut self, generation: Generation, now: Timestamp) -> Result<(), IllegalTransition> {
        self.state = self.state.clone().completed(generation, now)?;
        self.active.clone_from(&self.latest);
        self.re_enroll_requested_at = None;
        Ok(())
    }
}

/// A key, or hardware, with which somebody asked to be this device, and which an administrator
/// may approve: exactly that key, and the hardware that it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// The device.
    pub device: DeviceId,
    /// Who owns it.
    pub customer: CompanyId,
    /// Digest of the key.
    pub key: Sha256,
    /// What was shown with it.
    pub identity: HardwareIdentity,
    /// What is not as it was when the device last enrolled.
    pub replaced: Vec<ReplacedPart>,
    /// When it was asked first.
    pub first_at: Timestamp,
    /// When it was asked last.
    pub last_at: Timestamp,
    /// How often.
    pub count: u64,
    /// When it was approved.
    pub approved_at: Option<Timestamp>,
    /// The network that it was asked from last.
    pub source: Option<Network>,
    /// What ties whoever asked to the device, beside its identifiers.
    pub tie: Tie,
}

words! {
    /// What ties whoever asks with an unknown key to a device, the weakest first.
    pub enum Tie {
        /// Nothing but identifiers, which are on the box.
        None = "none",
        /// The network that the device's own key was last heard from.
        Network = "network",
        /// The device's own key, its certificate or its TPM.
        Proof = "proof",
    }
}

/// The request that is forgotten first when there are too many: of those with the weakest tie, one from
/// the network that asks with the most keys, and of these the one that was last asked longest ago.
/// Strangers at one address so push out each other, and never the device's own.
#[must_use]
pub fn least_credible(requests: &[ApprovalRequest]) -> Option<&ApprovalRequest> {
    let from_there = |one: &ApprovalRequest| {
        requests.iter().filter(|other| (other.tie, other.source) == (one.tie, one.source)).count()
    };
    requests.iter().min_by_key(|one| (one.tie, Reverse(from_there(one)), one.last_at, one.key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use unbox_common::identity::{Identifier, IdentifierKind, Observed, Source};

    const NOW: Timestamp = Timestamp(100);

    fn all() -> Vec<DeviceState> {
        let generation = Generation(1);
        let managed = DeviceState::Managed { generation, since: NOW };
        vec![
            DeviceState::Claimed,
            DeviceState::Enrolling { generation, since: NOW },
            managed.clone(),
            DeviceState::PendingApproval { since: NOW },
            DeviceState::HardwareChanged { since: NOW, was: Box::new(managed.clone()) },
            DeviceState::Disabled { since: NOW, message: Some("lost".to_owned()), was: Box::new(managed) },
            DeviceState::Deprovisioned { since: NOW },
        ]
    }

    #[test]
    fn strangers_push_out_each_other_and_never_what_is_tied_to_the_device() {
        let identifier = Identifier::parse(IdentifierKind::MacAddress, "00:16:3e:00:00:01").unwrap();
        let identity = HardwareIdentity::new([Observed { identifier, source: Source::Network }]).unwrap();
        let request = |name: &str, tie, source: &str, last_at| ApprovalRequest {
            device: DeviceId::new(1).unwrap(),
            customer: CompanyId::new(1).unwrap(),
            key: Sha256::of(name.as_bytes()),
            identity: identity.clone(),
            replaced: Vec::new(),
            first_at: NOW,
            last_at: Timestamp(last_at),
            count: 1,
            approved_at: None,
            source: Some(source.parse().unwrap()),
            tie,
        };
        let mut requests = vec![
            request("tpm", Tie::Proof, "192.0.2.1", 1),
            request("school", Tie::Network, "198.51.100.1", 2),
            request("elsewhere", Tie::None, "203.0.113.1", 3),
            request("first of many", Tie::None, "192.0.2.1", 5),
            request("second of many", Tie::None, "192.0.2.1", 4),
            request("third of many", Tie::None, "192.0.2.1", 6),
        ];
        let names = ["second of many", "first of many", "elsewhere", "third of many", "school", "tpm"];
        for name in names {
            let key = least_credible(&requests).unwrap().key;
            assert_eq!(key, Sha256::of(name.as_bytes()), "{name}");
            requests.retain(|one| one.key != key);
        }
        assert_eq!(least_credible(&requests), None);
    }

    #[test]
    fn every_transition_is_in_the_table() {
        type Step = fn(DeviceState) -> Result<DeviceState, IllegalTransition>;
        let steps: [(&str, Step); 7] = [
            ("granted", |state| state.granted(Generation(2), NOW)),
            ("completed", |state| state.completed(Generation(1), NOW)),
            ("held", |state| state.held(NOW)),
            ("hardware_changed", |state| state.hardware_changed(NOW)),
            ("disabled", |state| state.disabled(None, NOW)),
            ("enabled", DeviceState::enabled),
            ("deprovisioned", |state| state.deprovisioned(NOW)),
        ];
        let table: Vec<String> = all()
            .into_iter()
            .map(|from| {
                let to = steps.map(|(step, take)| match take(from.clone()) {
                    Ok(to) => format!("{step} -> {}", to.name()),
                    Err(error) => {
                        assert_eq!(error.from, from.name());
                        format!("{step} -> no")
                    }
                });
                format!("{}: {}\n", from.name(), to.join(", "))
            })
            .collect();
        assert_eq!(
            table.concat(),
            "\
claimed: granted -> enrolling, completed -> no, held -> pending_approval, hardware_changed -> no, disabled -> disabled, enabled -> no, deprovisioned -> deprovisioned
enrolling: granted -> enrolling, completed -> managed, held -> no, hardware_changed -> hardware_changed, disabled -> disabled, enabled -> no, deprovisioned -> deprovisioned
managed: granted -> enrolling, completed -> managed, held -> no, hardware_changed -> hardware_changed, disabled -> disabled, enabled -> no, deprovisioned -> deprovisioned
pending_approval: granted -> enrolling, completed -> no, held -> pending_approval, hardware_changed -> no, disabled -> disabled, enabled -> no, deprovisioned -> deprovisioned
hardware_changed: granted -> enrolling, completed -> hardware_changed, held -> no, hardware_changed -> hardware_changed, disabled -> disabled, enabled -> no, deprovisioned -> deprovisioned
disabled: granted -> no, completed -> no, held -> no, hardware_changed -> no, disabled -> disabled, enabled -> managed, deprovisioned -> deprovisioned
deprovisioned: granted -> no, completed -> no, held -> no, hardware_changed -> no, disabled -> no, enabled -> no, deprovisioned -> no
"
        );
    }

    #[test]
    fn a_state_comes_back_as_it_was() {
        for state in all().into_iter().filter(|state| state.refusal().is_none()) {
            let disabled = state.clone().disabled(Some("first".to_owned()), NOW).unwrap();
            let again = disabled.disabled(Some("second".to_owned()), Timestamp(200)).unwrap();
            assert_eq!(again.refusal(), Some((RefusalKind::Disabled, Some("second"))));
            assert_eq!(again.enabled().unwrap(), state);
        }
        let managed = DeviceState::Managed { generation: Generation(1), since: NOW };
        assert_eq!(managed.clone().hardware_changed(NOW).unwrap().refused(), managed);
        assert_eq!(DeviceState::PendingApproval { since: NOW }.refused(), DeviceState::Claimed);
    }

    #[test]
    fn a_state_survives_storage() {
        for state in all() {
            let json = serde_json::to_string(&state).unwrap();
            assert!(json.contains(state.name().name()), "{json}");
            assert_eq!(serde_json::from_str::<DeviceState>(&json).unwrap(), state);
        }
    }

    #[test]
    fn another_generation_cannot_complete_an_enrollment() {
        let enrolling = DeviceState::Enrolling { generation: Generation(2), since: NOW };
        for generation in [1, 3] {
            assert!(enrolling.clone().completed(Generation(generation), NOW).is_err());
        }
    }
}
