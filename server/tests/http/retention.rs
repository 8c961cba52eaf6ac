//! What a running server does by itself, with nobody asking.

use crate::{
    beside::beside,
    support::{TestDevice, TestServer},
};
use std::{fs, sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};
use unbox_common::{
    ids::Generation,
    protocol::{
        latest::{REPORT_PATH, Report, ReportEntry},
        progress::Progress,
    },
    timestamp::Timestamp,
};
use unbox_server::{
    clock::FakeClock,
    domain::{
        claims::operation::{Item, ItemResult, ItemStatus, OperationKind, Work},
        tenancy::{actor::Actor, company::CompanyKind},
    },
    service::{NewCompany, NewUpload},
    store::Store,
};

const PATIENCE: Duration = Duration::from_mins(1);
/// Longer than anything is kept by the settings below, and than an upload waits for its next bytes.
const LATER: Duration = Duration::from_hours(10 * 24);

/// The number of rows in each of these tables.
fn rows<const N: usize>(server: &TestServer, tables: [&str; N]) -> [i64; N] {
    let url = Store::sqlite_url(&server.layout().database());
    beside(&url, |database| {
        tables.map(|table| database.run(&format!("SELECT COUNT(*) FROM {table}")).parse().unwrap())
    })
}

/// Carries out an operation of one device, to its end.
async fn finish_operation(server: &TestServer) {
    let (services, by) = (server.services(), &server.operator);
    let reseller = NewCompany::new(CompanyKind::Reseller, "Boxes");
    let boxes = Actor::of_reseller("Boxes", services.tenancy.create_company(by, reseller).await.unwrap().id);
    let mut spool = services.claims.item_spool().unwrap();
    let refused = ItemResult::failure(ItemStatus::InvalidSectionType, "INVALID_SECTION_TYPE", "Not here.");
    spool.push(&Item { echo: "{}".to_owned(), work: Work::Refused(refused) }).unwrap();
    let id = services.claims.start_operation(&boxes, OperationKind::Claim, spool).await.unwrap().id;
    let ended = async {
        while services.claims.operation(&boxes, id).await.unwrap().done_at.is_none() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
}

#[tokio::test]
async fn what_was_kept_long_enough_goes_without_anybody_asking() {
    const TABLES: [&str; 5] = ["claims", "reports", "operations", "uploads", "audit"];
    let server = TestServer::with(
        "[retention]\noperations_days = 1\nreports_days = 1\nclaims_days = 1\naudit_days = 1",
    )
    .await;
    let (services, by) = (server.services(), &server.operator);
    let device = server.enrolled("PF0ABCDE").await;
    let entry =
        ReportEntry { sequence: 1, at: Timestamp(1), progress: Progress::BootstrapInitiated, detail: None };
    let report = Report { generation: Generation(1), entries: vec![entry], outcome: None };
    assert_eq!(server.post(&device.client, REPORT_PATH, &report).await.status().as_u16(), 200);
    let ended = server.claim(&TestDevice::new("PF0XYZAB")).await;
    services.claims.unclaim(by, ended).await.unwrap();
    let upload =
        NewUpload { customer: server.customer(), name: "x".to_owned(), size: Some(50), expected: None };
    services.catalogue.start_upload(by, upload).await.unwrap();
    finish_operation(&server).await;
    let [claims, reports, operations, uploads, audited] = rows(&server, TABLES);
    assert_eq!([claims, reports, operations, uploads], [2, 1, 1, 1]);
    assert!(audited > 5, "{audited}");

    let later = FakeClock::at(TestServer::now().plus(LATER));
    let server = server.start_again(Arc::new(later)).await;
    let tidied = async {
        // The claim that has not ended stays.
        while rows(&server, TABLES) != [1, 0, 0, 0, 0] {
            sleep(Duration::from_millis(50)).await;
        }
    };
    assert!(timeout(PATIENCE, tidied).await.is_ok(), "{:?}", rows(&server, TABLES));
    let files = fs::read_dir(server.layout().dir().join("audit")).unwrap();
    let lines = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap().lines().count());
    assert_eq!(lines.sum::<usize>(), usize::try_from(audited).unwrap(), "moved to files, each of them");
}
