//! What resellers and vendors call: `/v1/partners/{partner}`.

use super::{
    call::{Answer, Call},
    identifier,
    message::{
        claim::{
            ClaimDeviceRequest, ClaimDeviceResponse, ClaimDevicesRequest, PartnerClaim, PartnerUnclaim,
            UnclaimDeviceRequest, UnclaimDevicesRequest, UpdateDeviceMetadataInBatchRequest,
            UpdateDeviceMetadataRequest, UpdateMetadataArguments, check_batch,
        },
        common::{DeviceMetadata, Empty, SectionType},
        company::{
            CreateCustomerRequest, ListCustomersResponse, ListVendorCustomersResponse, ListVendorsResponse,
        },
        device::{
            AdditionalService, FindDevicesByDeviceIdentifierRequest, FindDevicesByDeviceIdentifierResponse,
            FindDevicesByOwnerRequest, FindDevicesByOwnerResponse, GetDeviceSimLockStateRequest,
            GetDeviceSimLockStateResponse, SimLockState,
        },
    },
    operation,
    view::{self, SeenBy},
    wire::{
        detail::{FieldViolation, Reason},
        enums::WireEnum as _,
        form::Written,
        name::PartnerDeviceName,
        status::{Code, Status},
    },
};
use crate::{
    domain::{
        claim::{ClaimSets, Metadata},
        company::{Company, CompanyKind},
        operation::{Item, ItemResult, ItemStatus, OperationKind, Work},
    },
    service::{NewClaim, NewCompany, ServiceError},
    store::{CompanyFilter, MAX_ROWS, PageRequest, ResellerCursor},
};
use std::{collections::HashMap, time::Duration};
use unbox_common::{
    ids::{ClaimId, CompanyId},
    protocol::latest::ProofKind,
};

/// The largest page of a search.
const MAX_FOUND: i64 = 100;
/// The longest temporary release in days.
const MAX_VACATION_DAYS: i32 = 1825;
/// The same.
const MAX_VACATION: Duration = Duration::from_hours(24 * 1825);

/// `partners.customers.create`
pub(super) async fn create_customer(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<CreateCustomerRequest>()?.customer;
    let new = NewCompany {
        language: (!asked.language_code.is_empty()).then(|| asked.language_code.clone()),
        ..NewCompany::named(CompanyKind::Customer, &asked.company_name)
    };
    let owners = emails("customer.ownerEmails", &asked.owner_emails)?;
    let admins = emails("customer.adminEmails", &asked.admin_emails)?;
    let created =
        call.services().create_customer(&call.actor, new, owners, admins).await.map_err(named_field)?;
    call.answer(&Written(&view::company(&created, SeenBy::Partner(call.company()?))))
}

/// Addresses that accounts can have.
fn emails(field: &str, given: &[String]) -> Result<Vec<crate::domain::account::Email>, Status> {
    let parse = |(at, text): (usize, &String)| {
        text.parse().map_err(|error: crate::domain::account::InvalidEmail| {
            Status::invalid_field(format!("{field}[{at}]"), error.to_string())
        })
    };
    given.iter().enumerate().map(parse).collect()
}

fn named_field(error: ServiceError) -> Status {
    match error {
        ServiceError::Invalid { field: "name", rule } => Status::invalid_field("customer.companyName", rule),
        ServiceError::Invalid { field: "language", rule } => {
            Status::invalid_field("customer.languageCode", rule)
        }
        other => other.into(),
    }
}

/// `partners.customers.list`
pub(super) async fn list_customers(mut call: Call) -> Answer {
    let partner = call.company()?;
    let filter = CompanyFilter {
        kind: Some(CompanyKind::Customer),
        served_by: Some(partner),
        ..CompanyFilter::default()
    };
    let page = companies(&mut call, "customers", filter).await?;
    let customers = page.items.iter().map(|one| view::company(one, SeenBy::Partner(partner))).collect();
    let answer = ListCustomersResponse { customers, next_page_token: page.next, total_size: page.total };
    call.answer(&Written(&answer))
}

