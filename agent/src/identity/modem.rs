//! IMEI and MEID of modems, as `ModemManager` knows them.

use super::{Candidate, Refused, RefusedBecause, network::Behind};
use serde::{Deserialize, Serialize};
use unbox_common::identity::{IdentifierKind, Source};

/// One modem as described by `ModemManager`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Modem {
    /// Its object, such as `/org/freedesktop/ModemManager1/Modem/0`.
    pub(super) object: String,
    /// The device in sysfs that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<String>,
    /// `Modem3gpp.Imei`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) imei: Option<String>,
    /// `ModemCdma.Meid`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) meid: Option<String>,
}

/// Sorts modems into identifiers and refused ones: a removable stick identifies itself and not the
/// device.
pub(super) fn classify(modems: Vec<(Modem, Behind)>) -> (Vec<Candidate>, Vec<Refused>) {
    let (mut candidates, mut refused) = (Vec::new(), Vec::new());
    for (modem, behind) in modems {
        let Modem { object, imei, meid, .. } = modem;
        let numbers = [(IdentifierKind::Imei, imei), (IdentifierKind::Meid, meid)];
        for (kind, value) in numbers.into_iter().filter_map(|(kind, value)| Some((kind, value?))) {
            if value.is_empty() {
                continue;
            }
            let candidate = Candidate { kind, value, source: Source::Modem, from: object.clone() };
            match behind {
                Behind::Removable => {
                    refused.push(Refused { candidate, because: RefusedBecause::Removable });
                }
                _ => candidates.push(candidate),
            }
        }
    }
    // ModemManager numbers modems in order of discovery; if there are more than a device may show, it has
    // to show the same ones each time.
    candidates.sort_by(|one, other| (one.kind, &one.value).cmp(&(other.kind, &other.value)));
    (candidates, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_modem_that_is_built_in_identifies_the_device() {
        let modem = |object: &str, imei: &str, meid: &str| Modem {
            object: object.to_owned(),
            device: None,
            imei: Some(imei.to_owned()),
            meid: Some(meid.to_owned()),
        };
        let (candidates, refused) = classify(vec![
            (modem("/0", "490154203237518", ""), Behind::Usb),
            (modem("/1", "", "A1000000123456"), Behind::Hardware),
            (modem("/2", "490154203237518", ""), Behind::Removable),
        ]);
        let found: Vec<_> = candidates.iter().map(|one| (one.kind, one.from.as_str())).collect();
        assert_eq!(found, [(IdentifierKind::Imei, "/0"), (IdentifierKind::Meid, "/1")]);
        assert_eq!(refused.len(), 1);
        assert_eq!(refused[0].because, RefusedBecause::Removable);
    }
}
