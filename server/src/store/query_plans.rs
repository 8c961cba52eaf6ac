//! Checks every paged list against SQLite's query plans: a page starts at the end of the previous one, by
//! an index, and reads no row that it does not return.
//!
//! A new list fails here until it has a row in [`lists`].

use super::{
    AccountsOf, ArtifactsOf, AuditFilter, ClaimFilter, CompanyFilter, DeviceFilter, FactoryFilter, KeysOf,
    PageRequest, Reader, ResellerCursor, Store, StoreError, Value, database::Query, sql::recorded,
};
use crate::domain::{
    devices::device::StateName,
    tenancy::{
        account::AccountKind,
        actor::Scope,
        audit::Subject,
        company::{Company, CompanyKind, Terms},
    },
};
use std::{collections::BTreeSet, fs, path::Path};
use unbox_common::{
    ids::{AccountId, ClaimId, CompanyId, ConfigurationId, OperationId},
    timestamp::Timestamp,
};

/// The way in which a statement gets its rows into order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// The rows come from an index in this order.
    Index,
    /// The statement sorts the few rows that a filter leaves.
    FewRows,
    /// The statement merges two pages.
    TwoPages,
}

/// A statement of a list, and the way in which it is ordered.
struct Listed {
    list: &'static str,
    order: Order,
    text: String,
}

fn company(id: i64) -> CompanyId {
    CompanyId::new(id).unwrap()
}

/// Returns the scopes of an operator, a customer and a reseller.
fn scopes() -> [Scope; 3] {
    [Scope::Operator, Scope::Customer(company(1)), Scope::Reseller(company(2))]
}

fn page_after(key: &str) -> PageRequest {
    PageRequest::from_cursor(Some(key.to_owned()))
}

fn example_company(kind: CompanyKind) -> Company {
    Company {
        id: company(1),
        kind,
        name: "Acme".parse().unwrap(),
        default_configuration: None,
        parent: None,
        terms: Terms::Accepted,
        language: None,
        workspace: None,
        device_protection: false,
        factory_keys: false,
        created_at: Timestamp(1),
    }
}

/// Takes the statements of a list that was just read.
fn run<T>(to: &mut Vec<Listed>, list: &'static str, order: Order, outcome: Result<T, StoreError>) {
    outcome.unwrap();
    let texts = recorded::take().into_iter().filter(|text| text.contains(" LIMIT "));
    to.extend(texts.map(|text| Listed { list, order, text }));
}

/// Runs every list from its second page on, with every filter that it has.
fn lists(reader: &mut Reader) -> Vec<Listed> {
    let mut all = Vec::new();
    claims(reader, &mut all);
    devices_and_records(reader, &mut all);
    audit(reader, &mut all);
    for scope in scopes() {
        organisation(reader, &mut all, scope);
        catalogue(reader, &mut all, scope);
    }
    all
}

fn claims(reader: &mut Reader, all: &mut Vec<Listed>) {
    let page = page_after("5");
    let any = ClaimFilter::default;
    for scope in scopes() {
        for released in [false, true] {
            for filter in [
                any(),
                ClaimFilter { customer: Some(company(1)), ..any() },
                ClaimFilter { reseller: Some(company(2)), ..any() },
                ClaimFilter { configuration: ConfigurationId::new(3).ok(), ..any() },
                ClaimFilter { proof: Some(unbox_common::protocol::latest::ProofKind::Token), ..any() },
            ] {
                let filter = ClaimFilter { released, ..filter };
                run(all, "claims", Order::Index, reader.claims(scope, &filter, &page));
            }
        }
        let filter = ClaimFilter { identifier: Some("serial_number X".to_owned()), ..any() };
        run(all, "claims", Order::FewRows, reader.claims(scope, &filter, &page));
    }
    let cursor = Some(ResellerCursor { customer: company(1), claim: ClaimId::new(5).unwrap() });
    let own = reader.claims_of_reseller(company(2), &[], cursor, 10);
    run(all, "claims_of_reseller", Order::Index, own);
    let named = [company(1)];
    let of_customer = reader.claims_of_reseller(company(2), &named, cursor, 10);
    run(all, "claims_of_reseller", Order::Index, of_customer);
}

