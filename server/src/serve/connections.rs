//! The limits on connections: in all, from one address, and from its wider networks.
//!
//! When all places are taken, or all memory for grown buffers, the network that holds most makes room
//! (`order.rs`). So whoever makes requests that never end keeps nobody out who has fewer connections. Before its
//! first request, a connection counts against a smaller limit, too: it has cost its client nothing until then.

use super::order::{Connection, Number, Open, networks};
use crate::{
    config::Limits,
    domain::devices::network::Network,
    route::{Budget, Holders, Reservation},
};
use futures_util::task::AtomicWaker;
use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Context,
    time::Duration,
};
use tokio::time::{Instant, timeout};

/// The memory for the buffers of devices' connections that receive much at once; other listeners have parts as
/// large as their parts of the places.
const BUFFERS_BYTES: usize = 24 * 1024 * 1024;
/// The longest time that a connection waits for that memory.
const PATIENCE: Duration = Duration::from_secs(10);
/// The interval at which one that waits has another one give way.
const GIVE_WAY_EVERY: Duration = Duration::from_millis(100);
/// The number of bytes that count as progress; fewer may be those of a client that keeps a place with them.
const PROGRESS_BYTES: usize = 1024;

/// The connections of each kind of listener: a flood at one of them does not reach the others.
pub(super) struct Listeners {
    pub(super) devices: Arc<Connections>,
    pub(super) plain: Arc<Connections>,
    pub(super) metrics: Arc<Connections>,
    pub(super) api: Arc<Connections>,
}

/// The open connections of listeners of one kind.
pub(super) struct Connections {
    most: usize,
    most_per_address: usize,
    buffers: Arc<Budget>,
    open: Mutex<Open>,
    started: Instant,
}

/// The link between a place and the stream of its connection.
pub(super) struct Link {
    ended: AtomicBool,
    waker: AtomicWaker,
    /// The number of bytes that have arrived since the last request began.
    received_bytes: AtomicUsize,
    is_large: AtomicBool,
    /// The number of bytes that have moved since the last progress.
    moved_bytes: AtomicUsize,
    started: Instant,
    /// The time of the last progress, in milliseconds since `started`.
    progress_ms: AtomicU64,
}

/// The place of one connection, released on drop.
pub(super) struct Place {
    connections: Arc<Connections>,
    link: Arc<Link>,
    number: Number,
}

/// A request under way, until it is dropped.
pub(super) struct UnderWay(Arc<Place>);

/// The way of a connection's stream to memory for grown buffers.
#[derive(Clone)]
pub(super) struct Buffers {
    connections: Arc<Connections>,
    number: Number,
}

impl Listeners {
    pub(super) fn new(limits: &Limits) -> Self {
        let part = |part: usize| {
            Arc::new(Connections {
                most: (limits.connections / part).max(1),
                most_per_address: limits.connections_per_address,
                buffers: Budget::new(BUFFERS_BYTES / part),
                open: Mutex::default(),
                started: Instant::now(),
            })
        };
        Self { devices: part(1), plain: part(4), metrics: part(32), api: part(4) }
    }
}

