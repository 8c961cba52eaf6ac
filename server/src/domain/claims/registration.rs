//! The identifier sets that a claim registers: one rule for the management API and for claims files.

use unbox_common::{
    identity::{Identifier, IdentifierKind},
    matching::{IdentifierSet, InvalidSet},
};

/// Returns the sets that these identifiers form; any one of them, completely shown, is the device. The
/// result is empty if there are no identifiers.
///
/// The identifiers that the agent reads from the device itself form one set. A modem may be removed, a
/// certified id is read where nothing else is, and a TPM proves more than a text: each forms a set of its
/// own. Maker and model alone add nothing to them. A certified id without a maker, as ChromeOS devices are
/// registered, forms one set with its serial number and its model.
///
/// # Errors
/// The rule that the identifiers break together.
pub fn registered_sets(identifiers: Vec<Identifier>) -> Result<Vec<IdentifierSet>, InvalidSet> {
    use IdentifierKind::{CertifiedDeviceId, Imei, Manufacturer, Meid, Model, TpmKey};
    let has = |kind| identifiers.iter().any(|one: &Identifier| one.kind() == kind);
    let certifies_all = has(CertifiedDeviceId) && !has(Manufacturer);
    let stands_alone = |one: &Identifier| match one.kind() {
        Imei | Meid | TpmKey => true,
        CertifiedDeviceId => !certifies_all,
        _ => false,
    };
    let (alone, mut rest): (Vec<_>, Vec<_>) = identifiers.into_iter().partition(stands_alone);
    if !alone.is_empty() && rest.iter().all(|one| matches!(one.kind(), Manufacturer | Model)) {
        rest.clear();
    }
    let whole = (!rest.is_empty()).then_some(rest);
    alone.into_iter().map(|one| vec![one]).chain(whole).map(IdentifierSet::new).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use IdentifierKind::{CertifiedDeviceId, Imei, MacAddress, Manufacturer, Model, SerialNumber};

    const MAKER: [(IdentifierKind, &str); 2] = [(Manufacturer, "Acme"), (Model, "G3")];

    fn sets(of: &[(IdentifierKind, &str)]) -> Result<Vec<Vec<IdentifierKind>>, InvalidSet> {
        let all = of.iter().map(|(kind, value)| Identifier::parse(*kind, value).unwrap()).collect();
        let kinds = |set: &IdentifierSet| set.members().iter().map(Identifier::kind).collect();
        registered_sets(all).map(|sets| sets.iter().map(kinds).collect())
    }

    #[test]
    fn a_modem_and_a_certified_id_each_stand_alone_and_the_rest_together() {
        let imei = (Imei, "123456789012347");
        let certified = (CertifiedDeviceId, "QXZY7H3K9M2W");
        let serial = [&MAKER[..], &[(SerialNumber, "S1"), (MacAddress, "00163e000001")]].concat();
        assert_eq!(sets(&[]), Ok(vec![]));
        assert_eq!(sets(&[&MAKER[..], &[imei]].concat()), Ok(vec![vec![Imei]]));
        assert_eq!(
            sets(&[&serial[..], &[imei, certified]].concat()),
            Ok(vec![
                vec![Imei],
                vec![CertifiedDeviceId],
                vec![SerialNumber, MacAddress, Manufacturer, Model]
            ])
        );
        assert_eq!(
            sets(&[imei, (SerialNumber, "S1")]),
            Err(InvalidSet::NeedsMakerAndModel(SerialNumber)),
            "a modem beside it does not excuse half a serial set"
        );
        assert_eq!(
            sets(&[(SerialNumber, "S1"), (Model, "Chromebook"), certified, imei]),
            Ok(vec![vec![Imei], vec![CertifiedDeviceId, SerialNumber, Model]]),
            "a ChromeOS device"
        );
        assert_eq!(sets(&MAKER), Err(InvalidSet::NothingIdentifying));
    }
}
