//! The limits on connections: in all, from one address, and from its wider networks.
//!
//! Where all places are taken, a new connection gets one of the network that holds most, if that is more than
//! its own: that of the connection that has waited longest without a request under way, or else the oldest. So
//! whoever makes requests that never end keeps nobody out who has fewer connections. Before its first request, a
//! connection counts against a smaller limit, too: it has cost its client nothing until then.

use crate::{
    config::Limits,
    domain::network::{Enclosing, Network},
    route::Budget,
};
use futures_util::task::AtomicWaker;
use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    task::Context,
};

/// The memory for the buffers of devices' connections that receive much at once; other listeners have parts as
/// large as their parts of the places.
const BUFFERS_BYTES: usize = 24 * 1024 * 1024;

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
}

#[derive(Default)]
struct Open {
    total: usize,
    by_network: HashMap<Enclosing, Count>,
    /// The connections without a request under way, in the order in which they began to wait.
    waiting: BTreeMap<u64, (Arc<Link>, Option<Network>)>,
    /// All connections with an address by their widest networks, oldest first.
    held: HashMap<Enclosing, BTreeMap<u64, Arc<Link>>>,
    next_turn: u64,
}

/// The connections of one network.
#[derive(Default)]
struct Count {
    all: usize,
    before_a_request: usize,
}

/// The link between a place and the stream of its connection.
#[derive(Default)]
pub(super) struct Link {
    ended: AtomicBool,
    waker: AtomicWaker,
    /// The number of bytes that have arrived since the last request began.
    received_bytes: AtomicUsize,
    is_large: AtomicBool,
    /// Its turn, while it waits without a request under way; otherwise 0.
    turn: AtomicU64,
    /// Its number among those of its network; 0 without one.
    number: AtomicU64,
}

/// The place of one connection, released on drop.
pub(super) struct Place {
    connections: Arc<Connections>,
    link: Arc<Link>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    address: Option<Network>,
    is_before_a_request: bool,
    /// Its number among those of its network.
    held: Option<u64>,
}

/// A request under way, until it is dropped: no other connection gets its place.
pub(super) struct UnderWay(Arc<Place>);

impl Listeners {
    pub(super) fn new(limits: &Limits) -> Self {
        let part = |part: usize| {
            Arc::new(Connections {
                most: (limits.connections / part).max(1),
                most_per_address: limits.connections_per_address,
                buffers: Budget::new(BUFFERS_BYTES / part),
                open: Mutex::default(),
            })
        };
        Self { devices: part(1), plain: part(4), metrics: part(32), api: part(4) }
    }
}

impl Connections {
    /// Returns the memory for the buffers of connections.
    pub(super) const fn buffers(&self) -> &Arc<Budget> {
        &self.buffers
    }

    /// Takes a place for one more connection; `None` if its address has used up its share, or if every other
    /// connection has a request under way and no network holds more than its own. Without an address it counts
    /// for nobody until [`Place::assign`].
    pub(super) fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Option<Place> {
        let address = address.map(Network::of);
        let mut open = self.open();
        if address.is_some_and(|address| !self.has_share(&open, address)) {
            return None;
        }
        if open.total < self.most {
            open.total += 1;
        } else {
            open.choose_to_end(address)?.end();
        }
        let link = Arc::default();
        let held = address.map(|address| open.add(address, &link));
        open.wait(&link, address);
        drop(open);
        let state = State { address, is_before_a_request: true, held };
        Some(Place { connections: self.clone(), link, state: Mutex::new(state) })
    }

