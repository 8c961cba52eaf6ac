//! The forms of things in a list, and in JSON.

use super::output::{Row, or_dash};
use crate::{
    domain::{
        catalogue::{artifact::Artifact, configuration::Configuration, dpc::CatalogueDpc},
        claims::claim::{Claim, Collision},
        devices::{
            device::{ApprovalRequest, Device},
            token::Token,
        },
        factory::record::FactoryRecord,
        tenancy::{
            account::Account,
            audit::Entry,
            company::Company,
            credential::{ApiKey, ServiceAccountKey},
        },
    },
    service::StoredReport,
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use unbox_common::matching::IdentifierSet;

/// A thing that gets its JSON form here.
pub(super) struct View<T>(pub(super) T);

impl Row for Company {
    const LIST: &'static str = "companies";
    const HEADS: &'static [&'static str] = &["id", "name", "default configuration", "since"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.name.to_string(),
            or_dash(self.default_configuration),
            self.created_at.to_string(),
        ]
    }
}

impl Row for Account {
    const LIST: &'static str = "accounts";
    const HEADS: &'static [&'static str] = &["id", "company", "kind", "e-mail", "name", "role", "disabled"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            or_dash(self.company),
            self.kind.to_string(),
            self.email.to_string(),
            self.name.to_string(),
            self.role.to_string(),
            or_dash(self.disabled_at),
        ]
    }
}

impl Row for ApiKey {
    const LIST: &'static str = "api_keys";
    const HEADS: &'static [&'static str] =
        &["id", "name", "starts with", "since", "expires", "revoked", "last used"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.name.to_string(),
            self.prefix.clone(),
            self.created_at.to_string(),
            or_dash(self.expires_at),
            or_dash(self.revoked_at),
            or_dash(self.last_used_at),
        ]
    }
}

impl Row for ServiceAccountKey {
    const LIST: &'static str = "keys";
    const HEADS: &'static [&'static str] = &["id", "since", "expires", "revoked"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.created_at.to_string(),
            or_dash(self.expires_at),
            or_dash(self.revoked_at),
        ]
    }
}

impl Row for Configuration {
    const LIST: &'static str = "configurations";
    const HEADS: &'static [&'static str] = &["id", "customer", "name", "dpc", "policy items", "changed"];

    fn cells(&self) -> Vec<String> {
        let dpc = self.document.dpc.as_ref().map(|dpc| format!("{} {}", dpc.name, dpc.version));
        vec![
            self.id.to_string(),
            self.customer.to_string(),
            self.name.to_string(),
            or_dash(dpc),
            self.document.policy.len().to_string(),
            self.updated_at.to_string(),
        ]
    }
}

impl Row for CatalogueDpc {
    const LIST: &'static str = "dpcs";
    const HEADS: &'static [&'static str] = &["name", "version", "title", "changed"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.dpc.name.to_string(),
            self.dpc.version.to_string(),
            self.title.to_string(),
            self.updated_at.to_string(),
        ]
    }
}

impl Row for Artifact {
    const LIST: &'static str = "artifacts";
    const HEADS: &'static [&'static str] = &["sha256", "bytes", "customer", "name", "since"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.sha256.to_string(),
            self.size.to_string(),
            self.customer.map_or_else(|| "all".to_owned(), |customer| customer.to_string()),
            self.name.to_string(),
            self.created_at.to_string(),
        ]
    }
}

impl Row for Token {
    const LIST: &'static str = "tokens";
    const HEADS: &'static [&'static str] = &["id", "customer", "name", "configuration", "expires", "revoked"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.id.to_string(),
            self.customer.to_string(),
            self.name.to_string(),
            or_dash(self.configuration),
            or_dash(self.expires_at),
            or_dash(self.revoked_at),
        ]
    }
}

impl Row for Entry {
    const LIST: &'static str = "entries";
    const HEADS: &'static [&'static str] = &["when", "who", "what", "to what", "times", "more"];

    fn cells(&self) -> Vec<String> {
        let more = if self.detail.is_null() { String::new() } else { self.detail.to_string() };
        vec![
            self.last_at.to_string(),
            self.actor.clone(),
            self.action.to_string(),
            self.subject.to_string(),
            self.count.to_string(),
            more,
        ]
    }
}

impl Row for View<Claim> {
    const LIST: &'static str = "claims";
    const HEADS: &'static [&'static str] =
        &["id", "customer", "proof", "configuration", "collides", "identifiers"];

    fn cells(&self) -> Vec<String> {
        let claim = &self.0;
        vec![
            claim.id.to_string(),
            claim.customer.to_string(),
            claim.proof.to_string(),
            or_dash(claim.configuration),
            or_dash(claim.collision.as_ref().map(|one| one.at)),
            claim.sets.usable().iter().map(set_text).collect::<Vec<_>>().join(" | "),
        ]
    }
}

impl Row for View<FactoryRecord> {
    const LIST: &'static str = "factory_records";
    const HEADS: &'static [&'static str] = &["id", "company", "claim with its key", "since", "identifiers"];

    fn cells(&self) -> Vec<String> {
        let record = &self.0;
        vec![
            record.id.to_string(),
            record.company.to_string(),
            or_dash(record.claim),
            record.created_at.to_string(),
            record
                .identity
                .observations()
                .iter()
                .map(|one| one.identifier.to_string())
                .collect::<Vec<_>>()
                .join(", "),
        ]
    }
}

