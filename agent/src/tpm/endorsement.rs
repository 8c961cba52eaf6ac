//! The endorsement key, by which, with its certificate, the manufacturer knows a TPM.

use super::{
    Tpm, TpmError,
    call::{Authorisation, Loaded},
};
use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    protocol::limits::{MAX_TPM_CERTIFICATE_BYTES, MAX_TPM_CERTIFICATES},
};
use x509_parser::parse_x509_certificate;

/// First index of the certificates of the endorsement keys' issuers (TCG EK Credential Profile,
/// 2.2.1.5.2).
const ISSUERS_AT: u32 = 0x01c0_0100;

/// The largest content of one index; certificates may be followed by padding.
const MAX_NV_BYTES: usize = 2 * MAX_TPM_CERTIFICATE_BYTES;

/// The introduction of a TPM: its endorsement key, and the certificates that it holds for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// The key, DER `SubjectPublicKeyInfo`.
    pub key: Bytes,
    /// Its certificate, then its issuers'; DER. Empty if the manufacturer stored none in the TPM.
    pub certificates: Vec<Bytes>,
    pub(super) template: &'static EkTemplate,
}

/// One of the default endorsement keys (TCG EK Credential Profile, 2.2).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EkTemplate {
    /// Index of its certificate in non-volatile memory.
    certificate_at: u32,
    /// The public area to request from the TPM, up to the unique part.
    head: &'static [u8],
    /// The length of each field of the unique part, which is zeros.
    unique: &'static [u16],
    /// `SubjectPublicKeyInfo` up to the key itself.
    spki: &'static [u8],
    /// The authorisation for its use.
    pub(super) allowed_by: Authorisation,
}

/// The default keys. The first one with a certificate identifies the TPM: RSA first, because other tools
/// register a TPM by that one.
static TEMPLATES: [EkTemplate; 3] = [
    // L-1: RSA 2048, AES-128, SHA-256, PolicySecret(endorsement).
    EkTemplate {
        certificate_at: 0x01c0_0002,
        head: &[
            0x00, 0x01, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2, 0x00, 0x20, 0x83, 0x71, 0x97, 0x67, 0x44, 0x84,
            0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
            0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa, 0x00, 0x06, 0x00, 0x80, 0x00, 0x43,
            0x00, 0x10, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00,
        ],
        unique: &[256],
        spki: &[],
        allowed_by: Authorisation::EndorsementSecret,
    },
    // L-2: ECC P-256, AES-128, SHA-256, PolicySecret(endorsement).
    EkTemplate {
        certificate_at: 0x01c0_000a,
        head: &[
            0x00, 0x23, 0x00, 0x0b, 0x00, 0x03, 0x00, 0xb2, 0x00, 0x20, 0x83, 0x71, 0x97, 0x67, 0x44, 0x84,
            0xb3, 0xf8, 0x1a, 0x90, 0xcc, 0x8d, 0x46, 0xa5, 0xd7, 0x24, 0xfd, 0x52, 0xd7, 0x6e, 0x06, 0x52,
            0x0b, 0x64, 0xf2, 0xa1, 0xda, 0x1b, 0x33, 0x14, 0x69, 0xaa, 0x00, 0x06, 0x00, 0x80, 0x00, 0x43,
            0x00, 0x10, 0x00, 0x03, 0x00, 0x10,
        ],
        unique: &[32, 32],
        spki: &[
            0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
            0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
        ],
        allowed_by: Authorisation::EndorsementSecret,
    },
    // H-3: ECC P-384, AES-256, SHA-384, PolicyB, and usable without it.
    EkTemplate {
        certificate_at: 0x01c0_0016,
        head: &[
            0x00, 0x23, 0x00, 0x0c, 0x00, 0x03, 0x00, 0xf2, 0x00, 0x30, 0xb2, 0x6e, 0x7d, 0x28, 0xd1, 0x1a,
            0x50, 0xbc, 0x53, 0xd8, 0x82, 0xbc, 0xf5, 0xfd, 0x3a, 0x1a, 0x07, 0x41, 0x48, 0xbb, 0x35, 0xd3,
            0xb4, 0xe4, 0xcb, 0x1c, 0x0a, 0xd9, 0xbd, 0xe4, 0x19, 0xca, 0xcb, 0x47, 0xba, 0x09, 0x69, 0x96,
            0x46, 0x15, 0x0f, 0x9f, 0xc0, 0x00, 0xf3, 0xf8, 0x0e, 0x12, 0x00, 0x06, 0x01, 0x00, 0x00, 0x43,
            0x00, 0x10, 0x00, 0x04, 0x00, 0x10,
        ],
        unique: &[0, 0],
        spki: &[
            0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
            0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04,
        ],
        allowed_by: Authorisation::Empty,
    },
];
/// The key that identifies a TPM without certificates: the one that is made fastest.
const WITHOUT_CERTIFICATE: &EkTemplate = &TEMPLATES[1];

