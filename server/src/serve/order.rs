//! The open connections, and the order in which they make room for others.
//!
//! A place: where one network holds most, and more than the newcomer's network would, it loses the connection
//! that has waited longest without a request under way, or else the newest one that moves nothing. Where no
//! network holds more, the connection that has waited longest makes room, or else the one that has moved
//! nothing for longest.
//!
//! The memory of grown buffers: first a connection that has its answer and asks for nothing, then one of the
//! network that holds most, then any that moves nothing. In each case, the one that has moved nothing for
//! longest, and never one of a network that holds less than the newcomer's.

use super::connections::Link;
use crate::domain::devices::network::{Enclosing, Network};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
    time::Duration,
};

/// The time after which a connection that moves nothing makes room for one of a network that holds as many.
const STALLED: Duration = Duration::from_secs(3);

/// The number of a connection, above those of all earlier ones.
pub(super) type Number = u64;

/// The connections that have their places.
#[derive(Default)]
pub(super) struct Open {
    by_number: HashMap<Number, Connection>,
    by_network: HashMap<Enclosing, Count>,
    /// The connections of each widest network.
    groups: HashMap<Enclosing, Group>,
    /// The widest networks, by the number of their connections.
    sizes: BTreeSet<(usize, Enclosing)>,
    /// The connections without a request under way, in the order in which they began to wait.
    waiting: BTreeMap<u64, Number>,
    /// The connections whose buffers have grown.
    large: BTreeSet<Number>,
    latest: u64,
}

/// A connection that has its place.
pub(super) struct Connection {
    pub(super) link: Arc<Link>,
    pub(super) address: Option<Network>,
    pub(super) is_before_a_request: bool,
    /// Its turn, while it waits without a request under way.
    pub(super) turn: Option<u64>,
    pub(super) is_large: bool,
}

/// The connections of one network.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Count {
    pub(super) all: usize,
    pub(super) before_a_request: usize,
}

#[derive(Default)]
struct Group {
    waiting: BTreeMap<u64, Number>,
    busy: BTreeSet<Number>,
}

impl Group {
    fn len(&self) -> usize {
        self.waiting.len() + self.busy.len()
    }
}

impl Connection {
    /// Tells whether it has its answer, and asks for nothing.
    const fn is_idle(&self) -> bool {
        self.turn.is_some() && !self.is_before_a_request
    }
}

impl Open {
    /// Draws a number above all before it.
    pub(super) fn draw_number(&mut self) -> u64 {
        self.latest += 1;
        self.latest
    }

    pub(super) fn len(&self) -> usize {
        self.by_number.len()
    }

    pub(super) fn get(&self, number: Number) -> Option<&Connection> {
        self.by_number.get(&number)
    }

    /// Returns the number of connections of a network, or of an address.
    pub(super) fn count(&self, network: Enclosing) -> Count {
        self.by_network.get(&network).copied().unwrap_or_default()
    }

    /// Adds a connection.
    pub(super) fn insert(&mut self, number: Number, connection: Connection) {
        if let Some(turn) = connection.turn {
            self.waiting.insert(turn, number);
        }
        if connection.is_large {
            self.large.insert(number);
        }
        for network in connection.address.into_iter().flat_map(networks) {
            let own = self.by_network.entry(network).or_default();
            own.all += 1;
            own.before_a_request += usize::from(connection.is_before_a_request);
        }
        if let Some(widest) = connection.address.map(widest_network) {
            let group = self.groups.entry(widest).or_default();
            self.sizes.remove(&(group.len(), widest));
            match connection.turn {
                Some(turn) => drop(group.waiting.insert(turn, number)),
                None => drop(group.busy.insert(number)),
            }
            self.sizes.insert((group.len(), widest));
        }
        self.by_number.insert(number, connection);
    }

    /// Takes a connection off; `None` if it has lost its place already.
    pub(super) fn take_off(&mut self, number: Number) -> Option<Connection> {
        let connection = self.by_number.remove(&number)?;
        if let Some(turn) = connection.turn {
            self.waiting.remove(&turn);
        }
        self.large.remove(&number);
        for network in connection.address.into_iter().flat_map(networks) {
            match self.by_network.get_mut(&network) {
                Some(own) if own.all > 1 => {
                    own.all -= 1;
                    own.before_a_request -= usize::from(connection.is_before_a_request);
                }
                _ => drop(self.by_network.remove(&network)),
            }
        }
        if let Some(widest) = connection.address.map(widest_network)
            && let Some(group) = self.groups.get_mut(&widest)
        {
            self.sizes.remove(&(group.len(), widest));
            match connection.turn {
                Some(turn) => drop(group.waiting.remove(&turn)),
                None => drop(group.busy.remove(&number)),
            }
            if group.len() == 0 {
                self.groups.remove(&widest);
            } else {
                self.sizes.insert((group.len(), widest));
            }
        }
        Some(connection)
    }

