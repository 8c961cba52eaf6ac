//! The statements that an attestation key signs (`TPMS_ATTEST`): quotes of the firmware's
//! measurements, and certifications of other keys in the same TPM.

use super::{TpmPublic, reader::Reader};
use crate::{
    bytes::FixedBytes,
    digest::{Hasher, Sha256},
    trust::DeviceKeySignature,
};

/// The largest statement that is read, in bytes; those for Unbox have less than 200.
pub const MAX_STATEMENT_BYTES: usize = 1024;
/// The registers that are quoted: PCR 0 to 7 of the SHA-256 bank, which hold firmware, its settings
/// and the state of Secure Boot (TCG PC Client Platform Firmware Profile, section 3.3.4).
pub const QUOTED_PCRS: usize = 8;

/// `TPM_GENERATED_VALUE`: only a TPM puts it before the data that a restricted key signs.
const MAGIC: [u8; 4] = [0xff, 0x54, 0x43, 0x47];
const QUOTE: [u8; 2] = [0x80, 0x18];
const CERTIFY: [u8; 2] = [0x80, 0x17];
/// `TPMS_CLOCK_INFO` and the firmware's version: clock, reset and restart counts, a flag.
const CLOCK_AND_FIRMWARE_BYTES: usize = 8 + 4 + 4 + 1 + 8;
/// One selection: the SHA-256 bank, three bytes of bits, the first eight of them set.
const SELECTION: [u8; 10] = [0x00, 0x00, 0x00, 0x01, 0x00, 0x0b, 0x03, 0xff, 0x00, 0x00];

/// The value that a statement is bound to: the digest of this handshake's transcript.
pub type Qualification = Sha256;

/// The reason why a statement is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAttested {
    /// The statement cannot be read, or is not the one that was asked for.
    #[error("it is not the statement that was asked for")]
    Form,
    /// The attestation key did not sign it.
    #[error("the attestation key did not sign it")]
    Signature,
    /// It belongs to another handshake.
    #[error("it belongs to another handshake")]
    Replayed,
    /// It is about other measurements than those that came with it.
    #[error("it is about other measurements than those that came with it")]
    Measurements,
    /// It is about another key.
    #[error("it is about another key")]
    OtherKey,
}

/// Checks that the attestation key vouches for `pcrs`, in this handshake.
///
/// # Errors
/// [`NotAttested`].
pub fn verify_quote(
    by: &TpmPublic,
    statement: &[u8],
    signature: &DeviceKeySignature,
    bound_to: Qualification,
    pcrs: &[FixedBytes<32>; QUOTED_PCRS],
) -> Result<(), NotAttested> {
    let mut about = check_signed(by, statement, signature, QUOTE, bound_to)?;
    about.expect(&SELECTION).ok_or(NotAttested::Form)?;
    let digest = read_last(about)?;
    let mut measured = Hasher::new();
    for pcr in pcrs {
        measured.update(pcr.as_ref());
    }
    if digest == measured.finish().0 { Ok(()) } else { Err(NotAttested::Measurements) }
}

/// Checks that the attestation key vouches for `key`: it is in the same TPM, with its attributes.
///
/// # Errors
/// [`NotAttested`].
pub fn verify_certification(
    by: &TpmPublic,
    statement: &[u8],
    signature: &DeviceKeySignature,
    bound_to: Qualification,
    key: &TpmPublic,
) -> Result<(), NotAttested> {
    let mut about = check_signed(by, statement, signature, CERTIFY, bound_to)?;
    let name = about.read_sized().ok_or(NotAttested::Form)?;
    // The qualified name follows: the key's place in the TPM's hierarchy.
    read_last(about)?;
    if name == key.name() { Ok(()) } else { Err(NotAttested::OtherKey) }
}

/// Checks signature and binding of a statement of this kind, and returns a reader of its subject.
fn check_signed<'a>(
    by: &TpmPublic,
    statement: &'a [u8],
    signature: &DeviceKeySignature,
    kind: [u8; 2],
    bound_to: Qualification,
) -> Result<Reader<'a>, NotAttested> {
    if statement.len() > MAX_STATEMENT_BYTES {
        return Err(NotAttested::Form);
    }
    if !by.key().verifies(statement, signature) {
        return Err(NotAttested::Signature);
    }
    let mut reader = Reader::new(statement);
    let extra = read_head(&mut reader, kind).ok_or(NotAttested::Form)?;
    if extra == bound_to.0 { Ok(reader) } else { Err(NotAttested::Replayed) }
}

/// Reads the head, up to the statement's subject, and returns the value that the statement is bound to.
fn read_head<'a>(reader: &mut Reader<'a>, kind: [u8; 2]) -> Option<&'a [u8]> {
    reader.expect(&MAGIC)?;
    reader.expect(&kind)?;
    let _qualified_signer = reader.read_sized()?;
    let extra = reader.read_sized()?;
    reader.take(CLOCK_AND_FIRMWARE_BYTES)?;
    Some(extra)
}

