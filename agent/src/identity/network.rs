//! Permanent MAC addresses of physical interfaces: never virtual, random or borrowed ones.

use super::{Candidate, Refused, RefusedBecause};
use unbox_common::identity::{IdentifierKind, Source};

/// One interface, as netlink or a captured `/sys/class/net` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Interface {
    /// Its name.
    pub(super) name: String,
    /// Its permanent address; the address that is set may be a bond's.
    pub(super) permanent: Option<String>,
    /// Made by software: a bridge, a bond, a VLAN (`IFLA_INFO_KIND` is there).
    pub(super) is_virtual: bool,
    /// There is hardware behind it.
    pub(super) has_device: bool,
    /// That hardware can be unplugged: a dock or an adapter.
    pub(super) is_removable: bool,
    /// The driver invented the address (`NET_ADDR_RANDOM`).
    pub(super) is_random: bool,
}

/// Sorts interfaces into identifiers and refused ones; virtual ones are neither.
pub(super) fn sorted(interfaces: Vec<Interface>) -> (Vec<Candidate>, Vec<Refused>) {
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    let physical = |one: &Interface| !one.is_virtual && one.has_device;
    for interface in interfaces.into_iter().filter(physical) {
        let Some(value) = interface.permanent else {
            continue;
        };
        let candidate = Candidate {
            kind: IdentifierKind::MacAddress,
            value,
            source: Source::Network,
            from: interface.name,
        };
        let because = if interface.is_random {
            Some(RefusedBecause::RandomAddress)
        } else if interface.is_removable {
            Some(RefusedBecause::Removable)
        } else {
            None
        };
        match because {
            Some(because) => refused.push(Refused { candidate, because }),
            None => candidates.push(candidate),
        }
    }
    (candidates, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_stay_with_the_device_count() {
        let physical = |name: &str| Interface {
            name: name.to_owned(),
            permanent: Some("00:16:3e:00:00:01".to_owned()),
            has_device: true,
            ..Interface::default()
        };
        let interfaces = vec![
            physical("eth0"),
            Interface { is_virtual: true, ..physical("bond0") },
            Interface { has_device: false, ..physical("tap0") },
            Interface { is_random: true, ..physical("eth1") },
            Interface { is_removable: true, ..physical("dock0") },
            Interface { permanent: None, ..physical("can0") },
        ];
        let (candidates, refused) = sorted(interfaces);
        let names: Vec<_> = candidates.iter().map(|one| one.from.as_str()).collect();
        assert_eq!(names, ["eth0"]);
        let refused: Vec<_> =
            refused.iter().map(|one| (one.candidate.from.as_str(), one.because.clone())).collect();
        assert_eq!(refused, [("eth1", RefusedBecause::RandomAddress), ("dock0", RefusedBecause::Removable)]);
    }
}
