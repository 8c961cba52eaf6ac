//! Long-running operations: every device once, in order, whoever dies meanwhile.

use crate::support::{START, TestDatabase, World, new_claim, serial_set};
use std::{collections::BTreeMap, time::Duration};
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    ids::CompanyId,
    protocol::latest::ProofKind,
};
use unbox_server::{
    domain::{
        claims::{
            claim::{ClaimSets, ClaimTarget, Metadata},
            operation::{Item, ItemResult, ItemStatus, MAX_ITEMS, Operation, OperationKind, Work},
        },
        tenancy::{
            account::Role,
            actor::{Actor, Scope},
            company::CompanyKind,
        },
    },
    service::{AccountChange, NewAccount, NewCompany, NewHolder, ServiceError, Services},
    store::{DoneItem, PageRequest},
};

async fn reseller(world: &World, name: &str) -> Actor {
    let new = NewCompany::new(CompanyKind::Reseller, name);
    let id = world.services.tenancy.create_company(&world.by, new).await.unwrap().id;
    world.services.tenancy.set_works_for(&world.by, id, world.customer, true).await.unwrap();
    Actor::of_reseller(name, id)
}

fn claim_item(customer: CompanyId, serial: &str) -> Item {
    let sets = ClaimSets::new(vec![serial_set(serial)]);
    let work =
        Work::Claim { customer, configuration: None, sets, metadata: Metadata::default(), protected: false };
    Item { echo: format!("{{\"echo\":\"{serial}\"}}"), work }
}

async fn start(
    world: &World,
    by: &Actor,
    kind: OperationKind,
    items: Vec<Item>,
) -> Result<Operation, ServiceError> {
    start_on(&world.services, by, kind, items).await
}

async fn start_on(
    services: &Services,
    by: &Actor,
    kind: OperationKind,
    items: Vec<Item>,
) -> Result<Operation, ServiceError> {
    let mut spool = services.claims.item_spool().unwrap();
    for item in items {
        spool.push(&item).unwrap();
    }
    services.claims.start_operation(by, kind, spool).await
}

fn by_serial(serial: &str) -> ClaimTarget {
    ClaimTarget::Identifiers(vec![Identifier::parse(IdentifierKind::SerialNumber, serial).unwrap()])
}

async fn results(world: &World, by: &Actor, id: unbox_common::ids::OperationId) -> Vec<DoneItem> {
    world.services.claims.operation_results(by, id, 0, u32::MAX).await.unwrap()
}

async fn every_device_has_its_result_in_the_order_of_the_request(db: TestDatabase) {
    let world = World::new(db).await;
    let boxes = reseller(&world, "Boxes").await;
    let bolt = world.other_customer("Bolt").await;
    world
        .services
        .claims
        .create_claim(&world.by, new_claim(bolt, "TAKEN001", ProofKind::Token))
        .await
        .unwrap();
    let refused = ItemResult::failure(ItemStatus::InvalidSectionType, "INVALID_SECTION_TYPE", "Not here.");
    let mut items: Vec<Item> =
        (0..1200).map(|n| claim_item(world.customer, &format!("SERIAL{n:05}"))).collect();
    items[3] = claim_item(world.customer, "TAKEN001");
    items[700] = claim_item(bolt, "OTHER123");
    items[900] = Item { echo: "{}".to_owned(), work: Work::Refused(refused.clone()) };
    items[1100] = items[0].clone();
    let started = start(&world, &boxes, OperationKind::Claim, items).await.unwrap();
    assert_eq!((started.done, started.done_at), (0, None));
    assert!(world.services.claims.work_once().await.unwrap());
    let half = world.services.claims.operation(&boxes, started.id).await.unwrap();
    assert_eq!((half.done, half.done_at), (500, None));
    while world.services.claims.work_once().await.unwrap() {}
    let done = world.services.claims.operation(&boxes, started.id).await.unwrap();
    assert_eq!((done.done, done.succeeded), (1200, 1197));
    assert!(done.done_at.is_some());

    let results = results(&world, &boxes, started.id).await;
    assert_eq!(results.len(), 1200);
    let status = |at: usize| results[at].result.as_ref().unwrap().status;
    for (at, expected) in [
        (0, ItemStatus::Success),
        (3, ItemStatus::SectionNotYours),
        (700, ItemStatus::PermissionDenied),
        (900, ItemStatus::InvalidSectionType),
        (1100, ItemStatus::Success),
    ] {
        assert_eq!(status(at), expected, "{at}");
    }
    assert_eq!(results[1100].result, results[0].result, "the same device, the same claim");
    assert_eq!(results[7].echo, "{\"echo\":\"SERIAL00007\"}");
    assert_eq!(world.services.claims.claims_of_reseller(&boxes, &[], None, 1).await.unwrap().total, 1196);
}

