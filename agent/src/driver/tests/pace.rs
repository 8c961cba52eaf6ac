//! The messages of a device and their rate, for any order of outcomes.

use super::*;

/// Returns the largest number of messages within a minute.
pub(super) fn most_in_a_minute(sent: &[(Duration, String)]) -> usize {
    let minute = Duration::from_mins(1);
    let within = |from: Duration| sent.iter().filter(|(at, _)| (from..from + minute).contains(at)).count();
    sent.iter().map(|(at, _)| within(*at)).max().unwrap_or(0)
}

#[tokio::test]
async fn a_refused_payload_is_tried_once_and_told_with_its_reason() {
    let world = World::new();
    world.scene().impossible = IMPOSSIBLE;
    world.scene().sends_payload = true;
    let (sent, ended) = world.run_for(None, Duration::from_mins(30)).await;
    assert_eq!(ended, None, "it goes on asking for something else");
    assert!(most_in_a_minute(&sent) <= 6, "{sent:?}");
    let refusals = |world: &World| {
        let scene = world.scene();
        scene.reports.iter().filter(|one| matches!(one.outcome, Some(Outcome::Rejected { .. }))).count()
    };
    assert_eq!(refusals(&world), 1, "however often it is offered");
    let Some(Outcome::Rejected { version, kind, .. }) = world.last_outcome() else { panic!() };
    assert_eq!((version, kind.as_str()), (Some(50), "path_refused"));
    assert!(!world.scene().check_ins.is_empty());
    assert!(world.scene().check_ins.iter().all(|said| said.failed_version == Some(50)));
    let said = world.paper.text();
    assert!(said.contains("Reason: ") && said.contains("Code: path_refused"), "{said}");
    assert_eq!((world.phase(), world.installed_version()), ("unenrolled", None));

    // The refusal outlives the process, and ends with the first other version.
    let (_, ended) = world.run_for(None, Duration::from_mins(30)).await;
    assert_eq!((ended, refusals(&world)), (None, 1));
    world.scene().version = 60;
    world.scene().impossible = None;
    world.run_for(None, Duration::from_mins(30)).await;
    assert_eq!((world.phase(), world.installed_version()), ("managed", Some(60)));
    assert_eq!(ledger::io::read(&world.layout).unwrap().refused, None);
}

#[tokio::test]
async fn refused_payloads_count_as_attempts() {
    let world = World::new();
    world.scene().impossible = IMPOSSIBLE;
    let (_, ended) = world.run_for(Some(1), Duration::from_hours(1)).await;
    assert_eq!(ended, Some(Exit::Administrator));
    assert_eq!(world.rejection().as_deref(), Some("path_refused"), "and the server knows it");
}

/// Returns a source of random numbers below a limit.
pub(super) fn random(seed: u64) -> impl FnMut(u64) -> u64 + Send + 'static {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move |below| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    }
}

/// Returns a change of the scene to any outcome of the next message.
pub(super) fn any_outcome(mut draw: impl FnMut(u64) -> u64 + Send + 'static) -> Shuffles {
    Box::new(move |scene| {
        scene.version = 50 + draw(4);
        scene.signer = if draw(6) == 0 { 66 } else { 1 };
        scene.impossible = IMPOSSIBLE.filter(|_| draw(2) == 0);
        scene.has_artifacts = draw(4) != 0;
        scene.sends_payload = draw(4) != 0;
        scene.is_over = draw(8) == 0;
        scene.certified_for = Duration::from_hours(24 * draw(3));
        scene.commands = if draw(4) == 0 { vec!["re_enroll"] } else { Vec::new() };
        let kinds = [RefusalKind::Busy, RefusalKind::NotClaimed, RefusalKind::ClockSkew];
        scene.refusal = kinds.get(usize::try_from(draw(12)).unwrap()).map(|kind| Problem::new(*kind));
    })
}

#[tokio::test]
async fn no_order_of_outcomes_sends_more_than_six_messages_a_minute() {
    for seed in 0..24u64 {
        let world = World::new();
        world.scene().shuffle = Some(any_outcome(random(seed)));
        let (sent, ended) = world.run_for(None, Duration::from_mins(20)).await;
        assert_eq!(ended, None, "seed {seed}");
        assert!(sent.len() > 3 && most_in_a_minute(&sent) <= 6, "seed {seed}: {sent:?}");
    }
}