    /// Changes a connection that still has its place.
    pub(super) fn change(&mut self, number: Number, change: impl FnOnce(&mut Connection)) {
        if let Some(mut connection) = self.take_off(number) {
            change(&mut connection);
            self.insert(number, connection);
        }
    }

    /// Chooses the connection whose place a newcomer gets.
    pub(super) fn choose_for_place(&self, newcomer: Option<Network>, now: Duration) -> Option<Number> {
        let group = |network: &Enclosing| self.groups.get(network);
        let own = newcomer.and_then(|address| group(&widest_network(address))).map_or(0, Group::len);
        if let Some((size, largest)) = self.sizes.last()
            && *size > own + 1
        {
            let largest = group(largest)?;
            let waiting = largest.waiting.values().next();
            let stalled = || largest.busy.iter().rev().find(|number| self.has_stalled(**number, now));
            return waiting.or_else(stalled).or_else(|| largest.busy.last()).copied();
        }
        if own == 0 {
            let waiting = self.waiting.values().next().copied();
            return waiting.or_else(|| self.choose_longest_stalled(self.by_number.keys(), now));
        }
        let first = (own, (IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));
        let as_large = || self.sizes.range(first..).filter_map(|(_, network)| group(network));
        let waiting = as_large().filter_map(|group| group.waiting.first_key_value()).min();
        let busy = || self.choose_longest_stalled(as_large().flat_map(|group| &group.busy), now);
        waiting.map(|(_, number)| *number).or_else(busy)
    }

    /// Chooses the connection whose grown buffers give way to those of another.
    pub(super) fn choose_for_memory(&self, newcomer: Option<Network>, now: Duration) -> Option<Number> {
        let mut held: HashMap<Option<Enclosing>, Vec<&Number>> = HashMap::new();
        for number in &self.large {
            let address = self.get(*number)?.address;
            held.entry(address.map(widest_network)).or_default().push(number);
        }
        let own = held.get(&newcomer.map(widest_network)).map_or(0, Vec::len);
        held.retain(|_, numbers| numbers.len() >= own);
        let all = || held.values().flatten().copied();
        let is_idle = |number: &&Number| self.get(**number).is_some_and(Connection::is_idle);
        if let Some(idle) = self.choose_slowest(all().filter(is_idle)) {
            return Some(idle);
        }
        let largest = held.values().max_by_key(|numbers| numbers.len())?;
        if largest.len() > own + 1 {
            return self.choose_slowest(largest.iter().copied());
        }
        self.choose_longest_stalled(all(), now)
    }

    fn choose_longest_stalled<'a>(
        &self,
        among: impl Iterator<Item = &'a Number>,
        now: Duration,
    ) -> Option<Number> {
        self.choose_slowest(among.filter(|number| self.has_stalled(**number, now)))
    }

    /// Chooses the connection that has moved nothing for longest.
    fn choose_slowest<'a>(&self, among: impl Iterator<Item = &'a Number>) -> Option<Number> {
        among
            .filter_map(|number| Some((self.get(*number)?.link.last_progress(), *number)))
            .min()
            .map(|(_, number)| number)
    }

    fn has_stalled(&self, number: Number, now: Duration) -> bool {
        let last = |connection: &Connection| connection.link.last_progress();
        self.get(number).is_some_and(|connection| now.saturating_sub(last(connection)) >= STALLED)
    }
}

/// Returns the networks that a connection counts for. Each has the share of one address: that is most of all
/// connections already, so that a school may sit behind it.
pub(super) fn networks(address: Network) -> impl Iterator<Item = Enclosing> {
    std::iter::once((address.address(), 128)).chain(address.enclosing_networks().map(|(network, _)| network))
}

fn widest_network(address: Network) -> Enclosing {
    networks(address).last().unwrap_or((address.address(), 128))
}