async fn what_a_server_left_is_gone_on_with_by_others_and_nothing_is_done_twice(db: TestDatabase) {
    let world = World::new(db).await;
    let boxes = reseller(&world, "Boxes").await;
    let items = (0..2600).map(|n| claim_item(world.customer, &format!("SERIAL{n:05}"))).collect();
    let started = start(&world, &boxes, OperationKind::Claim, items).await.unwrap();
    assert!(world.services.claims.work_once().await.unwrap());
    let (one, other) = (world.another_server(2), world.another_server(3));
    let work = async |services: Services| {
        while services.claims.work_once().await.unwrap()
            || services.claims.operation(&boxes, started.id).await.unwrap().done_at.is_none()
        {}
    };
    tokio::join!(work(one), work(other));
    let done = world.services.claims.operation(&boxes, started.id).await.unwrap();
    assert_eq!((done.done, done.succeeded), (2600, 2600));
    let devices: std::collections::BTreeSet<_> = results(&world, &boxes, started.id)
        .await
        .into_iter()
        .map(|item| item.result.unwrap().device.unwrap())
        .collect();
    assert_eq!(devices.len(), 2600);
    assert_eq!(world.services.claims.claims_of_reseller(&boxes, &[], None, 1).await.unwrap().total, 2600);
}

async fn claims_are_ended_released_and_written_beside(db: TestDatabase) {
    let world = World::new(db).await;
    let boxes = reseller(&world, "Boxes").await;
    let items = (0..3).map(|n| claim_item(world.customer, &format!("SERIAL{n:05}"))).collect();
    start(&world, &boxes, OperationKind::Claim, items).await.unwrap();
    while world.services.claims.work_once().await.unwrap() {}
    let changes = BTreeMap::from([("ordernumber".to_owned(), "A1".to_owned())]);
    let item = |work| Item { echo: "{}".to_owned(), work };
    let target = by_serial("SERIAL00000");
    let wrong = BTreeMap::from([("bad key".to_owned(), "A1".to_owned())]);
    let updates = vec![
        item(Work::UpdateMetadata { target: target.clone(), changes }),
        item(Work::UpdateMetadata { target: target.clone(), changes: wrong }),
        item(Work::UpdateMetadata { target: by_serial("NOBODYS1"), changes: BTreeMap::new() }),
    ];
    let update = start(&world, &boxes, OperationKind::UpdateMetadata, updates).await.unwrap();
    let until = Some(START.plus(Duration::from_hours(24)));
    let unclaims = vec![
        item(Work::Unclaim { target: by_serial("SERIAL00001"), until: None }),
        item(Work::Unclaim { target: by_serial("SERIAL00001"), until: None }),
        item(Work::Unclaim { target: by_serial("SERIAL00002"), until }),
    ];
    let unclaim = start(&world, &boxes, OperationKind::Unclaim, unclaims).await.unwrap();
    while world.services.claims.work_once().await.unwrap() {}
    let statuses = async |id| -> Vec<ItemStatus> {
        results(&world, &boxes, id).await.into_iter().map(|item| item.result.unwrap().status).collect()
    };
    let (ok, unknown) = (ItemStatus::Success, ItemStatus::InvalidDeviceIdentifier);
    assert_eq!(statuses(update.id).await, [ok, ItemStatus::OtherError, unknown]);
    assert_eq!(statuses(unclaim.id).await, [ok, unknown, ok]);
    let left = world.services.claims.claims_of_reseller(&boxes, &[], None, 10).await.unwrap();
    assert_eq!(left.total, 2);
    assert_eq!(left.claims[0].metadata.entries()["ordernumber"], "A1");
    assert!(left.claims[1].vacation.is_some());
}