impl Connections {
    /// Takes a place for one more connection; `None` if its address has used up its share, or if no other
    /// connection makes room. Without an address it counts for nobody until [`Place::assign`].
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let address = address.map(Network::of);
        let mut open = self.open();
        if address.is_some_and(|address| !self.has_share(&open, address)) {
            return None;
        }
        if open.len() >= self.most {
            let chosen = open.choose_for_place(address, self.started.elapsed())?;
            open.take_off(chosen)?.link.end();
        }
        let (number, turn) = (open.draw_number(), Some(open.draw_number()));
        let link = Arc::new(Link::new(self.started));
        let connection =
            Connection { link: link.clone(), address, is_before_a_request: true, turn, is_large: false };
        open.insert(number, connection);
        drop(open);
        Some(Place { connections: self.clone(), link, number })
    }

    fn has_share(&self, open: &Open, address: Network) -> bool {
        let (most, silent) = (self.most_per_address, (self.most_per_address * 2).div_ceil(3));
        networks(address).all(|network| {
            let own = open.count(network);
            own.all < most && own.before_a_request < silent
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buffers {
    /// Waits for memory for grown buffers, which others that hold some give way for; `None` if there is none.
    pub(super) async fn grow(self, bytes: usize) -> Option<Reservation> {
        timeout(PATIENCE, self.wait(bytes)).await.ok().flatten()
    }

    async fn wait(self, bytes: usize) -> Option<Reservation> {
        let Self { connections, number } = self;
        let address = connections.open().get(number)?.address;
        let holders = Holders { address, known: None };
        let mut patience = Duration::ZERO;
        loop {
            let memory = connections.buffers.wait(holders, bytes, patience).await;
            let mut open = connections.open();
            if let Ok(memory) = memory {
                open.change(number, |own| {
                    own.is_large = true;
                    own.link.is_large.store(true, Ordering::Relaxed);
                });
                return Some(memory);
            }
            // Its memory is free as soon as its task notices.
            let chosen = open.choose_for_memory(address, connections.started.elapsed());
            if let Some(other) = chosen.and_then(|chosen| open.take_off(chosen)) {
                other.link.end();
            }
            patience = GIVE_WAY_EVERY;
        }
    }
}

impl Link {
    /// Makes the link of a connection to a listener that started then.
    pub(super) fn new(started: Instant) -> Self {
        let link = Self {
            ended: AtomicBool::default(),
            waker: AtomicWaker::default(),
            received_bytes: AtomicUsize::default(),
            is_large: AtomicBool::default(),
            moved_bytes: AtomicUsize::default(),
            started,
            progress_ms: AtomicU64::default(),
        };
        link.note_progress_at(started.elapsed());
        link
    }

    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Tells whether another connection has got the place or the memory, and wakes the task when one gets it.
    pub(super) fn poll_ended(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.ended.load(Ordering::Acquire)
    }

    /// Tells whether its buffers have taken more memory than every connection has.
    pub(super) fn is_large(&self) -> bool {
        self.is_large.load(Ordering::Relaxed)
    }

    pub(super) fn received_bytes(&self) -> usize {
        self.received_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn receive(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.note_progress(bytes);
    }

    /// Notes that so many bytes have moved, in either direction.
    pub(super) fn note_progress(&self, bytes: usize) {
        if self.moved_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= PROGRESS_BYTES {
            self.moved_bytes.store(0, Ordering::Relaxed);
            self.note_progress_at(self.started.elapsed());
        }
    }

    pub(super) fn note_progress_at(&self, now: Duration) {
        let now = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
        self.progress_ms.store(now, Ordering::Relaxed);
    }

    /// Returns the time of the last progress, since the listener started.
    pub(super) fn last_progress(&self) -> Duration {
        Duration::from_millis(self.progress_ms.load(Ordering::Relaxed))
    }
}

impl Place {
    pub(super) const fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Returns the way to memory for grown buffers.
    pub(super) fn buffers(&self) -> Buffers {
        Buffers { connections: self.connections.clone(), number: self.number }
    }

    /// Assigns the place to an address that became known later. Returns whether the address has a share left.
    pub(super) fn assign(&self, address: IpAddr) -> bool {
        let address = Network::of(address);
        let mut open = self.connections.open();
        let has_share = self.connections.has_share(&open, address);
        if has_share {
            open.change(self.number, |own| own.address = Some(address));
        }
        has_share
    }

    /// Notes that the head of a request has arrived.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.link.received_bytes.store(0, Ordering::Relaxed);
        self.link.note_progress(PROGRESS_BYTES);
        self.connections.open().change(self.number, |own| {
            (own.is_before_a_request, own.turn) = (false, None);
        });
        UnderWay(self.clone())
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Self(place) = self;
        let mut open = place.connections.open();
        let turn = open.draw_number();
        open.change(place.number, |own| own.turn = Some(turn));
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.open().take_off(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, most_per_address: usize) -> Arc<Connections> {
        let (buffers, open) = (Budget::new(0), Mutex::default());
        Arc::new(Connections { most, most_per_address, buffers, open, started: Instant::now() })
    }

    fn admit(connections: &Arc<Connections>, address: &str) -> Option<Arc<Place>> {
        connections.admit(Some(address.parse().unwrap())).map(Arc::new)
    }

    fn is_ended(place: &Place) -> bool {
        place.link.ended.load(Ordering::Acquire)
    }

    #[test]
    fn places_are_counted_in_all_and_by_address_and_given_back() {
        let connections = connections(4, 2);
        let admit = |address| {
            let place = admit(&connections, address)?;
            Some((place.begin(), place))
        };
        let (first, second) = (admit("192.0.2.1").unwrap(), admit("192.0.2.1").unwrap());
        assert!(admit("192.0.2.1").is_none(), "one address has its share");
        let (other, another) = (admit("198.51.100.2").unwrap(), admit("203.0.113.3").unwrap());
        assert!(
            admit("203.0.113.4").is_none(),
            "all places are taken, and no network holds more than its share"
        );
        drop(first);
        let third = admit("192.0.2.1").unwrap();
        drop((second, third, other, another));
        assert!(connections.open().is_empty());
    }

    #[test]
    fn whoever_holds_most_makes_room_even_for_requests_that_never_end() {
        let connections = connections(6, 6);
        let flood = |address: &str, count| -> Vec<_> {
            let places = (0..count).map(|_| admit(&connections, address).unwrap());
            places.map(|place| (place.begin(), place)).collect()
        };
        let (four, two) = (flood("192.0.2.1", 4), flood("198.51.100.1", 2));
        let ended = |of: &[(UnderWay, Arc<Place>)]| of.iter().filter(|(_, place)| is_ended(place)).count();
        let mut devices = Vec::new();
        for count in 1..=2 {
            let device = admit(&connections, "203.0.113.1").unwrap();
            devices.push((device.begin(), device));
            assert_eq!((ended(&four), ended(&two)), (count, 0), "the largest network loses one");
        }
        assert!(admit(&connections, "203.0.113.9").is_none(), "all networks hold as many");
        assert!(admit(&connections, "192.0.2.9").is_none());
        assert_eq!(connections.open().len(), 6);
        drop((four, two, devices));
        assert!(connections.open().is_empty());
    }

    #[test]
    fn newcomers_that_arrive_together_do_not_push_out_each_other() {
        let connections = connections(20, 20);
        let flood = (0..20).map(|_| admit(&connections, "192.0.2.1").unwrap());
        let _busy: Vec<_> = flood.map(|place| (place.begin(), place)).collect();
        let together: Vec<_> =
            (1..=9).map(|network| admit(&connections, &format!("203.0.{network}.1")).unwrap()).collect();
        assert!(together.iter().all(|place| !is_ended(place)));
        assert!(admit(&connections, "192.0.2.2").is_none(), "who holds most pushes out nobody");
        assert!(together.iter().all(|place| !is_ended(place)));
    }

    #[test]
    fn a_new_connection_gets_the_place_of_the_one_that_waits_longest() {
        let connections = connections(3, 10);
        let places: Vec<_> =
            ["192.0.2.1", "198.51.100.1", "203.0.113.1"].map(|at| admit(&connections, at).unwrap()).into();
        let busy = places[0].begin();
        let answered = places[1].begin();
        drop(answered);
        let ended = || places.iter().map(|place| is_ended(place)).collect::<Vec<_>>();
        let new = admit(&connections, "192.0.2.7").unwrap();
        assert_eq!(ended(), [false, false, true], "it has never asked");
        let newer = admit(&connections, "198.51.100.8").unwrap();
        assert_eq!(ended(), [false, true, true], "it has its answer");
        let (_new, _newer) = (new.begin(), newer.begin());
        assert!(admit(&connections, "192.0.2.9").is_none(), "requests under way are not ended");
        drop(places);
        assert_eq!(connections.open().len(), 3, "the places of those that were ended are taken");
        drop(busy);
        assert_eq!(connections.open().len(), 2);
    }

    #[test]
    fn an_address_that_asks_for_nothing_gets_a_part_of_its_share() {
        let connections = connections(100, 10);
        let silent: Vec<_> = std::iter::from_fn(|| admit(&connections, "192.0.2.1")).collect();
        assert_eq!(silent.len(), 7);
        let _under_way: Vec<_> = silent.iter().map(Place::begin).collect();
        let more: Vec<_> = std::iter::from_fn(|| admit(&connections, "192.0.2.1")).collect();
        assert_eq!(more.len(), 3);
    }

    #[test]
    fn neighbouring_addresses_share_their_places() {
        let networks: [&dyn Fn(u8) -> String; 4] = [
            &|number| format!("192.0.2.{number}"),
            &|number| format!("2001:db8:1:2300::{number}"),
            &|number| format!("2001:db8:1:23{number}::1"),
            &|number| format!("2001:db8:1:{number}00::1"),
        ];
        for network in networks {
            let connections = connections(1000, 9);
            let held: Vec<_> = (10..99).filter_map(|at| admit(&connections, &network(at))).collect();
            assert_eq!(held.len(), 6, "{}", network(10));
            assert!(admit(&connections, "198.51.100.1").is_some());
        }
    }

    #[test]
    fn an_address_that_becomes_known_later_counts_from_then_on() {
        let connections = connections(3, 1);
        let (first, second) = (connections.admit(None).unwrap(), connections.admit(None).unwrap());
        let address = "192.0.2.1".parse().unwrap();
        assert!(first.assign(address));
        assert!(!second.assign(address));
        drop(second);
        assert!(admit(&connections, "192.0.2.1").is_none());
        drop(first);
        assert!(admit(&connections, "192.0.2.1").is_some());
    }
}