impl EkTemplate {
    /// Returns the public area to request from the TPM.
    pub(super) fn public_area(&self) -> Vec<u8> {
        let mut area = self.head.to_vec();
        for length in self.unique {
            area.extend(length.to_be_bytes());
            area.extend(std::iter::repeat_n(0, (*length).into()));
        }
        area
    }

    /// Returns the key of a public area that the TPM made for this template, as `SubjectPublicKeyInfo`.
    fn spki(&self, loaded: &Loaded) -> Option<Vec<u8>> {
        let mut rest = loaded.area.strip_prefix(self.head)?;
        let mut key = self.spki.to_vec();
        // A point has two coordinates of the same length; RSA keys are read from certificates.
        let width = match self.spki.len() {
            27 => 32,
            24 => 48,
            _ => return None,
        };
        for _ in 0..2 {
            let (length, after) = rest.split_first_chunk::<2>()?;
            let (coordinate, after) = after.split_at_checked(u16::from_be_bytes(*length).into())?;
            key.extend(std::iter::repeat_n(0, usize::checked_sub(width, coordinate.len())?));
            key.extend_from_slice(coordinate);
            rest = after;
        }
        rest.is_empty().then_some(key)
    }
}

impl Endorsement {
    /// Returns the identifier of this TPM: SHA-256 of its endorsement key.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        Sha256::of(self.key.as_ref())
    }
}

/// Reads the endorsement key that identifies this TPM. No key is made if a certificate holds it.
///
/// # Errors
/// [`TpmError`].
pub fn endorsement(tpm: &mut Tpm) -> Result<Endorsement, TpmError> {
    for template in &TEMPLATES {
        let held = tpm.read_nv(template.certificate_at, MAX_NV_BYTES)?;
        if let Some((certificate, key)) = held.as_deref().and_then(first_certificate) {
            let mut certificates = vec![Bytes(certificate.to_vec())];
            certificates.extend(issuers(tpm)?);
            certificates.truncate(MAX_TPM_CERTIFICATES);
            return Ok(Endorsement { key, certificates, template });
        }
    }
    let template = WITHOUT_CERTIFICATE;
    let key = tpm.with_key(&template.public_area(), |_, key| {
        template.spki(key).ok_or(TpmError::Unreadable(tpm2_protocol::data::TpmCc::CreatePrimary))
    })?;
    Ok(Endorsement { key: Bytes(key), certificates: Vec::new(), template })
}

/// Reads the issuers' certificates in the TPM: concatenated, over as many indexes as needed.
fn issuers(tpm: &mut Tpm) -> Result<Vec<Bytes>, TpmError> {
    let mut held = Vec::new();
    for index in ISSUERS_AT..ISSUERS_AT + 8 {
        match tpm.read_nv(index, MAX_NV_BYTES)? {
            Some(more) if held.len() + more.len() <= MAX_TPM_CERTIFICATES * MAX_TPM_CERTIFICATE_BYTES => {
                held.extend(more);
            }
            _ => break,
        }
    }
    let mut rest = held.as_slice();
    let mut found = Vec::new();
    while let Some((certificate, _)) = first_certificate(rest) {
        found.push(Bytes(certificate.to_vec()));
        rest = rest.get(certificate.len()..).unwrap_or_default();
    }
    Ok(found)
}

/// Returns the certificate at the beginning of these bytes, and its key; the rest may be padding.
fn first_certificate(bytes: &[u8]) -> Option<(&[u8], Bytes)> {
    let (rest, certificate) = parse_x509_certificate(bytes).ok()?;
    let length = bytes.len().checked_sub(rest.len())?;
    let key = Bytes(certificate.public_key().raw.to_vec());
    (length <= MAX_TPM_CERTIFICATE_BYTES).then_some((bytes.get(..length)?, key))
}