async fn an_operation_is_its_own_resellers_and_of_a_size_that_is_said(db: TestDatabase) {
    let world = World::new(db).await;
    let (boxes, crates) = (reseller(&world, "Boxes").await, reseller(&world, "Crates").await);
    let one = || vec![claim_item(world.customer, "PF0ABCDE")];
    let started = start(&world, &boxes, OperationKind::Claim, one()).await.unwrap();
    let before = world.db.snapshot().await;
    let customer = Actor::of_customer("acme's admin", world.customer);
    for stranger in [&crates, &customer] {
        let found = world.services.claims.operation(stranger, started.id).await;
        assert!(matches!(found, Err(ServiceError::NotFound { .. })), "{found:?}");
        let found = world.services.claims.operation_results(stranger, started.id, 0, 10).await;
        assert!(matches!(found, Err(ServiceError::NotFound { .. })), "{found:?}");
        let listed = world.services.claims.list_operations(stranger, PageRequest::default()).await.unwrap();
        assert!(listed.items.is_empty());
    }
    let refused = start(&world, &customer, OperationKind::Claim, one()).await;
    assert!(matches!(refused, Err(ServiceError::OperatorOnly)));
    let too_many = vec![claim_item(world.customer, "PF0ABCDE"); MAX_ITEMS + 1];
    for items in [Vec::new(), too_many] {
        let refused = start(&world, &boxes, OperationKind::Claim, items).await;
        assert!(matches!(refused, Err(ServiceError::Invalid { field: "items", .. })));
    }
    assert_eq!(world.db.snapshot().await, before);
    assert_eq!(world.services.claims.operation(&world.by, started.id).await.unwrap().company, own(&boxes));
}

async fn one_company_s_operations_do_not_hold_up_another_s(db: TestDatabase) {
    let world = World::new(db).await;
    let (boxes, crates) = (reseller(&world, "Boxes").await, reseller(&world, "Crates").await);
    for many in 0..50 {
        let items = (0..20).map(|n| claim_item(world.customer, &format!("BOX{many:03}X{n:03}"))).collect();
        start(&world, &boxes, OperationKind::Claim, items).await.unwrap();
    }
    let one = vec![claim_item(world.customer, "CRATE001")];
    let single = start(&world, &crates, OperationKind::Claim, one).await.unwrap();
    assert!(world.services.claims.work_once().await.unwrap());
    assert!(world.services.claims.operation(&crates, single.id).await.unwrap().done_at.is_some());
    let all = PageRequest { size: Some(1000), after: None };
    let theirs = world.services.claims.list_operations(&boxes, all).await.unwrap().items;
    assert_eq!(theirs.iter().filter(|one| one.done > 0).count(), 1, "one turn each");
}

async fn a_company_has_a_bounded_number_of_unfinished_operations(db: TestDatabase) {
    let world = World::new(db).await;
    let (boxes, crates) = (reseller(&world, "Boxes").await, reseller(&world, "Crates").await);
    let one = |serial: &str| vec![claim_item(world.customer, serial)];
    for at in 0..world.services.settings().unfinished_operations {
        start(&world, &boxes, OperationKind::Claim, one(&format!("SERIAL{at:03}"))).await.unwrap();
    }
    let before = world.db.snapshot().await;
    let refused = start(&world, &boxes, OperationKind::Claim, one("TOOMANY1")).await;
    assert!(matches!(refused, Err(ServiceError::QuotaExceeded(_))), "{refused:?}");
    assert_eq!(world.db.snapshot().await, before);
    let all = PageRequest { size: Some(1000), after: None };
    let kept = world.services.claims.list_operations(&boxes, all).await.unwrap().items.len();
    assert_eq!(kept as u64, world.services.settings().unfinished_operations);
    start(&world, &crates, OperationKind::Claim, one("CRATE001")).await.unwrap();
    world.services.claims.work_once().await.unwrap();
    start(&world, &boxes, OperationKind::Claim, one("AGAIN001")).await.unwrap();
}

