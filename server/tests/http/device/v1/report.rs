//! `POST /device/v1/report`

use crate::support::{TestServer, problem};
use reqwest::StatusCode;
use unbox_common::{
    ids::Generation,
    protocol::{
        latest::{Acknowledged, Outcome, REPORT_PATH, Report, ReportEntry},
        progress::Progress,
    },
    timestamp::Timestamp,
};

fn report(generation: u64) -> Report {
    Report {
        generation: Generation(generation),
        entries: vec![ReportEntry {
            sequence: 1,
            at: Timestamp(1),
            progress: Progress::BootstrapInitiated,
            detail: None,
        }],
        outcome: None,
    }
}

#[tokio::test]
async fn an_enrolled_device_reports_and_the_same_again_changes_nothing() {
    let server = TestServer::start().await;
    let device = server.enrolled("PF0ABCDE").await;
    for _ in 0..2 {
        let answer = server.post(&device.client, REPORT_PATH, &report(1)).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.json::<Acknowledged>().await.unwrap().sequence, 1);
    }
    let view = server.services().devices.device(&server.operator, device.id).await.unwrap();
    assert_eq!(view.reports.len(), 1);
}

#[tokio::test]
async fn a_report_about_another_generation_is_refused() {
    let server = TestServer::start().await;
    let device = server.enrolled("PF0ABCDE").await;
    let before = server.everything().await;
    let mut other = report(2);
    other.outcome = Some(Outcome::Managed { version: 1 });
    let answer = server.post(&device.client, REPORT_PATH, &other).await;
    assert!(answer.status().is_client_error(), "{}", answer.status());
    problem(answer).await;
    assert_eq!(server.devices().await, before.devices);
}