    fn has_share(&self, open: &Open, address: Network) -> bool {
        let (most, silent) = (self.most_per_address, (self.most_per_address * 2).div_ceil(3));
        networks(address).all(|network| {
            let own = open.by_network.get(&network);
            own.is_none_or(|own| own.all < most && own.before_a_request < silent)
        })
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn wait(&mut self, link: &Arc<Link>, network: Option<Network>) {
        let turn = self.draw_number();
        link.turn.store(turn, Ordering::Release);
        self.waiting.insert(turn, (link.clone(), network));
    }

    /// Draws a number above all before it, and above 0.
    fn draw_number(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    /// Counts a connection, and returns its number among those of its widest network.
    fn add(&mut self, address: Network, link: &Arc<Link>) -> u64 {
        for network in networks(address) {
            let own = self.by_network.entry(network).or_default();
            own.all += 1;
            own.before_a_request += 1;
        }
        let number = self.draw_number();
        link.number.store(number, Ordering::Release);
        self.held.entry(widest_network(address)).or_default().insert(number, link.clone());
        number
    }

    /// Returns the number of connections of a network.
    fn count_held(&self, network: Option<Network>) -> usize {
        network.and_then(|address| self.held.get(&widest_network(address))).map_or(0, BTreeMap::len)
    }

    /// Chooses a connection whose place a newcomer gets: of the network that holds most, if that is more than
    /// the newcomer's network would hold, and otherwise one that waits, if its network holds as many as the
    /// newcomer's.
    fn choose_to_end(&mut self, newcomer: Option<Network>) -> Option<Arc<Link>> {
        let own = self.count_held(newcomer);
        let largest = self.held.values().max_by_key(|held| held.len())?;
        let chosen = if largest.len() > own + 1 {
            largest.values().find(|link| link.waits()).or_else(|| largest.values().next()).cloned()
        } else {
            let mut waiting = self.waiting.values();
            waiting.find(|(_, network)| self.count_held(*network) >= own).map(|(link, _)| link.clone())
        };
        let chosen = chosen?;
        self.waiting.remove(&chosen.turn.swap(0, Ordering::AcqRel));
        // It counts no more, although it is there until its task notices.
        let number = chosen.number.load(Ordering::Acquire);
        self.held.retain(|_, held| {
            held.remove(&number);
            !held.is_empty()
        });
        Some(chosen)
    }

    /// Counts the first request of a connection.
    fn begin(&mut self, address: Network) {
        for network in networks(address) {
            if let Some(own) = self.by_network.get_mut(&network) {
                own.before_a_request = own.before_a_request.saturating_sub(1);
            }
        }
    }

    fn remove(&mut self, address: Network, number: Option<u64>) {
        let widest = widest_network(address);
        if let (Some(held), Some(number)) = (self.held.get_mut(&widest), number) {
            held.remove(&number);
            if held.is_empty() {
                self.held.remove(&widest);
            }
        }
        for network in networks(address) {
            match self.by_network.get_mut(&network) {
                Some(own) if own.all > 1 => own.all -= 1,
                _ => drop(self.by_network.remove(&network)),
            }
        }
    }
}

/// Returns the networks that a connection counts for. Each has the share of one address: that is most of all
/// connections already, so that a school may sit behind it.
fn networks(address: Network) -> impl Iterator<Item = Enclosing> {
    std::iter::once((address.address(), 128)).chain(address.enclosing_networks().map(|(network, _)| network))
}

fn widest_network(address: Network) -> Enclosing {
    networks(address).last().unwrap_or((address.address(), 128))
}

impl Link {
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether another connection has got the place.
    pub(super) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Tells whether another connection has got the place, and wakes the task when one gets it.
    pub(super) fn poll_ended(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.is_ended()
    }

    fn waits(&self) -> bool {
        self.turn.load(Ordering::Acquire) != 0
    }

    /// Whether its buffers have taken more memory than every connection has.
    pub(super) fn is_large(&self) -> bool {
        self.is_large.load(Ordering::Relaxed)
    }

    pub(super) fn set_large(&self) {
        self.is_large.store(true, Ordering::Relaxed);
    }

    pub(super) fn received_bytes(&self) -> usize {
        self.received_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn receive(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Place {
    pub(super) const fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// Returns the memory for the buffers of this connection and others.
    pub(super) fn buffers(&self) -> &Arc<Budget> {
        self.connections.buffers()
    }

    /// Assigns the place to an address that became known later. Returns whether the address has a share left.
    pub(super) fn assign(&self, address: IpAddr) -> bool {
        let address = Network::of(address);
        let mut open = self.connections.open();
        let has_share = self.connections.has_share(&open, address);
        if has_share {
            let number = open.add(address, &self.link);
            let mut state = self.state();
            (state.address, state.held) = (Some(address), Some(number));
            if let Some((_, network)) = open.waiting.get_mut(&self.link.turn.load(Ordering::Acquire)) {
                *network = Some(address);
            }
        }
        has_share
    }

    /// Notes that the head of a request has arrived.
    pub(super) fn begin(self: &Arc<Self>) -> UnderWay {
        self.link.received_bytes.store(0, Ordering::Relaxed);
        let mut open = self.connections.open();
        let mut state = self.state();
        open.waiting.remove(&self.link.turn.swap(0, Ordering::AcqRel));
        if std::mem::take(&mut state.is_before_a_request)
            && let Some(address) = state.address
        {
            open.begin(address);
        }
        UnderWay(self.clone())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let Self(place) = self;
        let mut open = place.connections.open();
        if !place.link.is_ended() {
            open.wait(&place.link, place.state().address);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open();
        let state = std::mem::take(&mut *self.state());
        open.waiting.remove(&self.link.turn.swap(0, Ordering::AcqRel));
        // Of a connection that was ended, another one has the place already.
        if !self.link.is_ended() {
            open.total = open.total.saturating_sub(1);
        }
        if let Some(address) = state.address {
            if state.is_before_a_request {
                open.begin(address);
            }
            open.remove(address, state.held);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize, most_per_address: usize) -> Arc<Connections> {
        let (buffers, open) = (Budget::new(0), Mutex::default());
        Arc::new(Connections { most, most_per_address, buffers, open })
    }

    fn admit(connections: &Arc<Connections>, address: &str) -> Option<Arc<Place>> {
        connections.admit(Some(address.parse().unwrap())).map(Arc::new)
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
        let open = connections.open();
        assert_eq!((open.total, open.by_network.len(), open.waiting.len(), open.held.len()), (0, 0, 0, 0));
    }

    #[test]
    fn whoever_holds_most_makes_room_even_for_requests_that_never_end() {
        let connections = connections(6, 6);
        let flood = |address: &str, count| -> Vec<_> {
            let places = (0..count).map(|_| admit(&connections, address).unwrap());
            places.map(|place| (place.begin(), place)).collect()
        };
        let (four, two) = (flood("192.0.2.1", 4), flood("198.51.100.1", 2));
        let ended =
            |of: &[(UnderWay, Arc<Place>)]| of.iter().filter(|(_, place)| place.link.is_ended()).count();
        let mut devices = Vec::new();
        for count in 1..=2 {
            let device = admit(&connections, "203.0.113.1").unwrap();
            devices.push((device.begin(), device));
            assert_eq!((ended(&four), ended(&two)), (count, 0), "the largest network loses its oldest");
        }
        assert!(admit(&connections, "203.0.113.9").is_none(), "all networks hold as many");
        assert!(admit(&connections, "192.0.2.9").is_none());
        assert_eq!(connections.open().total, 6);
        drop((four, two, devices));
        let open = connections.open();
        assert_eq!((open.total, open.held.len()), (0, 0));
    }

    #[test]
    fn newcomers_that_arrive_together_do_not_push_out_each_other() {
        let connections = connections(20, 20);
        let flood = (0..20).map(|_| admit(&connections, "192.0.2.1").unwrap());
        let _busy: Vec<_> = flood.map(|place| (place.begin(), place)).collect();
        let together: Vec<_> =
            (1..=9).map(|network| admit(&connections, &format!("203.0.{network}.1")).unwrap()).collect();
        assert!(together.iter().all(|place| !place.link.is_ended()));
        assert!(admit(&connections, "192.0.2.2").is_none(), "who holds most pushes out nobody");
        assert!(together.iter().all(|place| !place.link.is_ended()));
    }

    #[test]
    fn a_new_connection_gets_the_place_of_the_one_that_waits_longest() {
        let connections = connections(3, 10);
        let places: Vec<_> =
            ["192.0.2.1", "198.51.100.1", "203.0.113.1"].map(|at| admit(&connections, at).unwrap()).into();
        let busy = places[0].begin();
        let answered = places[1].begin();
        drop(answered);
        let ended = || places.iter().map(|place| place.link.is_ended()).collect::<Vec<_>>();
        let new = admit(&connections, "192.0.2.7").unwrap();
        assert_eq!(ended(), [false, false, true], "it has never asked");
        let newer = admit(&connections, "198.51.100.8").unwrap();
        assert_eq!(ended(), [false, true, true], "it has its answer");
        let (_new, _newer) = (new.begin(), newer.begin());
        assert!(admit(&connections, "192.0.2.9").is_none(), "requests under way are not ended");
        drop(places);
        assert_eq!(connections.open().total, 3, "the places of those that were ended are taken");
        drop(busy);
        assert_eq!(connections.open().total, 2);
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
