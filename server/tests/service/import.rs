//! Claims from a CSV file.

use crate::support::{TestDatabase, TestDevice, World};
use std::{
    fmt::Write as _,
    io::{Cursor, Read},
};
use unbox_common::{ids::CompanyId, protocol::latest::ProofKind};
use unbox_server::{
    domain::tenancy::{audit::Action, company::CompanyKind},
    service::{ImportDefaults, ImportSummary, NewCompany, RowOutcome, RowResult, ServiceError},
    store::{AuditFilter, ClaimFilter, PageRequest},
};

const HEADER: &str = "serial_number,manufacturer,model,customer,configuration,proof,order\n";

fn invalid(row: &RowResult) -> (u64, Option<usize>, &str, &str) {
    match &row.outcome {
        RowOutcome::Invalid { column, field, rule } => (row.line, *column, field, rule),
        other => panic!("line {}: {other:?}", row.line),
    }
}

async fn each_row_has_its_result_and_good_ones_are_claims(db: TestDatabase) {
    let world = World::new(db).await;
    world.other_customer("Bolt").await;
    let office = world.services.catalogue.create_configuration(
        &world.by,
        world.customer,
        "Office",
        crate::support::MINIMAL_DOCUMENT,
    );
    let office = office.await.unwrap().id;
    let file = format!(
        "{HEADER}\
         SN000001,Lenovo,20QES0XX00,,,,PO 1\n\
         Default string,Lenovo,20QES0XX00,,,,\n\
         SN000002,Lenovo,20QES0XX00,Acme,Office,token,\n\
         SN000003,Lenovo,20QES0XX00,Nobody,,,\n\
         SN000004,Lenovo,20QES0XX00,Bolt,Office,,\n\
         SN000005,Lenovo,20QES0XX00,,,registered_key,\n\
         SN000006,Lenovo,20QES0XX00,Bolt,,,\n\
         SN000001,LENOVO,20qes0xx00,,,,\n\
         SN000006,Lenovo,20QES0XX00,,,,\n\
         SN000001,Lenovo,Another Model,,,,\n"
    );
    let (summary, rows) = world.import(&file).await;
    let expected = ImportSummary {
        rows: 10,
        imported: 4,
        already_claimed: 1,
        conflicts: 1,
        invalid: 4,
        ..ImportSummary::default()
    };
    assert_eq!(summary.unwrap(), expected);
    assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), (2..=11).collect::<Vec<_>>());
    let RowOutcome::Imported(first) = rows[0].outcome else { panic!() };
    let RowOutcome::Imported(second) = rows[2].outcome else { panic!() };
    assert_eq!(invalid(&rows[1]).1, Some(1));
    assert_eq!(invalid(&rows[3]), (5, Some(4), "customer", "is no customer"));
    assert_eq!(invalid(&rows[4]), (6, Some(5), "configuration", "is no configuration of this customer"));
    assert_eq!(invalid(&rows[5]).2, "proof");
    assert_eq!(rows[7].outcome, RowOutcome::AlreadyClaimed(first));
    assert_eq!(rows[8].outcome, RowOutcome::Conflict);
    assert!(matches!(rows[9].outcome, RowOutcome::Imported(_)), "the same number of another model");

    let claim = world.services.claims.claim(&world.by, first).await.unwrap().claim;
    assert_eq!((claim.order.unwrap().as_str(), claim.proof), ("PO 1", ProofKind::Identifiers));
    assert_eq!(claim.created_by, "test");
    let claim = world.services.claims.claim(&world.by, second).await.unwrap().claim;
    assert_eq!((claim.configuration, claim.proof), (Some(office), ProofKind::Token));
    TestDevice::new("SN000001").enroll(&world.services).await.unwrap();
}

