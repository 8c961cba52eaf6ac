//! The server takes its time: it says nothing, or a byte now and then.

use super::Ordeal;
use anyhow::Result;
use std::{thread, time::Duration};
use unbox_tests::world::{BareListener, Reply};

/// Three devices at once, because each of them has to wait.
#[test]
fn silence_and_a_slow_drip_are_given_up_and_named() -> Result<()> {
    let silent_below_tls = BareListener::start(Some)?;
    let url = format!("https://localhost:{}", silent_below_tls.address.port());
    let ordeals = [
        Ordeal::begin(|_, _| Reply::Silence(Duration::from_hours(1)))?,
        Ordeal::begin(|_, _| Reply::Drip(vec![b' '; 100_000]))?,
        Ordeal::begin_elsewhere(url)?,
    ];
    let waiting = ordeals.map(|mut ordeal| {
        thread::spawn(move || {
            ordeal.is_named("timed_out")?;
            ordeal.ends_well()
        })
    });
    for one in waiting {
        one.join().map_err(|_| anyhow::anyhow!("see above"))??;
    }
    Ok(())
}
