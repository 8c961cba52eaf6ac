//! `TPM2_MakeCredential` without a TPM (TPM 2.0 Library, part 1, section 24 and annexes B and C): a secret
//! that only the TPM with this endorsement key can open, and only if it also holds the key with the given
//! name.

use crate::entropy::{self, Entropy, EntropyError};
use aes::cipher::{KeyIvInit as _, consts::U16};
use cfb_mode::BufEncryptor;
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng as _};
use ring::{agreement, digest, hmac};
use rsa::{BigUint, Oaep, RsaPublicKey, traits::PublicKeyParts as _};
use unbox_common::{
    attestation::TpmPublic,
    bytes::Bytes,
    protocol::{latest::TpmCredential, limits::MAX_ENDORSEMENT_KEY_BYTES},
};
use x509_parser::{prelude::FromDer as _, public_key::PublicKey, x509::SubjectPublicKeyInfo};

/// The purpose of the seed, which is also the label of the encryption, including the zero.
const IDENTITY: &[u8] = b"IDENTITY\0";
const STORAGE: &[u8] = b"STORAGE\0";
const INTEGRITY: &[u8] = b"INTEGRITY\0";
/// `id-ecPublicKey` curves (RFC 5480, section 2.1.1.1).
const P256: &str = "1.2.840.10045.3.1.7";
const P384: &str = "1.3.132.0.34";

/// A TPM's endorsement key of one of the default kinds (TCG EK Credential Profile, 2.2).
#[derive(Debug, Clone)]
pub struct EndorsementKey(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// RSA-2048, with AES-128 and SHA-256.
    Rsa(RsaPublicKey),
    /// P-256, with AES-128 and SHA-256; the uncompressed point.
    P256(Vec<u8>),
    /// P-384, with AES-256 and SHA-384; the uncompressed point.
    P384(Vec<u8>),
}

/// The bytes are not the public half of such a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected an endorsement key of RSA-2048, P-256 or P-384 as SubjectPublicKeyInfo")]
pub struct NotAnEndorsementKey;

/// The reason why nothing can be sealed for an endorsement key.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The coordinates of the key are not a point of its curve.
    #[error("the TPM's endorsement key is not a point of its curve")]
    OffCurve,
    /// There was no randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
}

impl EndorsementKey {
    /// Reads a DER `SubjectPublicKeyInfo`.
    ///
    /// # Errors
    /// [`NotAnEndorsementKey`].
    pub fn parse(spki: &[u8]) -> Result<Self, NotAnEndorsementKey> {
        if spki.len() > MAX_ENDORSEMENT_KEY_BYTES {
            return Err(NotAnEndorsementKey);
        }
        let (rest, key) = SubjectPublicKeyInfo::from_der(spki).map_err(|_| NotAnEndorsementKey)?;
        if !rest.is_empty() {
            return Err(NotAnEndorsementKey);
        }
        let kind = match key.parsed().map_err(|_| NotAnEndorsementKey)? {
            PublicKey::RSA(key) => {
                let (n, e) = (BigUint::from_bytes_be(key.modulus), BigUint::from_bytes_be(key.exponent));
                let key = RsaPublicKey::new(n, e).map_err(|_| NotAnEndorsementKey)?;
                if key.n().bits() != 2048 || *key.e() != BigUint::from(65_537_u32) {
                    return Err(NotAnEndorsementKey);
                }
                Kind::Rsa(key)
            }
            PublicKey::EC(point) => {
                let curve = key.algorithm.parameters.as_ref().and_then(|curve| curve.as_oid().ok());
                let curve = curve.map(|oid| oid.to_id_string());
                match (curve.as_deref(), point.data()) {
                    (Some(P256), point @ [4, ..]) if point.len() == 65 => Kind::P256(point.to_vec()),
                    (Some(P384), point @ [4, ..]) if point.len() == 97 => Kind::P384(point.to_vec()),
                    _ => return Err(NotAnEndorsementKey),
                }
            }
            _ => return Err(NotAnEndorsementKey),
        };
        Ok(Self(kind))
    }

    /// Seals a secret for the TPM that has this key and `attestation`.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(
        &self,
        attestation: &TpmPublic,
        secret: &[u8; 32],
        entropy: &dyn Entropy,
    ) -> Result<TpmCredential, SealError> {
        let (hash, seed, encrypted) = match &self.0 {
            Kind::Rsa(key) => {
                let (seed, encrypted) = encrypt_seed_for_rsa(key, entropy)?;
                (Hash::Sha256, seed, encrypted)
            }
            Kind::P256(point) => {
                let (seed, encrypted) = agree_on_seed(point, &agreement::ECDH_P256, Hash::Sha256)?;
                (Hash::Sha256, seed, encrypted)
            }
            Kind::P384(point) => {
                let (seed, encrypted) = agree_on_seed(point, &agreement::ECDH_P384, Hash::Sha384)?;
                (Hash::Sha384, seed, encrypted)
            }
        };
        let credential = Bytes(seal_secret(hash, &seed, &attestation.name(), secret)?);
        Ok(TpmCredential { credential, seed: Bytes(encrypted) })
    }
}

