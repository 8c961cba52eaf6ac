//! Permanent MAC addresses of physical interfaces: never virtual, random or borrowed ones.

use super::{Candidate, Refused, RefusedBecause};
use serde::{Deserialize, Serialize};
use unbox_common::identity::{IdentifierKind, Source};

/// One interface as reported by netlink.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Link {
    /// Its name.
    pub(super) name: String,
    /// `IFLA_PERM_ADDRESS`: the address stored in the hardware.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) permanent: Option<String>,
    /// `IFLA_INFO_KIND`: the type of a software interface.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kind: Option<String>,
}

/// One interface, from netlink or from a captured `/sys/class/net`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Interface {
    /// Its name.
    pub(super) name: String,
    /// Its permanent address; the current address may be a bond's.
    pub(super) permanent: Option<String>,
    /// The hardware or software behind it.
    pub(super) behind: Behind,
    /// True if the driver made the address up (`NET_ADDR_RANDOM`).
    pub(super) is_random: bool,
}

/// The kind of hardware or software behind an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Behind {
    /// Only software: a bridge, a bond, a VLAN, a tunnel.
    #[default]
    Software,
    /// Hardware that stays with the device.
    Hardware,
    /// Hardware that can be unplugged: a dock or an adapter.
    Removable,
    /// Hardware on USB that is not marked as built in.
    Usb,
}

/// Classifies the hardware at this path of `/sys/devices`. `removable` holds the attribute of that name
/// of the device and of everything above it, nearest first.
///
/// A PC's firmware says for each port whether something is built in there; an unmarked device on a PC is
/// an adapter. A board with a device tree has no such table, and its own Ethernet may be on USB.
pub(super) fn classify_hardware(device: &str, removable: &[String], is_pc: bool) -> Behind {
    if device.starts_with("/sys/devices/virtual/") {
        return Behind::Software;
    }
    if removable.iter().any(|word| word == "removable") {
        return Behind::Removable;
    }
    let on_usb = device.split('/').any(|part| {
        part.strip_prefix("usb")
            .is_some_and(|bus| !bus.is_empty() && bus.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let fixed = removable.first().is_some_and(|word| word == "fixed");
    if on_usb && is_pc && !fixed { Behind::Usb } else { Behind::Hardware }
}

/// Sorts interfaces into identifiers and refused ones; software interfaces are neither.
pub(super) fn classify(interfaces: Vec<Interface>) -> (Vec<Candidate>, Vec<Refused>) {
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
            Behind::Usb => Some(RefusedBecause::PerhapsRemovable),
            _ => None,
        };
        match because {
            Some(because) => refused.push(Refused { candidate, because }),
            None => candidates.push(candidate),
        }
    }
    // The kernel numbers interfaces in order of discovery, which differs from boot to boot; if there are
    // more than a device may show, it has to show the same ones each time.
    candidates.sort_by(|one, other| one.value.cmp(&other.value));
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
            Interface { behind: Behind::Usb, ..physical("usb0") },
            Interface { permanent: None, ..physical("can0") },
        ];
        let (candidates, refused) = classify(interfaces);
        let names: Vec<_> = candidates.iter().map(|one| one.from.as_str()).collect();
        assert_eq!(names, ["eth0"]);
        let refused: Vec<_> =
            refused.iter().map(|one| (one.candidate.from.as_str(), one.because.clone())).collect();
        assert_eq!(
            refused,
            [
                ("eth1", RefusedBecause::RandomAddress),
                ("dock0", RefusedBecause::Removable),
                ("usb0", RefusedBecause::PerhapsRemovable),
            ]
        );
    }

    #[test]
    fn the_order_in_which_the_kernel_found_interfaces_decides_nothing() {
        let interface = |last: u8| Interface {
            name: format!("eth{last}"),
            permanent: Some(format!("00:16:3e:00:00:{last:02x}")),
            behind: Behind::Hardware,
            ..Interface::default()
        };
        let found = classify((0..40).map(interface).collect());
        assert_eq!(classify((0..40).rev().map(interface).collect()), found);
    }

    #[test]
    fn what_can_be_unplugged_is_told_by_its_bus() {
        const USB: &str = "/sys/devices/pci0000:00/0000:00:14.0/usb1/1-2/1-2:1.0";
        const PCI: &str = "/sys/devices/pci0000:00/0000:00:1f.6";
        for (device, removable, is_pc, expected) in [
            (PCI, &[][..], true, Behind::Hardware),
            (PCI, &["fixed"], true, Behind::Hardware),
            // A dock on Thunderbolt is on PCI as well.
            (PCI, &["unknown", "removable"], true, Behind::Removable),
            (USB, &["removable"], true, Behind::Removable),
            (USB, &["fixed"], true, Behind::Hardware),
            (USB, &["unknown"], true, Behind::Usb),
            (USB, &[], true, Behind::Usb),
            // Built in, on a hub that is not.
            (USB, &["fixed", "removable"], true, Behind::Removable),
            (USB, &["unknown"], false, Behind::Hardware),
            (USB, &["removable"], false, Behind::Removable),
            ("/sys/devices/platform/usbhost/net", &[], true, Behind::Hardware),
            ("/sys/devices/virtual/mac80211_hwsim/hwsim0", &[], true, Behind::Software),
        ] {
            let removable: Vec<String> = removable.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(
                classify_hardware(device, &removable, is_pc),
                expected,
                "{device} {removable:?} {is_pc}"
            );
        }
    }
}
