//! The limits on connections, in all and from one address.

use crate::{config::Limits, route::AddressKey};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// The open connections.
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

/// The place of one connection, released on drop.
pub(super) struct Place {
    connections: Arc<Connections>,
    address: Option<AddressKey>,
}

impl Connections {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.connections,
            most_per_address: limits.connections_per_address,
            open: Mutex::default(),
        }
    }

    /// Takes a place for one more connection; `None` if all are taken.
    pub(super) fn admit(self: &Arc<Self>) -> Option<Place> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.total >= self.most {
            return None;
        }
        open.total += 1;
        drop(open);
        Some(Place { connections: self.clone(), address: None })
    }
}

impl Place {
    /// Assigns the place to an address, once that is known; `None` if the address has used up its share.
    pub(super) fn of(mut self, address: IpAddr) -> Option<Self> {
        let address = AddressKey::of(address);
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        let own = open.by_address.entry(address).or_default();
        let room = *own < self.connections.most_per_address;
        if room {
            *own += 1;
        }
        drop(open);
        self.address = room.then_some(address);
        room.then_some(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connections.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.total = open.total.saturating_sub(1);
        let Some(address) = self.address else { return };
        match open.by_address.get_mut(&address) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(open.by_address.remove(&address)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_all_and_by_address_and_given_back() {
        let connections = Arc::new(Connections { most: 3, most_per_address: 2, open: Mutex::default() });
        let admit = |text: &str| connections.admit()?.of(text.parse().unwrap());
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
