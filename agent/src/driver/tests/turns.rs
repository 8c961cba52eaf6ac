//! Processes of the privileged side at the same time.

use super::*;
use std::thread;

/// Runs a process of its own, as far as locks and files can tell.
fn alone<T: Send + 'static>(
    world: &Arc<World>,
    work: impl AsyncFnOnce(&World) -> T + Send + 'static,
) -> thread::JoinHandle<T> {
    let world = Arc::clone(world);
    thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work(&world))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_installation_waits_while_another_process_writes_the_ledger() {
    let world = Arc::new(World::new());
    assert_eq!(world.stage("identity").await, Exit::Done);
    assert_eq!(world.stage("handshake").await, Exit::Done);
    let held = files::Lock::take(&world.layout.state_lock()).unwrap().unwrap();
    let install = alone(&world, async |world| world.stage("install").await);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!install.is_finished());
    assert_eq!((world.ledger_bytes(), world.artifact_is_installed()), (None, false));
    drop(held);
    assert_eq!(install.join().unwrap(), Exit::Done);
    assert_eq!(world.phase(), "managed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_beside_an_installation_takes_its_turn() {
    let world = Arc::new(World::new());
    for _ in 0..8 {
        assert_eq!(world.stage("identity").await, Exit::Done);
        assert_eq!(world.stage("handshake").await, Exit::Done);
        let install = alone(&world, async |world| world.stage("install").await);
        let reset = alone(&world, async |world| world.reset(None).await);
        assert_eq!((install.join().unwrap(), reset.join().unwrap()), (Exit::Done, Exit::Done));
        assert_eq!((world.phase(), world.artifact_is_installed()), ("unenrolled", false));
        let names = world.layout.state().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_str().unwrap().starts_with(".unbox-")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}