/// Reads the last byte string of a statement.
fn read_last(mut reader: Reader<'_>) -> Result<&[u8], NotAttested> {
    reader.read_sized().filter(|_| reader.is_at_end()).ok_or(NotAttested::Form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attestation::{KeyRole, public::tests::area};
    use proptest::prelude::*;
    use ring::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
    };

    const BOUND_TO: Sha256 = Sha256([5; 32]);
    const PCRS: [FixedBytes<32>; QUOTED_PCRS] = [FixedBytes([9; 32]); QUOTED_PCRS];

    struct Signer(EcdsaKeyPair, SystemRandom);

    impl Signer {
        fn new() -> Self {
            #[expect(clippy::disallowed_methods, reason = "a test needs a key, whichever it is")]
            let random = SystemRandom::new();
            let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
            Self(EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap(), random)
        }

        fn public(&self, role: KeyRole) -> TpmPublic {
            TpmPublic::parse(&area(role.attributes(), &self.0.public_key().as_ref()[1..]), role).unwrap()
        }

        fn sign(&self, statement: &[u8]) -> DeviceKeySignature {
            FixedBytes(self.0.sign(&self.1, statement).unwrap().as_ref().try_into().unwrap())
        }
    }

    fn sized(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    fn statement(kind: [u8; 2], bound_to: &[u8], about: &[u8]) -> Vec<u8> {
        let clock = [0; CLOCK_AND_FIRMWARE_BYTES];
        [&MAGIC[..], &kind, &sized(&[1; 34]), &sized(bound_to), &clock, about].concat()
    }

    fn quote(selection: &[u8], pcrs: &[FixedBytes<32>]) -> Vec<u8> {
        let values: Vec<u8> = pcrs.iter().flat_map(|pcr| pcr.0).collect();
        let about = [selection, &sized(&Sha256::of(&values).0)].concat();
        statement(QUOTE, &BOUND_TO.0, &about)
    }

    #[test]
    fn a_quote_vouches_for_these_measurements_in_this_handshake() {
        let key = Signer::new();
        let by = key.public(KeyRole::Attestation);
        let check = |statement: &[u8]| verify_quote(&by, statement, &key.sign(statement), BOUND_TO, &PCRS);
        assert_eq!(check(&quote(&SELECTION, &PCRS)), Ok(()));

        let mut others = PCRS;
        others[7] = FixedBytes([8; 32]);
        let mut fewer = SELECTION;
        fewer[7] = 0x7f;
        let good = quote(&SELECTION, &PCRS);
        for (bad, expected) in [
            (quote(&SELECTION, &others), NotAttested::Measurements),
            (quote(&fewer, &PCRS), NotAttested::Form),
            (good.replacen(BOUND_TO, [6; 32]), NotAttested::Replayed),
            (good.replacen_head([0xff, 0x54, 0x43, 0x48]), NotAttested::Form),
            (statement(CERTIFY, &BOUND_TO.0, &good[good.len() - 44..]), NotAttested::Form),
            ([&good[..], &[0]].concat(), NotAttested::Form),
            (vec![0; MAX_STATEMENT_BYTES + 1], NotAttested::Form),
            (Vec::new(), NotAttested::Form),
        ] {
            assert_eq!(check(&bad), Err(expected), "{bad:02x?}");
        }
        let stranger = Signer::new().sign(&good);
        assert_eq!(verify_quote(&by, &good, &stranger, BOUND_TO, &PCRS), Err(NotAttested::Signature));
    }

    #[test]
    fn a_certification_vouches_for_this_key_and_no_other() {
        let key = Signer::new();
        let by = key.public(KeyRole::Attestation);
        let device = Signer::new().public(KeyRole::Device);
        let about = [sized(&device.name()), sized(&[3; 34])].concat();
        let good = statement(CERTIFY, &BOUND_TO.0, &about);
        let check = |statement: &[u8], of: &TpmPublic| {
            verify_certification(&by, statement, &key.sign(statement), BOUND_TO, of)
        };
        assert_eq!(check(&good, &device), Ok(()));
        let outside = Signer::new().public(KeyRole::Device);
        assert_eq!(check(&good, &outside), Err(NotAttested::OtherKey));
        assert_eq!(check(&good.replacen(BOUND_TO, [6; 32]), &device), Err(NotAttested::Replayed));
        assert_eq!(check(&statement(QUOTE, &BOUND_TO.0, &about), &device), Err(NotAttested::Form));
        assert_eq!(check(&good[..good.len() - 1], &device), Err(NotAttested::Form));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..200), from in 0..60_usize) {
            // The head is right up to some point, so that every field is reached.
            let good = quote(&SELECTION, &PCRS);
            let bytes = [&good[..from], &bytes[..]].concat();
            let mut reader = Reader::new(&bytes);
            if read_head(&mut reader, QUOTE).is_some() {
                let _ = read_last(reader);
            }
        }
    }

    trait Changed {
        fn replacen(&self, from: Sha256, to: [u8; 32]) -> Vec<u8>;
        fn replacen_head(&self, head: [u8; 4]) -> Vec<u8>;
    }

    impl Changed for Vec<u8> {
        fn replacen(&self, from: Sha256, to: [u8; 32]) -> Vec<u8> {
            let at = self.windows(32).position(|window| window == from.0).unwrap();
            [&self[..at], &to, &self[at + 32..]].concat()
        }

        fn replacen_head(&self, head: [u8; 4]) -> Vec<u8> {
            [&head, &self[4..]].concat()
        }
    }
}