fn devices_and_records(reader: &mut Reader, all: &mut Vec<Listed>) {
    let page = page_after("5");
    let any = DeviceFilter::default;
    for scope in scopes() {
        for filter in [
            any(),
            DeviceFilter { customer: Some(company(1)), ..any() },
            DeviceFilter { state: Some(StateName::Managed), ..any() },
            DeviceFilter { waiting: true, ..any() },
        ] {
            run(all, "devices", Order::Index, reader.devices(scope, &filter, &page));
        }
        let few = [
            DeviceFilter { claim: ClaimId::new(7).ok(), ..any() },
            DeviceFilter { identifiers: Some(vec!["serial_number X".to_owned()]), ..any() },
        ];
        for filter in few {
            run(all, "devices", Order::FewRows, reader.devices(scope, &filter, &page));
        }
        let records = FactoryFilter { company: None, identifiers: None };
        let records = reader.list_factory_records(scope, &records, &page);
        run(all, "list_factory_records", Order::Index, records);
        let few = FactoryFilter { company: None, identifiers: Some(vec!["serial_number X".to_owned()]) };
        let records = reader.list_factory_records(scope, &few, &page);
        run(all, "list_factory_records", Order::FewRows, records);
    }
}

fn audit(reader: &mut Reader, all: &mut Vec<Listed>) {
    let page = page_after("5");
    let any = AuditFilter::default;
    let few = AuditFilter { subjects: vec![Subject::Unknown, Subject::Company(company(1))], ..any() };
    run(all, "audit", Order::FewRows, reader.audit(Scope::Operator, &few, &page));
    for filter in [
        any(),
        AuditFilter { customer: Some(company(1)), ..any() },
        AuditFilter { since: Some(Timestamp(1)), until: Some(Timestamp(9)), ..any() },
        AuditFilter { actor: Some("it@acme.example".to_owned()), ..any() },
    ] {
        run(all, "audit", Order::Index, reader.audit(Scope::Operator, &filter, &page));
        for scope in [Scope::Customer(company(1)), Scope::Reseller(company(2))] {
            run(all, "audit", Order::TwoPages, reader.audit(scope, &filter, &page));
        }
    }
}

fn organisation(reader: &mut Reader, all: &mut Vec<Listed>, scope: Scope) {
    let page = page_after("5");
    // A company sees only itself.
    let order = if scope == Scope::Operator { Order::Index } else { Order::FewRows };
    for kind in [None, Some(CompanyKind::Customer)] {
        let filter = CompanyFilter::of_kind(kind);
        run(all, "companies", order, reader.companies(scope, &filter, &page));
    }
    for kind in [CompanyKind::Customer, CompanyKind::Reseller] {
        run(all, "links", Order::Index, reader.links(scope, &example_company(kind), &page));
    }
    for of in [AccountsOf::Anybody, AccountsOf::Operator, AccountsOf::Company(company(1))] {
        for kind in [None, Some(AccountKind::User)] {
            run(all, "accounts", Order::Index, reader.accounts(scope, of, kind, &page));
        }
    }
    let account = AccountId::new(6).unwrap();
    let keys = reader.api_keys(scope, KeysOf::Account(account), &page);
    run(all, "api_keys", Order::Index, keys);
    // A company has few keys, which are sorted by account.
    run(all, "api_keys", Order::FewRows, reader.api_keys(scope, KeysOf::Company(company(1)), &page));
    let keys = page_after("0123456789abcdef0123456789abcdef01234567");
    // So does one account.
    run(all, "service_account_keys", Order::FewRows, reader.service_account_keys(scope, account, &keys));
    run(all, "operations", Order::Index, reader.operations(scope, &page));
    let operation = OperationId::new(8).unwrap();
    run(all, "operation_items", Order::Index, reader.operation_items(operation, 5, 10, usize::MAX));
}

