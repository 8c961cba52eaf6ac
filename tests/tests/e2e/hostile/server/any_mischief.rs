//! Whatever a server does, in whatever order: eight devices, each with a server of its own.

use super::{BEFORE_INSTALLATION, LIMIT, Ordeal};
use anyhow::Result;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};
use unbox_common::{protocol::problem::Problem, refusal::RefusalKind};
use unbox_tests::{
    process::wait_for,
    seed::Seed,
    world::{Reply, Request, World},
};

/// How many answers are bad before the server is honest.
const BAD_ANSWERS: u64 = 3;

#[test]
fn a_device_gets_over_any_mischief_and_is_managed_in_the_end() -> Result<()> {
    let mut seed = Seed::from_environment(13);
    let devices: Vec<_> = (0..8).map(|_| Seed::new(seed.draw_below(u64::MAX))).collect();
    let ordeals = devices.into_iter().map(|seed| thread::spawn(move || suffer(seed)));
    for one in ordeals.collect::<Vec<_>>() {
        one.join().map_err(|_| anyhow::anyhow!("see above"))??;
    }
    Ok(())
}

fn suffer(mut seed: Seed) -> Result<()> {
    let at = usize::try_from(seed.draw_below(BEFORE_INSTALLATION as u64))?;
    let bad = Arc::new(AtomicU64::new(0));
    let (so_far, seed) = (Arc::clone(&bad), Mutex::new(seed));
    let mut ordeal = Ordeal::begin_at(at, None, move |world, request| {
        let mischief = seed.lock().map(|mut seed| mischief(&mut seed, world, request));
        so_far.fetch_add(1, Ordering::Relaxed);
        mischief.unwrap_or(Reply::Broken(Vec::new()))
    })?;
    wait_for(LIMIT, "some bad answers", || {
        ordeal.is_bounded()?;
        Ok((bad.load(Ordering::Relaxed) >= BAD_ANSWERS).then_some(()))
    })?;
    assert_eq!(ordeal.device.snapshot()?, ordeal.before, "the device changed");
    ordeal.ends_well()
}

/// One bad answer. None of them asks for a long pause, which a device would rightly make.
fn mischief(seed: &mut Seed, world: &World, request: &Request) -> Reply {
    let whole = |status, content_type, body| Reply::Whole { status, content_type, headers: Vec::new(), body };
    let json = "application/json";
    let length = seed.draw_below(8000);
    match seed.draw_below(10) {
        0 => whole(200, json, seed.bytes(length)),
        1 => whole(200, json, "[".repeat(60_000).into_bytes()),
        2 => whole(200, json, b"{\"ticket\":1e999,\"nonce\":null}".to_vec()),
        3 => whole(200, "application/octet-stream", seed.bytes(length)),
        4 => whole(u16::try_from(201 + seed.draw_below(299)).unwrap_or(500), json, Vec::new()),
        5 => Reply::redirect("https://localhost:1/elsewhere"),
        6 => Reply::Endless(seed.bytes(1 + length)),
        7 => Reply::Broken(seed.bytes(length)),
        8 => {
            let mut problem = Problem::new(RefusalKind::Busy);
            problem.detail = Some("\u{1b}[2J\u{202e}busy \u{7}".repeat(400));
            Reply::problem(&problem)
        }
        // The right answer, cut short.
        _ => match world.honest_reply(request) {
            Reply::Whole { status, content_type, headers, mut body } => {
                body.truncate(usize::try_from(seed.draw_below(body.len() as u64)).unwrap_or_default());
                Reply::Whole { status, content_type, headers, body }
            }
            other => other,
        },
    }
}
