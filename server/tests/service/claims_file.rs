//! Claims files of resellers and of customers: imported, exported, and imported again.

use crate::support::{MINIMAL_DOCUMENT, START, TestDatabase, World};
use std::{collections::BTreeMap, fmt::Write as _, io::Cursor};
use unbox_common::{
    identity::Identifier,
    ids::{ClaimId, CompanyId},
    matching::IdentifierSet,
    timestamp::Timestamp,
};
use unbox_server::{
    domain::tenancy::{
        account::Role,
        actor::Actor,
        audit::{Action, Subject},
        company::CompanyKind,
    },
    service::{
        ClaimsForm, ExportedClaim, ImportDefaults, ImportSummary, NewAccount, NewCompany, NewHolder,
        RowOutcome, RowResult, ServiceError, Services,
    },
    store::{AuditFilter, ClaimFilter, PageRequest},
};

const RESELLER: &str = "modemtype,modemid,serial,model,manufacturer,profiletype,owner,devicemetadata\n";
const CUSTOMER: &str = "modemtype,modemid,serial,manufacturer,model,profiletype,profileid\n";
const METADATA: &str = r#""{""ordernumber"":""=PO 1"",""phonenumber"":""+41""}""#;

/// Acme, which two resellers work for, and Bolt, which nobody does.
struct Trade {
    world: World,
    boxes: Actor,
    crates: Actor,
    acme: Actor,
    bolt: CompanyId,
}

impl Trade {
    async fn new(db: TestDatabase) -> Self {
        let world = World::new(db).await;
        let bolt = world.other_customer("Bolt").await;
        let mut actors = Vec::new();
        for name in ["Boxes", "Crates"] {
            let new = NewCompany::new(CompanyKind::Reseller, name);
            let reseller = world.services.tenancy.create_company(&world.by, new).await.unwrap().id;
            world.services.tenancy.set_works_for(&world.by, reseller, world.customer, true).await.unwrap();
            actors.push(Actor::of_reseller(name, reseller));
        }
        let (crates, boxes) = (actors.pop().unwrap(), actors.pop().unwrap());
        let acme = Actor::of_customer("Acme", world.customer);
        Self { world, boxes, crates, acme, bolt }
    }

    async fn import(&self, by: &Actor, file: &str) -> (Result<ImportSummary, ServiceError>, Vec<RowResult>) {
        import(&self.world.services, by, file).await
    }

    async fn export(&self, by: &Actor, form: ClaimsForm) -> (String, usize) {
        let mut export = self.world.services.claims.export_claims(by, form, ClaimFilter::default());
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(form.columns()).unwrap();
        let mut rows = 0;
        while let Some(page) = export.next_rows().await.unwrap() {
            rows += page.len();
            page.iter().map(ExportedClaim::cells).for_each(|cells| csv.write_record(cells).unwrap());
        }
        (String::from_utf8(csv.into_inner().unwrap()).unwrap(), rows)
    }
}

async fn import(
    services: &Services,
    by: &Actor,
    file: &str,
) -> (Result<ImportSummary, ServiceError>, Vec<RowResult>) {
    let mut results = Vec::new();
    let csv = Cursor::new(file.to_owned().into_bytes());
    let summary =
        services.claims.import_claims(by, ImportDefaults::default(), csv, |row| results.push(row)).await;
    (summary, results)
}

fn statuses(rows: &[RowResult]) -> Vec<&str> {
    rows.iter().map(|row| row.outcome.status()).collect()
}

fn problem(row: &RowResult) -> String {
    row.outcome.problem().unwrap_or_else(|| panic!("line {}: {:?}", row.line, row.outcome))
}