async fn an_operation_is_cancelled_and_then_deleted(db: TestDatabase) {
    let world = World::new(db).await;
    let (boxes, crates) = (reseller(&world, "Boxes").await, reseller(&world, "Crates").await);
    let items = (0..1200).map(|n| claim_item(world.customer, &format!("SERIAL{n:05}"))).collect();
    let started = start(&world, &boxes, OperationKind::Claim, items).await.unwrap();
    world.services.claims.work_once().await.unwrap();
    let before = world.db.snapshot().await;
    let early = world.services.claims.delete_operation(&boxes, started.id).await;
    assert!(matches!(early, Err(ServiceError::Conflict(_))), "{early:?}");
    for outcome in [
        world.services.claims.cancel_operation(&crates, started.id).await,
        world.services.claims.delete_operation(&crates, started.id).await,
    ] {
        assert!(matches!(outcome, Err(ServiceError::NotFound { .. })), "{outcome:?}");
    }
    assert_eq!(world.db.snapshot().await, before);

    world.services.claims.cancel_operation(&boxes, started.id).await.unwrap();
    assert!(!world.services.claims.work_once().await.unwrap());
    let cancelled = world.services.claims.operation(&boxes, started.id).await.unwrap();
    assert_eq!((cancelled.done, cancelled.succeeded), (500, 500));
    assert!(cancelled.cancelled_at.is_some() && cancelled.done_at.is_some());
    assert_eq!(world.services.claims.claims_of_reseller(&boxes, &[], None, 1).await.unwrap().total, 500);
    let once = world.db.snapshot().await;
    world.services.claims.cancel_operation(&boxes, started.id).await.unwrap();
    assert_eq!(world.db.snapshot().await, once, "it has ended");
    world.services.claims.delete_operation(&boxes, started.id).await.unwrap();
    let found = world.services.claims.operation(&boxes, started.id).await;
    assert!(matches!(found, Err(ServiceError::NotFound { .. })), "{found:?}");
    assert_eq!(world.services.claims.claims_of_reseller(&boxes, &[], None, 1).await.unwrap().total, 500);
}

async fn operations_that_ended_make_room_for_others_and_those_that_have_not_do_not(db: TestDatabase) {
    let world = World::new(db).await;
    let boxes = reseller(&world, "Boxes").await;
    let many =
        |from: u32| (from..from + 20).map(|n| claim_item(world.customer, &format!("SERIAL{n:03}"))).collect();
    // Room for two of twenty devices.
    let services = world.server_with(9, |settings| settings.operations_bytes = 20 * 1024);
    let first = start_on(&services, &boxes, OperationKind::Claim, many(0)).await.unwrap();
    start_on(&services, &boxes, OperationKind::Claim, many(20)).await.unwrap();
    let before = world.db.snapshot().await;
    let refused = start_on(&services, &boxes, OperationKind::Claim, many(40)).await;
    assert!(matches!(refused, Err(ServiceError::QuotaExceeded(_))), "{refused:?}");
    assert_eq!(world.db.snapshot().await, before);

    world.services.claims.cancel_operation(&boxes, first.id).await.unwrap();
    start_on(&services, &boxes, OperationKind::Claim, many(40)).await.unwrap();
    let found = world.services.claims.operation(&boxes, first.id).await;
    assert!(matches!(found, Err(ServiceError::NotFound { .. })), "{found:?}");
}

async fn an_operation_ends_with_the_rights_of_the_account_that_asked_for_it(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let boxes = reseller(&world, "Boxes").await;
    let company = boxes.company().unwrap();
    let account = async |name: &str| {
        let holder = NewHolder::ServiceAccount { name: name.to_owned() };
        let new = NewAccount { company: Some(company), holder, role: Role::Admin };
        services.tenancy.create_account(by, new).await.unwrap().id
    };
    let to_viewer = AccountChange { role: Some(Role::Viewer), ..AccountChange::default() };
    let accounts = [account("disabled").await, account("deleted").await, account("demoted").await];
    for (number, id) in accounts.into_iter().enumerate() {
        let actor = boxes.clone().with_role(Role::Admin).with_account(id);
        let serial = |n: u32| format!("SERIAL{number}{n:05}");
        let items = (0..700).map(|n| claim_item(world.customer, &serial(n))).collect();
        let started = start(&world, &actor, OperationKind::Claim, items).await.unwrap();
        assert!(services.claims.work_once().await.unwrap());
        match number {
            0 => services.tenancy.disable_account(by, id).await,
            1 => services.tenancy.delete_account(by, id).await,
            _ => services.tenancy.update_account(by, id, to_viewer.clone()).await,
        }
        .unwrap();
        let claims = world.db.snapshot().await["claims"].clone();
        while services.claims.work_once().await.unwrap() {}
        assert_eq!(world.db.snapshot().await["claims"], claims, "nothing more was claimed");
        let ended = services.claims.operation(&boxes, started.id).await.unwrap();
        assert_eq!((ended.done, ended.succeeded), (700, 500));
        assert!(ended.done_at.is_some());
        let results = results(&world, &boxes, started.id).await;
        let refused = results[500].result.clone().unwrap();
        assert_eq!(refused.status, ItemStatus::PermissionDenied);
        assert!(refused.message.unwrap().contains("The account that asked for this was disabled"));
    }
}

