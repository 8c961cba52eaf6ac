//! The methods of customers and their EMMs: `/v1/customers`.

use super::{
    call::{Answer, Call, no_such},
    identifier,
    message::{
        common::{DeviceReference, Empty},
        configuration::Configuration as Message,
        customer::{
            CustomerApplyConfigurationRequest, CustomerListCustomersResponse, CustomerListDpcsResponse,
            CustomerRemoveConfigurationRequest, CustomerUnclaimDeviceRequest,
        },
        device::Device,
    },
    partner::device_error,
    streamed_list::{self, StreamedList},
    view::{self, SeenBy},
    wire::{
        detail::FieldViolation,
        field_mask::FieldMask,
        form::Written,
        name::{ConfigurationName, DpcResourceName},
        status::Status,
    },
};
use crate::{
    domain::{
        catalogue::configuration::{Configuration, Contact, Document},
        tenancy::{
            actor::Actor,
            company::{Company, Terms},
        },
    },
    route::App,
    service::{ConfigurationChange, MAX_ROWS, PageRequest, ServiceError, Services},
};
use serde_json::{Value, json};
use std::{sync::Arc, time::Duration};
use unbox_common::{
    ids::{ClaimId, CompanyId, ConfigurationId},
    payload::{Dpc, Setup, WithoutNetwork},
    timestamp::Timestamp,
};

/// The largest page of companies.
const MAX_CUSTOMERS: i64 = 100;
/// The devices of a page: the default, and the maximum.
const DEVICES: (i64, i64) = (5000, 10_000);
/// Devices that are read at once: each may have 64 KiB of metadata.
const PART_DEVICES: u32 = 100;
/// Configurations that are read at once: each may have 1 MiB.
const PART_CONFIGURATIONS: u32 = 4;
/// The longest forced reset time.
const MAX_FORCED_RESET: Duration = Duration::from_hours(6);

/// `customers.list`
pub(super) async fn list(mut call: Call) -> Answer {
    let size = call.own.integer("pageSize")?;
    let token = call.own.text("pageToken")?.unwrap_or_default();
    call.no_more_parameters()?;
    let size = size.unwrap_or(MAX_CUSTOMERS);
    if !(1..=MAX_CUSTOMERS).contains(&size) {
        return Err(Status::invalid_field("pageSize", format!("Expected 1 to {MAX_CUSTOMERS}.")));
    }
    let list = ("customers", call.principal.company());
    let after = call.page_after(&list, &token)?;
    let request = PageRequest { size: u32::try_from(size).ok(), after };
    let page = call.services().tenancy.customers_of(&call.principal, request).await?;
    let customers = page.items.iter().map(|one| view::company(one, SeenBy::Itself)).collect();
    let next_page_token = call.next_page(&list, page.next.as_deref())?;
    call.answer(&Written(&CustomerListCustomersResponse { customers, next_page_token }))
}

/// `customers.terms.accept`, a method of Unbox's own.
pub(super) async fn accept_terms(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let company = call.services().tenancy.set_terms(&call.actor, call.company()?, Terms::Accepted).await?;
    call.answer(&Written(&view::company(&company, SeenBy::Itself)))
}

/// `customers.configurations.create`
pub(super) async fn create_configuration(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: Message = call.message()?;
    let customer = call.company()?;
    let document = document(&call, &asked, None).await?;
    let created = call
        .services()
        .catalogue
        .create_configuration_as(
            &call.actor,
            customer,
            &asked.configuration_name,
            &document,
            asked.is_default == Some(true),
        )
        .await
        .map_err(rename_field)?;
    let company = call.services().tenancy.company(&call.actor, customer).await?;
    call.answer(&Written(&view::configuration(&created, &company)))
}

/// `customers.configurations.list`
pub(super) async fn list_configurations(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let customer = call.company()?;
    let company = call.services().tenancy.company(&call.actor, customer).await?;
    let (services, by) = (call.services().clone(), call.actor.clone());
    streamed_list::answer(call, Configurations { services, by, company, after: None, is_end: false }).await
}

/// A customer's configurations. One may have as many bytes as a request.
struct Configurations {
    services: Services,
    by: Actor,
    company: Company,
    after: Option<String>,
    is_end: bool,
}