async fn a_resellers_file_claims_and_tells_each_row(db: TestDatabase) {
    let trade = Trade::new(db).await;
    let (acme, bolt) = (trade.world.customer, trade.bolt);
    let file = format!(
        "{RESELLER}\
         IMEI,123456789012347,SN1,Gateway 3,Acme,ZERO_TOUCH,{acme},{METADATA}\n\
         imei,353918051707319,,,,zero_touch,Acme,\n\
         IMEI,123456789012347,,,,ZERO_TOUCH,{acme},\n\
         ,,SN1,Gateway 3,Acme,ZERO_TOUCH,{acme},\n\
         ,,SN2,Gateway 3,Acme,ZERO_TOUCH,{bolt},\n\
         ,,SN3,Gateway 3,Acme,ZERO_TOUCH,,\n"
    );
    let (summary, rows) = trade.import(&trade.boxes, &file).await;
    let expected = ["imported", "imported", "already_claimed", "already_claimed", "invalid", "invalid"];
    assert_eq!(statuses(&rows), expected, "{rows:?}");
    assert_eq!(summary.unwrap().to_string(), "6 rows: 2 imported, 2 claimed before, 2 that cannot be used.");
    assert_eq!(problem(&rows[4]), "The owner is no customer that this reseller works for.");
    assert_eq!(problem(&rows[5]), "The customer is not said, and no default was given.");
    let claim = trade
        .world
        .services
        .claims
        .claim(&trade.boxes, rows[0].outcome.claim().unwrap())
        .await
        .unwrap()
        .claim;
    assert_eq!(claim.reseller, trade.boxes.scope().company());
    assert_eq!(claim.metadata.entries()["ordernumber"], "=PO 1");
    let sets: Vec<Vec<String>> = claim
        .sets
        .usable()
        .iter()
        .map(|set| IdentifierSet::members(set).iter().map(Identifier::to_string).collect())
        .collect();
    assert_eq!(
        sets,
        [vec!["imei 123456789012347"], vec!["serial_number SN1", "manufacturer Acme", "model Gateway 3"]]
    );

    // The devices are there: the same file again changes nothing, and neither does somebody else's.
    let before = trade.world.db.snapshot().await;
    let (_, again) = trade.import(&trade.boxes, &file).await;
    assert_eq!(statuses(&again)[..2], ["already_claimed"; 2]);
    let (_, others) = trade.import(&trade.crates, &file).await;
    assert_eq!(statuses(&others)[..4], ["conflict"; 4]);
    assert_eq!(others[0].outcome, RowOutcome::OtherReseller);
    assert!(others.iter().all(|row| row.outcome.claim().is_none()), "another's claims are not named");
    assert_eq!(trade.world.db.snapshot().await, before);
}