async fn an_operation_is_forgotten_a_while_after_its_end(db: TestDatabase) {
    let world = World::new(db).await;
    let boxes = reseller(&world, "Boxes").await;
    let one = |serial: &str| vec![claim_item(world.customer, serial)];
    let ended = start(&world, &boxes, OperationKind::Claim, one("SERIAL001")).await.unwrap();
    world.services.claims.work_once().await.unwrap();
    let waiting = start(&world, &boxes, OperationKind::Claim, one("SERIAL002")).await.unwrap();
    world.clock.advance(world.services.settings().operations_kept);
    assert_eq!(world.services.claims.forget_operations().await.unwrap(), 0, "to the day");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.services.claims.forget_operations().await.unwrap(), 1);
    let found = world.services.claims.operation(&boxes, ended.id).await;
    assert!(matches!(found, Err(ServiceError::NotFound { .. })), "{found:?}");
    assert!(world.services.claims.operation(&boxes, waiting.id).await.is_ok());
    assert_eq!(world.services.claims.claims_of_reseller(&boxes, &[], None, 1).await.unwrap().total, 1);
}

fn own(by: &Actor) -> CompanyId {
    match by.scope() {
        Scope::Reseller(id) => id,
        other => panic!("{other:?} is no reseller"),
    }
}

async fn what_waits_when_the_link_ends_is_refused_item_by_item(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let boxes = reseller(&world, "Boxes").await;
    let item = |work| Item { echo: "{}".to_owned(), work };
    let serials: Vec<String> = (0..3).map(|n| format!("SERIAL{n:05}")).collect();
    let claims = serials.iter().map(|serial| claim_item(world.customer, serial)).collect();
    start(&world, &boxes, OperationKind::Claim, claims).await.unwrap();
    while services.claims.work_once().await.unwrap() {}
    let made = services.claims.claims_of_reseller(&boxes, &[], None, 10).await.unwrap().claims;
    let until = Some(START.plus(Duration::from_hours(24)));
    let changes = BTreeMap::from([("ordernumber".to_owned(), "A1".to_owned())]);
    let claims = [serials[0].as_str(), "SERIAL99999"];
    let claims = claims.iter().map(|serial| claim_item(world.customer, serial)).collect();
    let unclaims = vec![
        item(Work::Unclaim { target: by_serial(&serials[0]), until: None }),
        item(Work::Unclaim { target: ClaimTarget::Id(made[1].id), until: None }),
        item(Work::Unclaim { target: ClaimTarget::Id(made[2].id), until }),
    ];
    let updates = vec![
        item(Work::UpdateMetadata { target: by_serial(&serials[0]), changes: changes.clone() }),
        item(Work::UpdateMetadata { target: ClaimTarget::Id(made[1].id), changes }),
    ];
    let mut waiting = Vec::new();
    for (kind, items) in [
        (OperationKind::Claim, claims),
        (OperationKind::Unclaim, unclaims),
        (OperationKind::UpdateMetadata, updates),
    ] {
        waiting.push(start(&world, &boxes, kind, items).await.unwrap().id);
    }
    let owner = Actor::of_customer("acme's owner", world.customer);
    services.tenancy.set_works_for(&owner, own(&boxes), world.customer, false).await.unwrap();
    let before = world.db.snapshot().await;
    while services.claims.work_once().await.unwrap() {}
    assert_eq!(world.db.snapshot().await, before);
    for (id, expected) in waiting.into_iter().zip([
        ItemStatus::PermissionDenied,
        ItemStatus::InvalidDeviceIdentifier,
        ItemStatus::InvalidDeviceIdentifier,
    ]) {
        for done in results(&world, &boxes, id).await {
            let result = done.result.unwrap();
            assert_eq!((result.status, result.device), (expected, None), "{result:?}");
        }
    }
}

battery!(
    what_waits_when_the_link_ends_is_refused_item_by_item,
    every_device_has_its_result_in_the_order_of_the_request,
    what_a_server_left_is_gone_on_with_by_others_and_nothing_is_done_twice,
    claims_are_ended_released_and_written_beside,
    an_operation_is_its_own_resellers_and_of_a_size_that_is_said,
    one_company_s_operations_do_not_hold_up_another_s,
    a_company_has_a_bounded_number_of_unfinished_operations,
    an_operation_is_cancelled_and_then_deleted,
    operations_that_ended_make_room_for_others_and_those_that_have_not_do_not,
    an_operation_ends_with_the_rights_of_the_account_that_asked_for_it,
    an_operation_is_forgotten_a_while_after_its_end,
);
