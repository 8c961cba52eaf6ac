//! How many connections there may be, in all and from one address.

use crate::{config::Limits, route::AddressKey};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The connections that are open.
pub(super) struct Connections {
    most: usize,
    most_per_address: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    total: usize,
    by_address: HashMap<AddressKey, usize>,
}

/// The place of one connection; free again when it is dropped.
pub(super) struct Place {
    connections: Arc<Connections>,
    address: AddressKey,
}

impl Connections {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.connections,
            most_per_address: limits.connections_per_address,
            open: Mutex::default(),
        }
    }

    /// A place for a connection from `address`; `None` if all of them, or all of its own, are taken.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let address = AddressKey::of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.by_address.get(&address).copied().unwrap_or_default();
        if open.total >= self.most || own >= self.most_per_address {
            return None;
        }
        open.total += 1;
        open.by_address.insert(address, own + 1);
        drop(open);
        Some(Place { connections: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        match open.by_address.get_mut(&self.address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(open.by_address.remove(&self.address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_address_and_given_back() {
        let connections = Arc::new(Connections { most: 3, most_per_address: 2, open: Mutex::default() });
        let admit = |text: &str| connections.admit(text.parse().unwrap());
        let (first, second) = (admit("192.0.2.1").unwrap(), admit("192.0.2.1").unwrap());
        assert!(admit("192.0.2.1").is_none(), "one address has its share");
        let other = admit("192.0.2.2").unwrap();
        assert!(admit("192.0.2.3").is_none(), "all places are taken");
        drop(first);
        let third = admit("192.0.2.1").unwrap();
        drop((second, third, other));
        let open = connections.open.lock().unwrap();
        assert_eq!((open.total, open.by_address.len()), (0, 0));
    }
}