impl Row for View<Device> {
    const LIST: &'static str = "devices";
    const HEADS: &'static [&'static str] = &["id", "claim", "customer", "state", "generation", "last seen"];

    fn cells(&self) -> Vec<String> {
        let device = &self.0;
        vec![
            device.id.to_string(),
            device.claim.to_string(),
            device.customer.to_string(),
            device.state.name().to_string(),
            device.generation().to_string(),
            or_dash(device.last_said.at),
        ]
    }
}

impl Row for View<ApprovalRequest> {
    const LIST: &'static str = "requests";
    const HEADS: &'static [&'static str] =
        &["device", "key", "replaced parts", "times", "last", "from", "tie", "approved"];

    fn cells(&self) -> Vec<String> {
        let request = &self.0;
        let replaced = request.replaced.iter().map(|part| part.kind.to_string());
        vec![
            request.device.to_string(),
            request.key.to_string(),
            or_dash(Some(replaced.collect::<Vec<_>>().join(", ")).filter(|text| !text.is_empty())),
            request.count.to_string(),
            request.last_at.to_string(),
            or_dash(request.source),
            request.tie.to_string(),
            or_dash(request.approved_at),
        ]
    }
}

impl Row for View<StoredReport> {
    const LIST: &'static str = "reports";
    const HEADS: &'static [&'static str] = &["received", "generation", "number", "progress", "detail"];

    fn cells(&self) -> Vec<String> {
        let report = &self.0;
        vec![
            report.received_at.to_string(),
            report.generation.to_string(),
            report.entry.sequence.to_string(),
            word(&report.entry.progress),
            report.entry.detail.clone().unwrap_or_default(),
        ]
    }
}

impl Serialize for View<Claim> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let claim = &self.0;
        let unusable: Vec<_> = claim.sets.unusable().iter().map(|set| set.reason().to_string()).collect();
        json!({
            "id": claim.id,
            "customer": claim.customer,
            "reseller": claim.reseller,
            "configuration": claim.configuration,
            "proof": claim.proof,
            "activation_ends_at": claim.activation_ends_at,
            "sets": claim.sets.usable().iter().map(set_json).collect::<Vec<_>>(),
            "unusable_sets": unusable,
            "order": claim.order,
            "created_at": claim.created_at,
            "created_by": claim.created_by,
            "collision": claim.collision,
            "released_at": claim.released_at,
        })
        .serialize(serializer)
    }
}

impl Serialize for View<FactoryRecord> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = &self.0;
        json!({
            "id": record.id,
            "company": record.company,
            "identity": record.identity.to_raw(),
            "key": record.key(),
            "claim": record.claim,
            "created_at": record.created_at,
            "created_by": record.created_by,
        })
        .serialize(serializer)
    }
}

impl Serialize for View<Device> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let device = &self.0;
        let said = &device.last_said;
        json!({
            "id": device.id,
            "claim": device.claim,
            "customer": device.customer,
            "state": device.state.name(),
            "since": device.state,
            "generation": device.generation(),
            "active_generation": device.active.as_ref().map(|one| one.generation),
            "key": device.latest.as_ref().map(|one| one.key.digest()),
            "identity": device.identity.as_ref().map(unbox_common::identity::HardwareIdentity::to_raw),
            "re_enroll_requested_at": device.re_enroll_requested_at,
            "created_at": device.created_at,
            "last_seen_at": said.at,
            "agent_version": said.agent_version,
            "healthy": said.healthy,
            "installed": said.installed,
            "failed_version": said.failed_version,
            "outcome": said.outcome,
        })
        .serialize(serializer)
    }
}

impl Serialize for View<ApprovalRequest> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let request = &self.0;
        json!({
            "device": request.device,
            "customer": request.customer,
            "key": request.key,
            "identity": request.identity.to_raw(),
            "replaced": request.replaced,
            "first_at": request.first_at,
            "last_at": request.last_at,
            "count": request.count,
            "source": request.source,
            "tie": request.tie,
            "approved_at": request.approved_at,
        })
        .serialize(serializer)
    }
}

impl Serialize for View<StoredReport> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let report = &self.0;
        json!({
            "device": report.device,
            "generation": report.generation,
            "sequence": report.entry.sequence,
            "at": report.entry.at,
            "progress": report.entry.progress,
            "detail": report.entry.detail,
            "received_at": report.received_at,
        })
        .serialize(serializer)
    }
}

/// Describes the last match of a device with claims of other owners, too, and its identifiers.
pub(super) fn collision_text(of: &Collision) -> String {
    let Collision { at, identifiers, others_kinds } = of;
    let others: Vec<&str> = others_kinds.iter().map(|kind| kind.name()).collect();
    format!("{at}: {} here, {} in claims of other owners", identifiers.join(", "), others.join(", "))
}

fn set_text(set: &IdentifierSet) -> String {
    set.members().iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn set_json(set: &IdentifierSet) -> Value {
    let member =
        |one: &unbox_common::identity::Identifier| json!({ "kind": one.kind(), "value": one.value() });
    set.members().iter().map(member).collect()
}

/// Returns the wire name of an enum without fields.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(Value::String(word)) => word,
        _ => "?".to_owned(),
    }
}