async fn a_cell_with_a_nul_is_refused_by_its_column(db: TestDatabase) {
    let world = World::new(db).await;
    let before = world.db.snapshot().await;
    for (names, cells) in [
        (HEADER.trim(), ["SN000001", "Lenovo", "20QES0XX00", "Acme", "1", "token", "PO 1"].as_slice()),
        (
            "serial,manufacturer,model,owner,profiletype,devicemetadata,manufacture_date",
            &["SN000001", "Lenovo", "20QES0XX00", "Acme", "ZERO_TOUCH", "", "2026-11-21"],
        ),
        ("modemtype,modemid,profiletype,profileid", &["IMEI", "123456789012347", "ZERO_TOUCH", "Office"]),
    ] {
        for (at, name) in names.split(',').enumerate() {
            let mut cells: Vec<String> = cells.iter().map(|cell| (*cell).to_owned()).collect();
            cells[at].insert(0, '\0');
            let (summary, rows) = world.import(&format!("{names}\n{}\n", cells.join(","))).await;
            assert_eq!(summary.unwrap().invalid, 1, "{name}: {rows:?}");
            let rule = "has the character U+0000, which no text has";
            assert_eq!(invalid(&rows[0]), (2, Some(at + 1), name, rule));
        }
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn an_import_for_a_reseller_without_a_link_says_whose_devices_it_does_not_see(db: TestDatabase) {
    let world = World::new(db).await;
    let (services, by) = (&world.services, &world.by);
    let bolt = world.other_customer("Bolt").await;
    let boxes = NewCompany::new(CompanyKind::Reseller, "Boxes");
    let boxes = services.tenancy.create_company(by, boxes).await.unwrap().id;
    services.tenancy.set_works_for(by, boxes, bolt, true).await.unwrap();
    let unseen = async |reseller: Option<CompanyId>, serial: &str| {
        let file =
            format!("{HEADER}{serial}1,Lenovo,20QES0XX00,Acme,,,\n{serial}2,Lenovo,20QES0XX00,Bolt,,,\n");
        let defaults = ImportDefaults { reseller, ..ImportDefaults::default() };
        let csv = Cursor::new(file.into_bytes());
        let mut import = services.claims.open_import(by, defaults, csv).await.unwrap();
        while import.next_results().await.unwrap().is_some() {}
        assert_eq!(import.summary().imported, 2);
        import.unlinked_customers().collect::<Vec<_>>()
    };
    assert_eq!(unseen(Some(boxes), "SN00A").await, [world.customer]);
    assert_eq!(unseen(None, "SN00B").await, []);
    services.tenancy.set_works_for(by, boxes, world.customer, true).await.unwrap();
    assert_eq!(unseen(Some(boxes), "SN00C").await, []);
}

async fn a_file_imported_again_changes_nothing(db: TestDatabase) {
    let world = World::new(db).await;
    let file = format!("{HEADER}SN000001,Lenovo,20QES0XX00,,,,\nSN000002,Lenovo,20QES0XX00,,,,\n");
    world.import(&file).await.0.unwrap();
    let before = world.db.snapshot().await;
    let (summary, _) = world.import(&file).await;
    assert_eq!(summary.unwrap().already_claimed, 2);
    assert_eq!(world.db.snapshot().await, before);
    let filter = AuditFilter { action: Some(Action::ClaimsImported), ..AuditFilter::default() };
    let audit =
        world.services.tenancy.list_audit(&world.by, filter, PageRequest::default()).await.unwrap().items;
    assert_eq!((audit.len(), &audit[0].detail["claims"]), (1, &serde_json::json!(2)));
}

async fn a_claim_of_another_customer_is_not_told_apart(db: TestDatabase) {
    let world = World::new(db).await;
    let bolt = world.other_customer("Bolt").await;
    world.claim_for(bolt, "SN000001", ProofKind::Identifiers).await.unwrap();
    let before = world.db.snapshot().await;
    let (_, rows) = world.import(&format!("{HEADER}SN000001,Lenovo,20QES0XX00,,,,\n")).await;
    assert_eq!(rows, [RowResult { line: 2, outcome: RowOutcome::Conflict }]);
    assert_eq!(world.db.snapshot().await, before);
}

async fn a_file_that_is_none_is_refused_as_a_whole(db: TestDatabase) {
    let world = World::new(db).await;
    let before = world.db.snapshot().await;
    for (file, says) in [
        ("", "expected a first line"),
        ("serial;maker\n", "\"serial;maker\" is not known; known are: serial_number, manufacturer"),
    ] {
        match world.import(file).await {
            (Err(ServiceError::Invalid { field: "file", rule }), rows) => {
                assert!(rule.contains(says), "{rule}");
                assert!(rows.is_empty());
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(world.db.snapshot().await, before);
}

async fn what_was_read_before_a_file_broke_is_kept_and_told(db: TestDatabase) {
    let world = World::new(db).await;
    let mut file = format!("{HEADER}SN000001,Lenovo,20QES0XX00,,,,\n\"SN000002,Lenovo\n");
    file.push_str(&"x".repeat(1_000_000));
    let (summary, rows) = world.import(&file).await;
    assert!(matches!(summary, Err(ServiceError::Invalid { field: "file", .. })), "{summary:?}");
    assert!(matches!(rows[..], [RowResult { line: 2, outcome: RowOutcome::Imported(_) }]));
}

async fn a_file_that_nobody_may_own_is_refused_before_it_is_read(db: TestDatabase) {
    struct Unread;
    impl Read for Unread {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            panic!("it was read")
        }
    }
    let world = World::new(db).await;
    let defaults = ImportDefaults { customer: Some("1".parse().unwrap()), ..ImportDefaults::default() };
    let refused = world.services.claims.import_claims(&world.by, defaults, Unread, |_| panic!("a row")).await;
    assert!(matches!(refused, Err(ServiceError::NotFound { what: "customer", .. })));
    let without = world.services.claims.import_claims(
        &world.by,
        ImportDefaults::default(),
        Cursor::new(format!("{HEADER}SN000001,Lenovo,20QES0XX00,,,,\n")),
        |row| assert_eq!(invalid(&row).3, "is not said, and no default was given"),
    );
    assert_eq!(without.await.unwrap().invalid, 1);
}

async fn more_rows_than_a_batch_are_all_there(db: TestDatabase) {
    let world = World::new(db).await;
    let mut file = "mac_address\n".to_owned();
    for number in 0..4500_u32 {
        writeln!(file, "00163e{number:06x}").unwrap();
    }
    let (summary, rows) = world.import(&file).await;
    assert_eq!((summary.unwrap().imported, rows.len()), (4500, 4500));
    assert!(rows.windows(2).all(|pair| pair[0].line < pair[1].line));
    let (mut found, mut after) = (0, None);
    loop {
        let page = PageRequest { size: Some(1000), after };
        let part = world.services.claims.list_claims(&world.by, ClaimFilter::default(), page).await.unwrap();
        found += part.items.len();
        after = part.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(found, 4500);
}

battery!(
    a_cell_with_a_nul_is_refused_by_its_column,
    an_import_for_a_reseller_without_a_link_says_whose_devices_it_does_not_see,
    each_row_has_its_result_and_good_ones_are_claims,
    a_file_imported_again_changes_nothing,
    a_claim_of_another_customer_is_not_told_apart,
    a_file_that_is_none_is_refused_as_a_whole,
    what_was_read_before_a_file_broke_is_kept_and_told,
    a_file_that_nobody_may_own_is_refused_before_it_is_read,
    more_rows_than_a_batch_are_all_there,
);
