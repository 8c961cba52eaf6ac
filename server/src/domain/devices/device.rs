//! Devices: the server's record of each one, and its states.
//!
//! ```text
//! claimed -> enrolling -> managed          granted, then completed
//!    |  \________^  ^________/             every enrollment begins again with a grant
//!    v             \
//! pending approval  hardware changed       waits for an administrator; a grant ends it
//!
//! any of these <-> disabled                with the administrator's message
//! any          ->  deprovisioned           for good
//! ```
//!
//! A state changes only on proof or by an administrator. Somebody who merely shows a device's identifiers
//! leaves an [`ApprovalRequest`] and does not change the state.

use super::network::Network;
use crate::domain::{
    catalogue::configuration::{Assigned, MAX_MESSAGE_CHARS},
    closed_set::closed_set,
    name::is_plain_text,
};
use serde::{Deserialize, Serialize};
use std::{cmp::Reverse, time::Duration};
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

closed_set! {
    /// The name of a device's state.
    pub enum StateName {
        /// Registered, but never enrolled.
        Claimed = "claimed",
        /// Granted an enrollment, but not yet managed.
        Enrolling = "enrolling",
        /// Running its payload.
        Managed = "managed",
        /// Never enrolled, and the activation window is over.
        PendingApproval = "pending_approval",
        /// Proven by its key, but with replaced parts.
        HardwareChanged = "hardware_changed",
        /// Disabled by its owner.
        Disabled = "disabled",
        /// Permanently released by its owner.
        Deprovisioned = "deprovisioned",
    }
}

/// A device's state, with its details.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum DeviceState {
    /// Registered, but never enrolled.
    Claimed,
    /// Granted an enrollment, but not yet managed.
    Enrolling {
        /// The enrollment.
        generation: Generation,
        /// The time of the grant.
        since: Timestamp,
    },
    /// Running its payload.
    Managed {
        /// The enrollment.
        generation: Generation,
        /// The time of completion.
        since: Timestamp,
    },
    /// Never enrolled, and waiting for an administrator's approval.
    PendingApproval {
        /// The time of the first request.
        since: Timestamp,
    },
    /// Waiting for an administrator to approve replaced parts.
    HardwareChanged {
        /// The time at which it first showed them.
        since: Timestamp,
        /// The previous state, to which it returns if the change is refused.
        was: Box<DeviceState>,
    },
    /// Disabled by its owner.
    Disabled {
        /// The time at which it was disabled.
        since: Timestamp,
        /// A message to the person who holds the device.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        message: Option<String>,
        /// The previous state, to which it returns when enabled.
        was: Box<DeviceState>,
    },
    /// Permanently released by its owner.
    Deprovisioned {
        /// The time of the release.
        since: Timestamp,
    },
}

/// A transition that a state does not allow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a device that is {from} cannot be {attempted}")]
pub struct IllegalTransition {
    /// The present state.
    pub from: StateName,
    /// The attempted transition.
    pub attempted: &'static str,
}

impl DeviceState {
    /// Returns the name of the state.
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

    fn illegal_transition<T>(&self, attempted: &'static str) -> Result<T, IllegalTransition> {
        Err(IllegalTransition { from: self.name(), attempted })
    }

