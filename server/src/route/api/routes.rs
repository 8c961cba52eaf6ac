//! The table of routes: every method of the management API on one screen, with its access.
//!
//! The router, the check of access, and the test that calls every method with every account that must not,
//! all follow from this table.

use super::{
    access::{Access, Side},
    artifact,
    call::{Answer, Call, MAX_BODY_BYTES},
    claims_file, customer, enrollment, factory, operation, organisation, partner, station,
    wire::status::Status,
};
use crate::domain::tenancy::account::Role;
use axum::{body::Body, http::Method, response::Response};
use futures_util::future::BoxFuture;

/// One method of the API.
pub struct Route {
    /// Its name, as in the API's description.
    pub id: &'static str,
    /// Its HTTP method.
    pub method: Method,
    /// Its path; variable segments are in braces.
    pub path: &'static str,
    /// The requirements for its caller.
    pub access: Access,
    /// The largest body, in bytes; handlers limit their streams themselves.
    pub limit: usize,
    pub(super) handler: Handler,
}

/// The handler of a method, by the form of its body and answer.
#[derive(Clone, Copy)]
pub(super) enum Handler {
    /// A handler that gets one whole message, and answers with one.
    Message(fn(Call) -> BoxFuture<'static, Answer>),
    /// A handler that reads one long list as it arrives, item by item, and answers with a message.
    Items(fn(Call, Body) -> BoxFuture<'static, Answer>),
    /// A handler that gets the body as it arrives, or answers with one of any length, and takes its time. It
    /// must keep the call's [`place`](Call::place) until all of that has passed.
    Stream(fn(Call, Body) -> BoxFuture<'static, Result<Response, Status>>),
}

/// The largest body of a batch of 100,000 devices, in bytes.
const MAX_BATCH_BYTES: usize = 64 * 1024 * 1024;

macro_rules! routes {
    (
        $($id:literal $method:ident $path:literal $side:ident $role:ident $(+ $station:ident)? $limit:expr
            => $handler:path $(as $kind:ident)?;)+
    ) => {
        &[$(Route {
            id: $id,
            method: Method::$method,
            path: $path,
            access: Access { side: Side::$side, role: Role::$role, stations: stations!($($station)?) },
            limit: $limit,
            handler: handler!($handler $(as $kind)?),
        }),+]
    };
}

macro_rules! stations {
    () => {
        false
    };
    (Station) => {
        true
    };
}

macro_rules! handler {
    ($handler:path) => {
        Handler::Message(|call| Box::pin($handler(call)))
    };
    ($handler:path as $kind:ident) => {
        Handler::$kind(|call, body| Box::pin($handler(call, body)))
    };
}

/// Every method.
#[rustfmt::skip]
pub static ROUTES: &[Route] = routes![
    "partners.customers.create"         POST "/v1/partners/{partner}/customers"                         Partner Admin  MAX_BODY_BYTES  => partner::create_customer;
    "partners.customers.list"           GET  "/v1/partners/{partner}/customers"                         Partner Viewer MAX_BODY_BYTES  => partner::list_customers;
    "partners.devices.claim"            POST "/v1/partners/{partner}/devices:claim"                     Partner Admin  MAX_BODY_BYTES  => partner::claim;
    "partners.devices.claimAsync"       POST "/v1/partners/{partner}/devices:claimAsync"                Partner Admin  MAX_BATCH_BYTES => partner::claim_async as Items;
    "partners.devices.unclaim"          POST "/v1/partners/{partner}/devices:unclaim"                   Partner Admin  MAX_BODY_BYTES  => partner::unclaim;
    "partners.devices.unclaimAsync"     POST "/v1/partners/{partner}/devices:unclaimAsync"              Partner Admin  MAX_BATCH_BYTES => partner::unclaim_async as Items;
    "partners.devices.metadata"         POST "/v1/partners/{partner}/devices/{device}/metadata"         Partner Admin  MAX_BODY_BYTES  => partner::metadata;
    "partners.devices.updateMetadataAsync" POST "/v1/partners/{partner}/devices:updateMetadataAsync"    Partner Admin  MAX_BATCH_BYTES => partner::update_metadata_async as Items;
    "partners.devices.get"              GET  "/v1/partners/{partner}/devices/{device}"                  Partner Viewer MAX_BODY_BYTES  => partner::device;
    "partners.devices.findByIdentifier" POST "/v1/partners/{partner}/devices:findByIdentifier"          Partner Viewer MAX_BODY_BYTES  => partner::find_by_identifier;
    "partners.devices.findByOwner"      POST "/v1/partners/{partner}/devices:findByOwner"               Partner Viewer MAX_BODY_BYTES  => partner::find_by_owner;
    "partners.devices.getSimLockState"  POST "/v1/partners/{partner}/devices:getSimLockState"           Partner Viewer MAX_BODY_BYTES  => partner::sim_lock_state;
    "partners.vendors.list"             GET  "/v1/partners/{partner}/vendors"                           Partner Viewer MAX_BODY_BYTES  => partner::list_vendors;
    "partners.vendors.customers.list"   GET  "/v1/partners/{partner}/vendors/{vendor}/customers"        Partner Viewer MAX_BODY_BYTES  => partner::list_vendor_customers;
    "operations.list"                   GET  "/v1/operations"                                           Operations Viewer MAX_BODY_BYTES => operation::list;
    "operations.cancel"                 POST "/v1/operations/{operation}:cancel"                        Operations Admin MAX_BODY_BYTES => operation::cancel;
    "operations.delete"                 DELETE "/v1/operations/{operation}"                             Operations Admin MAX_BODY_BYTES => operation::delete;
    "operations.get"                    GET  "/v1/operations/{operation}"                               Operations Viewer MAX_BODY_BYTES => operation::get;
    "customers.list"                    GET  "/v1/customers"                                            AnyCustomer Viewer MAX_BODY_BYTES => customer::list;
    "customers.configurations.create"   POST "/v1/customers/{customer}/configurations"                  Customer Admin  MAX_BODY_BYTES => customer::create_configuration;
    "customers.configurations.list"     GET  "/v1/customers/{customer}/configurations"                  Customer Viewer MAX_BODY_BYTES => customer::list_configurations;
    "customers.configurations.get"      GET  "/v1/customers/{customer}/configurations/{configuration}"  Customer Viewer MAX_BODY_BYTES => customer::configuration;
    "customers.configurations.patch"    PATCH "/v1/customers/{customer}/configurations/{configuration}" Customer Admin  MAX_BODY_BYTES => customer::patch_configuration;
    "customers.configurations.delete"   DELETE "/v1/customers/{customer}/configurations/{configuration}" Customer Admin MAX_BODY_BYTES => customer::delete_configuration;
    "customers.devices.list"            GET  "/v1/customers/{customer}/devices"                         Customer Viewer MAX_BODY_BYTES => customer::list_devices;
    "customers.devices.get"             GET  "/v1/customers/{customer}/devices/{device}"                Customer Viewer MAX_BODY_BYTES => customer::device;
    "customers.devices.applyConfiguration"  POST "/v1/customers/{customer}/devices:applyConfiguration"  Customer Admin  MAX_BODY_BYTES => customer::apply_configuration;
    "customers.devices.removeConfiguration" POST "/v1/customers/{customer}/devices:removeConfiguration" Customer Admin  MAX_BODY_BYTES => customer::remove_configuration;
    "customers.devices.unclaim"         POST "/v1/customers/{customer}/devices:unclaim"                 Customer Admin  MAX_BODY_BYTES => customer::unclaim;
    "customers.dpcs.list"               GET  "/v1/customers/{customer}/dpcs"                            Customer Viewer MAX_BODY_BYTES => customer::list_dpcs;
    "customers.terms.accept"             POST "/v1/customers/{customer}/terms:accept"                    CustomerBeforeTerms Owner MAX_BODY_BYTES => customer::accept_terms;

    // Claims files.
    "partners.devices.import"           POST "/v1/partners/{partner}/devices:import"                    Partner Admin  MAX_BODY_BYTES  => claims_file::import as Stream;
    "partners.devices.export"           GET  "/v1/partners/{partner}/devices:export"                    Partner Viewer MAX_BODY_BYTES  => claims_file::export as Stream;
    "customers.devices.import"          POST "/v1/customers/{customer}/devices:import"                  Customer Admin  MAX_BODY_BYTES => claims_file::import as Stream;
    "customers.devices.export"          GET  "/v1/customers/{customer}/devices:export"                  Customer Viewer MAX_BODY_BYTES => claims_file::export as Stream;

    // Test stations of factories.
    "partners.devices.check"            POST "/v1/partners/{partner}/devices:check"                     Partner Viewer + Station MAX_BODY_BYTES  => station::check;
    "partners.devices.register"         POST "/v1/partners/{partner}/devices:register"                  Partner Admin + Station MAX_BODY_BYTES  => station::register;
    "customers.devices.check"           POST "/v1/customers/{customer}/devices:check"                   Customer Viewer + Station MAX_BODY_BYTES => station::check;
    "customers.devices.register"        POST "/v1/customers/{customer}/devices:register"                Customer Admin + Station MAX_BODY_BYTES => station::register;
    "partners.factoryRecords.list"      GET  "/v1/partners/{partner}/factoryRecords"                    Partner Viewer + Station MAX_BODY_BYTES  => factory::list;
    "partners.factoryRecords.get"       GET  "/v1/partners/{partner}/factoryRecords/{factoryRecord}"    Partner Viewer + Station MAX_BODY_BYTES  => factory::get;
    "partners.factoryRecords.delete"    DELETE "/v1/partners/{partner}/factoryRecords/{factoryRecord}"  Partner Admin  MAX_BODY_BYTES  => factory::delete;
    "partners.trustBundle.get"          GET  "/v1/partners/{partner}/trustBundle"                       Partner Viewer + Station MAX_BODY_BYTES  => factory::trust_bundle;
    "customers.factoryRecords.list"     GET  "/v1/customers/{customer}/factoryRecords"                  Customer Viewer + Station MAX_BODY_BYTES => factory::list;
    "customers.factoryRecords.get"      GET  "/v1/customers/{customer}/factoryRecords/{factoryRecord}"  Customer Viewer + Station MAX_BODY_BYTES => factory::get;
    "customers.factoryRecords.delete"   DELETE "/v1/customers/{customer}/factoryRecords/{factoryRecord}" Customer Admin MAX_BODY_BYTES => factory::delete;
    "customers.trustBundle.get"         GET  "/v1/customers/{customer}/trustBundle"                     Customer Viewer + Station MAX_BODY_BYTES => factory::trust_bundle;

    // Organisations of any kind.
    "organisations.list"                              GET    "/v1/organisations"                                                                   AnyOrganisation Viewer MAX_BODY_BYTES => organisation::list;
    "organisations.create"                            POST   "/v1/organisations"                                                                   Operator Owner  MAX_BODY_BYTES => organisation::create;
    "organisations.get"                               GET    "/v1/organisations/{organisation}"                                                    AnyOrganisation Viewer MAX_BODY_BYTES => organisation::get;
    "organisations.patch"                             PATCH  "/v1/organisations/{organisation}"                                                    Organisation Owner  MAX_BODY_BYTES => organisation::patch;
    "organisations.delete"                            DELETE "/v1/organisations/{organisation}"                                                    Operator Owner  MAX_BODY_BYTES => organisation::delete;
    "organisations.links.list"                        GET    "/v1/organisations/{organisation}/links"                                              Organisation Viewer MAX_BODY_BYTES => organisation::link::list;
    "organisations.links.create"                      POST   "/v1/organisations/{organisation}/links"                                              Organisation Owner  MAX_BODY_BYTES => organisation::link::create;
    "organisations.links.delete"                      DELETE "/v1/organisations/{organisation}/links/{link}"                                       Organisation Owner  MAX_BODY_BYTES => organisation::link::delete;
    "organisations.users.list"                        GET    "/v1/organisations/{organisation}/users"                                              Organisation Viewer MAX_BODY_BYTES => organisation::account::list_users;
    "organisations.users.create"                      POST   "/v1/organisations/{organisation}/users"                                              Organisation Owner  MAX_BODY_BYTES => organisation::account::create_user;
    "organisations.users.get"                         GET    "/v1/organisations/{organisation}/users/{user}"                                       Organisation Viewer MAX_BODY_BYTES => organisation::account::user;
    "organisations.users.patch"                       PATCH  "/v1/organisations/{organisation}/users/{user}"                                       Organisation Owner  MAX_BODY_BYTES => organisation::account::patch_user;
    "organisations.users.delete"                      DELETE "/v1/organisations/{organisation}/users/{user}"                                       Organisation Owner  MAX_BODY_BYTES => organisation::account::delete_user;
    "organisations.serviceAccounts.list"              GET    "/v1/organisations/{organisation}/serviceAccounts"                                    Organisation Viewer MAX_BODY_BYTES => organisation::account::list_service_accounts;
    "organisations.serviceAccounts.create"            POST   "/v1/organisations/{organisation}/serviceAccounts"                                    Organisation Owner  MAX_BODY_BYTES => organisation::account::create_service_account;
    "organisations.serviceAccounts.get"               GET    "/v1/organisations/{organisation}/serviceAccounts/{serviceAccount}"                   Organisation Viewer MAX_BODY_BYTES => organisation::account::service_account;
    "organisations.serviceAccounts.patch"             PATCH  "/v1/organisations/{organisation}/serviceAccounts/{serviceAccount}"                   Organisation Owner  MAX_BODY_BYTES => organisation::account::patch_service_account;
    "organisations.serviceAccounts.delete"            DELETE "/v1/organisations/{organisation}/serviceAccounts/{serviceAccount}"                   Organisation Owner  MAX_BODY_BYTES => organisation::account::delete_service_account;
    "organisations.serviceAccounts.keys.list"         GET    "/v1/organisations/{organisation}/serviceAccounts/{serviceAccount}/keys"              Organisation Viewer MAX_BODY_BYTES => organisation::credential::list_keys;
    "organisations.serviceAccounts.keys.create"       POST   "/v1/organisations/{organisation}/serviceAccounts/{serviceAccount}/keys"              Organisation Owner  MAX_BODY_BYTES => organisation::credential::create_key;
    "organisations.serviceAccounts.keys.rotate"       POST   "/v1/organisations/{organisation}/serviceAccounts/{serviceAccount}/keys:rotate"       Organisation Owner  MAX_BODY_BYTES => organisation::credential::rotate_key;
    "organisations.serviceAccounts.keys.delete"       DELETE "/v1/organisations/{organisation}/serviceAccounts/{serviceAccount}/keys/{key}"        Organisation Owner  MAX_BODY_BYTES => organisation::credential::delete_key;
    "organisations.apiKeys.list"                      GET    "/v1/organisations/{organisation}/apiKeys"                                            Organisation Viewer MAX_BODY_BYTES => organisation::credential::list_api_keys;
    "organisations.apiKeys.create"                    POST   "/v1/organisations/{organisation}/apiKeys"                                            Organisation Owner  MAX_BODY_BYTES => organisation::credential::create_api_key;
    "organisations.apiKeys.rotate"                    POST   "/v1/organisations/{organisation}/apiKeys:rotate"                                     Organisation Owner  MAX_BODY_BYTES => organisation::credential::rotate_api_key;
    "organisations.apiKeys.get"                       GET    "/v1/organisations/{organisation}/apiKeys/{apiKey}"                                   Organisation Viewer MAX_BODY_BYTES => organisation::credential::api_key;
    "organisations.apiKeys.delete"                    DELETE "/v1/organisations/{organisation}/apiKeys/{apiKey}"                                   Organisation Owner  MAX_BODY_BYTES => organisation::credential::delete_api_key;
    "organisations.auditEntries.list"                 GET    "/v1/organisations/{organisation}/auditEntries"                                       Organisation Viewer MAX_BODY_BYTES => organisation::audit::list;
    "organisations.auditEntries.export"               GET    "/v1/organisations/{organisation}/auditEntries:export"                                Organisation Viewer MAX_BODY_BYTES => organisation::audit::export as Stream;

    // Artifacts and enrolled devices of a customer.
    "customers.artifacts.upload"        POST "/upload/v1/customers/{customer}/artifacts"                Customer Admin  MAX_BODY_BYTES => artifact::upload as Stream;
    "customers.artifacts.continueUpload" PUT "/upload/v1/customers/{customer}/artifacts"                Customer Admin  MAX_BODY_BYTES => artifact::continue_upload as Stream;
    "customers.artifacts.cancelUpload"  DELETE "/upload/v1/customers/{customer}/artifacts"              Customer Admin  MAX_BODY_BYTES => artifact::cancel_upload as Stream;
    "customers.artifacts.list"          GET  "/v1/customers/{customer}/artifacts"                       Customer Viewer MAX_BODY_BYTES => artifact::list;
    "customers.artifacts.get"           GET  "/v1/customers/{customer}/artifacts/{artifact}"            Customer Viewer MAX_BODY_BYTES => artifact::get;
    "customers.artifacts.delete"        DELETE "/v1/customers/{customer}/artifacts/{artifact}"          Customer Admin  MAX_BODY_BYTES => artifact::delete;

    "customers.enrollments.list"        GET  "/v1/customers/{customer}/enrollments"                     Customer Viewer MAX_BODY_BYTES => enrollment::list;
    "customers.enrollments.get"         GET  "/v1/customers/{customer}/enrollments/{enrollment}"        Customer Viewer MAX_BODY_BYTES => enrollment::get;
    "customers.enrollments.history"     GET  "/v1/customers/{customer}/enrollments/{enrollment}/history" Customer Viewer MAX_BODY_BYTES => enrollment::history;
    "customers.enrollments.approve"     POST "/v1/customers/{customer}/enrollments:approve"             Customer Admin  MAX_BODY_BYTES => enrollment::approve;
    "customers.enrollments.refuse"      POST "/v1/customers/{customer}/enrollments:refuse"              Customer Admin  MAX_BODY_BYTES => enrollment::refuse;
    "customers.enrollments.reenroll"    POST "/v1/customers/{customer}/enrollments:reenroll"            Customer Admin  MAX_BODY_BYTES => enrollment::reenroll;
    "customers.enrollments.disable"     POST "/v1/customers/{customer}/enrollments:disable"             Customer Admin  MAX_BODY_BYTES => enrollment::disable;
    "customers.enrollments.enable"      POST "/v1/customers/{customer}/enrollments:enable"              Customer Admin  MAX_BODY_BYTES => enrollment::enable;
    "customers.enrollments.deprovision" POST "/v1/customers/{customer}/enrollments:deprovision"         Customer Admin  MAX_BODY_BYTES => enrollment::deprovision;
    "customers.enrollments.createResetTicket" POST "/v1/customers/{customer}/enrollments:createResetTicket" Customer Admin MAX_BODY_BYTES => enrollment::create_reset_ticket;
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn methods_and_paths_are_there_once_and_only_reading_is_for_viewers() {
        let ids: BTreeSet<&str> = ROUTES.iter().map(|route| route.id).collect();
        assert_eq!(ids.len(), ROUTES.len());
        let paths: BTreeSet<(&str, &str)> =
            ROUTES.iter().map(|route| (route.method.as_str(), route.path)).collect();
        assert_eq!(paths.len(), ROUTES.len());
        for route in ROUTES {
            let reads = route.method == Method::GET
                || ["findBy", "getSim", ":check"].iter().any(|word| route.path.contains(word));
            assert_eq!(reads, route.access.role == Role::Viewer, "{}", route.id);
        }
    }
}
