//! What administrators do, what it refuses, and whose things they see.

use crate::support::{MINIMAL_DOCUMENT, START, TestDatabase, TestDevice, World, new_claim, serial_set};
use std::{io::Cursor, time::Duration};
use unbox_common::{digest::Sha256, protocol::latest::ProofKind};
use unbox_server::{
    domain::tenancy::{
        account::Role,
        actor::Actor,
        audit::{Action, Subject},
        company::{CompanyKind, Terms},
    },
    service::{
        ArtifactUpload, CompanyChange, ConfigurationChange, NewAccount, NewApiKey, NewClaim, NewCompany,
        NewHolder, NewToken, ServiceError,
    },
    store::{AuditFilter, ClaimFilter, CompanyFilter, DeviceFilter, PageRequest},
};

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
fn invalid<T>(result: Result<T, ServiceError>, field: &str, says: &str) {
    match result {
        Err(ServiceError::Invalid { field: found, rule }) => {
            assert_eq!(found, field);
            assert!(rule.contains(says), "{rule}");
        }
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it was accepted"),
    }
}

async fn a_customer_has_a_bounded_number_of_configurations(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (world.server_with(9, |settings| settings.configurations = 3), &world.by);
    let create = async |customer, name: &str| {
        services.catalogue.create_configuration(by, customer, name, MINIMAL_DOCUMENT).await
    };
    // One more is there already, and others are of another customer.
    let first = create(world.customer, "First").await.unwrap().id;
    create(world.customer, "Second").await.unwrap();
    create(world.other_customer("Bolt").await, "Third").await.unwrap();
    let before = world.db.snapshot().await;
    conflict(
        create(world.customer, "Third").await,
        "This customer has 3 configurations, which is the most. Delete one that nothing uses first.",
    );
    assert_eq!(world.db.snapshot().await, before);
    services.catalogue.delete_configuration(by, first).await.unwrap();
    create(world.customer, "Third").await.unwrap();
}

async fn a_company_goes_with_its_accounts_unless_something_belongs_to_it(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let create = async |new| services.tenancy.create_company(by, new).await.unwrap().id;
    let before = world.db.snapshot().await;
    let reseller = create(NewCompany::new(CompanyKind::Reseller, "Boxes")).await;
    let holder = NewHolder::ServiceAccount { name: "robot".to_owned() };
    let account = NewAccount { company: Some(reseller), holder, role: Role::Owner };
    let account = services.tenancy.create_account(by, account).await.unwrap().id;
    let key = NewApiKey { account, name: "x".to_owned(), expires_at: None };
    services.tenancy.create_api_key(by, key).await.unwrap();
    services.tenancy.set_works_for(by, reseller, world.customer, true).await.unwrap();
    let claim =
        NewClaim { reseller: Some(reseller), ..new_claim(world.customer, "PF0ABCDE", ProofKind::Token) };
    let vendor = NewCompany::new(CompanyKind::Vendor, "Bits");
    let vendor = create(NewCompany { parent: Some(reseller), ..vendor }).await;
    conflict(services.tenancy.delete_company(by, reseller).await, "Boxes still has vendors.");
    let stranger = Actor::of_customer("it", world.customer);
    assert!(matches!(
        services.tenancy.delete_company(&stranger, reseller).await,
        Err(ServiceError::OperatorOnly)
    ));
    services.tenancy.delete_company(by, vendor).await.unwrap();
    services.tenancy.delete_company(by, reseller).await.unwrap();
    not_found(services.tenancy.delete_company(by, reseller).await);
    assert_eq!(world.db.snapshot().await, before, "with its account, its key and its link");

    let other = create(NewCompany::new(CompanyKind::Reseller, "Boxes")).await;
    services.tenancy.set_works_for(by, other, world.customer, true).await.unwrap();
    let claim = services.claims.create_claim(by, NewClaim { reseller: Some(other), ..claim }).await.unwrap();
    services.claims.unclaim(by, claim.id).await.unwrap();
    conflict(
        services.tenancy.delete_company(by, other).await,
        "claims that it registered, ended ones included",
    );
    conflict(
        services.tenancy.delete_company(by, world.customer).await,
        "configurations, claims, ended ones included",
    );

    world.db.tamper("CREATE TABLE later (company_id BIGINT REFERENCES companies (id))");
    let later = create(NewCompany::new(CompanyKind::Emm, "Later")).await;
    world.db.tamper("INSERT INTO later SELECT id FROM companies WHERE kind = 'emm'");
    conflict(services.tenancy.delete_company(by, later).await, "Something still belongs to Later");
    assert_eq!(services.tenancy.company(by, later).await.unwrap().name.as_str(), "Later");
}