/// `partners.vendors.list`
pub(super) async fn list_vendors(mut call: Call) -> Answer {
    let partner = call.company()?;
    let filter =
        CompanyFilter { kind: Some(CompanyKind::Vendor), parent: Some(partner), ..CompanyFilter::default() };
    let page = companies(&mut call, "vendors", filter).await?;
    let vendors = page.items.iter().map(|one| view::company(one, SeenBy::Partner(partner))).collect();
    let answer = ListVendorsResponse { vendors, next_page_token: page.next, total_size: page.total };
    call.answer(&Written(&answer))
}

/// `partners.vendors.customers.list`
pub(super) async fn list_vendor_customers(mut call: Call) -> Answer {
    let (partner, vendor) = (call.company()?, call.id(1, "vendor")?);
    let customers = call.services().as_vendor(&call.actor, vendor).await?;
    let filter = CompanyFilter {
        kind: Some(CompanyKind::Customer),
        served_by: Some(vendor),
        ..CompanyFilter::default()
    };
    let page = companies_as(&mut call, "vendor customers", filter, &customers).await?;
    let seen_by = SeenBy::Vendor(partner, vendor);
    let customers = page.items.iter().map(|one| view::company(one, seen_by)).collect();
    let answer =
        ListVendorCustomersResponse { customers, next_page_token: page.next, total_size: page.total };
    call.answer(&Written(&answer))
}

struct Companies {
    items: Vec<Company>,
    next: String,
    total: i32,
}

async fn companies(call: &mut Call, list: &str, filter: CompanyFilter) -> Result<Companies, Status> {
    let actor = call.actor.clone();
    companies_as(call, list, filter, &actor).await
}

/// A page of companies. Without a page size, everything that a page may hold.
async fn companies_as(
    call: &mut Call,
    list: &str,
    filter: CompanyFilter,
    by: &crate::domain::actor::Actor,
) -> Result<Companies, Status> {
    let size = call.own.integer("pageSize")?.unwrap_or_default();
    let token = call.own.text("pageToken")?.unwrap_or_default();
    call.no_more_parameters()?;
    if size < 0 {
        return Err(Status::invalid_field("pageSize", "Expected a number of companies, not less than 0."));
    }
    let list = (list, call.company()?, filter.served_by, filter.parent);
    let after = call.app.page_tokens.open(&list, &token)?;
    let size = u32::try_from(size).ok().filter(|size| *size > 0).unwrap_or(MAX_ROWS);
    let request = PageRequest { size: Some(size), after: after.map(|key| key.to_string()) };
    let total = call.services().count_companies(by, filter.clone()).await?;
    let page = call.services().list_companies(by, filter, request).await?;
    let next = match page.next.as_deref().map(str::parse) {
        Some(Ok(key)) => call.app.page_tokens.issue(&list, key)?,
        _ => String::new(),
    };
    Ok(Companies { items: page.items, next, total: i32::try_from(total).unwrap_or(i32::MAX) })
}

/// `partners.devices.claim`
pub(super) async fn claim(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let partner = call.company()?;
    let asked = PartnerClaim::from(call.message::<ClaimDeviceRequest>()?);
    let new = Owners::default().claim(&call, asked).await?.map_err(|refused| refused.status)?;
    let claim = call.services().register_device(&call.actor, new).await.map_err(claim_refused)?;
    let device_name = PartnerDeviceName { partner, device: claim.id }.to_string();
    call.answer(&Written(&ClaimDeviceResponse { device_id: Some(claim.id), device_name }))
}

/// `partners.devices.claimAsync`
pub(super) async fn claim_async(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<ClaimDevicesRequest>()?.claims;
    check_batch("claims", asked.len())?;
    let mut owners = Owners::default();
    let mut items = Vec::with_capacity(asked.len());
    for mut claim in asked {
        let token = std::mem::take(&mut claim.pre_provisioning_token);
        let echo = written(&claim)?;
        claim.pre_provisioning_token = token;
        let work = match owners.claim(&call, claim).await? {
            Ok(new) => Work::Claim {
                customer: new.customer,
                configuration: new.configuration,
                sets: ClaimSets::new(new.sets),
                metadata: new.metadata,
                protected: new.protected,
            },
            Err(refused) => Work::Refused(refused.result()),
        };
        items.push(Item { echo, work });
    }
    start(call, OperationKind::Claim, items).await
}

