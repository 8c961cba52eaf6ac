//! The files of the report stage, and its two messages.

use super::{
    Enrolled, OutcomeFile, Queue, Standing, check_in, enrolled::MAX_ENROLLED_BYTES,
    outcome::MAX_OUTCOME_BYTES, queue::MAX_QUEUE_BYTES,
};
use crate::{
    boot::{Layout, Server},
    failure::{Diagnose, Failure, advice},
    files::{self, FilesError},
    http::{self, Client},
    programs::{Program, exit_code},
};
use std::time::Duration;
use unbox_common::{
    bytes::Nonce,
    ids::Generation,
    payload::UnitName,
    protocol::{
        latest::{Acknowledged, CHECK_IN_PATH, News, REPORT_PATH},
        limits::{MAX_CHECK_IN_BYTES, MAX_GRANT_BYTES},
    },
    refusal::Disposition,
    timestamp::Timestamp,
};

/// Time limit for the service manager to report the state of a unit.
const UNIT_STATE_LIMIT: Duration = Duration::from_secs(10);

/// Exit codes of `systemctl is-active` for an inactive and for an unknown unit (systemctl(1), "exit
/// status"). Any other failure says nothing about the unit.
const UNIT_IS_DOWN: [i32; 2] = [3, 4];

/// The server did not confirm that it stored the report.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("the server did not acknowledge the report")]
pub struct NotAcknowledged;

impl Diagnose for NotAcknowledged {
    fn kind(&self) -> &'static str {
        "not_acknowledged"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn advice(&self) -> &'static str {
        advice::MISBEHAVED
    }
}

/// Reads the current enrollment. A damaged file counts as absent: the device enrolls again, with the same
/// key.
///
/// # Errors
/// [`FilesError`].
pub fn read_enrolled(layout: &Layout) -> Result<Option<Enrolled>, FilesError> {
    files::read_json(&layout.enrollment(), MAX_ENROLLED_BYTES)
}

/// Stores the current enrollment.
///
/// # Errors
/// [`FilesError`].
pub fn store_enrolled(layout: &Layout, enrolled: &Enrolled) -> Result<(), FilesError> {
    files::write_json(&layout.enrollment(), enrolled)
}

/// Reads the queue of a generation, and adds the last installation's outcome. A damaged queue is started
/// over, and [`Queue::acknowledge`] renumbers it above the numbers that the server has seen.
///
/// # Errors
/// [`FilesError`].
pub fn read_queue(layout: &Layout, generation: Generation) -> Result<Queue, FilesError> {
    let queue: Option<Queue> = files::read_json(&layout.queue(), MAX_QUEUE_BYTES)?;
    let mut queue = queue.map_or_else(|| Queue::new(generation), |queue| queue.for_generation(generation));
    if read_outcome(layout)?.is_some_and(|outcome| queue.add_outcome(&outcome)) {
        store_queue(layout, &queue)?;
    }
    Ok(queue)
}

/// Reads the outcome of the last installation. A damaged file counts as absent.
///
/// # Errors
/// [`FilesError`].
pub fn read_outcome(layout: &Layout) -> Result<Option<OutcomeFile>, FilesError> {
    files::read_json(&layout.outcome(), MAX_OUTCOME_BYTES)
}

/// Stores the queue.
///
/// # Errors
/// [`FilesError`].
pub fn store_queue(layout: &Layout, queue: &Queue) -> Result<(), FilesError> {
    files::write_json(&layout.queue(), queue)
}

/// Sends everything that waits, and drops what the server has stored.
///
/// # Errors
/// [`Failure`]; unacknowledged entries stay in the queue.
pub async fn deliver(
    layout: &Layout,
    server: &Server,
    client: &Client,
    queue: &mut Queue,
) -> Result<(), Failure> {
    while let Some(report) = queue.next() {
        let message = http::write(&report)?;
        let answer = client.post(server.endpoint(REPORT_PATH), message, MAX_CHECK_IN_BYTES).await?;
        let answer: Acknowledged = http::read("acknowledgement", &answer)?;
        queue.acknowledge(&report, &answer);
        if queue.next().as_ref() == Some(&report) {
            return Err(NotAcknowledged.into());
        }
        store_queue(layout, queue)?;
    }
    Ok(())
}

