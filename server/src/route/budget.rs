//! The shares of requests in limited resources: bytes of memory, and places for passing files.
//!
//! Each holder may hold as much as is still free: alone half of all, beside one other a third, and
//! a newcomer always finds some. A known caller counts for their company, so that further accounts
//! and addresses give no further share; and for their address, so that further companies do not
//! either.

use super::AddressKey;
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
pub(super) enum Holder {
    /// Everybody behind one address.
    Address(AddressKey),
    /// A company, with all of its accounts.
    Company(CompanyId),
    /// An account of the operator.
    Account(AccountId),
}

/// The holders of a request's memory: its address, and its name once that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Holders {
    pub(super) address: Option<AddressKey>,
    pub(super) known: Option<Holder>,
}

/// The reason why nothing is granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoneFree {
    /// The holder has its share already.
    Share,
    /// All holders together have all of it.
    All,
}

/// A limited resource.
pub(super) struct Budget {
    total_bytes: usize,
    held: Mutex<Held>,
    freed: Notify,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    by_holder: HashMap<Holder, usize>,
}

/// A part of the budget; it is free again when dropped.
pub(super) struct Reservation {
    budget: Arc<Budget>,
    holders: Holders,
    bytes: usize,
}

impl Holders {
    /// Returns the known holder alone, whatever the address.
    pub(super) const fn by_name(self) -> Self {
        Self { address: None, known: self.known }
    }

    fn each(self) -> impl Iterator<Item = Holder> {
        [self.address.map(Holder::Address), self.known].into_iter().flatten()
    }
}

impl Budget {
    pub(super) fn new(total_bytes: usize) -> Arc<Self> {
        Arc::new(Self { total_bytes, held: Mutex::default(), freed: Notify::new() })
    }

    /// Opens a reservation that holds nothing yet.
    pub(super) fn open(self: &Arc<Self>, holders: Holders) -> Reservation {
        Reservation { budget: self.clone(), holders, bytes: 0 }
    }

    /// Reserves memory at once, or not at all.
    pub(super) fn reserve(self: &Arc<Self>, holders: Holders, bytes: usize) -> Result<Reservation, NoneFree> {
        let mut reservation = self.open(holders);
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// Reserves memory as soon as there is some, or returns after `patience` why there was none.
    pub(super) async fn wait(
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
        self.held.lock().unwrap_or_else(PoisonError::into_inner).bytes
    }
}

impl Held {
    fn add(&mut self, holders: Holders, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        for holder in holders.each() {
            *self.by_holder.entry(holder).or_default() += bytes;
        }
    }
}

impl Reservation {
    /// Reserves more memory.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), NoneFree> {
        let mut held = self.budget.held.lock().unwrap_or_else(PoisonError::into_inner);
        let together = held.bytes.saturating_add(bytes);
        let free = self.budget.total_bytes.checked_sub(together).ok_or(NoneFree::All)?;
        let own = |holder| held.by_holder.get(&holder).copied().unwrap_or_default();
        if self.holders.each().any(|holder| own(holder).saturating_add(bytes) > free) {
            return Err(NoneFree::Share);
        }
        held.add(self.holders, bytes);
        drop(held);
        self.bytes += bytes;
        Ok(())
    }

    /// Opens another reservation for the same holders, empty.
    pub(super) fn another(&self) -> Self {
        self.budget.open(self.holders)
    }

    /// Reserves at least this many bytes, even if they are not free: for an answer that exists already, and
    /// must not be lost.
    pub(super) fn cover(&mut self, bytes: usize) {
        let more = bytes.saturating_sub(self.bytes);
        self.budget.held.lock().unwrap_or_else(PoisonError::into_inner).add(self.holders, more);
        self.bytes += more;
    }

    /// Returns the bytes, which hold this memory until they are dropped.
    pub(super) fn with(mut self, bytes: Vec<u8>) -> Bytes {
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
        if self.bytes == 0 {
            return;
        }
        let mut held = self.budget.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.bytes = held.bytes.saturating_sub(self.bytes);
        for holder in self.holders.each() {
            match held.by_holder.get_mut(&holder) {
                Some(own) if *own > self.bytes => *own -= self.bytes,
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

    fn at(address: &str) -> Holders {
        Holders { address: Some(AddressKey::of(address.parse().unwrap())), known: None }
    }

    fn company(id: i64, address: &str) -> Holders {
        Holders { known: Some(Holder::Company(CompanyId::new(id).unwrap())), ..at(address) }
    }

    #[test]
    fn one_holder_leaves_half_and_many_leave_some_for_the_next() {
        let budget = Budget::new(120);
        let first: Vec<_> = std::iter::from_fn(|| budget.reserve(at("192.0.2.1"), 10).ok()).collect();
        assert_eq!(first.len(), 6);
        assert_eq!(budget.reserve(at("192.0.2.1"), 10).err(), Some(NoneFree::Share));
        let second: Vec<_> = std::iter::from_fn(|| budget.reserve(at("192.0.2.2"), 10).ok()).collect();
        assert_eq!(second.len(), 3);
        assert!(budget.reserve(at("192.0.2.3"), 10).is_ok());
        assert_eq!(budget.reserve(at("192.0.2.3"), 200).err(), Some(NoneFree::All));
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
        assert!(budget.reserve(company(21, "192.0.2.2"), 10).is_ok(), "others are not kept out");
    }

    #[test]
    fn a_reservation_that_cannot_grow_stays_as_it_was() {
        let budget = Budget::new(100);
        let mut held = budget.reserve(at("192.0.2.1"), 30).unwrap();
        assert_eq!(held.grow(30), Err(NoneFree::Share));
        assert_eq!(budget.held_bytes(), 30);
        assert_eq!(held.grow(20), Ok(()));
        assert_eq!(budget.held_bytes(), 50);
    }

    #[test]
    fn bytes_hold_memory_until_they_are_gone() {
        let budget = Budget::new(100);
        let bytes = budget.reserve(at("192.0.2.1"), 10).unwrap().with(vec![7; 90]);
        let again = bytes.clone();
        drop(bytes);
        assert_eq!((budget.held_bytes(), again.len()), (90, 90));
        drop(again);
        assert_eq!(budget.held_bytes(), 0);
    }

    #[tokio::test]
    async fn a_request_waits_for_memory_and_not_for_ever() {
        let budget = Budget::new(100);
        let first = budget.reserve(at("192.0.2.1"), 50).unwrap();
        let short = Duration::from_millis(5);
        assert_eq!(budget.wait(at("192.0.2.1"), 10, short).await.err(), Some(NoneFree::Share));
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.wait(at("192.0.2.1"), 10, Duration::from_mins(1)).await.is_ok() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
    }
}