fn catalogue(reader: &mut Reader, all: &mut Vec<Listed>, scope: Scope) {
    let page = page_after("5");
    for customer in [None, Some(company(1))] {
        let configurations = reader.configurations(scope, customer, &page);
        run(all, "configurations", Order::Index, configurations);
        run(all, "tokens", Order::Index, reader.tokens(scope, customer, &page));
    }
    for of in [ArtifactsOf::Anybody, ArtifactsOf::Operator, ArtifactsOf::Customer(company(1))] {
        run(all, "artifacts", Order::TwoPages, reader.artifacts(scope, of, &page));
    }
    run(all, "dpcs", Order::Index, reader.dpcs(&page_after("kiosk")));
}

/// Returns the names of the methods that take a page, from the files of this folder.
fn paged_methods(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(paged_methods(&path));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        for method in text.split("pub fn ").skip(1) {
            let (name, rest) = method.split_once('(').unwrap();
            let signature = rest.split_once(" -> ").map_or("", |(signature, _)| signature);
            if signature.contains("page: &PageRequest") || signature.contains("limit: u32") {
                found.insert(name.to_owned());
            }
        }
    }
    found
}

/// Lists that have a limit and no second page, or that sort few rows (the reports of a device).
const SHORT_LISTS: [&str; 7] = [
    "accounts_with_email",
    "audit_before",
    "operation_work",
    "operations_done_before",
    "reports",
    "reports_before",
    "requests",
];

#[tokio::test]
async fn every_page_begins_where_the_one_before_it_ended() {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::create(&Store::sqlite_url(&directory.path().join("unbox.db"))).await.unwrap();
    let checked = store.read(|reader| {
        check_plans(reader);
        Ok::<_, StoreError>(())
    });
    checked.await.unwrap();
}

fn check_plans(reader: &mut Reader) {
    let lists = lists(reader);
    let mut named: BTreeSet<String> = lists.iter().map(|one| one.list.to_owned()).collect();
    named.extend(SHORT_LISTS.map(str::to_owned));
    let methods = paged_methods(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store"));
    assert_eq!(
        methods.difference(&named).collect::<Vec<_>>(),
        Vec::<&String>::new(),
        "lists without a row here"
    );

    let mut wrong = Vec::new();
    for one in lists {
        // Such a scope sees nothing, so there is nothing to plan.
        if one.text.contains(" AND 1 = 0") {
            continue;
        }
        let plan = explain(reader, &one.text);
        if let Some(problem) = problem(&plan, one.order) {
            wrong.push(format!("{}: {problem}\n  {}\n  {}", one.list, one.text, plan.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Returns the steps of a statement's plan.
fn explain(reader: &mut Reader, text: &str) -> Vec<String> {
    let values = vec![Value::Null; text.matches('?').count()];
    let explained = Query::new(format!("EXPLAIN QUERY PLAN {text}").into(), values);
    let rows = explained.fetch_all(reader.connection(), "explain a statement").unwrap();
    rows.iter().map(|row| row.read("detail").unwrap()).collect()
}

/// Returns the reason why later pages cost more than earlier ones.
fn problem(plan: &[String], order: Order) -> Option<&'static str> {
    let sorts = plan.iter().any(|step| step.contains("USE TEMP B-TREE FOR ORDER BY"));
    // Merged lists are read completely, because they are pages themselves.
    let page =
        |step: &str| ["theirs", "by_them", "own", "shared"].iter().any(|name| step == format!("SCAN {name}"));
    let scans = plan.iter().any(|step| step.starts_with("SCAN ") && !page(step));
    let goes_on = plan.iter().any(|step| step.contains(">?") || step.contains("<?"));
    match order {
        _ if scans => Some("it reads a whole table"),
        Order::Index | Order::TwoPages if !goes_on => Some("it begins at the start each time"),
        Order::Index if sorts => Some("it sorts whatever is left"),
        _ => None,
    }
}
