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
    /// What is behind it.
    pub(super) behind: Behind,
    /// The driver invented the address (`NET_ADDR_RANDOM`).
    pub(super) is_random: bool,
}

/// What is behind an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Behind {
    /// Only software: a bridge, a bond, a VLAN, a tunnel.
    #[default]
    Software,
    /// Hardware that stays with the device.
    Hardware,
    /// Hardware that can be unplugged: a dock or an adapter.
    Removable,
}

/// Sorts interfaces into identifiers and refused ones; those of software are neither.
pub(super) fn sorted(interfaces: Vec<Interface>) -> (Vec<Candidate>, Vec<Refused>) {
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for Interface { name, permanent, behind, is_random } in interfaces {
        let Some(value) = permanent.filter(|_| behind != Behind::Software) else {
            continue;
        };
        let candidate =
            Candidate { kind: IdentifierKind::MacAddress, value, source: Source::Network, from: name };
        let because = match behind {
            _ if is_random => Some(RefusedBecause::RandomAddress),
            Behind::Removable => Some(RefusedBecause::Removable),
            _ => None,
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
            behind: Behind::Hardware,
            ..Interface::default()
        };
        let interfaces = vec![
            physical("eth0"),
            Interface { behind: Behind::Software, ..physical("bond0") },
            Interface { is_random: true, ..physical("eth1") },
            Interface { behind: Behind::Removable, ..physical("dock0") },
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