    /// Returns the state after a grant.
    pub fn grant(self, generation: Generation, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Claimed
            | Self::Enrolling { .. }
            | Self::Managed { .. }
            | Self::PendingApproval { .. }
            | Self::HardwareChanged { .. } => Ok(Self::Enrolling { generation, since: now }),
            Self::Disabled { .. } | Self::Deprovisioned { .. } => self.illegal_transition("enrolled"),
        }
    }

    /// Returns the state after the enrollment of this generation is complete.
    pub fn complete(self, generation: Generation, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Enrolling { generation: own, .. } if own == generation => {
                Ok(Self::Managed { generation, since: now })
            }
            Self::Managed { generation: own, .. } if own == generation => Ok(self),
            // The enrollment that was under way when the change was seen continues.
            Self::HardwareChanged { since, was } => {
                Ok(Self::HardwareChanged { since, was: Box::new(was.complete(generation, now)?) })
            }
            _ => self.illegal_transition("managed by this generation"),
        }
    }

    /// Returns the state of a device that first asks after its activation window.
    pub fn hold(self, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Claimed => Ok(Self::PendingApproval { since: now }),
            Self::PendingApproval { .. } => Ok(self),
            _ => self.illegal_transition("held for approval"),
        }
    }

    /// Returns the state of a device that, proven by its key, shows other parts than before.
    pub fn hold_for_changed_hardware(self, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Enrolling { .. } | Self::Managed { .. } => {
                Ok(Self::HardwareChanged { since: now, was: Box::new(self) })
            }
            Self::HardwareChanged { .. } => Ok(self),
            _ => self.illegal_transition("held for changed hardware"),
        }
    }

    /// Returns the state after an administrator refused what the device waited for.
    #[must_use]
    pub fn refuse(self) -> Self {
        match self {
            Self::PendingApproval { .. } => Self::Claimed,
            Self::HardwareChanged { was, .. } => *was,
            other => other,
        }
    }

    /// Returns the state after the owner disabled the device or changed the message.
    pub fn disable(self, message: Option<String>, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Deprovisioned { .. } => self.illegal_transition("disabled"),
            Self::Disabled { since, was, .. } => Ok(Self::Disabled { since, message, was }),
            other => Ok(Self::Disabled { since: now, message, was: Box::new(other) }),
        }
    }

    /// Returns the state after the owner enabled the device again.
    pub fn enable(self) -> Result<Self, IllegalTransition> {
        match self {
            Self::Disabled { was, .. } => Ok(*was),
            _ => self.illegal_transition("enabled"),
        }
    }

    /// Returns the state after the owner released the device permanently.
    pub fn deprovision(self, now: Timestamp) -> Result<Self, IllegalTransition> {
        match self {
            Self::Deprovisioned { .. } => self.illegal_transition("deprovisioned"),
            _ => Ok(Self::Deprovisioned { since: now }),
        }
    }

    /// Returns the refusal of every request of this device, if its state causes one.
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

/// Checks that a message can be shown on a disabled device.
///
/// # Errors
/// The rule that it breaks, for the author of the message.
pub fn check_message(message: Option<&str>) -> Result<(), String> {
    match message {
        Some(text) if !is_plain_text(text, MAX_MESSAGE_CHARS, true) => {
            Err(format!("expected plain text of at most {MAX_MESSAGE_CHARS} characters"))
        }
        _ => Ok(()),
    }
}

/// The server's record of one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// The claim that it enrolled under.
    pub claim: ClaimId,
    /// The customer that owns it.
    pub customer: CompanyId,
    /// Its state.
    pub state: DeviceState,
    /// The last completed enrollment.
    pub active: Option<Enrollment>,
    /// The last granted enrollment; the same as the active one once that is complete.
    pub latest: Option<Enrollment>,
    /// The digest of the handshake ticket of the latest enrollment.
    pub latest_ticket: Option<Sha256>,
    /// The identifiers that it showed at the last grant.
    pub identity: Option<HardwareIdentity>,
    /// The time at which an administrator asked it to enroll again; `None` once it has.
    pub re_enroll_requested_at: Option<Timestamp>,
    /// The time of its first request.
    pub created_at: Timestamp,
    /// The time of its first enrollment.
    pub bound_at: Option<Timestamp>,
    /// The network of the last request with its own key.
    pub source: Option<Network>,
    /// The number by which its payload versions lie above those that its customer draws.
    pub version_lead: u64,
    /// Its last message about itself.
    pub last_said: LastSaid,
}

/// The furthest that a version reached by a device may lie above the present time. The limit only keeps the
/// device's own numbers from running out: a version beyond it is ignored.
const MAX_VERSION_AHEAD: Duration = Duration::from_hours(100 * 365 * 24);