impl StreamedList for Configurations {
    type Item = Message;
    const PATH: &'static [&'static str] = &["configurations"];
    const READ_FOR_REST: bool = false;

    async fn next(&mut self) -> Result<Vec<Message>, Status> {
        if self.is_end {
            return Ok(Vec::new());
        }
        let request = PageRequest { size: Some(PART_CONFIGURATIONS), after: self.after.take() };
        let page =
            self.services.catalogue.list_configurations(&self.by, Some(self.company.id), request).await?;
        (self.is_end, self.after) = (page.next.is_none(), page.next);
        Ok(page.items.iter().map(|one| view::configuration(one, &self.company)).collect())
    }

    fn rest(&self) -> Result<Value, Status> {
        Ok(json!({}))
    }
}

/// `customers.configurations.get`
pub(super) async fn configuration(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let (found, company) = find_named_configuration(&call).await?;
    call.answer(&Written(&view::configuration(&found, &company)))
}

/// `customers.configurations.patch`
pub(super) async fn patch_configuration(mut call: Call) -> Answer {
    let mask = call.own.text("updateMask")?.unwrap_or_default();
    call.no_more_parameters()?;
    let mask = FieldMask::parse::<Message>(&mask).map_err(|violation| Status::invalid(vec![violation]))?;
    let asked: Message = call.patch(&mask)?;
    let (was, company) = find_named_configuration(&call).await?;
    let mut next = view::configuration(&was, &company);
    for field in mask.iter() {
        copy_field(&mut next, &asked, field);
    }
    let kept = if mask.contains("dpcResourcePath") { None } else { was.document.dpc.as_ref() };
    if next.forced_reset_time.is_none() && !mask.contains("forcedResetTime") && !mask.contains("setup") {
        next.setup = Some(was.document.setup.into());
    }
    let change = ConfigurationChange {
        name: mask.contains("configurationName").then(|| next.configuration_name.clone()),
        document: Some(document(&call, &next, kept).await?),
        default: if mask.contains("isDefault") { next.is_default } else { None },
    };
    let changed = call
        .services()
        .catalogue
        .update_configuration(&call.actor, was.id, change)
        .await
        .map_err(rename_field)?;
    let company = call.services().tenancy.company(&call.actor, was.customer).await?;
    call.answer(&Written(&view::configuration(&changed, &company)))
}

fn copy_field(to: &mut Message, from: &Message, field: &str) {
    let from = from.clone();
    match field {
        "configurationName" => to.configuration_name = from.configuration_name,
        "companyName" => to.company_name = from.company_name,
        "contactEmail" => to.contact_email = from.contact_email,
        "contactPhone" => to.contact_phone = from.contact_phone,
        "customMessage" => to.custom_message = from.custom_message,
        "dpcResourcePath" => to.dpc_resource_path = from.dpc_resource_path,
        "dpcExtras" => to.dpc_extras = from.dpc_extras,
        "isDefault" => to.is_default = from.is_default,
        "forcedResetTime" => to.forced_reset_time = from.forced_reset_time,
        "policy" => to.policy = from.policy,
        "setup" => to.setup = from.setup,
        _ => {}
    }
}

/// `customers.configurations.delete`
pub(super) async fn delete_configuration(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let (found, _) = find_named_configuration(&call).await?;
    call.services().catalogue.delete_configuration(&call.actor, found.id).await?;
    call.answer(&Written(&Empty {}))
}

/// Finds the configuration that the path names, and its customer.
async fn find_named_configuration(call: &Call) -> Result<(Configuration, Company), Status> {
    let customer = call.company()?;
    let id: ConfigurationId = call.id(1, "configuration")?;
    let found = call.services().catalogue.configuration(&call.actor, id).await?;
    if found.customer != customer {
        return Err(no_such("configuration"));
    }
    Ok((found, call.services().tenancy.company(&call.actor, customer).await?))
}