/// `partners.devices.unclaim`
pub(super) async fn unclaim(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = PartnerUnclaim::from(call.message::<UnclaimDeviceRequest>()?);
    match release(&call, &asked).map_err(|refused| refused.status)? {
        Work::Unclaim { target, until } => {
            let id = call.services().claim_meant(&call.actor, &target).await.map_err(device_refused)?;
            match until {
                Some(until) => drop(
                    call.services()
                        .set_vacation(&call.actor, id, Some(until))
                        .await
                        .map_err(device_refused)?,
                ),
                None => call.services().unclaim(&call.actor, id).await.map_err(device_refused)?,
            }
        }
        _ => return Err(Status::internal()),
    }
    call.answer(&Written(&Empty {}))
}

/// `partners.devices.unclaimAsync`
pub(super) async fn unclaim_async(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<UnclaimDevicesRequest>()?.unclaims;
    check_batch("unclaims", asked.len())?;
    let item = |one: &PartnerUnclaim| {
        let work = release(&call, one).unwrap_or_else(|refused| Work::Refused(refused.result()));
        Ok(Item { echo: written(one)?, work })
    };
    let items = asked.iter().map(item).collect::<Result<_, Status>>()?;
    start(call, OperationKind::Unclaim, items).await
}

/// `partners.devices.metadata`
pub(super) async fn metadata(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let device: ClaimId = call.id(1, "device")?;
    let changes = call.message::<UpdateDeviceMetadataRequest>()?.device_metadata.entries;
    let claim =
        call.services().update_metadata(&call.actor, device, changes).await.map_err(device_refused)?;
    call.answer(&Written(&DeviceMetadata { entries: claim.metadata.entries().clone() }))
}

/// `partners.devices.updateMetadataAsync`
pub(super) async fn update_metadata_async(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<UpdateDeviceMetadataInBatchRequest>()?.updates;
    check_batch("updates", asked.len())?;
    let item = |one: &UpdateMetadataArguments| {
        let target = one.target().map_err(Refused::from);
        let target = target.and_then(|target| Ok(identifier::target(target, "")?));
        let work = match target {
            Ok(target) => Work::UpdateMetadata { target, changes: one.device_metadata.entries.clone() },
            Err(refused) => Work::Refused(refused.result()),
        };
        Ok(Item { echo: written(one)?, work })
    };
    let items = asked.iter().map(item).collect::<Result<_, Status>>()?;
    start(call, OperationKind::UpdateMetadata, items).await
}

/// `partners.devices.get`
pub(super) async fn device(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let id: ClaimId = call.id(1, "device")?;
    let claim = call.services().claim_in_force(&call.actor, id).await.map_err(device_refused)?;
    let now = call.services().present();
    call.answer(&Written(&view::partner_device(&claim, call.company()?, now)))
}

/// `partners.devices.findByIdentifier`
pub(super) async fn find_by_identifier(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<FindDevicesByDeviceIdentifierRequest>()?;
    let limit = limit(asked.limit)?;
    let wanted = asked.device_identifier.identifiers("deviceIdentifier")?;
    let partner = call.company()?;
    let list = ("by identifier", partner, wanted.iter().map(ToString::to_string).collect::<Vec<_>>());
    let after = call.app.page_tokens.open(&list, &asked.page_token)?.unwrap_or_default();
    let found = call.services().claims_identified(&call.actor, &wanted).await.map_err(device_refused)?;
    let now = call.services().present();
    let rest: Vec<_> = found.iter().filter(|claim| claim.id.get() > after).collect();
    let devices: Vec<_> =
        rest.iter().take(limit as usize).map(|claim| view::partner_device(claim, partner, now)).collect();
    let end = devices.last().and_then(|device| device.device_id);
    let next_page_token = match end {
        Some(end) if rest.len() > devices.len() => call.app.page_tokens.issue(&list, end.get())?,
        _ => String::new(),
    };
    let total_size = i32::try_from(found.len()).unwrap_or(i32::MAX);
    call.answer(&Written(&FindDevicesByDeviceIdentifierResponse { devices, next_page_token, total_size }))
}