/// The last message of a device about itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LastSaid {
    /// The time of the message.
    pub at: Option<Timestamp>,
    /// The version of its agent.
    pub agent_version: Option<String>,
    /// True if its DPC passes its health check.
    pub healthy: Option<bool>,
    /// The configuration that it runs.
    pub installed: Option<Installed>,
    /// The version of the payload that failed on the device.
    pub failed_version: Option<u64>,
    /// The outcome of the last installation.
    pub outcome: Option<Outcome>,
}

impl Device {
    /// Returns a device that has made no request yet.
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
            version_lead: 0,
            last_said: LastSaid::default(),
        }
    }

    /// Returns the generation that was granted last; 0 before the first grant.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.latest.as_ref().map_or(Generation(0), |one| one.generation)
    }

    /// Raises the versions of this device above one that it has `reached`, because the database was restored
    /// or a clock was fast; it would refuse lower ones. Returns whether that was needed. What a device says
    /// counts for itself alone: no other device's versions change.
    pub fn lead_versions_above(&mut self, reached: u64, assigned: &Assigned, now: Timestamp) -> bool {
        let is_ahead = reached > assigned.version().saturating_add(self.version_lead);
        let leads = is_ahead && reached <= now.plus(MAX_VERSION_AHEAD).0;
        if leads {
            self.version_lead = (reached + 1).saturating_sub(assigned.version());
        }
        leads
    }

    /// Returns the enrollment of this generation if its certificates are still valid: the latest granted
    /// one, or the active one.
    #[must_use]
    pub fn enrollment(&self, generation: Generation) -> Option<&Enrollment> {
        [&self.latest, &self.active].into_iter().flatten().find(|one| one.generation == generation)
    }

    /// Returns true if it was ever granted an enrollment.
    #[must_use]
    pub const fn has_enrolled(&self) -> bool {
        self.latest.is_some() || self.active.is_some()
    }

    /// Returns true if the device is bound to this key.
    #[must_use]
    pub fn knows_key(&self, key: Sha256) -> bool {
        [&self.latest, &self.active].into_iter().flatten().any(|one| one.key.digest() == key)
    }

    /// Returns the device as matching sees it when a request comes with this key; `None` before its first
    /// enrollment.
    #[must_use]
    pub fn bound_state(&self, key: Sha256) -> Option<Bound> {
        let since = self.bound_at?;
        Some(Bound { since, has_key: self.knows_key(key), identity: self.identity.clone() })
    }

    /// Asks the device to enroll again.
    ///
    /// # Errors
    /// [`IllegalTransition`] if it never enrolled, or is disabled or deprovisioned.
    pub fn request_re_enrollment(&mut self, now: Timestamp) -> Result<(), IllegalTransition> {
        if self.latest.is_none() || self.state.refusal().is_some() {
            return self.state.illegal_transition("asked to enroll again");
        }
        self.re_enroll_requested_at = Some(now);
        Ok(())
    }

    /// Makes the latest enrollment the active one, and settles an earlier request to enroll again.
    ///
    /// # Errors
    /// [`IllegalTransition`] unless `generation` is the one that the device is enrolling with or
    /// is managed by.
    pub fn complete(&mut self, generation: Generation, now: Timestamp) -> Result<(), IllegalTransition> {
        self.state = self.state.clone().complete(generation, now)?;
        self.active.clone_from(&self.latest);
        self.re_enroll_requested_at = None;
        Ok(())
    }
}

/// A request to be this device with a new key or other hardware. An administrator may approve exactly that
/// key with the hardware that it came with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRequest {
    /// The device.
    pub device: DeviceId,
    /// The customer that owns it.
    pub customer: CompanyId,
    /// The digest of the key.
    pub key: Sha256,
    /// The identifiers shown with it.
    pub identity: HardwareIdentity,
    /// The parts that changed since the device last enrolled.
    pub replaced: Vec<ReplacedPart>,
    /// The time of the first request.
    pub first_at: Timestamp,
    /// The time of the last request.
    pub last_at: Timestamp,
    /// The number of requests.
    pub count: u64,
    /// The time of the approval.
    pub approved_at: Option<Timestamp>,
    /// The network of the last request.
    pub source: Option<Network>,
    /// The strongest link between the requester and the device, beside its identifiers.
    pub tie: Tie,
}

