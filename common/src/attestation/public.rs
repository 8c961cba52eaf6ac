//! The public areas of the keys that a device asks its TPM for (`TPMT_PUBLIC`).

use super::reader::Reader;
use crate::{digest::Sha256, trust::DevicePublicKey};

/// The largest public area that is read, in bytes; that of an Unbox key has 88.
pub const MAX_PUBLIC_BYTES: usize = 256;

const ECC_AND_SHA256: [u8; 4] = [0x00, 0x23, 0x00, 0x0b];
/// No authorisation policy, no symmetric cipher, ECDSA with SHA-256, NIST P-256, no KDF.
const NO_POLICY_AND_P256: [u8; 12] = [0x00, 0x00, 0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10];
/// Bytes of one coordinate of a point of P-256.
const COORDINATE_BYTES: usize = 32;

// TPMA_OBJECT, part 2, section 8.3.
const FIXED_TPM: u32 = 1 << 1;
const FIXED_PARENT: u32 = 1 << 4;
const SENSITIVE_DATA_ORIGIN: u32 = 1 << 5;
const USER_WITH_AUTH: u32 = 1 << 6;
const NO_DA: u32 = 1 << 10;
const RESTRICTED: u32 = 1 << 16;
const SIGN: u32 = 1 << 18;

/// The purpose of a key in a TPM, which determines its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyRole {
    /// A key that signs only the TPM's own statements.
    Attestation,
    /// A key that signs whatever the device gives it: handshakes and TLS.
    Device,
}

impl KeyRole {
    /// Returns the role's attributes (`TPMA_OBJECT`). The key is made by this TPM and never leaves it; it
    /// needs no authorisation, so there is none to guess or to lock out.
    #[must_use]
    pub const fn attributes(self) -> u32 {
        let kept = FIXED_TPM | FIXED_PARENT | SENSITIVE_DATA_ORIGIN | USER_WITH_AUTH | NO_DA | SIGN;
        match self {
            Self::Attestation => kept | RESTRICTED,
            Self::Device => kept,
        }
    }

    /// Returns the public area to request from a TPM. The same seed gives different keys for different
    /// `salt` (at most 32 bytes), and the same key for the same `salt`.
    #[must_use]
    pub fn template(self, salt: &[u8]) -> Vec<u8> {
        let length = u16::try_from(salt.len()).unwrap_or(u16::MAX).to_be_bytes();
        let attributes = self.attributes().to_be_bytes();
        [&ECC_AND_SHA256[..], &attributes, &NO_POLICY_AND_P256, &length, salt, &[0, 0]].concat()
    }
}

/// The public half of a P-256 key in a TPM, whose attributes are those of its role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TpmPublic {
    area: Vec<u8>,
    key: DevicePublicKey,
}

/// The reason why bytes are not the public area of such a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotATpmKey {
    /// Another kind of key, or no key at all.
    #[error("expected the public area of an ECDSA P-256 key without a policy")]
    Form,
    /// Such a key with attributes that it must not have, or without some that it must have.
    #[error("the key's attributes are {found:#x}, expected {expected:#x}")]
    Attributes {
        /// The attributes of a key of this role.
        expected: u32,
        /// The attributes of this key.
        found: u32,
    },
}

impl TpmPublic {
    /// Reads the public area of a key for `role`.
    ///
    /// # Errors
    /// [`NotATpmKey`].
    pub fn parse(area: &[u8], role: KeyRole) -> Result<Self, NotATpmKey> {
        let (attributes, key) = read(area).ok_or(NotATpmKey::Form)?;
        let expected = role.attributes();
        if attributes != expected {
            return Err(NotATpmKey::Attributes { expected, found: attributes });
        }
        Ok(Self { area: area.to_vec(), key })
    }

    /// Returns the public area itself.
    #[must_use]
    pub fn area(&self) -> &[u8] {
        &self.area
    }

    /// Returns the key.
    #[must_use]
    pub const fn key(&self) -> &DevicePublicKey {
        &self.key
    }

