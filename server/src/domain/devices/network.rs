//! The network of a request: one subscriber, who may choose freely among its addresses.

use serde::{Deserialize, Serialize};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// A subscriber's network: an IPv4 address, or an IPv6 network of 64 bits, in which hosts choose the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Network(IpAddr);

/// A wider network than a subscriber's: its first address, and its length in bits.
pub type Enclosing = (IpAddr, u32);

/// The text names no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an IPv4 address, or an IPv6 network such as 2001:db8:1:2::/64")]
pub struct NotANetwork;

impl Network {
    /// Returns the network of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(v4.into()),
            IpAddr::V6(v6) => Self(first_bits(v6, 64)),
        }
    }

    /// Returns the address, or the first one of the network.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.0
    }

    /// Returns the enclosing network of `bits` bits, because providers hand out networks of 48 and 56 bits;
    /// `None` for IPv4, where a subscriber has one address.
    #[must_use]
    pub fn enclosing_network(self, bits: u32) -> Option<IpAddr> {
        match self.0 {
            IpAddr::V4(_) => None,
            IpAddr::V6(v6) => Some(first_bits(v6, bits)),
        }
    }

    /// Returns the wider networks that one party may have all to itself, and the multiple of one subscriber's
    /// share of memory that each of them may hold.
    pub fn enclosing_networks(self) -> impl Iterator<Item = (Enclosing, usize)> {
        let networks = match self.0 {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                [Some(((Ipv4Addr::new(a, b, c, 0).into(), 24), 2)), None]
            }
            IpAddr::V6(v6) => [Some(((first_bits(v6, 56), 56), 2)), Some(((first_bits(v6, 48), 48), 3))],
        };
        networks.into_iter().flatten()
    }
}

fn first_bits(address: Ipv6Addr, bits: u32) -> IpAddr {
    Ipv6Addr::from_bits(address.to_bits() & !u128::MAX.checked_shr(bits).unwrap_or_default()).into()
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            IpAddr::V4(v4) => v4.fmt(f),
            IpAddr::V6(v6) => write!(f, "{v6}/64"),
        }
    }
}

impl FromStr for Network {
    type Err = NotANetwork;

    fn from_str(text: &str) -> Result<Self, NotANetwork> {
        text.strip_suffix("/64").unwrap_or(text).parse().map(Self::of).map_err(|_| NotANetwork)
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl TryFrom<String> for Network {
    type Error = NotANetwork;

    fn try_from(text: String) -> Result<Self, NotANetwork> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_one_network_are_one_subscriber() {
        let of = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
    }

    #[test]
    fn a_network_reads_and_writes_the_same_and_knows_what_it_is_part_of() {
        for (address, text, of_56, of_48) in [
            ("192.0.2.7", "192.0.2.7", None, None),
            ("2001:db8:1:2345::1", "2001:db8:1:2345::/64", Some("2001:db8:1:2300::"), Some("2001:db8:1::")),
        ] {
            let network = Network::of(address.parse().unwrap());
            assert_eq!(network.to_string(), text);
            assert_eq!(text.parse(), Ok(network));
            let wider = |bits| network.enclosing_network(bits).map(|address| address.to_string());
            assert_eq!((wider(56).as_deref(), wider(48).as_deref()), (of_56, of_48));
        }
        assert_eq!("example.com".parse::<Network>(), Err(NotANetwork));
    }

    #[test]
    fn a_network_shares_with_those_that_may_be_of_the_same_party() {
        for (address, expected) in [
            ("192.0.2.7", vec![("192.0.2.0", 24, 2)]),
            ("2001:db8:1:2345::1", vec![("2001:db8:1:2300::", 56, 2), ("2001:db8:1::", 48, 3)]),
        ] {
            let enclosing = Network::of(address.parse().unwrap()).enclosing_networks();
            let found: Vec<_> =
                enclosing.map(|((first, bits), times)| (first.to_string(), bits, times)).collect();
            let found: Vec<_> =
                found.iter().map(|(first, bits, times)| (first.as_str(), *bits, *times)).collect();
            assert_eq!(found, expected);
        }
    }
}
