//! The shares of requests in limited resources: bytes of memory, and places for passing files.
//!
//! Each holder may hold as much as is still free: alone half of all, beside one other a third. A known
//! caller counts for their company, so that further accounts and addresses give no further share; and for
//! their address and its wider networks, so that further companies and neighbouring addresses do not either.
//!
//! Many holders together could leave next to nothing. There is therefore a reserve for the first bytes of as
//! many reservations as there are connections, which is all that a device's handshake needs: nobody's share
//! counts there.

use super::AddressKey;
use crate::domain::devices::network::Enclosing;
use axum::body::Bytes;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::timeout};
use unbox_common::ids::{AccountId, CompanyId};

/// A holder of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// Everybody behind one address.
    Address(AddressKey),
    /// Everybody in a network that is wider than a subscriber's.
    Network(Enclosing),
    /// A company, with all of its accounts.
    Company(CompanyId),
    /// An account of the operator.
    Account(AccountId),
}

/// The holders of a request's memory: its address, and its name once that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Holders {
    pub(crate) address: Option<AddressKey>,
    pub(crate) known: Option<Holder>,
}

/// The reason why nothing is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoneFree {
    /// The holder has its share already.
    Share,
    /// All holders together have all of it.
    All,
}

/// A limited resource.
pub(crate) struct Budget {
    /// The part that holders share.
    shared_bytes: usize,
    /// The part for the first bytes of each reservation.
    reserve_bytes: usize,
    /// The number of a reservation's first bytes that come from the reserve.
    first_bytes: usize,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Default)]
struct Held {
    shared_bytes: usize,
    reserve_bytes: usize,
    by_holder: HashMap<Holder, usize>,
}

/// A part of the budget; it is free again when dropped.
pub(crate) struct Reservation {
    budget: Arc<Budget>,
    holders: Holders,
    shared_bytes: usize,
    reserve_bytes: usize,
}

impl Holders {
    /// Returns the known holder alone, whatever the address.
    pub(super) const fn without_address(self) -> Self {
        Self { address: None, known: self.known }
    }

    /// Returns each holder, and the multiple of one holder's share that it may have.
    fn holders_and_shares(self) -> impl Iterator<Item = (Holder, usize)> {
        let wider = self.address.into_iter().flat_map(AddressKey::enclosing_networks);
        let wider = wider.map(|(network, times)| (Holder::Network(network), times));
        [self.address.map(Holder::Address), self.known].into_iter().flatten().map(|one| (one, 1)).chain(wider)
    }
}

impl Budget {
    /// Makes a budget that holders share.
    pub(crate) fn new(shared_bytes: usize) -> Arc<Self> {
        Self::with_reserve(shared_bytes, 0, 0)
    }

    /// Makes a budget that has, beside what holders share, the first bytes of this many reservations at once.
    pub(super) fn with_reserve(shared_bytes: usize, first_bytes: usize, reservations: usize) -> Arc<Self> {
        Arc::new(Self {
            shared_bytes,
            reserve_bytes: first_bytes.saturating_mul(reservations),
            first_bytes,
            held: Mutex::default(),
            freed: Notify::new(),
        })
    }

    /// Opens a reservation that holds nothing yet.
    pub(super) fn open(self: &Arc<Self>, holders: Holders) -> Reservation {
        Reservation { budget: self.clone(), holders, shared_bytes: 0, reserve_bytes: 0 }
    }