/// Checks in.
///
/// # Errors
/// [`Failure`].
pub async fn send_check_in(
    server: &Server,
    client: &Client,
    standing: &Standing<'_>,
    nonce: Nonce,
    now: Timestamp,
) -> Result<News, Failure> {
    let message = http::write(&check_in(standing, nonce, now))?;
    let answer = client.post(server.endpoint(CHECK_IN_PATH), message, MAX_GRANT_BYTES).await?;
    Ok(http::read("news", &answer)?)
}

/// Returns true if the installed payload's unit is active now, or if that is unknown: in a sandbox, and
/// without a unit.
#[must_use]
pub fn is_unit_healthy(layout: &Layout, unit: Option<&UnitName>) -> bool {
    let Some(unit) = unit.filter(|_| layout.is_running_system()) else {
        return true;
    };
    let asked =
        Program::new("systemctl").args(["is-active", "--quiet", "--", unit.as_str()]).run(UNIT_STATE_LIMIT);
    asked.map_or(true, |finished| !UNIT_IS_DOWN.contains(&exit_code(finished.status)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        report::Noted,
        test_server::{NOW, Reply, TestServer},
    };
    use serde_json::json;
    use unbox_common::{
        digest::Sha256,
        protocol::{
            latest::{Outcome, Report},
            progress::Progress,
        },
    };

    fn layout() -> (tempfile::TempDir, Layout) {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        files::make_directory(&layout.exchange(), 0o700).unwrap();
        (root, layout)
    }

    fn outcome() -> OutcomeFile {
        let entries = vec![Noted { at: NOW, progress: Progress::BootstrapComplete, detail: None }];
        OutcomeFile::new(
            Generation(1),
            Sha256::of(b"grant"),
            entries,
            Outcome::Managed { version: 50 },
            false,
        )
    }

    #[test]
    fn damaged_files_of_this_side_are_begun_anew() {
        let (_root, layout) = layout();
        for damage in [&b""[..], b"{", &[0; 64]] {
            files::replace(&layout.queue(), damage, 0o600).unwrap();
            files::replace(&layout.enrollment(), damage, 0o600).unwrap();
            files::replace(&layout.outcome(), damage, 0o640).unwrap();
            assert_eq!(read_queue(&layout, Generation(3)).unwrap(), Queue::new(Generation(3)));
            assert_eq!(read_enrolled(&layout).unwrap(), None);
        }
    }

    #[tokio::test]
    async fn what_the_server_acknowledged_is_not_sent_again() {
        let (_root, layout) = layout();
        files::write_json(&layout.outcome(), &outcome()).unwrap();
        let server = TestServer::start(|request| {
            let report: Report = serde_json::from_slice(&request.body).unwrap();
            let sequence = report.entries.last().unwrap().sequence;
            Reply::json(&json!({"sequence": sequence, "server_time": 5}))
        });
        let context = server.context(layout.clone());
        let client = TestServer::client(&context, NOW);
        for _ in 0..2 {
            let mut queue = read_queue(&layout, Generation(1)).unwrap();
            deliver(&layout, context.server().unwrap(), &client, &mut queue).await.unwrap();
        }
        let [request] = <[_; 1]>::try_from(server.requests()).unwrap();
        let report: Report = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(report.outcome, Some(Outcome::Managed { version: 50 }));
    }

    #[tokio::test]
    async fn a_server_that_acknowledges_nothing_is_not_asked_for_ever() {
        let (_root, layout) = layout();
        files::write_json(&layout.outcome(), &outcome()).unwrap();
        let server = TestServer::start(|_| Reply::json(&json!({"sequence": 0, "server_time": 5})));
        let context = server.context(layout.clone());
        let client = TestServer::client(&context, NOW);
        let mut queue = read_queue(&layout, Generation(1)).unwrap();
        let failed = deliver(&layout, context.server().unwrap(), &client, &mut queue).await.unwrap_err();
        assert_eq!(failed.kind(), "not_acknowledged");
        assert_eq!(server.requests().len(), 1);
        assert!(queue.next().is_some());
    }
}