/// `partners.devices.findByOwner`
pub(super) async fn find_by_owner(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<FindDevicesByOwnerRequest>()?;
    let limit = limit(asked.limit)?;
    check_section(asked.section_type).map_err(|refused| refused.status)?;
    let partner = call.company()?;
    let mut customers = asked.customer_id.clone();
    let mut owners = Owners::default();
    for workspace in &asked.google_workspace_customer_id {
        customers.extend(owners.of_workspace(&call, workspace).await?);
    }
    customers.sort();
    customers.dedup();
    let list = ("by owner", partner, &asked.customer_id, &asked.google_workspace_customer_id);
    let nobody = customers.is_empty() && !asked.google_workspace_customer_id.is_empty();
    let after = call.app.page_tokens.open(&list, &asked.page_token)?;
    if nobody {
        return call.answer(&Written(&FindDevicesByOwnerResponse::default()));
    }
    let after = match after.map(ClaimId::new) {
        Some(Ok(id)) => {
            // The owner of the claim that the page before ended with says where this one begins.
            let end = call.services().claim(&call.actor, id).await.map_err(device_refused)?.claim;
            Some(ResellerCursor { customer: end.customer, claim: end.id })
        }
        _ => None,
    };
    let found = call.services().claims_of_reseller(&call.actor, &customers, after, limit).await?;
    let now = call.services().present();
    let devices = found.claims.iter().map(|claim| view::partner_device(claim, partner, now)).collect();
    let next_page_token = match found.next {
        Some(cursor) => call.app.page_tokens.issue(&list, cursor.claim.get())?,
        None => String::new(),
    };
    let total_size = i32::try_from(found.total).unwrap_or(i32::MAX);
    call.answer(&Written(&FindDevicesByOwnerResponse { devices, next_page_token, total_size }))
}

/// `partners.devices.getSimLockState`. Nothing here is ever locked to a network.
pub(super) async fn sim_lock_state(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<GetDeviceSimLockStateRequest>()?;
    let wanted = asked.device_identifier.identifiers("deviceIdentifier")?;
    if call.services().claims_identified(&call.actor, &wanted).await.map_err(device_refused)?.is_empty() {
        return Err(device_refused(ServiceError::not_found("device", "with these identifiers")));
    }
    call.answer(&Written(&GetDeviceSimLockStateResponse { sim_lock_state: SimLockState::Unlocked }))
}

fn limit(asked: i64) -> Result<u32, Status> {
    let limit = Some(asked)
        .filter(|limit| (1..=MAX_FOUND).contains(limit))
        .and_then(|limit| u32::try_from(limit).ok());
    limit.ok_or_else(|| Status::invalid_field("limit", format!("Expected 1 to {MAX_FOUND}.")))
}

async fn start(call: Call, kind: OperationKind, items: Vec<Item>) -> Answer {
    if items.is_empty() {
        return Err(Status::invalid_field("", "Expected at least one device."));
    }
    let started = call.services().start_operation(&call.actor, kind, items).await?;
    call.answer(&Written(&operation::message(&started)))
}

fn written<T: super::wire::form::Form>(message: &T) -> Result<String, Status> {
    serde_json::to_string(&Written(message)).map_err(|_| Status::internal())
}

/// Why one device cannot be dealt with: as an answer, or as a line of a batch.
struct Refused {
    item: ItemStatus,
    status: Status,
}