async fn a_company_changes_what_is_its_own_to_say(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let own = Actor::of_customer("it", world.customer);
    let change = CompanyChange::default;
    let language = CompanyChange { language: Some(Some("de-CH".to_owned())), ..change() };
    let changed = services.tenancy.update_company(&own, world.customer, language.clone()).await.unwrap();
    assert_eq!(services.tenancy.update_company(&own, world.customer, language).await.unwrap(), changed);
    let workspace = |id: &str| CompanyChange { workspace: Some(Some(id.to_owned())), ..change() };
    services.tenancy.update_company(by, world.customer, workspace("C0acme")).await.unwrap();
    let before = world.db.snapshot().await;
    for refused in [
        workspace("C0other"),
        CompanyChange { workspace: Some(None), ..change() },
        CompanyChange { terms: Some(Terms::Stale), ..change() },
        CompanyChange { parent: Some(Some(world.customer)), ..change() },
        CompanyChange { device_protection: Some(true), ..change() },
    ] {
        let refused = services.tenancy.update_company(&own, world.customer, refused).await.unwrap_err();
        assert!(matches!(refused, ServiceError::OperatorOnly), "{refused:?}");
    }
    let protection = CompanyChange { device_protection: Some(true), ..change() };
    invalid(
        services.tenancy.update_company(by, world.customer, protection).await,
        "device_protection",
        "only resellers",
    );
    let vendorless = CompanyChange { parent: Some(Some(world.customer)), ..change() };
    invalid(
        services.tenancy.update_company(by, world.customer, vendorless).await,
        "parent",
        "a vendor has a reseller",
    );
    let stranger = Actor::of_customer("it", world.other_customer("Bolt").await);
    not_found(services.tenancy.update_company(&stranger, world.customer, change()).await);
    let bolt = stranger.scope().company().unwrap();
    conflict(
        services.tenancy.update_company(by, bolt, workspace("C0acme")).await,
        "Google Workspace account already",
    );
    services.tenancy.delete_company(by, bolt).await.unwrap();
    assert_eq!(world.db.snapshot().await, before);
    let filter = AuditFilter { subjects: vec![Subject::Company(world.customer)], ..AuditFilter::default() };
    let entries = services.tenancy.list_audit(by, filter, PageRequest::default()).await.unwrap().items;
    let seen: Vec<_> = entries.iter().take(2).map(|one| (one.action, one.actor.as_str())).collect();
    assert_eq!(seen, [(Action::CompanyUpdated, "test"), (Action::CompanyUpdated, "it")]);
}

async fn companies_are_found_by_name_or_id(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    for name in ["Acme", " Acme ", &world.customer.to_string()] {
        assert_eq!(
            services.tenancy.find_company(by, CompanyKind::Customer, name).await.unwrap().id,
            world.customer
        );
    }
    not_found(services.tenancy.find_company(by, CompanyKind::Reseller, "Acme").await);
    not_found(services.tenancy.find_company(by, CompanyKind::Reseller, &world.customer.to_string()).await);
    conflict(
        services.tenancy.create_company(by, NewCompany::new(CompanyKind::Customer, "Acme")).await,
        "already",
    );
    invalid(
        services.tenancy.create_company(by, NewCompany::new(CompanyKind::Customer, "a\nb")).await,
        "name",
        "one line",
    );
    services.tenancy.rename_company(by, world.customer, "Acme AG").await.unwrap();
    assert_eq!(services.tenancy.company(by, world.customer).await.unwrap().name.as_str(), "Acme AG");
}

async fn a_configuration_in_use_stays(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let new = services
        .catalogue
        .create_configuration(by, world.customer, "Office", MINIMAL_DOCUMENT)
        .await
        .unwrap();
    conflict(services.catalogue.delete_configuration(by, world.configuration).await, "customer's default");
    let claim = world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    services.claims.set_claim_configuration(by, claim.id, Some(new.id)).await.unwrap();
    conflict(services.catalogue.delete_configuration(by, new.id).await, "a claim uses it");
    services.claims.set_claim_configuration(by, claim.id, None).await.unwrap();
    let token = NewToken {
        customer: world.customer,
        name: "T".to_owned(),
        configuration: Some(new.id),
        expires_at: None,
    };
    let (token, _) = services.devices.create_token(by, token).await.unwrap();
    conflict(services.catalogue.delete_configuration(by, new.id).await, "a token uses it");
    services.devices.revoke_token(by, token.id).await.unwrap();
    services.catalogue.delete_configuration(by, new.id).await.unwrap();
    not_found(services.catalogue.configuration(by, new.id).await);
}

