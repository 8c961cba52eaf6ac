//! Devices, companies, configurations and DPCs, as messages.

use super::{
    identifier,
    message::{
        common::{DeviceMetadata, SectionType},
        company::{self, GoogleWorkspaceAccount, TermsStatus},
        configuration,
        device::{AdditionalService, Device, DeviceClaim, DeviceCollision},
        dpc::Dpc,
    },
    wire::name::{ConfigurationName, CustomerDeviceName, DpcResourceName, PartnerDeviceName, Segment},
};
use crate::domain::{
    catalogue::{configuration::Configuration, dpc::CatalogueDpc},
    claims::claim::Claim,
    tenancy::company::{Company, CompanyKind, Terms},
};
use std::time::Duration;
use unbox_common::{
    ids::{CompanyId, ConfigurationId},
    timestamp::Timestamp,
};

/// Writes a claimed device as its reseller sees it.
pub(super) fn partner_device(claim: &Claim, partner: CompanyId, now: Timestamp) -> Device {
    let name = PartnerDeviceName { partner, device: claim.id }.to_string();
    Device { name, ..device(claim, now) }
}

/// Writes a claimed device as its customer sees it: with its configuration, and with its reseller for those
/// who may know it.
pub(super) fn customer_device(
    claim: &Claim,
    default: Option<ConfigurationId>,
    now: Timestamp,
    sees_resellers: bool,
) -> Device {
    let name = CustomerDeviceName { customer: claim.customer, device: claim.id }.to_string();
    let configuration = claim
        .configuration
        .or(default)
        .map(|configuration| ConfigurationName { customer: claim.customer, configuration }.to_string());
    let mut seen = Device { name, configuration: configuration.unwrap_or_default(), ..device(claim, now) };
    if !sees_resellers {
        seen.claims.iter_mut().for_each(|claim| claim.reseller_id = None);
    }
    seen
}

fn device(claim: &Claim, now: Timestamp) -> Device {
    let vacation = claim.vacation_at(now);
    let metadata = claim.metadata.entries();
    Device {
        name: String::new(),
        device_id: Some(claim.id),
        device_identifier: Some(identifier::message(claim)),
        configuration: String::new(),
        claims: vec![DeviceClaim {
            owner_company_id: Some(claim.customer),
            reseller_id: claim.reseller,
            section_type: SectionType::ZeroTouch,
            additional_service: if claim.protected {
                AdditionalService::DeviceProtection
            } else {
                AdditionalService::Unspecified
            },
            google_workspace_customer_id: String::new(),
            vacation_mode_start_time: vacation.map(|vacation| vacation.started_at),
            vacation_mode_expire_time: vacation.map(|vacation| vacation.ends_at),
        }],
        device_metadata: (!metadata.is_empty()).then(|| DeviceMetadata { entries: metadata.clone() }),
        collision: claim.collision.as_ref().map(|one| DeviceCollision {
            time: Some(one.at),
            identifiers: one.identifiers.clone(),
            other_kinds: one.others_kinds.iter().map(ToString::to_string).collect(),
        }),
    }
}

/// Writes a company; `seen_by` is the caller whose path names it.
pub(super) fn company(company: &Company, seen_by: SeenBy) -> company::Company {
    let name = match (seen_by, company.kind) {
        (SeenBy::Partner(partner), CompanyKind::Customer) => {
            format!("partners/{partner}/customers/{}", company.id)
        }
        (SeenBy::Partner(partner), _) => format!("partners/{partner}/vendors/{}", company.id),
        (SeenBy::Vendor(partner, vendor), _) => {
            format!("partners/{partner}/vendors/{vendor}/customers/{}", company.id)
        }
        (SeenBy::Itself, _) => format!("customers/{}", company.id),
    };
    company::Company {
        name,
        company_id: Some(company.id),
        company_name: company.name.to_string(),
        terms_status: match company.terms {
            Terms::NotAccepted => TermsStatus::NotAccepted,
            Terms::Accepted => TermsStatus::Accepted,
            Terms::Stale => TermsStatus::Stale,
        },
        google_workspace_account: company.workspace.as_ref().map(|workspace| GoogleWorkspaceAccount {
            customer_id: workspace.clone(),
            pre_provisioning_tokens: Vec::new(),
        }),
        ..company::Company::default()
    }
}

/// The path that names a company.
#[derive(Debug, Clone, Copy)]
pub(super) enum SeenBy {
    /// The path of a reseller.
    Partner(CompanyId),
    /// The path of a reseller, for one of its vendors.
    Vendor(CompanyId, CompanyId),
    /// The company's own path.
    Itself,
}

/// Writes a configuration; `default` is its customer's default.
pub(super) fn configuration(of: &Configuration, customer: &Company) -> configuration::Configuration {
    let document = &of.document;
    let dpc = document.dpc.as_ref();
    let path = dpc.and_then(|dpc| dpc.name.to_string().parse::<Segment>().ok());
    let path = path.map(|dpc| DpcResourceName { customer: of.customer, dpc }.to_string());
    let extras = dpc.filter(|dpc| !dpc.extras.is_empty());
    let hold = document.setup.hold_for_s;
    configuration::Configuration {
        name: ConfigurationName { customer: of.customer, configuration: of.id }.to_string(),
        configuration_id: Some(of.id),
        configuration_name: of.name.to_string(),
        company_name: document.contact.company.as_ref().unwrap_or(&customer.name).to_string(),
        contact_email: document.contact.contact_email.clone(),
        contact_phone: document.contact.contact_phone.clone(),
        custom_message: document.contact.message.clone().unwrap_or_default(),
        dpc_resource_path: path.unwrap_or_default(),
        dpc_extras: extras.and_then(|dpc| serde_json::to_string(&dpc.extras).ok()).unwrap_or_default(),
        is_default: Some(customer.default_configuration == Some(of.id)),
        forced_reset_time: (hold > 0).then(|| Duration::from_secs(u64::from(hold))),
        policy: document.policy.clone(),
        setup: None,
    }
}

/// Writes a DPC of the catalogue, as a customer names it.
pub(super) fn dpc(of: &CatalogueDpc, customer: CompanyId) -> Dpc {
    let name = of.dpc.name.to_string();
    Dpc {
        name: format!("customers/{customer}/dpcs/{name}"),
        dpc_name: of.title.to_string(),
        package_name: name,
    }
}