impl Refused {
    fn new(item: ItemStatus, reason: Reason, field: &str, rule: &str) -> Self {
        let nothing: [(&str, &str); 0] = [];
        let status = match item {
            ItemStatus::PermissionDenied => Status::new(Code::PermissionDenied, rule),
            _ => Status::invalid_field(field, rule),
        };
        Self { item, status: status.because(reason, nothing) }
    }

    fn result(&self) -> ItemResult {
        ItemResult::failure(self.item, self.status.reason().name(), self.status.message())
    }
}

/// What is wrong with a device's identifiers.
impl From<Status> for Refused {
    fn from(status: Status) -> Self {
        Self { item: ItemStatus::InvalidDeviceIdentifier, status }
    }
}

impl From<FieldViolation> for Refused {
    fn from(violation: FieldViolation) -> Self {
        Status::invalid(vec![violation]).into()
    }
}

fn check_section(section: SectionType) -> Result<(), Refused> {
    const ONLY: &str = "Expected SECTION_TYPE_ZERO_TOUCH: this server enrolls devices, and locks no SIM.";
    if section == SectionType::ZeroTouch {
        return Ok(());
    }
    Err(Refused::new(ItemStatus::InvalidSectionType, Reason::InvalidSectionType, "sectionType", ONLY))
}

/// Customers by their Google Workspace accounts, each looked up once.
#[derive(Default)]
struct Owners(HashMap<String, Option<CompanyId>>);

impl Owners {
    async fn of_workspace(&mut self, call: &Call, workspace: &str) -> Result<Option<CompanyId>, Status> {
        if let Some(known) = self.0.get(workspace) {
            return Ok(*known);
        }
        let found = call.services().company_of_workspace(&call.actor, workspace).await?.map(|one| one.id);
        self.0.insert(workspace.to_owned(), found);
        Ok(found)
    }

    /// The claim that is asked for, or why there can be none.
    async fn claim(&mut self, call: &Call, asked: PartnerClaim) -> Result<Result<NewClaim, Refused>, Status> {
        let customer = match (asked.customer_id, asked.google_workspace_customer_id.as_str()) {
            (Some(customer), "") => Some(customer),
            (None, workspace) if !workspace.is_empty() => match self.of_workspace(call, workspace).await? {
                Some(customer) => Some(customer),
                None => return Ok(Err(no_such_customer("googleWorkspaceCustomerId"))),
            },
            _ => None,
        };
        let Some(customer) = customer else {
            let rule = "Expected customerId or googleWorkspaceCustomerId, and not both.";
            return Ok(Err(Refused::new(
                ItemStatus::OtherError,
                Reason::InvalidCustomerId,
                "customerId",
                rule,
            )));
        };
        if let Err(refused) = self.check_token(call, customer, &asked).await? {
            return Ok(Err(refused));
        }
        Ok(new_claim(call, customer, &asked))
    }

    /// A token is asked for by ChromeOS devices, and by no others.
    async fn check_token(
        &mut self,
        call: &Call,
        customer: CompanyId,
        asked: &PartnerClaim,
    ) -> Result<Result<(), Refused>, Status> {
        let token = &asked.pre_provisioning_token;
        let is_chrome_os = asked.device_identifier.is_chrome_os();
        let wrong = |status, rule| {
            Ok(Err(Refused::new(status, Reason::InvalidParameter, "preProvisioningToken", rule)))
        };
        match (is_chrome_os, token.expose().is_empty()) {
            (false, true) => Ok(Ok(())),
            (false, false) => wrong(
                ItemStatus::InvalidToken,
                "Only devices of DEVICE_TYPE_CHROME_OS are claimed with a token.",
            ),
            (true, true) => {
                wrong(ItemStatus::InvalidToken, "Devices of DEVICE_TYPE_CHROME_OS are claimed with a token.")
            }
            (true, false) => match call.services().token_standing(customer, token).await? {
                Some(crate::domain::token::TokenStanding::Valid) => Ok(Ok(())),
                Some(_) => wrong(ItemStatus::RevokedToken, "The token has been revoked, or has expired."),
                None => wrong(ItemStatus::InvalidToken, "The token is none of this customer's."),
            },
        }
    }
}