    /// Returns the TPM's name for this key: `nameAlg`, then the digest of the public area (part 1,
    /// section 16).
    #[must_use]
    pub fn name(&self) -> [u8; 34] {
        let mut name = [0; 34];
        let digest = Sha256::of(&self.area).0;
        for (to, from) in name.iter_mut().zip([0x00, 0x0b].into_iter().chain(digest)) {
            *to = from;
        }
        name
    }
}

fn read(area: &[u8]) -> Option<(u32, DevicePublicKey)> {
    if area.len() > MAX_PUBLIC_BYTES {
        return None;
    }
    let mut reader = Reader::new(area);
    reader.expect(&ECC_AND_SHA256)?;
    let attributes = u32::from_be_bytes(*reader.take(4)?.first_chunk()?);
    reader.expect(&NO_POLICY_AND_P256)?;
    let mut point = vec![0x04];
    for _ in 0..2 {
        // Some TPMs leave out leading zeros.
        let coordinate = reader.read_sized()?;
        let missing = COORDINATE_BYTES.checked_sub(coordinate.len())?;
        point.extend(std::iter::repeat_n(0, missing));
        point.extend_from_slice(coordinate);
    }
    let key = DevicePublicKey::from_point(&point).ok()?;
    reader.is_at_end().then_some((attributes, key))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Builds the public area of a key with these attributes and this point (without its first byte).
    pub(in super::super) fn area(attributes: u32, point: &[u8]) -> Vec<u8> {
        let (x, y) = point.split_at(point.len() / 2);
        let sized = |bytes: &[u8]| [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
        [&ECC_AND_SHA256[..], &attributes.to_be_bytes(), &NO_POLICY_AND_P256, &sized(x), &sized(y)].concat()
    }

    #[test]
    fn a_key_is_taken_only_with_the_attributes_of_its_role() {
        let role = KeyRole::Attestation;
        let good = area(role.attributes(), &[7; 64]);
        assert_eq!(TpmPublic::parse(&good, role).unwrap().key().point()[1..], [7; 64]);
        for (attribute, what) in [
            (FIXED_TPM, "may be moved to another TPM"),
            (FIXED_PARENT, "may be moved to another parent"),
            (SENSITIVE_DATA_ORIGIN, "was made elsewhere"),
            (RESTRICTED, "signs anything"),
            (1 << 17, "decrypts"),
        ] {
            let found = role.attributes() ^ attribute;
            let expected = role.attributes();
            assert_eq!(
                TpmPublic::parse(&area(found, &[7; 64]), role),
                Err(NotATpmKey::Attributes { expected, found }),
                "a key that {what}"
            );
        }
        assert!(TpmPublic::parse(&good, KeyRole::Device).is_err(), "an attestation key is no device key");
    }

    #[test]
    fn a_coordinate_may_lack_its_leading_zeros_and_nothing_else() {
        let role = KeyRole::Device;
        let key = TpmPublic::parse(&area(role.attributes(), &[7; 62]), role).unwrap();
        assert_eq!(key.key().point()[..3], [4, 0, 7]);
        let good = area(role.attributes(), &[7; 64]);
        let long = [&good[..], &[0]].concat();
        for bad in [&good[..good.len() - 1], &long, &area(role.attributes(), &[7; 66]), &[]] {
            assert_eq!(TpmPublic::parse(bad, role), Err(NotATpmKey::Form));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = TpmPublic::parse(&bytes, KeyRole::Device);
        }

        #[test]
        fn a_public_area_with_one_byte_changed_is_another_key_or_none(at in 0..88_usize, to in any::<u8>()) {
            let role = KeyRole::Device;
            let good = area(role.attributes(), &[7; 64]);
            let mut changed = good.clone();
            changed[at] = to;
            if let Ok(key) = TpmPublic::parse(&changed, role) {
                prop_assert_eq!(changed == good, key.name() == TpmPublic::parse(&good, role).unwrap().name());
            }
        }
    }
}