#[cfg(test)]
impl Open {
    pub(super) fn is_empty(&self) -> bool {
        let no_groups = self.groups.is_empty() && self.sizes.is_empty() && self.by_network.is_empty();
        no_groups && self.by_number.is_empty() && self.waiting.is_empty() && self.large.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    const START: Duration = Duration::ZERO;

    /// Adds a connection: `B` is busy, `H` is in its handshake, `I` has its answer.
    fn add(open: &mut Open, at: &str, state: char, is_large: bool) -> Number {
        let number = open.draw_number();
        let turn = if state == 'B' { None } else { Some(open.draw_number()) };
        let address = (!at.is_empty()).then(|| network(at));
        let is_before_a_request = state == 'H';
        open.insert(
            number,
            Connection {
                link: Arc::new(Link::new(Instant::now())),
                address,
                is_before_a_request,
                turn,
                is_large,
            },
        );
        number
    }

    fn network(at: &str) -> Network {
        Network::of(at.parse().unwrap())
    }

    #[test]
    fn the_largest_network_loses_what_waits_then_the_newest_that_moves_nothing() {
        let (mut open, now) = (Open::default(), STALLED);
        let [oldest, newer] = [(); 2].map(|()| add(&mut open, "192.0.2.1", 'B', false));
        let moves = add(&mut open, "192.0.2.2", 'B', false);
        let newest = add(&mut open, "192.0.2.2", 'B', false);
        for number in [moves, newest] {
            open.get(number).unwrap().link.note_progress_at(now);
        }
        let idle = add(&mut open, "192.0.2.3", 'I', false);
        add(&mut open, "198.51.100.1", 'H', false);
        for expected in [idle, newer, oldest, newest] {
            assert_eq!(open.choose_for_place(Some(network("203.0.113.1")), now), Some(expected));
            open.take_off(expected).unwrap();
        }
        assert_eq!(open.len(), 2);
        assert!(open.get(moves).is_some());
    }

    #[test]
    fn where_all_networks_hold_as_many_what_moves_nothing_makes_room_after_a_while() {
        let (mut open, now) = (Open::default(), START);
        let oldest = add(&mut open, "192.0.2.1", 'B', false);
        add(&mut open, "198.51.100.1", 'B', false);
        for newcomer in ["203.0.113.1", "192.0.2.9"] {
            assert_eq!(open.choose_for_place(Some(network(newcomer)), now), None, "requests are under way");
        }
        let now = now + STALLED;
        open.get(oldest).unwrap().link.note_progress_at(now);
        for newcomer in ["203.0.113.1", "192.0.2.9"] {
            assert_ne!(open.choose_for_place(Some(network(newcomer)), now), Some(oldest));
            assert!(open.choose_for_place(Some(network(newcomer)), now).is_some());
        }
    }

    #[test]
    fn connections_without_an_address_make_room_too() {
        let (mut open, now) = (Open::default(), START);
        let oldest = add(&mut open, "", 'I', false);
        add(&mut open, "", 'I', false);
        assert_eq!(open.choose_for_place(None, now), Some(oldest));
        assert_eq!(open.choose_for_place(Some(network("192.0.2.1")), now), Some(oldest));
    }

    #[test]
    fn grown_buffers_give_way_idle_ones_first_then_those_of_whoever_holds_most() {
        let (mut open, now) = (Open::default(), START);
        let mut busy: Vec<_> = (0..3).map(|_| add(&mut open, "192.0.2.1", 'B', true)).collect();
        let idle = add(&mut open, "198.51.100.1", 'I', true);
        let newcomer = Some(network("203.0.113.1"));
        assert_eq!(open.choose_for_memory(newcomer, now), Some(idle));
        assert_eq!(open.choose_for_memory(Some(network("192.0.2.9")), now), None, "it holds most itself");
        open.take_off(idle);
        let now = now + Duration::from_secs(1);
        open.get(busy[0]).unwrap().link.note_progress_at(now);
        assert_eq!(open.choose_for_memory(newcomer, now), Some(busy[1]));
        open.take_off(busy.remove(1));
        assert_eq!(open.choose_for_memory(newcomer, now), Some(busy[1]));
        open.take_off(busy.remove(1));
        assert_eq!(open.choose_for_memory(newcomer, now), None, "it moves something");
        let now = now + STALLED;
        assert_eq!(open.choose_for_memory(newcomer, now), Some(busy[0]));
        open.take_off(busy[0]);
        assert!(open.is_empty());
    }

    #[test]
    fn behind_a_proxy_grown_buffers_that_move_nothing_give_way() {
        let (mut open, now) = (Open::default(), START);
        let held: Vec<_> = (0..2).map(|_| add(&mut open, "", 'B', true)).collect();
        assert_eq!(open.choose_for_memory(None, now), None);
        let now = now + STALLED;
        open.get(held[0]).unwrap().link.note_progress_at(now);
        assert_eq!(open.choose_for_memory(None, now), Some(held[1]));
    }
}