/// Builds the document from a message. The DPC comes from the catalogue, unless it is `kept`.
async fn document(call: &Call, asked: &Message, kept: Option<&Dpc>) -> Result<String, Status> {
    let mut dpc = match kept {
        Some(kept) => kept.clone(),
        None => catalogue_dpc(call, &asked.dpc_resource_path).await?,
    };
    dpc.extras = if asked.dpc_extras.trim().is_empty() {
        serde_json::Map::new()
    } else {
        serde_json::from_str(&asked.dpc_extras).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Status::invalid_field(
                "dpcExtras",
                format!("Expected the text of a JSON object; it is none at {place}."),
            )
        })?
    };
    let setup = match (&asked.setup, asked.forced_reset_time) {
        (Some(setup), _) => setup.into(),
        (None, Some(time)) if time > MAX_FORCED_RESET => {
            return Err(Status::invalid_field(
                "forcedResetTime",
                "Expected 0 to 6 hours: \"0s\" to \"21600s\".",
            ));
        }
        (None, time) => {
            let hold_for_s = u32::try_from(time.unwrap_or_default().as_secs()).unwrap_or(u32::MAX);
            let without_network =
                if hold_for_s > 0 { WithoutNetwork::Hold } else { WithoutNetwork::Continue };
            Setup { hold_for_s, without_network }
        }
    };
    let company = asked.company_name.parse().map_err(|error: crate::domain::name::InvalidName| {
        Status::invalid_field("companyName", error.to_string())
    })?;
    let contact = Contact {
        company: Some(company),
        contact_email: asked.contact_email.clone(),
        contact_phone: asked.contact_phone.clone(),
        message: (!asked.custom_message.is_empty()).then(|| asked.custom_message.clone()),
    };
    let document = Document { dpc: Some(dpc), policy: asked.policy.clone(), setup, contact };
    serde_json::to_string(&document).map_err(|_| Status::internal())
}

async fn catalogue_dpc(call: &Call, path: &str) -> Result<Dpc, Status> {
    let wrong = |rule: &str| Status::invalid_field("dpcResourcePath", rule);
    let name: DpcResourceName =
        path.parse().map_err(|error: super::wire::name::NotAName| wrong(&error.to_string()))?;
    if name.customer != call.company()? {
        return Err(wrong("It names another customer. List your own with customers.dpcs.list."));
    }
    match call.services().catalogue.dpc(name.dpc.as_str()).await {
        Ok(found) => Ok(found.dpc),
        Err(ServiceError::NotFound { .. }) => {
            Err(wrong("There is no such DPC. List what there is with customers.dpcs.list."))
        }
        Err(other) => Err(other.into()),
    }
}

/// Renames a field in an error: services have their own names, messages have others.
fn rename_field(error: ServiceError) -> Status {
    match error {
        ServiceError::Invalid { field: "name", rule } => Status::invalid_field("configurationName", rule),
        ServiceError::Invalid { field: "document", rule } => {
            let field = [
                ("contact_email", "contactEmail"),
                ("contact_phone", "contactPhone"),
                ("message", "customMessage"),
            ]
            .into_iter()
            .find(|(own, _)| rule.starts_with(&format!("expected {own} ")))
            .map_or("policy", |(_, field)| field);
            Status::invalid_field(field, rule)
        }
        other => other.into(),
    }
}

/// `customers.devices.list`
pub(super) async fn list_devices(mut call: Call) -> Answer {
    let size = call.own.integer("pageSize")?.unwrap_or_default();
    let token = call.own.text("pageToken")?.unwrap_or_default();
    call.no_more_parameters()?;
    let (default_size, most) = DEVICES;
    if !(0..=most).contains(&size) {
        return Err(Status::invalid_field("pageSize", format!("Expected 1 to {most}.")));
    }
    let size = u32::try_from(if size == 0 { default_size } else { size }).unwrap_or_default();
    let customer = call.company()?;
    let after = call.page_after(&("devices", customer), &token)?;
    let default = call.services().tenancy.company(&call.actor, customer).await?.default_configuration;
    let list = Devices {
        app: Arc::clone(&call.app),
        by: call.actor.clone(),
        customer,
        default,
        now: call.services().now(),
        sees_resellers: call.sees_resellers(),
        wanted: size,
        after,
        is_end: false,
    };
    streamed_list::answer(call, list).await
}

/// A page of a customer's devices.
struct Devices {
    app: Arc<App>,
    by: Actor,
    customer: CompanyId,
    default: Option<ConfigurationId>,
    now: Timestamp,
    sees_resellers: bool,
    wanted: u32,
    after: Option<String>,
    is_end: bool,
}

