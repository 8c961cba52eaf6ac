//! Organisations' view of their factories: the records of test stations, which an administrator can
//! delete, and the bundle by which devices there come to trust this server.

use super::{
    call::{Answer, Call},
    message::{
        common::Empty,
        station::{FactoryRecord as Message, ListFactoryRecordsResponse, TrustBundle},
    },
    station::hardware_identifier,
    wire::{
        form::Written,
        name::{CustomerFactoryRecordName, PartnerFactoryRecordName},
        status::Status,
    },
};
use crate::{
    domain::{claims::claim::lookup_texts, factory::record::FactoryRecord, tenancy::actor::Scope},
    service::{FactoryFilter, PageRequest},
};
use unbox_common::ids::FactoryRecordId;

/// `partners.factoryRecords.list`, `customers.factoryRecords.list`
pub(super) async fn list(mut call: Call) -> Answer {
    let size = call.page_size().await?;
    let token = call.own.text("pageToken")?.unwrap_or_default();
    let identifier = call.own.text("identifier")?;
    call.no_more_parameters()?;
    let company = call.company()?;
    let list = ("factory records", company, &identifier);
    let after = call.page_after(&list, &token)?;
    let filter =
        FactoryFilter { company: Some(company), identifiers: identifier.as_deref().map(lookup_texts) };
    let request = PageRequest { size: Some(size), after };
    let page = call.services().factory.list_factory_records(&call.actor, filter, request).await?;
    let next_page_token = call.next_page(&list, page.next.as_deref())?;
    let factory_records = page.items.iter().map(|one| message(&call, one)).collect();
    call.answer(&Written(&ListFactoryRecordsResponse { factory_records, next_page_token }))
}

/// `partners.factoryRecords.get`, `customers.factoryRecords.get`
pub(super) async fn get(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id = call.id::<FactoryRecordId>(1, "factory record")?;
    let found = call.services().factory.factory_record(&call.actor, id).await?;
    call.answer(&Written(&message(&call, &found)))
}

/// `partners.factoryRecords.delete`, `customers.factoryRecords.delete`
pub(super) async fn delete(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id = call.id::<FactoryRecordId>(1, "factory record")?;
    call.services().factory.delete_factory_record(&call.actor, id).await?;
    call.answer(&Written(&Empty {}))
}

/// `partners.trustBundle.get`, `customers.trustBundle.get`
pub(super) async fn trust_bundle(mut call: Call) -> Answer {
    let known = call.own.integer("knownRootVersion")?.unwrap_or_default();
    call.no_more_parameters()?;
    let known = u64::try_from(known)
        .map_err(|_| Status::invalid_field("knownRootVersion", "Expected a version, not less than 0."))?;
    let bundle = call.services().trust_bundle(known)?;
    call.answer(&Written(&TrustBundle {
        anchors: bundle.anchors,
        root: bundle.root,
        root_version: i64::try_from(bundle.root_version).unwrap_or(i64::MAX),
        newer_roots: bundle.newer_roots,
    }))
}

fn message(call: &Call, record: &FactoryRecord) -> Message {
    let name = match call.actor.scope() {
        Scope::Reseller(partner) => PartnerFactoryRecordName { partner, record: record.id }.to_string(),
        _ => CustomerFactoryRecordName { customer: record.company, record: record.id }.to_string(),
    };
    Message {
        name,
        record_id: Some(record.id),
        identifiers: record
            .identity
            .observations()
            .iter()
            .map(|one| hardware_identifier(&one.identifier))
            .collect(),
        device_id: record.claim,
        create_time: Some(record.created_at),
    }
}
