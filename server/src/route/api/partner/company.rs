//! A partner's customers, and a reseller's vendors.

use super::super::{
    call::{Answer, Call},
    message::company::{
        self, CreateCustomerRequest, ListCustomersResponse, ListVendorCustomersResponse, ListVendorsResponse,
    },
    view::{self, SeenBy},
    wire::{form::Written, status::Status},
};
use crate::{
    domain::tenancy::{
        account::{Email, InvalidEmail},
        actor::Actor,
        company::{Company, CompanyKind},
    },
    service::{CompanyFilter, MAX_ROWS, NewCompany, PageRequest, ServiceError},
};

/// `partners.customers.create`
pub(in crate::route::api) async fn create_customer(mut call: Call) -> Answer {
    call.no_more_parameters()?;
    let asked = call.message::<CreateCustomerRequest>()?.customer;
    let new = NewCompany {
        language: (!asked.language_code.is_empty()).then(|| asked.language_code.clone()),
        ..NewCompany::new(CompanyKind::Customer, &asked.company_name)
    };
    let owners = emails("customer.ownerEmails", &asked.owner_emails)?;
    let admins = emails("customer.adminEmails", &asked.admin_emails)?;
    let created = call
        .services()
        .tenancy
        .create_customer(&call.actor, new, owners, admins)
        .await
        .map_err(rename_field)?;
    let alike = call.services().tenancy.confusable_name_warning(&call.actor, &created).await?;
    let created = view::company(&created, SeenBy::Partner(call.company()?));
    call.answer(&Written(&company::Company { warnings: alike.into_iter().collect(), ..created }))
}

/// Parses addresses that accounts can have.
fn emails(field: &str, given: &[String]) -> Result<Vec<Email>, Status> {
    let parse = |(at, text): (usize, &String)| {
        text.parse()
            .map_err(|error: InvalidEmail| Status::invalid_field(format!("{field}[{at}]"), error.to_string()))
    };
    given.iter().enumerate().map(parse).collect()
}

fn rename_field(error: ServiceError) -> Status {
    match error {
        ServiceError::Invalid { field: "name", rule } => Status::invalid_field("customer.companyName", rule),
        ServiceError::Invalid { field: "language", rule } => {
            Status::invalid_field("customer.languageCode", rule)
        }
        other => other.into(),
    }
}

/// `partners.customers.list`
pub(in crate::route::api) async fn list_customers(mut call: Call) -> Answer {
    let partner = call.company()?;
    let filter = CompanyFilter {
        kind: Some(CompanyKind::Customer),
        served_by: Some(partner),
        ..CompanyFilter::default()
    };
    let page = find_companies(&mut call, "customers", filter).await?;
    let customers = page.items.iter().map(|one| view::company(one, SeenBy::Partner(partner))).collect();
    let answer = ListCustomersResponse { customers, next_page_token: page.next, total_size: page.total };
    call.answer(&Written(&answer))
}

/// `partners.vendors.list`
pub(in crate::route::api) async fn list_vendors(mut call: Call) -> Answer {
    let partner = call.company()?;
    let filter =
        CompanyFilter { kind: Some(CompanyKind::Vendor), parent: Some(partner), ..CompanyFilter::default() };
    let page = find_companies(&mut call, "vendors", filter).await?;
    let vendors = page.items.iter().map(|one| view::company(one, SeenBy::Partner(partner))).collect();
    let answer = ListVendorsResponse { vendors, next_page_token: page.next, total_size: page.total };
    call.answer(&Written(&answer))
}

/// `partners.vendors.customers.list`
pub(in crate::route::api) async fn list_vendor_customers(mut call: Call) -> Answer {
    let (partner, vendor) = (call.company()?, call.id(1, "vendor")?);
    let customers = call.services().tenancy.as_vendor(&call.actor, vendor).await?;
    let filter = CompanyFilter {
        kind: Some(CompanyKind::Customer),
        served_by: Some(vendor),
        ..CompanyFilter::default()
    };
    let page = find_companies_as(&mut call, "vendor customers", filter, &customers).await?;
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

async fn find_companies(call: &mut Call, list: &str, filter: CompanyFilter) -> Result<Companies, Status> {
    let actor = call.actor.clone();
    find_companies_as(call, list, filter, &actor).await
}

/// Answers with a page of companies. Without a page size, it holds as many as a page may.
async fn find_companies_as(
    call: &mut Call,
    list: &str,
    filter: CompanyFilter,
    by: &Actor,
) -> Result<Companies, Status> {
    let size = call.own.integer("pageSize")?.unwrap_or_default();
    let token = call.own.text("pageToken")?.unwrap_or_default();
    call.no_more_parameters()?;
    if size < 0 {
        return Err(Status::invalid_field("pageSize", "Expected a number of companies, not less than 0."));
    }
    let list = (list, call.company()?, filter.served_by, filter.parent);
    let after = call.page_after(&list, &token)?;
    let size = u32::try_from(size).ok().filter(|size| *size > 0).unwrap_or(MAX_ROWS);
    call.hold_rows(size).await?;
    let request = PageRequest { size: Some(size), after };
    let total = call.services().tenancy.count_companies(by, filter.clone()).await?;
    let page = call.services().tenancy.list_companies(by, filter, request).await?;
    let next = call.next_page(&list, page.next.as_deref())?;
    Ok(Companies { items: page.items, next, total: i32::try_from(total).unwrap_or(i32::MAX) })
}
