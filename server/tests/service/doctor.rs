//! The doctor: what will go wrong, before a device finds out.

use crate::support::{TestDatabase, World, new_claim};
use std::{fmt::Write as _, io::Cursor, time::Duration};
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    matching::IdentifierSet,
    protocol::latest::ProofKind,
};
use unbox_server::{
    domain::tenancy::{actor::Actor, audit::Action, company::CompanyKind},
    service::{ArtifactUpload, Finding, NewClaim, NewCompany, NewToken, Severity},
    store::{AuditFilter, PageRequest, newest_version},
};

async fn a_healthy_server_has_no_findings(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    assert_eq!(world.services.upkeep.doctor(&world.by).await.unwrap(), []);
    assert_eq!(world.services.upkeep.schema_version().await.unwrap(), newest_version());
}

async fn what_will_go_wrong_is_told_with_what_to_do(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let tpm = world.claim("PF0ABCDE", ProofKind::Tpm).await;
    let bolt = world.other_customer("Bolt").await;
    let bare = world.claim_for(bolt, "PF0ABCDF", ProofKind::Identifiers).await.unwrap();
    let expires_at =
        Some(world.services.settings().ticket_lifetime).map(|span| crate::support::START.plus(span));
    let new =
        NewToken { customer: world.customer, name: "Image".to_owned(), configuration: None, expires_at };
    let (token, _) = services.devices.create_token(by, new).await.unwrap();
    let upload = ArtifactUpload::for_all_customers("dpc.tar", Cursor::new(b"dpc"));
    let artifact = services.catalogue.add_artifact(by, upload).await.unwrap();
    std::fs::remove_file(services.catalogue.artifact_path(artifact.sha256)).unwrap();
    world.clock.advance(Duration::from_hours(1));
    let found = services.upkeep.doctor(by).await.unwrap();
    let seen: Vec<_> = found.iter().map(|one| (one.severity, one.check, one.subject.as_str())).collect();
    assert_eq!(
        seen,
        [
            (Severity::Error, "missing_artifact", format!("artifact {}", artifact.sha256).as_str()),
            (Severity::Warning, "claim_never_matches", format!("claim {}", tpm.id).as_str()),
            (Severity::Warning, "claim_without_configuration", format!("claim {}", bare.id).as_str()),
            (Severity::Note, "expired_token", format!("token {}", token.id).as_str()),
        ]
    );
    assert!(found.iter().all(|one| one.advice.ends_with('.')));
}

async fn claims_that_no_tpm_can_meet_are_found(db: TestDatabase) {
    let world = World::new(db).await;
    let tpm = Identifier::parse(IdentifierKind::TpmKey, &"a1".repeat(32)).unwrap();
    let sets = vec![IdentifierSet::new([tpm]).unwrap()];
    let new = NewClaim { sets, ..new_claim(world.customer, "PF0ABCDE", ProofKind::Identifiers) };
    let claim = world.services.claims.create_claim(&world.by, new).await.unwrap();
    let found = async || {
        let found = world.services.upkeep.doctor(&world.by).await.unwrap();
        found.into_iter().map(|one| (one.severity, one.check)).collect::<Vec<_>>()
    };
    assert_eq!(found().await, [(Severity::Warning, "claim_never_matches")], "nothing asks for the TPM");
    world.services.claims.set_claim_proof(&world.by, claim.id, ProofKind::Tpm).await.unwrap();
    assert_eq!(found().await, [(Severity::Note, "tpm_without_roots")]);
}

async fn a_claim_that_the_rules_now_refuse_is_found(db: TestDatabase) {
    let world = World::new(db).await;
    world.claim("PF0ABCDE", ProofKind::Identifiers).await;
    world.db.tamper("UPDATE claims SET identifiers = '[[[\"serial_number\",\"None\"]]]'");
    let found = world.services.upkeep.doctor(&world.by).await.unwrap();
    assert_eq!(found.len(), 1);
    assert!(found[0].advice.contains("placeholder"), "{}", found[0].advice);
}

async fn a_claim_that_no_device_will_match_is_found_by_its_rule(db: TestDatabase) {
    let world = World::new(db).await;
    let file = "serial_number,manufacturer,model,certified_device_id\n\
        PF0ABCDE,LENOVO,20QES0XX00,\n\
        1S20QES0XX00PF0ABCDF,LENOVO,20QES0XX00,\n\
        0A2D91ZN500126,Samsung,960XFG,\n\
        17266906119,Dell Inc.,Latitude 7450,\n\
        5CD1234AB,HP,EliteBook 840,\n\
        0A2D91ZN500126J,,Chromebook Samsung Galaxy,0A2D91ZN500126J\n";
    let (imported, _) = world.import(file).await;
    assert_eq!(imported.unwrap().imported, 6);
    // What was stored before the rules of today.
    for change in [
        "UPDATE claims SET identifiers = REPLACE(identifiers, '0A2D91ZN500126J', '0A2D91ZN500127')",
        "UPDATE claims SET identifiers = REPLACE(identifiers, '\"PF0ABCDE\"', '\"Default string\"')",
    ] {
        world.db.tamper(change);
    }
    let found = world.services.upkeep.doctor(&world.by).await.unwrap();
    let seen: Vec<_> = found.iter().map(|one| (one.severity, one.check, one.count)).collect();
    assert_eq!(
        seen,
        [
            (Severity::Warning, "claim_placeholder", 1),
            (Severity::Warning, "claim_serial_cut_short", 1),
            (Severity::Warning, "claim_serial_cut_short", 1),
            (Severity::Warning, "claim_serial_is_1s_string", 1),
            (Severity::Warning, "claim_serial_is_express_code", 1),
            (Severity::Note, "claim_serial_unusual", 1),
        ]
    );
    for finding in &found {
        assert!(finding.subject.starts_with("claim ") && finding.advice.ends_with('.'), "{finding:?}");
    }
    assert!(found[3].advice.contains("the firmware shows PF0ABCDF"), "{}", found[3].advice);
}