async fn a_configuration_that_no_device_could_install_is_refused(db: TestDatabase) {
    let world = World::new(db).await;
    let before = world.db.snapshot().await;
    let create = async |document: &str| {
        world.services.catalogue.create_configuration(&world.by, world.customer, "Office", document).await
    };
    invalid(create("{}").await, "document", "missing field `contact`");
    let digest = Sha256::of(b"the dpc");
    let with_dpc = MINIMAL_DOCUMENT.replacen(
        '{',
        &format!(
            r#"{{"dpc":{{"name":"dpc","version":"1","kind":"tar","artifact":{{"sha256":"{digest}","size":7}}}},"#
        ),
        1,
    );
    invalid(create(&with_dpc).await, "document", "is not on this server");
    assert_eq!(world.db.snapshot().await, before);
    let upload = |bytes: &'static [u8]| ArtifactUpload::for_all_customers("dpc.tar", Cursor::new(bytes));
    let artifact = world.services.catalogue.add_artifact(&world.by, upload(b"the dpc")).await.unwrap();
    assert_eq!((artifact.sha256, artifact.size), (digest, 7));
    assert_eq!(std::fs::read(world.services.catalogue.artifact_path(digest)).unwrap(), b"the dpc");
    assert_eq!(world.services.catalogue.add_artifact(&world.by, upload(b"the dpc")).await.unwrap(), artifact);
    invalid(
        create(&with_dpc.replace("\"size\":7", "\"size\":8")).await,
        "document",
        "with 8 bytes, and it has 7",
    );
    let elsewhere = |size: u64| format!("\"size\":{size},\"url\":\"https://cdn.example/dpc.tar\"");
    invalid(
        create(&with_dpc.replace("\"size\":7", &elsewhere(8))).await,
        "document",
        "with 8 bytes, and it has 7",
    );
    let made = create(&with_dpc.replace("\"size\":7", &elsewhere(7))).await.unwrap();
    world.services.catalogue.delete_configuration(&world.by, made.id).await.unwrap();
    let made = create(&with_dpc).await.unwrap();
    conflict(
        world.services.catalogue.delete_artifact(&world.by, None, digest).await,
        &format!("it is used: configuration {} \"Office\". Change that first", made.id),
    );
    let without =
        ConfigurationChange { name: None, document: Some(MINIMAL_DOCUMENT.to_owned()), default: None };
    world.services.catalogue.update_configuration(&world.by, made.id, without).await.unwrap();
    world.services.catalogue.delete_artifact(&world.by, None, digest).await.unwrap();
    assert!(!world.services.catalogue.artifact_path(digest).exists());
}