/// The name algorithm of an endorsement key, which determines all lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    const fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
        }
    }

    fn digest(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut hasher = digest::Context::new(match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
        });
        for part in parts {
            hasher.update(part);
        }
        hasher.finish().as_ref().to_vec()
    }

    fn hmac_of(self, key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        let mut context = hmac::Context::with_key(&hmac::Key::new(self.hmac(), key));
        for part in parts {
            context.update(part);
        }
        context.sign().as_ref().to_vec()
    }

    /// Computes `KDFa` (part 1, section 11.4.10.2) for at most one block of `bits`.
    fn kdf_a(self, key: &[u8], label: &[u8], context: &[u8], bits: u32) -> Vec<u8> {
        let mut block = self.hmac_of(key, &[&1_u32.to_be_bytes(), label, context, &bits.to_be_bytes()]);
        block.truncate(usize::try_from(bits / 8).unwrap_or(0));
        block
    }

    const fn bits(self) -> u32 {
        match self {
            Self::Sha256 => 256,
            Self::Sha384 => 384,
        }
    }
}

/// Draws a seed, and encrypts it with RSAES-OAEP (part 1, annex B.4).
fn encrypt_seed_for_rsa(
    key: &RsaPublicKey,
    entropy: &dyn Entropy,
) -> Result<(Vec<u8>, Vec<u8>), EntropyError> {
    let (mut seed, mut randomness) = ([0; 32], [0; 32]);
    entropy.fill(&mut seed)?;
    entropy.fill(&mut randomness)?;
    let mut random = ChaCha20Rng::from_seed(randomness);
    // The label includes its final zero.
    let label = String::from_utf8_lossy(IDENTITY);
    let padding = Oaep::new_with_label::<rsa::sha2::Sha256, _>(label);
    let encrypted = key.encrypt(&mut random, padding, &seed).map_err(|_| EntropyError)?;
    Ok((seed.to_vec(), encrypted))
}

/// Derives a seed that both sides can compute; this side's key is used once (part 1, annex C.6.1).
fn agree_on_seed(
    point: &[u8],
    curve: &'static agreement::Algorithm,
    hash: Hash,
) -> Result<(Vec<u8>, Vec<u8>), SealError> {
    let random = entropy::ring_random();
    let own = agreement::EphemeralPrivateKey::generate(curve, &random).map_err(|_| EntropyError)?;
    let ours = own.compute_public_key().map_err(|_| EntropyError)?;
    let halves = |point: &[u8]| -> Option<(Vec<u8>, Vec<u8>)> {
        let [4, coordinates @ ..] = point else { return None };
        let (x, y) = coordinates.split_at_checked(coordinates.len() / 2)?;
        Some((x.to_vec(), y.to_vec()))
    };
    let ((x, y), (their_x, _)) = halves(ours.as_ref()).zip(halves(point)).ok_or(EntropyError)?;
    let theirs = agreement::UnparsedPublicKey::new(curve, point);
    let seed = agreement::agree_ephemeral(own, &theirs, |shared| {
        // KDFe (part 1, section 11.4.10.3), one block.
        hash.digest(&[&1_u32.to_be_bytes(), shared, IDENTITY, &x, &their_x])
    });
    // With a fresh key of our own, agreement fails only for a point that is not on the curve.
    Ok((seed.map_err(|_| SealError::OffCurve)?, [with_length_prefix(&x), with_length_prefix(&y)].concat()))
}

/// Returns integrity and ciphertext of a secret (`TPMS_ID_OBJECT`; part 1, sections 24.4 and 24.5).
fn seal_secret(hash: Hash, seed: &[u8], name: &[u8], secret: &[u8]) -> Result<Vec<u8>, EntropyError> {
    let mut text = with_length_prefix(secret);
    let no_iv = [0; 16];
    match hash {
        Hash::Sha256 => {
            encrypt::<aes::Aes128>(&hash.kdf_a(seed, STORAGE, name, 128), &no_iv, &mut text)?;
        }
        Hash::Sha384 => {
            encrypt::<aes::Aes256>(&hash.kdf_a(seed, STORAGE, name, 256), &no_iv, &mut text)?;
        }
    }
    let key = hash.kdf_a(seed, INTEGRITY, &[], hash.bits());
    let integrity = hash.hmac_of(&key, &[&text, name]);
    Ok([with_length_prefix(&integrity), text].concat())
}