async fn a_day_of_manufacture_is_held_against_the_model(db: TestDatabase) {
    let world = World::new(db).await;
    let file = "serial,model,certified_device_id,manufacture_date,devicemetadata\n\
        7XK9Q13,Chromebook Dell 3100,7XK9Q13,2021-05-26,\n\
        7XK9Q14,Chromebook Dell 3100,7XK9Q14,,\n\
        7XK9Q15,Chromebook Dell 3100,7XK9Q15,,\"{\"\"manufacture_date\"\": \"\"May 2021\"\"}\"\n\
        7XK9Q16,Chromebook Dell 3110,7XK9Q16,,\n\
        7XK9Q17,Chromebook Dell 3100,7XK9Q17,2021-05-25,\n";
    let (imported, rows) = world.import(file).await;
    assert_eq!(imported.unwrap().imported, 4, "{rows:?}");
    let told =
        |found: Vec<Finding>| found.into_iter().map(|one| (one.severity, one.check)).collect::<Vec<_>>();
    let made_when = (Severity::Note, "claim_made_when");
    assert_eq!(
        told(world.services.upkeep.doctor(&world.by).await.unwrap()),
        [made_when, made_when, (Severity::Note, "claim_manufacture_date")]
    );
    let change = "UPDATE claims SET metadata = REPLACE(metadata, '2021-05-26', '2021-05-25')";
    world.db.tamper(change);
    assert_eq!(
        told(world.services.upkeep.doctor(&world.by).await.unwrap())[0],
        (Severity::Warning, "claim_made_too_early")
    );
}

async fn many_findings_are_counted(db: TestDatabase) {
    let world = World::new(db).await;
    let mut file = "mac_address,proof\n".to_owned();
    for number in 0..130 {
        writeln!(file, "00163e{number:06x},tpm").unwrap();
    }
    world.import(&file).await.0.unwrap();
    let found = world.services.upkeep.doctor(&world.by).await.unwrap();
    assert_eq!(found.len(), 101);
    let last = found.last().unwrap();
    assert_eq!((last.advice.as_str(), last.count), ("There are 30 more of these.", 30));
    assert_eq!(found.iter().map(|one| one.count).sum::<usize>(), 130);
}

async fn companies_whose_names_look_alike_are_warned_of(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let create = async |kind, name: &str| {
        services.tenancy.create_company(by, NewCompany::new(kind, name)).await.unwrap()
    };
    let boxes = create(CompanyKind::Reseller, "Boxes").await;
    let bolt = create(CompanyKind::Customer, "Bolt").await;
    assert_eq!(services.tenancy.confusable_name_warning(by, &bolt).await.unwrap(), None);
    assert_eq!(services.upkeep.doctor(by).await.unwrap(), []);

    // A letter of Cyrillic, by a reseller that does not see whom it imitates.
    let reseller = Actor::of_reseller("Boxes", boxes.id);
    let new = NewCompany::new(CompanyKind::Customer, "\u{410}cme");
    let fake = services.tenancy.create_company(&reseller, new).await.unwrap();
    let told = services.tenancy.confusable_name_warning(by, &fake).await.unwrap().unwrap();
    assert!(told.contains(&format!("customer \"Acme\" ({})", world.customer)), "{told}");
    let told = services.tenancy.confusable_name_warning(&reseller, &fake).await.unwrap().unwrap();
    assert!(told.contains("1 that your organisation does not see") && !told.contains("\"Acme\""), "{told}");
    let filter = |action| AuditFilter { action: Some(action), ..AuditFilter::default() };
    let created =
        services.tenancy.list_audit(by, filter(Action::CompanyCreated), PageRequest::default()).await;
    assert_eq!(created.unwrap().items[0].detail["looks_like"], serde_json::json!([world.customer]));

    let renamed = services.tenancy.rename_company(by, bolt.id, "B0lt").await.unwrap();
    assert_eq!(
        services.tenancy.confusable_name_warning(by, &renamed).await.unwrap(),
        None,
        "it looks like its own former name"
    );
    let renamed = services.tenancy.rename_company(by, bolt.id, "BOXES").await.unwrap();
    assert!(
        services
            .tenancy
            .confusable_name_warning(by, &renamed)
            .await
            .unwrap()
            .unwrap()
            .contains("reseller \"Boxes\"")
    );
    let noted = services.tenancy.list_audit(by, filter(Action::CompanyRenamed), PageRequest::default()).await;
    assert_eq!(noted.unwrap().items[0].detail["looks_like"], serde_json::json!([boxes.id]));
    let found = services.upkeep.doctor(by).await.unwrap();
    let seen: Vec<_> = found.iter().map(|one| (one.check, one.subject.clone())).collect();
    let expected = [&bolt, &fake].map(|one| ("company_names_look_alike", format!("company {}", one.id)));
    assert_eq!(seen, expected);
}

battery!(
    companies_whose_names_look_alike_are_warned_of,
    a_healthy_server_has_no_findings,
    what_will_go_wrong_is_told_with_what_to_do,
    a_claim_that_the_rules_now_refuse_is_found,
    claims_that_no_tpm_can_meet_are_found,
    a_claim_that_no_device_will_match_is_found_by_its_rule,
    a_day_of_manufacture_is_held_against_the_model,
    many_findings_are_counted,
);
