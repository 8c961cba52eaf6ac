//! Who looks after accounts, what that refuses, and what they sign in with.

use crate::support::{PUBLIC_KEY, START, TestDatabase, TestKey, World};
use serde_json::json;
use std::time::Duration;
use unbox_common::{
    ids::{AccountId, ApiKeyId, CompanyId},
    secret::Secret,
};
use unbox_server::{
    domain::tenancy::{
        account::{Account, Role},
        actor::Actor,
        audit::{Action, Subject},
        company::CompanyKind,
        credential::{KeyId, MAX_CREDENTIALS},
    },
    service::{AccountChange, NewAccount, NewApiKey, NewCompany, NewHolder, ServiceError},
    store::{AccountsOf, AuditFilter, KeysOf, PageRequest},
};

const HOUR: Duration = Duration::from_hours(1);

#[track_caller]
fn conflict<T>(result: Result<T, ServiceError>, says: &str) {
    match result {
        Err(ServiceError::Conflict(text) | ServiceError::AlreadyExists(text)) => {
            assert!(text.contains(says), "{text}");
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("no conflict"),
    }
}

#[track_caller]
fn not_found<T>(result: Result<T, ServiceError>) {
    assert!(matches!(result.err().unwrap(), ServiceError::NotFound { .. }));
}

#[track_caller]
fn invalid<T>(result: Result<T, ServiceError>, field: &str) {
    match result.err().unwrap() {
        ServiceError::Invalid { field: found, .. } => assert_eq!(found, field),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn too_low<T>(result: Result<T, ServiceError>, needed: Role) {
    match result.err().unwrap() {
        ServiceError::RoleTooLow(found) => assert_eq!(found, needed),
        other => panic!("{other:?}"),
    }
}

fn user(company: CompanyId, email: &str, role: Role) -> NewAccount {
    let holder = NewHolder::User { email: email.to_owned(), name: None };
    NewAccount { company: Some(company), holder, role }
}

fn program(company: Option<CompanyId>, name: &str, role: Role) -> NewAccount {
    NewAccount { company, holder: NewHolder::ServiceAccount { name: name.to_owned() }, role }
}

fn api_key(account: &Account) -> NewApiKey {
    NewApiKey { account: account.id, name: "export".to_owned(), expires_at: None }
}

fn role(role: Role) -> AccountChange {
    AccountChange { role: Some(role), ..AccountChange::default() }
}

async fn an_account_is_created_changed_and_deleted(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let owner = services
        .tenancy
        .create_account(by, user(world.customer, " IT@Acme.Example ", Role::Owner))
        .await
        .unwrap();
    assert_eq!((owner.email.as_str(), owner.name.as_str()), ("it@acme.example", "it@acme.example"));
    let robot = services
        .tenancy
        .create_account(by, program(Some(world.customer), "robot", Role::Viewer))
        .await
        .unwrap();
    assert_eq!(robot.email.as_str(), format!("robot@{}.unbox.invalid", world.customer));
    for text in ["IT@acme.example", &owner.id.to_string()] {
        assert_eq!(services.tenancy.find_account(by, text).await.unwrap(), owner);
    }
    let change = AccountChange { name: Some("Ada".to_owned()), ..role(Role::Owner) };
    let owner = services.tenancy.update_account(by, owner.id, change).await.unwrap();
    assert_eq!(owner.name.as_str(), "Ada");
    let robot = services.tenancy.update_account(by, robot.id, role(Role::Owner)).await.unwrap();
    services.tenancy.disable_account(by, robot.id).await.unwrap();
    services.tenancy.disable_account(by, robot.id).await.unwrap();
    services.tenancy.enable_account(by, robot.id).await.unwrap();
    services.tenancy.delete_account(by, owner.id).await.unwrap();
    not_found(services.tenancy.account(by, owner.id).await);
    let listed = services
        .tenancy
        .list_accounts(by, AccountsOf::Company(world.customer), None, PageRequest::default())
        .await;
    assert_eq!(listed.unwrap().items.iter().collect::<Vec<_>>(), [&robot]);

    let about = async |account: AccountId| -> Vec<Action> {
        let filter = AuditFilter { subjects: vec![Subject::Account(account)], ..AuditFilter::default() };
        let entries = services.tenancy.list_audit(by, filter, PageRequest::default()).await.unwrap().items;
        assert!(entries.iter().all(|one| one.customer == Some(world.customer) && one.actor == "test"));
        entries.iter().rev().map(|one| one.action).collect()
    };
    assert_eq!(
        about(owner.id).await,
        [Action::AccountCreated, Action::AccountUpdated, Action::AccountDeleted]
    );
    assert_eq!(
        about(robot.id).await,
        [Action::AccountCreated, Action::AccountUpdated, Action::AccountDisabled, Action::AccountEnabled]
    );
}

async fn an_account_that_could_not_be_used_is_refused(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by, customer) = (&world.services, &world.by, world.customer);
    let owner =
        services.tenancy.create_account(by, user(customer, "it@acme.example", Role::Owner)).await.unwrap();
    let robot =
        services.tenancy.create_account(by, program(Some(customer), "robot", Role::Admin)).await.unwrap();
    let elsewhere = world.other_customer("Bolt").await;
    services.tenancy.create_account(by, user(elsewhere, "it@acme.example", Role::Owner)).await.unwrap();
    let before = world.db.snapshot().await;
    let create = async |new| services.tenancy.create_account(by, new).await;
    conflict(create(user(customer, "IT@ACME.example", Role::Viewer)).await, "already");
    conflict(create(program(Some(customer), "robot", Role::Viewer)).await, "already");
    invalid(create(user(customer, "nobody", Role::Viewer)).await, "email");
    invalid(create(user(customer, "robot@7.unbox.invalid", Role::Viewer)).await, "email");
    invalid(create(program(Some(customer), "A robot", Role::Viewer)).await, "name");
    not_found(create(user("1".parse().unwrap(), "a@b.example", Role::Viewer)).await);
    let named = AccountChange { name: Some("a\nb".to_owned()), ..AccountChange::default() };
    invalid(services.tenancy.update_account(by, owner.id, named.clone()).await, "name");
    let named = AccountChange { name: Some("other".to_owned()), ..named };
    invalid(services.tenancy.update_account(by, robot.id, named).await, "name");
    conflict(services.tenancy.find_account(by, "it@acme.example").await, "several companies");
    not_found(services.tenancy.find_account(by, "it@acme").await);
    not_found(services.tenancy.delete_account(by, "1".parse().unwrap()).await);
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_company_keeps_an_owner(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let create = async |email, role| {
        services.tenancy.create_account(by, user(world.customer, email, role)).await.unwrap()
    };
    let owner = create("a@acme.example", Role::Owner).await;
    let second = create("b@acme.example", Role::Owner).await;
    services.tenancy.disable_account(by, second.id).await.unwrap();
    let before = world.db.snapshot().await;
    conflict(services.tenancy.update_account(by, owner.id, role(Role::Admin)).await, "last owner");
    conflict(services.tenancy.disable_account(by, owner.id).await, "last owner");
    conflict(services.tenancy.delete_account(by, owner.id).await, "last owner");
    assert_eq!(world.db.snapshot().await, before);
    services.tenancy.enable_account(by, second.id).await.unwrap();
    services.tenancy.update_account(by, owner.id, role(Role::Viewer)).await.unwrap();
    let operators = services.tenancy.create_account(by, program(None, "backup", Role::Owner)).await.unwrap();
    services.tenancy.delete_account(by, operators.id).await.unwrap();
}

async fn two_owners_who_demote_each_other_leave_one(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    for round in 0..4 {
        let company = world.other_customer(&format!("Customer {round}")).await;
        let a = services.tenancy.create_account(by, user(company, "a@x.example", Role::Owner)).await.unwrap();
        let b = services.tenancy.create_account(by, user(company, "b@x.example", Role::Owner)).await.unwrap();
        let (one, other) = tokio::join!(
            services.tenancy.update_account(by, a.id, role(Role::Viewer)),
            services.tenancy.delete_account(by, b.id),
        );
        assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    }
}

async fn nobody_makes_an_account_mightier_than_their_own(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by, customer) = (&world.services, &world.by, world.customer);
    let owner =
        services.tenancy.create_account(by, user(customer, "it@acme.example", Role::Owner)).await.unwrap();
    services.tenancy.create_account(by, user(customer, "it2@acme.example", Role::Owner)).await.unwrap();
    let robot =
        services.tenancy.create_account(by, program(Some(customer), "robot", Role::Owner)).await.unwrap();
    let viewer =
        services.tenancy.create_account(by, user(customer, "v@acme.example", Role::Viewer)).await.unwrap();
    let (owners_key, _) = services.tenancy.create_api_key(by, api_key(&owner)).await.unwrap();
    let key = services.tenancy.add_service_account_key(by, robot.id, PUBLIC_KEY, None).await.unwrap();
    let before = world.db.snapshot().await;
    let admin = Actor::of_customer("admin", customer).with_role(Role::Admin);
    let looks = Actor::of_customer("viewer", customer).with_role(Role::Viewer);
    too_low(
        services.tenancy.create_account(&admin, user(customer, "x@acme.example", Role::Owner)).await,
        Role::Owner,
    );
    too_low(services.tenancy.update_account(&admin, viewer.id, role(Role::Owner)).await, Role::Owner);
    too_low(services.tenancy.update_account(&admin, owner.id, role(Role::Viewer)).await, Role::Owner);
    too_low(services.tenancy.disable_account(&admin, owner.id).await, Role::Owner);
    too_low(services.tenancy.delete_account(&admin, owner.id).await, Role::Owner);
    too_low(services.tenancy.create_api_key(&admin, api_key(&owner)).await, Role::Owner);
    too_low(services.tenancy.rotate_api_key(&admin, owners_key.id, Duration::ZERO).await, Role::Owner);
    too_low(services.tenancy.revoke_api_key(&admin, owners_key.id).await, Role::Owner);
    too_low(services.tenancy.add_service_account_key(&admin, robot.id, PUBLIC_KEY, None).await, Role::Owner);
    let base = "https://enroll.example.com".parse().unwrap();
    too_low(services.tenancy.create_service_account_key(&admin, robot.id, &base, None).await, Role::Owner);
    too_low(services.tenancy.revoke_service_account_key(&admin, &key.id).await, Role::Owner);
    too_low(
        services.tenancy.create_account(&looks, user(customer, "x@acme.example", Role::Viewer)).await,
        Role::Admin,
    );
    too_low(services.tenancy.disable_account(&looks, viewer.id).await, Role::Admin);
    too_low(services.tenancy.create_api_key(&looks, api_key(&viewer)).await, Role::Admin);
    assert_eq!(world.db.snapshot().await, before);
    assert_eq!(services.tenancy.account(&looks, owner.id).await.unwrap(), owner);
    services.tenancy.update_account(&admin, viewer.id, role(Role::Admin)).await.unwrap();
    services.tenancy.create_api_key(&admin, api_key(&viewer)).await.unwrap();
}

async fn a_company_neither_sees_nor_changes_accounts_of_others(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let bolt = world.other_customer("Bolt").await;
    let reseller = services
        .tenancy
        .create_company(by, NewCompany::new(CompanyKind::Reseller, "Resale"))
        .await
        .unwrap()
        .id;
    let robot = services
        .tenancy
        .create_account(by, program(Some(world.customer), "robot", Role::Viewer))
        .await
        .unwrap();
    let operators = services.tenancy.create_account(by, program(None, "robot", Role::Viewer)).await.unwrap();
    let (api, _) = services.tenancy.create_api_key(by, api_key(&robot)).await.unwrap();
    let key = services.tenancy.add_service_account_key(by, robot.id, PUBLIC_KEY, None).await.unwrap();
    // A reseller that works for the customer sees the customer, and not its accounts.
    services.tenancy.set_works_for(by, reseller, world.customer, true).await.unwrap();
    let before = world.db.snapshot().await;
    for stranger in &[Actor::of_customer("stranger", bolt), Actor::of_reseller("stranger", reseller)] {
        let base = "https://enroll.example.com".parse().unwrap();
        for id in [robot.id, operators.id] {
            not_found(services.tenancy.account(stranger, id).await);
            not_found(services.tenancy.find_account(stranger, &id.to_string()).await);
            not_found(services.tenancy.update_account(stranger, id, role(Role::Owner)).await);
            not_found(services.tenancy.disable_account(stranger, id).await);
            not_found(services.tenancy.enable_account(stranger, id).await);
            not_found(services.tenancy.delete_account(stranger, id).await);
            not_found(
                services.tenancy.list_api_keys(stranger, KeysOf::Account(id), PageRequest::default()).await,
            );
            not_found(
                services.tenancy.create_api_key(stranger, NewApiKey { account: id, ..api_key(&robot) }).await,
            );
            not_found(services.tenancy.create_service_account_key(stranger, id, &base, None).await);
            not_found(services.tenancy.add_service_account_key(stranger, id, PUBLIC_KEY, None).await);
            not_found(services.tenancy.list_service_account_keys(stranger, id, PageRequest::default()).await);
        }
        not_found(services.tenancy.rotate_api_key(stranger, api.id, Duration::ZERO).await);
        not_found(services.tenancy.revoke_api_key(stranger, api.id).await);
        not_found(services.tenancy.revoke_service_account_key(stranger, &key.id).await);
        not_found(
            services.tenancy.create_account(stranger, program(Some(world.customer), "x", Role::Viewer)).await,
        );
        let operators = services.tenancy.create_account(stranger, program(None, "x", Role::Viewer)).await;
        assert!(matches!(operators, Err(ServiceError::OperatorOnly)));
        let seen =
            services.tenancy.list_accounts(stranger, AccountsOf::Anybody, None, PageRequest::default()).await;
        assert!(seen.unwrap().items.is_empty());
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn an_api_key_is_shown_once_and_rotated_with_an_overlap(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let robot = services
        .tenancy
        .create_account(by, program(Some(world.customer), "robot", Role::Viewer))
        .await
        .unwrap();
    let new = NewApiKey { expires_at: Some(START.plus(HOUR * 48)), ..api_key(&robot) };
    let (first, secret) = services.tenancy.create_api_key(by, new).await.unwrap();
    assert!(secret.expose().starts_with(&first.prefix) && secret.expose().len() == 4 + 64);
    let opens = async |secret: &Secret| services.tenancy.authenticate(secret).await.is_ok();
    assert!(opens(&secret).await);

    world.clock.advance(HOUR);
    let (second, newer) = services.tenancy.rotate_api_key(by, first.id, HOUR).await.unwrap();
    assert_eq!(second.expires_at, Some(START.plus(HOUR * 49)));
    assert_eq!(second.name, first.name);
    assert!(opens(&secret).await && opens(&newer).await);
    world.clock.advance(HOUR);
    assert!(!opens(&secret).await && opens(&newer).await);
    conflict(services.tenancy.rotate_api_key(by, first.id, HOUR).await, "not in force");

    let (third, newest) = services.tenancy.rotate_api_key(by, second.id, Duration::ZERO).await.unwrap();
    assert!(!opens(&newer).await && opens(&newest).await);
    services.tenancy.revoke_api_key(by, third.id).await.unwrap();
    services.tenancy.revoke_api_key(by, third.id).await.unwrap();
    assert!(!opens(&newest).await);

    let listed = services
        .tenancy
        .list_api_keys(by, KeysOf::Account(robot.id), PageRequest::default())
        .await
        .unwrap()
        .items;
    assert_eq!(listed.len(), 3);
    let audit =
        services.tenancy.list_audit(by, AuditFilter::default(), PageRequest::default()).await.unwrap();
    let everything = format!("{:?} {:?} {audit:?}", world.db.snapshot().await, listed);
    for secret in [&secret, &newer, &newest] {
        assert!(!everything.contains(&secret.expose()[12..]));
    }
    let actions: Vec<Action> = audit.items.iter().rev().map(|one| one.action).collect();
    assert!(actions.ends_with(&[
        Action::ApiKeyCreated,
        Action::ApiKeyRotated,
        Action::ApiKeyRotated,
        Action::ApiKeyRevoked
    ]));
}

async fn credentials_that_could_not_be_used_are_refused(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let person = services
        .tenancy
        .create_account(by, user(world.customer, "it@acme.example", Role::Admin))
        .await
        .unwrap();
    let robot = services
        .tenancy
        .create_account(by, program(Some(world.customer), "robot", Role::Viewer))
        .await
        .unwrap();
    let (key, _) = services.tenancy.create_api_key(by, api_key(&person)).await.unwrap();
    for _ in 0..MAX_CREDENTIALS {
        services.tenancy.create_api_key(by, api_key(&robot)).await.unwrap();
        services.tenancy.add_service_account_key(by, robot.id, PUBLIC_KEY, None).await.unwrap();
    }
    let before = world.db.snapshot().await;
    conflict(services.tenancy.create_api_key(by, api_key(&robot)).await, "Revoke one first");
    conflict(
        services.tenancy.add_service_account_key(by, robot.id, PUBLIC_KEY, None).await,
        "Revoke one first",
    );
    let base = "https://enroll.example.com".parse().unwrap();
    conflict(
        services.tenancy.create_service_account_key(by, person.id, &base, None).await,
        "service account",
    );
    conflict(
        services.tenancy.create_service_account_key(by, robot.id, &base, None).await,
        "Revoke one first",
    );
    conflict(
        services.tenancy.add_service_account_key(by, person.id, PUBLIC_KEY, None).await,
        "service account",
    );
    invalid(services.tenancy.add_service_account_key(by, robot.id, "x", None).await, "public_key");
    invalid(
        services.tenancy.add_service_account_key(by, robot.id, PUBLIC_KEY, Some(START)).await,
        "expires_at",
    );
    invalid(
        services.tenancy.create_api_key(by, NewApiKey { name: "a\nb".to_owned(), ..api_key(&person) }).await,
        "name",
    );
    let expired = NewApiKey { expires_at: Some(START), ..api_key(&person) };
    invalid(services.tenancy.create_api_key(by, expired).await, "expires_at");
    invalid(services.tenancy.rotate_api_key(by, key.id, HOUR * 24 * 31).await, "overlap");
    not_found(services.tenancy.rotate_api_key(by, ApiKeyId::new(1).unwrap(), HOUR).await);
    not_found(services.tenancy.revoke_api_key(by, ApiKeyId::new(1).unwrap()).await);
    not_found(services.tenancy.revoke_service_account_key(by, &KeyId::new([0; 20])).await);
    assert_eq!(world.db.snapshot().await, before);
    let full = services
        .tenancy
        .list_api_keys(by, KeysOf::Account(robot.id), PageRequest::default())
        .await
        .unwrap()
        .items;
    conflict(services.tenancy.rotate_api_key(by, full[0].id, HOUR).await, "Revoke one first");
    services.tenancy.rotate_api_key(by, full[0].id, Duration::ZERO).await.unwrap();
}

async fn an_organisation_has_a_bounded_number_of_accounts(db: TestDatabase) {
    const MOST: usize = 3;
    let world = World::new(db).await;
    let services = world.server_with(9, |settings| settings.accounts = MOST as u64);
    let new = |at: usize| program(Some(world.customer), &format!("robot-{at}"), Role::Viewer);
    for at in 0..MOST {
        services.tenancy.create_account(&world.by, new(at)).await.unwrap();
    }
    let boxes = NewCompany::new(CompanyKind::Reseller, "Boxes");
    let boxes = services.tenancy.create_company(&world.by, boxes).await.unwrap().id;
    let before = world.db.snapshot().await;
    let refused = "This organisation has 3 accounts, which is the most. Delete one first.";
    conflict(services.tenancy.create_account(&world.by, new(MOST)).await, refused);
    let people = |what: &str, count: usize| {
        (0..count).map(|at| format!("{what}-{at}@bolt.example").parse().unwrap()).collect::<Vec<_>>()
    };
    let bolt = || NewCompany::new(CompanyKind::Customer, "Bolt");
    let reseller = Actor::of_reseller("boxes", boxes);
    let (owners, admins) = (people("owner", MOST), people("admin", 1));
    conflict(
        services.tenancy.create_customer(&reseller, bolt(), owners.clone(), admins).await,
        "which is the most",
    );
    assert_eq!(world.db.snapshot().await, before);
    services.tenancy.create_customer(&reseller, bolt(), owners, Vec::new()).await.unwrap();
    services
        .tenancy
        .create_account(&world.by, program(None, "the-operators-own", Role::Viewer))
        .await
        .unwrap();
    let listed = services.tenancy.list_accounts(
        &world.by,
        AccountsOf::Company(world.customer),
        None,
        PageRequest::default(),
    );
    let first = listed.await.unwrap().items[0].id;
    services.tenancy.delete_account(&world.by, first).await.unwrap();
    services.tenancy.create_account(&world.by, new(MOST)).await.unwrap();
}

async fn a_key_file_is_what_client_libraries_read(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let robot = services
        .tenancy
        .create_account(by, program(Some(world.customer), "robot", Role::Viewer))
        .await
        .unwrap();
    let base = "https://enroll.example.com:8443/".parse().unwrap();
    let (key, file) = services.tenancy.create_service_account_key(by, robot.id, &base, None).await.unwrap();
    assert!(!format!("{file:?}").contains("PRIVATE"));
    let mut file = serde_json::to_value(file).unwrap();
    let private = file["private_key"].take();
    let private = private.as_str().unwrap();
    assert!(private.starts_with("-----BEGIN PRIVATE KEY-----\n"));
    assert_eq!(
        file,
        json!({
            "type": "service_account",
            "project_id": "unbox",
            "private_key_id": key.id,
            "private_key": null,
            "client_email": robot.email,
            "client_id": robot.id.to_string(),
            "auth_uri": "https://enroll.example.com:8443",
            "token_uri": "https://enroll.example.com:8443/token",
            "auth_provider_x509_cert_url": "https://enroll.example.com:8443",
            "client_x509_cert_url": "https://enroll.example.com:8443",
            "universe_domain": "googleapis.com",
        })
    );
    let assertion =
        TestKey::read(private).assertion(key.id.as_str(), &TestKey::claims(robot.email.as_str(), START));
    crate::service::sign_in::exchange(services, &assertion).await.unwrap();
    let stored = format!("{:?}", world.db.snapshot().await);
    assert!(!stored.contains(&private[100..140]));
}

battery!(
    an_account_is_created_changed_and_deleted,
    an_account_that_could_not_be_used_is_refused,
    a_company_keeps_an_owner,
    two_owners_who_demote_each_other_leave_one,
    nobody_makes_an_account_mightier_than_their_own,
    a_company_neither_sees_nor_changes_accounts_of_others,
    an_api_key_is_shown_once_and_rotated_with_an_overlap,
    credentials_that_could_not_be_used_are_refused,
    an_organisation_has_a_bounded_number_of_accounts,
    a_key_file_is_what_client_libraries_read,
);