closed_set! {
    /// The link between the sender of an unknown key and a device, weakest first.
    pub enum Tie {
        /// Only identifiers, which are printed on the box.
        None = "none",
        /// The network of the last request with the device's own key.
        Network = "network",
        /// Proof by the device's own key, its certificate or its TPM.
        Proof = "proof",
    }
}

/// Returns the request to delete first when there are too many: among those with the weakest tie, the one
/// last made longest ago from the network that asks with the most keys. So strangers at one address
/// displace each other, and never the device's own requests.
#[must_use]
pub fn least_credible_request(requests: &[ApprovalRequest]) -> Option<&ApprovalRequest> {
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

    #[test]
    fn versions_of_a_device_rise_above_the_one_that_it_has_reached() {
        let assigned = Assigned {
            configuration: "1".parse().unwrap(),
            updated_at: Timestamp(50),
            assigned_at: Timestamp(60),
        };
        let far = Timestamp(100).plus(MAX_VERSION_AHEAD).0;
        for (lead, reached, expected) in [
            (0, 59, 0),
            (0, 60, 0),
            (0, 61, 2),
            (2, 62, 2),
            (2, 63, 4),
            (0, far, far - 59),
            (0, far + 1, 0),
            (0, u64::MAX, 0),
        ] {
            let claim = ClaimId::new(1).unwrap();
            let mut device =
                Device::new(DeviceId::new(1).unwrap(), claim, CompanyId::new(1).unwrap(), Timestamp(1));
            device.version_lead = lead;
            let raised = device.lead_versions_above(reached, &assigned, Timestamp(100));
            assert_eq!((device.version_lead, raised), (expected, expected != lead), "{reached}");
        }
    }

    fn every_state() -> Vec<DeviceState> {
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
            let key = least_credible_request(&requests).unwrap().key;
            assert_eq!(key, Sha256::of(name.as_bytes()), "{name}");
            requests.retain(|one| one.key != key);
        }
        assert_eq!(least_credible_request(&requests), None);
    }

    #[test]
    fn every_transition_is_in_the_table() {
        type Step = fn(DeviceState) -> Result<DeviceState, IllegalTransition>;
        let steps: [(&str, Step); 7] = [
            ("granted", |state| state.grant(Generation(2), NOW)),
            ("completed", |state| state.complete(Generation(1), NOW)),
            ("held", |state| state.hold(NOW)),
            ("hardware_changed", |state| state.hold_for_changed_hardware(NOW)),
            ("disabled", |state| state.disable(None, NOW)),
            ("enabled", DeviceState::enable),
            ("deprovisioned", |state| state.deprovision(NOW)),
        ];
        let table: Vec<String> = every_state()
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
        for state in every_state().into_iter().filter(|state| state.refusal().is_none()) {
            let disabled = state.clone().disable(Some("first".to_owned()), NOW).unwrap();
            let again = disabled.disable(Some("second".to_owned()), Timestamp(200)).unwrap();
            assert_eq!(again.refusal(), Some((RefusalKind::Disabled, Some("second"))));
            assert_eq!(again.enable().unwrap(), state);
        }
        let managed = DeviceState::Managed { generation: Generation(1), since: NOW };
        assert_eq!(managed.clone().hold_for_changed_hardware(NOW).unwrap().refuse(), managed);
        assert_eq!(DeviceState::PendingApproval { since: NOW }.refuse(), DeviceState::Claimed);
    }

    #[test]
    fn a_state_survives_storage() {
        for state in every_state() {
            let json = serde_json::to_string(&state).unwrap();
            assert!(json.contains(state.name().name()), "{json}");
            assert_eq!(serde_json::from_str::<DeviceState>(&json).unwrap(), state);
        }
    }

    #[test]
    fn another_generation_cannot_complete_an_enrollment() {
        let enrolling = DeviceState::Enrolling { generation: Generation(2), since: NOW };
        for generation in [1, 3] {
            assert!(enrolling.clone().complete(Generation(generation), NOW).is_err());
        }
    }
}