/// Encrypts with AES in CFB mode, in place.
fn encrypt<C>(key: &[u8], iv: &[u8; 16], text: &mut [u8]) -> Result<(), EntropyError>
where
    C: aes::cipher::BlockCipherEncrypt + aes::cipher::BlockSizeUser<BlockSize = U16> + aes::cipher::KeyInit,
{
    // The key's length follows from the hash, and always fits. If it did not, nothing must leave
    // unencrypted.
    let mut cipher = BufEncryptor::<C>::new_from_slices(key, iv).map_err(|_| EntropyError)?;
    cipher.encrypt(text);
    Ok(())
}

/// Returns a `TPM2B`.
fn with_length_prefix(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use proptest::prelude::*;
    use unbox_common::attestation::KeyRole;

    const CERTIFICATES: [&[u8]; 2] = [
        include_bytes!("../../tests/fixtures/tpm/rsa-2048.der"),
        include_bytes!("../../tests/fixtures/tpm/p-384.der"),
    ];

    fn spki(certificate: &[u8]) -> Vec<u8> {
        x509_parser::parse_x509_certificate(certificate).unwrap().1.public_key().raw.to_vec()
    }

    fn attestation() -> TpmPublic {
        let role = KeyRole::Attestation;
        let template = role.template(&[]);
        let area = [&template[..template.len() - 4], &[0, 32], &[7; 32], &[0, 32], &[8; 32]].concat();
        TpmPublic::parse(&area, role).unwrap()
    }

    #[test]
    fn a_secret_is_sealed_in_the_form_of_the_endorsement_key() {
        for (certificate, seed, integrity) in
            [(CERTIFICATES[0], 256, 32), (CERTIFICATES[1], 2 * (2 + 48), 48)]
        {
            let key = EndorsementKey::parse(&spki(certificate)).unwrap();
            let sealed = key.seal(&attestation(), &[9; 32], &SeededEntropy::new(1)).unwrap();
            assert_eq!(sealed.seed.0.len(), seed);
            assert_eq!(sealed.credential.0.len(), 2 + integrity + 2 + 32);
            assert!(!sealed.credential.0.windows(8).any(|window| window == [9; 8]), "it is not in the clear");
        }
    }

    #[test]
    fn what_was_sealed_depends_on_seed_name_and_secret() {
        let base = seal_secret(Hash::Sha256, &[1; 32], &[2; 34], &[3; 32]).unwrap();
        for other in [
            seal_secret(Hash::Sha256, &[0; 32], &[2; 34], &[3; 32]).unwrap(),
            seal_secret(Hash::Sha256, &[1; 32], &[0; 34], &[3; 32]).unwrap(),
            seal_secret(Hash::Sha256, &[1; 32], &[2; 34], &[0; 32]).unwrap(),
        ] {
            assert_ne!(base, other);
        }
        // Changing the ciphertext must break the integrity, which covers it.
        let (integrity, text) = base.split_at(34);
        let key = Hash::Sha256.kdf_a(&[1; 32], INTEGRITY, &[], 256);
        assert_eq!(integrity[2..], Hash::Sha256.hmac_of(&key, &[text, &[2; 34]]));
    }

    #[test]
    fn other_keys_are_refused() {
        let rsa = spki(CERTIFICATES[0]);
        let mut exponent = rsa.clone();
        *exponent.last_mut().unwrap() = 3;
        let mut off_curve = spki(CERTIFICATES[1]);
        *off_curve.last_mut().unwrap() ^= 1;
        for bad in [&[][..], &rsa[..rsa.len() - 1], &exponent, &[0x30; 700]] {
            assert!(EndorsementKey::parse(bad).is_err());
        }
        let key = EndorsementKey::parse(&off_curve).unwrap();
        let sealed = key.seal(&attestation(), &[9; 32], &SeededEntropy::new(1));
        assert!(matches!(sealed, Err(SealError::OffCurve)));
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_parser(at in 0..200_usize, to in any::<u8>(), which in 0..2_usize) {
            let mut bytes = spki(CERTIFICATES[which]);
            let at = at % bytes.len();
            bytes[at] = to;
            if let Ok(key) = EndorsementKey::parse(&bytes) {
                let _ = key.seal(&attestation(), &[9; 32], &SeededEntropy::new(1));
            }
        }
    }
}