    /// Reserves memory at once, or not at all.
    pub(super) fn reserve(self: &Arc<Self>, holders: Holders, bytes: usize) -> Result<Reservation, NoneFree> {
        let mut reservation = self.open(holders);
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Reserves memory as soon as there is some, or returns after `patience` why there was none.
    pub(crate) async fn wait(
        self: &Arc<Self>,
        holders: Holders,
        bytes: usize,
        patience: Duration,
    ) -> Result<Reservation, NoneFree> {
        let mut missing = NoneFree::All;
        let wait = async {
            loop {
                // It listens before it looks, so that nothing that is freed in between is missed.
                let mut freed = std::pin::pin!(self.freed.notified());
                freed.as_mut().enable();
                match self.reserve(holders, bytes) {
                    Ok(reservation) => return reservation,
                    Err(why) => missing = why,
                }
                freed.await;
            }
        };
        let waited = timeout(patience, wait).await;
        waited.map_err(|_| missing)
    }

    /// Returns the bytes that are held now, for the metrics.
    pub(super) fn held_bytes(&self) -> usize {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.shared_bytes.saturating_add(held.reserve_bytes)
    }
}

impl Held {
    fn add(&mut self, holders: Holders, bytes: usize) {
        self.shared_bytes = self.shared_bytes.saturating_add(bytes);
        for (holder, _) in holders.holders_and_shares() {
            *self.by_holder.entry(holder).or_default() += bytes;
        }
    }
}

impl Reservation {
    /// Reserves more memory.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), NoneFree> {
        let budget = &self.budget;
        let mut held = budget.held.lock().unwrap_or_else(PoisonError::into_inner);
        let from_reserve = budget
            .first_bytes
            .saturating_sub(self.reserve_bytes)
            .min(budget.reserve_bytes.saturating_sub(held.reserve_bytes))
            .min(bytes);
        let shared = bytes - from_reserve;
        if shared > 0 {
            let together = held.shared_bytes.saturating_add(shared);
            let free = budget.shared_bytes.checked_sub(together).ok_or(NoneFree::All)?;
            let has_share = |(holder, times): (Holder, usize)| {
                let own = held.by_holder.get(&holder).copied().unwrap_or_default();
                own.saturating_add(shared) <= free.saturating_mul(times)
            };
            if !self.holders.holders_and_shares().all(has_share) {
                return Err(NoneFree::Share);
            }
            held.add(self.holders, shared);
        }
        held.reserve_bytes += from_reserve;
        drop(held);
        self.shared_bytes += shared;
        self.reserve_bytes += from_reserve;
        Ok(())
    }

    /// Opens another reservation for the same holders, empty.
    pub(super) fn open_another(&self) -> Self {
        self.budget.open(self.holders)
    }

    /// Reserves at least this many bytes, even if they are not free: for an answer that exists already, and
    /// must not be lost.
    pub(super) fn cover(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.shared_bytes + self.reserve_bytes);
        if more > 0 && self.grow(more).is_err() {
            self.budget.held.lock().unwrap_or_else(PoisonError::into_inner).add(self.holders, more);
            self.shared_bytes += more;
        }
    }

    /// Returns the bytes, which hold this memory until they are dropped.
    pub(super) fn with_bytes(mut self, bytes: Vec<u8>) -> Bytes {
        self.cover(bytes.len());
        Bytes::from_owner(HeldBytes { bytes, _memory: self })
    }
}

struct HeldBytes {
    bytes: Vec<u8>,
    _memory: Reservation,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // Nothing is freed, so nobody is woken: least of all the one who just found nothing.
        if self.shared_bytes + self.reserve_bytes == 0 {
            return;
        }
        let mut held = self.budget.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.reserve_bytes = held.reserve_bytes.saturating_sub(self.reserve_bytes);
        held.shared_bytes = held.shared_bytes.saturating_sub(self.shared_bytes);
        for (holder, _) in self.holders.holders_and_shares() {
            match held.by_holder.get_mut(&holder) {
                Some(own) if *own > self.shared_bytes => *own -= self.shared_bytes,
                _ => drop(held.by_holder.remove(&holder)),
            }
        }
        drop(held);
        self.budget.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holders_at(address: &str) -> Holders {
        Holders { address: Some(AddressKey::of(address.parse().unwrap())), known: None }
    }

    fn company(id: i64, address: &str) -> Holders {
        Holders { known: Some(Holder::Company(CompanyId::new(id).unwrap())), ..holders_at(address) }
    }

    #[test]
    fn one_holder_leaves_half_and_many_leave_some_for_the_next() {
        let budget = Budget::new(120);
        let first: Vec<_> = std::iter::from_fn(|| budget.reserve(holders_at("192.0.2.1"), 10).ok()).collect();
        assert_eq!(first.len(), 6);
        assert_eq!(budget.reserve(holders_at("192.0.2.1"), 10).err(), Some(NoneFree::Share));
        let second: Vec<_> =
            std::iter::from_fn(|| budget.reserve(holders_at("198.51.100.2"), 10).ok()).collect();
        assert_eq!(second.len(), 3);
        assert!(budget.reserve(holders_at("203.0.113.3"), 10).is_ok());
        assert_eq!(budget.reserve(holders_at("203.0.113.3"), 200).err(), Some(NoneFree::All));
        drop((first, second));
        assert_eq!(budget.held_bytes(), 0);
        assert!(budget.held.lock().unwrap().by_holder.is_empty());
    }