async fn what_gives_power_over_the_whole_device_needs_a_word_and_is_audited(db: TestDatabase) {
    let world = World::new(db).await;
    let before = world.db.snapshot().await;
    let create = async |item: &str| {
        let document = MINIMAL_DOCUMENT.replacen('{', &format!(r#"{{"policy":[{item}],"#), 1);
        world.services.catalogue.create_configuration(&world.by, world.customer, "Office", &document).await
    };
    let sudoers = r#"{"type":"file","path":"/etc/sudoers.d/acme","content":{"text":""}}"#;
    invalid(create(sudoers).await, "document", r#"add `"privileged": true` to the item"#);
    let own = r#"{"type":"unit","name":"unbox-install.service","active":false,"privileged":true}"#;
    invalid(create(own).await, "document", "belongs to Unbox");
    let unit = r#"{"type":"file","path":"/lib/systemd/system/unbox.target","content":{"text":""}}"#;
    invalid(create(unit).await, "document", "belongs to Unbox");
    assert_eq!(world.db.snapshot().await, before);

    let made = create(&sudoers.replacen('{', r#"{"privileged":true,"#, 1)).await.unwrap();
    let shown = serde_json::to_value(&made).unwrap();
    assert_eq!(shown["document"]["policy"][0]["privileged"], true);
    let filter = AuditFilter { action: Some(Action::ConfigurationCreated), ..AuditFilter::default() };
    let audit =
        world.services.tenancy.list_audit(&world.by, filter, PageRequest::default()).await.unwrap().items;
    let detail = &audit.iter().find(|entry| entry.subject == Subject::Configuration(made.id)).unwrap().detail;
    assert_eq!(detail["privileged"], serde_json::json!(["file /etc/sudoers.d/acme"]));
}

async fn a_device_is_claimed_once(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    let first = world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    assert_eq!(first.activation_ends_at, START.plus(Duration::from_hours(90 * 24)));
    conflict(world.claim_for(world.customer, "pf0abcde", ProofKind::Token).await, &first.id.to_string());
    let foreign = world.claim_for(bolt, "PF0ABCDE", ProofKind::Identifiers).await;
    conflict(foreign, "Another customer");
    world.services.claims.unclaim(&world.by, first.id).await.unwrap();
    not_found(world.services.claims.unclaim(&world.by, first.id).await);
    world.claim_for(bolt, "PF0ABCDE", ProofKind::Identifiers).await.unwrap();
}

async fn a_claim_needs_what_it_names(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    let before = world.db.snapshot().await;
    let new = || new_claim(world.customer, "PF0ABCDE", ProofKind::Identifiers);
    let create = async |new: NewClaim| world.services.claims.create_claim(&world.by, new).await;
    invalid(create(NewClaim { sets: Vec::new(), ..new() }).await, "sets", "1 to 8");
    invalid(create(NewClaim { proof: ProofKind::RegisteredKey, ..new() }).await, "proof", "device_key");
    invalid(create(NewClaim { order: Some("a\nb".to_owned()), ..new() }).await, "order", "one line");
    not_found(create(NewClaim { reseller: Some(bolt), ..new() }).await);
    not_found(create(NewClaim { customer: "1".parse().unwrap(), ..new() }).await);
    not_found(create(NewClaim { configuration: Some(world.configuration), customer: bolt, ..new() }).await);
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_tenant_neither_sees_nor_changes_what_is_not_its_own(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let bolt = world.other_customer("Bolt").await;
    let stranger = Actor::of_customer("bolt's admin", bolt);
    let claim = world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let device = TestDevice::new("PF0ABCDE").enroll(services).await.unwrap().device_id;
    let token =
        NewToken { customer: world.customer, name: "T".to_owned(), configuration: None, expires_at: None };
    let (token, _) = services.devices.create_token(&world.by, token).await.unwrap();
    let before = world.db.snapshot().await;

    not_found(services.tenancy.company(&stranger, world.customer).await);
    not_found(services.tenancy.find_company(&stranger, CompanyKind::Customer, "Acme").await);
    not_found(services.tenancy.rename_company(&stranger, world.customer, "Bolt 2").await);
    assert!(matches!(
        services.tenancy.create_company(&stranger, NewCompany::new(CompanyKind::Customer, "Cog")).await,
        Err(ServiceError::OperatorOnly)
    ));
    not_found(services.catalogue.configuration(&stranger, world.configuration).await);
    not_found(services.catalogue.find_configuration(&stranger, world.customer, "Kiosk").await);
    not_found(
        services.catalogue.create_configuration(&stranger, world.customer, "X", MINIMAL_DOCUMENT).await,
    );
    not_found(
        services
            .catalogue
            .update_configuration(&stranger, world.configuration, ConfigurationChange::default())
            .await,
    );
    not_found(services.catalogue.delete_configuration(&stranger, world.configuration).await);
    not_found(services.catalogue.set_default_configuration(&stranger, bolt, Some(world.configuration)).await);
    not_found(services.catalogue.set_default_configuration(&stranger, world.customer, None).await);
    not_found(services.devices.revoke_token(&stranger, token.id).await);
    not_found(services.claims.claim(&stranger, claim.id).await);
    not_found(services.claims.unclaim(&stranger, claim.id).await);
    not_found(services.claims.set_claim_proof(&stranger, claim.id, ProofKind::Identifiers).await);
    not_found(services.claims.set_claim_configuration(&stranger, claim.id, None).await);
    not_found(services.devices.device_of_claim(&stranger, claim.id).await);
    not_found(services.devices.device(&stranger, device).await);
    not_found(services.devices.disable_device(&stranger, device, None).await);
    not_found(services.devices.deprovision_device(&stranger, device).await);
    not_found(services.devices.request_re_enrollment(&stranger, device).await);
    not_found(services.devices.mint_reset_ticket(&stranger, device).await);
    not_found(services.devices.approve_request(&stranger, device, Sha256::of(b"k")).await);
    let new = NewClaim {
        sets: vec![serial_set("OTHER123")],
        ..new_claim(world.customer, "OTHER123", ProofKind::Token)
    };
    not_found(services.claims.create_claim(&stranger, new).await);
    assert_eq!(world.db.snapshot().await, before);

    let page = PageRequest::default;
    assert!(
        services
            .claims
            .list_claims(&stranger, ClaimFilter::default(), page())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(
        services
            .devices
            .list_devices(&stranger, DeviceFilter::default(), page())
            .await
            .unwrap()
            .items
            .is_empty()
    );
    assert!(services.devices.list_tokens(&stranger, None, page()).await.unwrap().items.is_empty());
    assert!(services.catalogue.list_configurations(&stranger, None, page()).await.unwrap().items.is_empty());
    let audit = services.tenancy.list_audit(&stranger, AuditFilter::default(), page()).await.unwrap().items;
    assert!(audit.iter().all(|entry| entry.customer == Some(bolt)));
    assert_eq!(
        services.tenancy.list_companies(&stranger, CompanyFilter::default(), page()).await.unwrap().items[0]
            .id,
        bolt
    );
}

async fn everything_that_administrators_do_is_audited(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let claim = world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    services.claims.set_claim_proof(by, claim.id, ProofKind::Token).await.unwrap();
    services.claims.set_claim_configuration(by, claim.id, Some(world.configuration)).await.unwrap();
    let device = services.devices.device_of_claim(by, claim.id).await.unwrap().id;
    services.devices.disable_device(by, device, Some("Lost".to_owned())).await.unwrap();
    services.devices.enable_device(by, device).await.unwrap();
    services.devices.mint_reset_ticket(by, device).await.unwrap();
    services.devices.deprovision_device(by, device).await.unwrap();
    services.claims.unclaim(by, claim.id).await.unwrap();
    let history = services.claims.claim(by, claim.id).await.unwrap().history;
    let actions: Vec<Action> = history.iter().rev().map(|entry| entry.action).collect();
    assert_eq!(
        actions,
        [
            Action::Claimed,
            Action::ClaimProofSet,
            Action::ClaimConfigurationSet,
            Action::DeviceDisabled,
            Action::DeviceEnabled,
            Action::ResetTicketMinted,
            Action::DeviceDeprovisioned,
            Action::Unclaimed,
        ]
    );
    assert!(history.iter().all(|entry| entry.actor == "test" && entry.customer == Some(world.customer)));
    let company = AuditFilter { subjects: vec![Subject::Company(world.customer)], ..AuditFilter::default() };
    let about = services.tenancy.list_audit(by, company, PageRequest::default()).await.unwrap().items;
    let actions: Vec<Action> = about.iter().rev().map(|entry| entry.action).collect();
    assert_eq!(actions, [Action::CompanyCreated, Action::DefaultConfigurationSet]);
}

async fn a_step_that_a_state_does_not_allow_is_a_conflict(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let claim = world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    let device = services.devices.device_of_claim(by, claim.id).await.unwrap().id;
    conflict(services.devices.enable_device(by, device).await, "claimed cannot be enabled");
    conflict(
        services.devices.request_re_enrollment(by, device).await,
        "claimed cannot be asked to enroll again",
    );
    services.devices.deprovision_device(by, device).await.unwrap();
    conflict(services.devices.disable_device(by, device, None).await, "deprovisioned cannot be disabled");
    invalid(
        services.devices.disable_device(by, device, Some("\u{1b}[2J".to_owned())).await,
        "message",
        "plain text",
    );
}

async fn a_page_that_was_made_up_is_invalid(db: TestDatabase) {
    let world = World::new(db).await;
    let page = PageRequest::from_cursor(Some("x' OR 1=1".to_owned()));
    invalid(
        world.services.claims.list_claims(&world.by, ClaimFilter::default(), page).await,
        "after",
        "`next`",
    );
}

battery!(
    a_customer_has_a_bounded_number_of_configurations,
    a_company_goes_with_its_accounts_unless_something_belongs_to_it,
    a_company_changes_what_is_its_own_to_say,
    companies_are_found_by_name_or_id,
    a_configuration_in_use_stays,
    a_configuration_that_no_device_could_install_is_refused,
    what_gives_power_over_the_whole_device_needs_a_word_and_is_audited,
    a_device_is_claimed_once,
    a_claim_needs_what_it_names,
    a_tenant_neither_sees_nor_changes_what_is_not_its_own,
    everything_that_administrators_do_is_audited,
    a_step_that_a_state_does_not_allow_is_a_conflict,
    a_page_that_was_made_up_is_invalid,
);