async fn a_customers_file_applies_configurations_to_its_own_devices(db: TestDatabase) {
    let trade = Trade::new(db).await;
    let Trade { world, acme, .. } = &trade;
    let office =
        world.services.catalogue.create_configuration(&world.by, world.customer, "Office", MINIMAL_DOCUMENT);
    let office = office.await.unwrap().id;
    let foreign =
        world.services.catalogue.create_configuration(&world.by, trade.bolt, "Theirs", MINIMAL_DOCUMENT);
    let foreign = foreign.await.unwrap().id;
    let id = world.customer;
    let claims = format!(
        "{RESELLER}IMEI,123456789012347,SN1,Gateway 3,Acme,ZERO_TOUCH,{id},\n\
         ,,SN2,Gateway 3,Acme,ZERO_TOUCH,{id},\n"
    );
    let (_, claimed) = trade.import(&trade.boxes, &claims).await;
    let first = claimed[0].outcome.claim().unwrap();
    let file = format!(
        "{CUSTOMER}\
         IMEI,123456789012347,,Acme,,ZERO_TOUCH,{office}\n\
         ,,sn2,ACME,gateway 3,ZERO_TOUCH,Office\n\
         ,,SN2,Acme,Gateway 3,ZERO_TOUCH,{office}\n\
         ,,SN2,Acme,Gateway 3,ZERO_TOUCH,0\n\
         ,,SN9,Acme,Gateway 3,ZERO_TOUCH,{office}\n\
         IMEI,353918051707319,SN1,Acme,Gateway 3,ZERO_TOUCH,{office}\n\
         ,,SN1,Acme,Gateway 3,ZERO_TOUCH,{foreign}\n\
         ,,SN1,Acme,Gateway 3,ZERO_TOUCH,\n"
    );
    let (summary, rows) = trade.import(acme, &file).await;
    let expected =
        ["applied", "applied", "already_applied", "applied", "not_found", "not_found", "invalid", "invalid"];
    assert_eq!(statuses(&rows), expected, "{rows:?}");
    assert_eq!((summary.as_ref().unwrap().applied, summary.unwrap().failed_rows()), (3, 4));
    assert_eq!(problem(&rows[6]), "The profileid is no configuration of this customer.");
    assert_eq!(
        problem(&rows[7]),
        "The profileid is empty: expected a configuration, or 0 for the customer's default."
    );
    let configured =
        async |id: ClaimId| world.services.claims.claim(acme, id).await.unwrap().claim.configuration;
    assert_eq!(configured(first).await, Some(office));
    assert_eq!(configured(claimed[1].outcome.claim().unwrap()).await, None, "the last row counts");
    let filter = AuditFilter {
        action: Some(Action::ClaimConfigurationSet),
        subjects: vec![Subject::Claim(first)],
        ..AuditFilter::default()
    };
    let trail = world.services.tenancy.list_audit(acme, filter, PageRequest::default()).await.unwrap().items;
    assert_eq!((trail.len(), trail[0].actor.as_str()), (1, "Acme"));

    // What is Acme's is nobody else's to configure, and the same file again changes nothing.
    let before = world.db.snapshot().await;
    let (_, strangers) =
        trade.import(&Actor::of_customer("Bolt", trade.bolt), &file.replace(&office.to_string(), "0")).await;
    assert!(statuses(&strangers).iter().all(|one| ["not_found", "invalid"].contains(one)), "{strangers:?}");
    let (_, again) = trade.import(acme, &file.lines().take(2).collect::<Vec<_>>().join("\n")).await;
    assert_eq!(statuses(&again), ["already_applied"]);
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_file_that_is_not_for_whoever_sends_it_changes_nothing(db: TestDatabase) {
    let trade = Trade::new(db).await;
    let before = trade.world.db.snapshot().await;
    for (by, file, says) in [
        (&trade.boxes, CUSTOMER, "that is a customer's file"),
        (&trade.boxes, "modemtype,modemid,profiletype\n", "the column owner is missing"),
        (&trade.acme, RESELLER, "expected a customer's file"),
        (&trade.world.by, CUSTOMER, "Say whose"),
        (&trade.boxes, "owner,password\n", "\"password\" is not known"),
        (&trade.boxes, "", "expected a first line"),
    ] {
        match trade.import(by, file).await {
            (Err(ServiceError::Invalid { field: "file", rule }), rows) => {
                assert!(rule.contains(says), "{rule}");
                assert!(rows.is_empty());
            }
            other => panic!("{says}: {other:?}"),
        }
    }
    assert_eq!(trade.world.db.snapshot().await, before);
}

async fn a_file_that_was_cut_off_is_told_and_what_came_before_is_kept(db: TestDatabase) {
    let trade = Trade::new(db).await;
    let acme = trade.world.customer;
    let good = format!("{RESELLER},,SN1,Gateway 3,Acme,ZERO_TOUCH,{acme},\n");
    for (rest, says) in [
        (format!(",,SN2,Gateway 3,Acme,ZERO_TOUCH,{acme},\"{{\"\"order"), "line 3: the file ends inside"),
        (format!(",,\"SN2,Gateway 3,Acme,ZERO_TOUCH,{acme},\n"), "line 3: the file ends inside"),
    ] {
        let (summary, rows) = trade.import(&trade.boxes, &format!("{good}{rest}")).await;
        let Err(ServiceError::Invalid { field: "file", rule }) = summary else { panic!("{summary:?}") };
        assert!(rule.starts_with(says), "{rule}");
        assert_eq!(rows.len(), 1);
    }
    let (_, rows) = trade.import(&trade.boxes, &format!("{good},,SN2,Gateway")).await;
    assert_eq!(statuses(&rows), ["already_claimed", "invalid"]);
    assert_eq!(problem(&rows[1]), "The row has 4 cells, the header has 8.");
    assert_eq!(trade.export(&trade.boxes, ClaimsForm::Reseller).await.1, 1);
}

async fn an_export_can_be_imported_again(db: TestDatabase) {
    let trade = Trade::new(db).await;
    let Trade { world, boxes, acme, .. } = &trade;
    let id = world.customer;
    let file = format!(
        "modemtype,modemid,modemtype2,modemid2,serial,model,manufacturer,owner,devicemetadata,mac_address,order,proof,system_uuid,certified_device_id,manufacture_date\n\
         IMEI,123456789012347,MEID,A0000000002329,SN1,Gateway 3,Acme,{id},{METADATA},00163e000001 00163e000002,'-1,token,4c4c4544-0058-4b10-8039-b7c04f513133,,2026-01-31\n\
         ,,,,'=SN2,Gateway 3,Acme,{id},,,,,,,\n\
         ,,,,,,,{id},,,,,,QXZY7H3K9M2W,\n"
    );
    let (summary, rows) = trade.import(boxes, &file).await;
    assert_eq!(summary.unwrap().imported, 3, "{rows:?}");
    let first = rows[0].outcome.claim().unwrap();
    world.services.claims.set_vacation(boxes, first, Some(Timestamp(START.0 + 1000))).await.unwrap();
    let before = world.db.snapshot().await;
    let (exported, count) = trade.export(boxes, ClaimsForm::Reseller).await;
    assert_eq!(count, 3);
    assert!(exported.contains(",'=SN2,") && exported.contains(",'-1,"), "{exported}");
    assert!(exported.contains(",2026-01-31,"), "{exported}");
    let (again, rows) = trade.import(boxes, &exported).await;
    assert_eq!(again.unwrap().already_claimed, 3, "{rows:?}");
    assert_eq!(world.db.snapshot().await, before, "not even a temporary release");
    let (customers, _) = trade.export(acme, ClaimsForm::Customer).await;
    let (again, rows) = trade.import(acme, &customers).await;
    assert_eq!(again.unwrap().already_applied, 3, "{rows:?}");
    assert_eq!(world.db.snapshot().await, before);

    // And where nothing is left, everything comes back with the same values.
    let all = trade.import(boxes, &exported).await.1;
    for row in all {
        world.services.claims.unclaim(&world.by, row.outcome.claim().unwrap()).await.unwrap();
    }
    assert_eq!(trade.import(boxes, &exported).await.0.unwrap().imported, 3);
    let (back, _) = trade.export(boxes, ClaimsForm::Reseller).await;
    let values = |file: &str| -> Vec<BTreeMap<String, String>> {
        let mut rows: Vec<BTreeMap<String, String>> =
            csv::Reader::from_reader(file.as_bytes()).deserialize().map(Result::unwrap).collect();
        for row in &mut rows {
            for own in ["deviceid", "claimtime", "vacationmodestarttime", "vacationmodeexpiretime"] {
                row.remove(own).unwrap();
            }
        }
        rows
    };
    assert_eq!(values(&back), values(&exported));
}

async fn an_export_has_every_claim_of_its_own_and_no_other(db: TestDatabase) {
    let trade = Trade::new(db).await;
    let id = trade.world.customer;
    let header = "serial,model,manufacturer,profiletype,owner\n";
    let mut file = header.to_owned();
    for number in 0..2001 {
        writeln!(file, "SN{number:05},Gateway 3,Acme,ZERO_TOUCH,{id}").unwrap();
    }
    trade.import(&trade.boxes, &file).await.0.unwrap();
    let other = format!("{header}SNOTHER,Gateway 3,Acme,ZERO_TOUCH,{id}\n");
    trade.import(&trade.crates, &other).await.0.unwrap();
    for (by, form, expected) in [
        (&trade.boxes, ClaimsForm::Reseller, 2001),
        (&trade.crates, ClaimsForm::Reseller, 1),
        (&trade.acme, ClaimsForm::Customer, 2002),
        (&trade.world.by, ClaimsForm::Operator, 2002),
        (&Actor::of_customer("Bolt", trade.bolt), ClaimsForm::Customer, 0),
    ] {
        let (text, rows) = trade.export(by, form).await;
        let serials: std::collections::BTreeSet<&str> =
            text.split([',', '\n']).filter(|cell| cell.starts_with("SN")).collect();
        assert_eq!((rows, serials.len()), (expected, expected), "{by}");
    }
}

async fn long_work_ends_with_the_right_to_it(db: TestDatabase) {
    let world = World::new(db).await;
    let services = &world.services;
    let emm =
        services.tenancy.create_company(&world.by, NewCompany::new(CompanyKind::Emm, "Fleet")).await.unwrap();
    let boxes = NewCompany::new(CompanyKind::Reseller, "Boxes");
    let boxes = services.tenancy.create_company(&world.by, boxes).await.unwrap();
    for company in [emm.id, boxes.id] {
        services.tenancy.set_works_for(&world.by, company, world.customer, true).await.unwrap();
    }
    let account = async |company, name: &str| {
        let holder = NewHolder::ServiceAccount { name: name.to_owned() };
        let new = NewAccount { company: Some(company), holder, role: Role::Admin };
        services.tenancy.create_account(&world.by, new).await.unwrap().id
    };
    let (of_emm, of_boxes) = (account(emm.id, "fleet").await, account(boxes.id, "boxes").await);
    let file = |rows: u32| {
        let row = |n| format!("S{n:05},G3,Acme,ZERO_TOUCH,{}\n", world.customer);
        let rows: String = (0..rows).map(row).collect();
        Cursor::new(format!("serial,model,manufacturer,profiletype,owner\n{rows}").into_bytes())
    };
    let reseller = Actor::of_reseller("boxes", boxes.id).with_role(Role::Admin).with_account(of_boxes);
    let mut import =
        services.claims.open_import(&reseller, ImportDefaults::default(), file(4001)).await.unwrap();
    assert_eq!(import.next_results().await.unwrap().unwrap().len(), 2000);
    services.tenancy.disable_account(&world.by, of_boxes).await.unwrap();
    let ended = import.next_results().await;
    assert!(matches!(ended, Err(ServiceError::Unauthenticated)), "{ended:?}");
    assert_eq!(services.claims.claims_of_reseller(&reseller, &[], None, 1).await.unwrap().total, 2000);

    let fleet = Actor::of_customer("fleet", world.customer)
        .with_role(Role::Admin)
        .with_company(Some(emm.id))
        .with_account(of_emm);
    let mut export = services.claims.export_claims(&fleet, ClaimsForm::Customer, ClaimFilter::default());
    assert_eq!(export.next_rows().await.unwrap().unwrap().len(), 1000);
    services.tenancy.set_works_for(&world.by, emm.id, world.customer, false).await.unwrap();
    let ended = export.next_rows().await;
    assert!(matches!(ended, Err(ServiceError::Unauthenticated)), "{ended:?}");
    services.tenancy.set_works_for(&world.by, emm.id, world.customer, true).await.unwrap();
    assert!(export.next_rows().await.is_ok());
    services.tenancy.delete_account(&world.by, of_emm).await.unwrap();
    let ended = export.next_rows().await;
    assert!(matches!(ended, Err(ServiceError::Unauthenticated)), "{ended:?}");
    let trail = services.tenancy.list_audit(&fleet, AuditFilter::default(), PageRequest::default()).await;
    assert!(matches!(trail, Err(ServiceError::Unauthenticated)), "{trail:?}");
}

battery!(
    long_work_ends_with_the_right_to_it,
    a_resellers_file_claims_and_tells_each_row,
    a_customers_file_applies_configurations_to_its_own_devices,
    a_file_that_is_not_for_whoever_sends_it_changes_nothing,
    a_file_that_was_cut_off_is_told_and_what_came_before_is_kept,
    an_export_can_be_imported_again,
    an_export_has_every_claim_of_its_own_and_no_other,
);