    #[test]
    fn further_addresses_and_further_companies_give_no_further_share() {
        let budget = Budget::new(120);
        let addresses = (0..20).map(|at| company(7, &format!("192.0.2.{at}")));
        let held: Vec<_> = addresses.filter_map(|holders| budget.reserve(holders, 10).ok()).collect();
        assert_eq!(held.len(), 6);
        drop(held);
        let companies = (1..=20).map(|id| company(id, "192.0.2.1"));
        let held: Vec<_> = companies.filter_map(|holders| budget.reserve(holders, 10).ok()).collect();
        assert_eq!(held.len(), 6);
        assert!(budget.reserve(company(21, "198.51.100.2"), 10).is_ok(), "others are not kept out");
    }

    #[test]
    fn neighbouring_addresses_share_and_leave_some_for_the_next_network() {
        for (network, expected) in [("192.0.2.", 80), ("2001:db8:1:2300::", 60), ("2001:db8:1:23", 80)] {
            let budget = Budget::new(120);
            let mut held = Vec::new();
            for number in 1..=99 {
                let address = match network {
                    "2001:db8:1:23" => format!("{network}{number:02}::1"),
                    _ => format!("{network}{number}"),
                };
                held.extend(std::iter::from_fn(|| budget.reserve(holders_at(&address), 1).ok()));
            }
            assert_eq!(budget.held_bytes(), expected, "{network}");
            assert!(budget.reserve(holders_at("198.51.100.2"), 10).is_ok());
        }
        let budget = Budget::new(120);
        let addresses = (0..4096).map(|part| holders_at(&format!("2001:db8:1:{:x}::1", part * 16)));
        let held: Vec<_> = addresses.filter_map(|holders| budget.reserve(holders, 1).ok()).collect();
        assert_eq!(held.len(), 90, "a /48 leaves a quarter");
    }

    #[test]
    fn a_small_message_gets_its_memory_whatever_others_hold() {
        let budget = Budget::with_reserve(120, 10, 20);
        let mut held = Vec::new();
        for network in 0..16 {
            let mut all = budget.open(holders_at(&format!("198.51.{network}.1")));
            while all.grow(1).is_ok() {}
            held.push(all);
        }
        for holders in [holders_at("198.51.0.1"), holders_at("192.0.2.1"), company(7, "192.0.2.1")] {
            let mut small = budget.open(holders);
            assert_eq!([small.grow(6), small.grow(4)], [Ok(()); 2]);
            let before = budget.held_bytes();
            assert_eq!(small.grow(1), Err(NoneFree::Share), "more than the first bytes is shared");
            assert_eq!(budget.held_bytes(), before);
            held.push(small);
        }
        drop(held);
        assert_eq!(budget.held_bytes(), 0);
        assert!(budget.held.lock().unwrap().by_holder.is_empty());
    }

    #[test]
    fn a_reservation_that_cannot_grow_stays_as_it_was() {
        let budget = Budget::new(100);
        let mut held = budget.reserve(holders_at("192.0.2.1"), 30).unwrap();
        assert_eq!(held.grow(30), Err(NoneFree::Share));
        assert_eq!(budget.held_bytes(), 30);
        assert_eq!(held.grow(20), Ok(()));
        assert_eq!(budget.held_bytes(), 50);
    }

    #[test]
    fn bytes_hold_memory_until_they_are_gone() {
        let budget = Budget::new(100);
        let bytes = budget.reserve(holders_at("192.0.2.1"), 10).unwrap().with_bytes(vec![7; 90]);
        let again = bytes.clone();
        drop(bytes);
        assert_eq!((budget.held_bytes(), again.len()), (90, 90));
        drop(again);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[tokio::test]
    async fn a_request_waits_for_memory_and_not_for_ever() {
        let budget = Budget::new(100);
        let first = budget.reserve(holders_at("192.0.2.1"), 50).unwrap();
        let short = Duration::from_millis(5);
        assert_eq!(budget.wait(holders_at("192.0.2.1"), 10, short).await.err(), Some(NoneFree::Share));
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.wait(holders_at("192.0.2.1"), 10, Duration::from_mins(1)).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
    }
}