impl StreamedList for Devices {
    type Item = Device;
    const PATH: &'static [&'static str] = &["devices"];
    const READ_FOR_REST: bool = true;

    async fn next(&mut self) -> Result<Vec<Device>, Status> {
        let rows = self.wanted.min(PART_DEVICES);
        if self.is_end || rows == 0 {
            return Ok(Vec::new());
        }
        let services = &self.app.services;
        let page =
            services.claims.claims_of_customer(&self.by, self.customer, rows, self.after.take()).await?;
        self.wanted -= rows;
        (self.is_end, self.after) = (page.next.is_none(), page.next);
        let seen = |claim| view::customer_device(claim, self.default, self.now, self.sees_resellers);
        Ok(page.items.iter().map(seen).collect())
    }

    fn rest(&self) -> Result<Value, Status> {
        let list = ("devices", self.customer);
        let token = match self.after.as_deref().map(str::parse) {
            Some(Ok(key)) => self.app.page_tokens.issue(&list, key)?,
            _ => String::new(),
        };
        Ok(if token.is_empty() { json!({}) } else { json!({ "nextPageToken": token }) })
    }
}

/// `customers.devices.get`
pub(super) async fn device(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id: ClaimId = call.id(1, "device")?;
    let claim = call.services().claims.claim_in_force(&call.actor, id).await.map_err(device_error)?;
    let default = call.services().tenancy.company(&call.actor, call.company()?).await?.default_configuration;
    let (now, sees_resellers) = (call.services().now(), call.sees_resellers());
    call.answer(&Written(&view::customer_device(&claim, default, now, sees_resellers)))
}

/// `customers.devices.applyConfiguration`
pub(super) async fn apply_configuration(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: CustomerApplyConfigurationRequest = call.message()?;
    let name: ConfigurationName =
        asked.configuration.parse().map_err(|error: super::wire::name::NotAName| {
            Status::invalid_field("configuration", error.to_string())
        })?;
    if name.customer != call.company()? {
        return Err(Status::invalid_field("configuration", "It names another customer."));
    }
    let id = find_claim_id(&call, &asked.device).await?;
    let configuration = Some(name.configuration);
    let applied = call.services().claims.set_claim_configuration(&call.actor, id, configuration).await;
    applied.map_err(|error| match error {
        ServiceError::NotFound { what: "configuration", .. } => {
            Status::invalid_field("configuration", "The customer has no such configuration.")
        }
        other => device_error(other),
    })?;
    call.answer(&Written(&Empty {}))
}

/// `customers.devices.removeConfiguration`
pub(super) async fn remove_configuration(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: CustomerRemoveConfigurationRequest = call.message()?;
    let id = find_claim_id(&call, &asked.device).await?;
    call.services().claims.set_claim_configuration(&call.actor, id, None).await.map_err(device_error)?;
    call.answer(&Written(&Empty {}))
}

/// `customers.devices.unclaim`
pub(super) async fn unclaim(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked: CustomerUnclaimDeviceRequest = call.message()?;
    let id = find_claim_id(&call, &asked.device).await?;
    call.services().claims.unclaim(&call.actor, id).await.map_err(device_error)?;
    call.answer(&Written(&Empty {}))
}

async fn find_claim_id(call: &Call, device: &DeviceReference) -> Result<ClaimId, Status> {
    let nested = |mut violation: FieldViolation| {
        violation.nest("device");
        Status::invalid(vec![violation])
    };
    let target = device.target().map_err(nested)?;
    let target = identifier::target(target, "device")?;
    call.services().claims.resolve_claim_target(&call.actor, &target).await.map_err(device_error)
}

/// `customers.dpcs.list`
pub(super) async fn list_dpcs(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let customer = call.company()?;
    let mut dpcs = Vec::new();
    let mut after = None;
    loop {
        let page = call.services().catalogue.list_dpcs(PageRequest { size: Some(MAX_ROWS), after }).await?;
        dpcs.extend(page.items.iter().map(|one| view::dpc(one, customer)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    call.answer(&Written(&CustomerListDpcsResponse { dpcs }))
}