fn no_such_customer(field: &str) -> Refused {
    let rule = "There is no such customer that this partner works for.";
    Refused::new(ItemStatus::PermissionDenied, Reason::InvalidCustomerId, field, rule)
}

fn new_claim(call: &Call, customer: CompanyId, asked: &PartnerClaim) -> Result<NewClaim, Refused> {
    check_section(asked.section_type)?;
    if asked.simlock_profile_id != 0 {
        let rule = "It is for SECTION_TYPE_SIM_LOCK only.";
        return Err(Refused::new(
            ItemStatus::InvalidSectionType,
            Reason::InvalidParameter,
            "simlockProfileId",
            rule,
        ));
    }
    let sets = identifier::sets(&asked.device_identifier, "deviceIdentifier")?;
    let metadata = Metadata::default().updated(&asked.device_metadata.entries).map_err(|error| {
        Refused::new(ItemStatus::OtherError, Reason::InvalidParameter, "deviceMetadata", &error.to_string())
    })?;
    let reseller = call.company().ok();
    Ok(NewClaim {
        customer,
        reseller,
        configuration: asked.configuration_id,
        proof: ProofKind::Identifiers,
        sets,
        order: None,
        metadata,
        protected: asked.additional_service == AdditionalService::DeviceProtection,
    })
}

/// What an unclaim asks for.
fn release(call: &Call, asked: &PartnerUnclaim) -> Result<Work, Refused> {
    check_section(asked.section_type)?;
    let target = identifier::target(asked.target()?, "")?;
    let wrong =
        |field, rule| Err(Refused::new(ItemStatus::OtherError, Reason::InvalidParameter, field, rule));
    let now = call.services().present();
    let until = match (asked.vacation_mode_days, asked.vacation_mode_expire_time) {
        (0, until) => until,
        (days, None) if (1..=MAX_VACATION_DAYS).contains(&days) => {
            let hours = u64::try_from(days).unwrap_or_default() * 24;
            Some(now.after(Duration::from_hours(hours)))
        }
        (_, None) => return wrong("vacationModeDays", "Expected 1 to 1825 days."),
        _ => {
            return wrong(
                "vacationModeDays",
                "Expected vacationModeDays or vacationModeExpireTime, and not both.",
            );
        }
    };
    match until {
        Some(until) if until <= now => wrong("vacationModeExpireTime", "Expected a time in the future."),
        Some(until) if until > now.after(MAX_VACATION) => {
            wrong("vacationModeExpireTime", "Expected a time at most five years from now.")
        }
        until => Ok(Work::Unclaim { target, until }),
    }
}

/// What a claim is refused with.
fn claim_refused(error: ServiceError) -> Status {
    let nothing: [(&str, &str); 0] = [];
    match error {
        ServiceError::Conflict(text) => {
            Status::new(Code::AlreadyExists, text).because(Reason::DeviceAlreadyExists, nothing)
        }
        ServiceError::NotFound { what: "customer", .. } => no_such_customer("customerId").status,
        ServiceError::NotFound { what: "configuration", .. } => {
            Status::invalid_field("configurationId", "The customer has no such configuration.")
        }
        ServiceError::Invalid { field: "protected", rule } => {
            Status::invalid_field("additionalService", rule)
        }
        other => other.into(),
    }
}

/// What a request about one device is refused with.
pub(super) fn device_refused(error: ServiceError) -> Status {
    let nothing: [(&str, &str); 0] = [];
    match error {
        error @ ServiceError::NotFound { what: "device" | "claim", .. } => {
            Status::new(Code::NotFound, error.to_string()).because(Reason::InvalidDeviceId, nothing)
        }
        ServiceError::Invalid { field: "device_identifier", rule } => {
            Status::invalid_field("deviceIdentifier", rule).because(Reason::InvalidIdentifierSet, nothing)
        }
        ServiceError::Invalid { field: "device_metadata", rule } => {
            Status::invalid_field("deviceMetadata", rule)
        }
        other => other.into(),
    }
}
