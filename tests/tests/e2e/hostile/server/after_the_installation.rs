//! The server turns bad when everything is installed already.

use super::{BEFORE_INSTALLATION, LIMIT, Ordeal};
use anyhow::Result;
use std::sync::Arc;
use unbox_tests::{process::wait_for, world::Reply};

#[test]
fn a_report_that_is_answered_badly_takes_nothing_away_and_is_sent_again() -> Result<()> {
    let bad = |_: &_, _: &_| Reply::text(200, "not what was asked for".to_owned());
    let mut ordeal = Ordeal::begin_at(BEFORE_INSTALLATION, None, bad)?;
    wait_for(LIMIT, "the device to say what is wrong", || {
        Ok(ordeal.device.failure()?.is_some_and(|said| said == "wrong_content_type").then_some(()))
    })?;
    ordeal.is_bounded()?;
    assert_eq!(ordeal.device.read("/etc/motd")?, "honest\n");
    assert_eq!(ordeal.device.installed_version()?, Some(ordeal.world.payload.version));
    let (world, sent) = (Arc::clone(&ordeal.world), ordeal.world.reports());
    ordeal.ends_well()?;
    let reports = world.reports();
    assert!(reports.len() > sent.len(), "it never told how it ended");
    assert_eq!(reports.last().map(|last| &last.outcome), sent.last().map(|last| &last.outcome));
    assert_eq!(world.count_hellos(), 1, "it enrolled again");
    Ok(())
}
