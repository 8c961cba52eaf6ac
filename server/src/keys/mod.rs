//! Keys: signing payloads, issuing certificates, and the files that devices trust.
//!
//! `init` makes everything below one directory ([`Layout`]); a [`Keyring`] is the part that `serve` reads
//! once, at start. It never reads the key that signs roots, nor that of the TLS authority: both can be
//! taken off the machine, and only [`rotate`] asks for them.
//!
//! Certificates are made in `authority.rs`, the chain of signing roots in `root_chain.rs`,
//! tickets in `ticket.rs`; all three are pure. `io.rs` reads and writes the files.

pub mod anchors;
mod authority;
mod device_certificate;
mod init;
#[cfg(test)]
mod interruption_tests;
mod io;
mod layout;
mod root_chain;
pub mod rotate;
mod survey;
mod ticket;

pub use authority::{AUTHORITY_LIFETIME, AuthorityError, BACKDATED, SERVER_LIFETIME};
pub use device_certificate::{DeviceCertificate, NotADeviceCertificate};
pub use init::{Founding, initialise};
pub use io::{Identity, KeyLock, server_identity};
pub use layout::Layout;
pub use root_chain::{Change, RootChainError};
pub use survey::{
    CertificateSummary, KeySummary, Standing, TrustedKey, certificate, faults, summary, survey,
};

use crate::{
    entropy::{Entropy, EntropyError},
    files::FilesError,
    service::{CertifiedEnrollment, Signer, SignerError, TrustBundle},
};
use arc_swap::ArcSwap;
use authority::{Authority, certified_enrollment};
use root_chain::RootChain;
use rustls::pki_types::CertificateDer;
use std::{path::PathBuf, sync::Arc, time::Duration};
use ticket::TicketKey;
use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    payload::Payload,
    timestamp::Timestamp,
    trust::{Signed, SigningKey, SigningRoot, sign},
};

/// The default lifetime of a device's certificate.
pub const DEVICE_LIFETIME: Duration = Duration::from_hours(365 * 24);

/// The reason why a key could not be made, read or used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// `init` found an existing file that it would have to overwrite.
    #[error(
        "{} exists already, so nothing was written: choose another directory, or move it away if \
         an earlier init was interrupted",
        _0.display()
    )]
    Occupied(PathBuf),
    /// There is no server in the directory.
    #[error("{} is missing: name the right --dir, or run `unbox-server init` first", _0.display())]
    Missing(PathBuf),
    /// A file is missing from the directory of a server.
    #[error(
        "{} is missing, but there are other files beside it: put it back from a backup, or from where it is \
         kept offline",
        _0.display()
    )]
    Lost(PathBuf),
    /// There is no file at a path that a person gave.
    #[error("there is no file {}: correct the path in the settings or on the command line", _0.display())]
    NoFile(PathBuf),
    /// A root before the newest one is missing.
    #[error(
        "{} is missing, but there is root version {newest}: put it back from a backup. Nothing was changed; \
         devices can only follow roots of which none is missing",
        path.display()
    )]
    RootMissing {
        /// The file.
        path: PathBuf,
        /// The version of the newest root.
        newest: u64,
    },
    /// Another command changes keys.
    #[error("another command is changing the keys in {}: wait for its end, and run this one again", _0.display())]
    Busy(PathBuf),
    /// A rotation of the TLS authority was interrupted.
    #[error(
        "{} is of a `key rotate-anchors` that was interrupted: run that command again first, which finishes it",
        _0.display()
    )]
    Unfinished(PathBuf),
    /// A private file is readable by others.
    #[error("{0} can be read by others (mode {mode:04o}): run `chmod {expected} {0}`, and rotate the key", path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
        /// The permissions that it should have.
        expected: &'static str,
    },
    /// A file does not have the contents that its name promises.
    #[error("{} does not hold {expected}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The contents that it should have.
        expected: &'static str,
    },
    /// The root for images is not the newest one.
    #[error("{} is not the newest root: copy {} over it, and into new images", trusted.display(), newest.display())]
    Outdated {
        /// The root for images.
        trusted: PathBuf,
        /// The newest one.
        newest: PathBuf,
    },
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The kernel gave no randomness.
    #[error(transparent)]
    Entropy(EntropyError),
    /// The names of the server are invalid.
    #[error("these names cannot stand in the server's certificate")]
    Names(#[source] AuthorityError),
    /// A certificate could not be made or read.
    #[error("the certificate in {} cannot be used", path.display())]
    Authority {
        /// The authority's file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: AuthorityError,
    },
    /// A device's certificate could not be issued.
    #[error("the device's certificate could not be issued")]
    Issue(#[source] AuthorityError),
    /// The roots do not follow one another.
    #[error("the signing roots in {} are not a chain that a device can follow", path.display())]
    Roots {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: RootChainError,
    },
    /// There is no private key for the payload keys that the newest root trusts.
    #[error("no private key in {} signs for the newest root: restore payload-N.pem from a backup", _0.display())]
    NoPayloadKey(PathBuf),
    /// There is no private key that the newest root trusts to sign the next one.
    #[error("the key that signs roots is not in {}: hand it in with --root-key FILE", _0.display())]
    NoRootKey(PathBuf),
    /// No device authority was replaced.
    #[error(
        "no former device authority counts, so there is none to retire: run `key rotate-device-ca` first"
    )]
    NoFormerAuthority,
    /// There are more anchors than a root can name.
    #[error("a signing root cannot name these TLS anchors: run `unbox-server key retire-anchors` first")]
    Anchors(#[source] unbox_common::trust::InvalidTlsAnchors),
    /// No anchor can be retired.
    #[error("the server's certificate needs every TLS anchor, so there is none to retire")]
    NoFormerAnchor,
    /// Devices would no longer accept the server.
    #[error(
        "the certificate in {} leads to no TLS anchor of devices by itself: have one of them issue it first",
        _0.display()
    )]
    NotAnchored(PathBuf),
    /// There is only one payload key.
    #[error(
        "the newest root trusts one payload key only, so there is none to retire: run `key rotate` first"
    )]
    NothingToRetire,
    /// The payload could not be serialised.
    #[error("the payload could not be signed")]
    Sign(#[source] serde_json::Error),
    /// The notes are larger than a ticket can carry.
    #[error("a ticket of {0} bytes is larger than the protocol allows")]
    TicketTooLarge(usize),
}

/// The keys of a running server. They are read at the start, and again on request.
pub struct Keyring {
    layout: Layout,
    device_lifetime: Duration,
    entropy: Arc<dyn Entropy>,
    loaded: ArcSwap<Loaded>,
}

struct Loaded {
    device_ca: Authority,
    former_device_cas: Vec<CertificateDer<'static>>,
    payload_key: SigningKey,
    roots: RootChain,
    ticket: TicketKey,
}

impl Keyring {
    /// Reads the keys below a directory that [`initialise`] has made.
    ///
    /// # Errors
    /// [`KeyError`] naming the file that is missing, exposed, malformed or not part of this chain.
    pub fn load(
        layout: Layout,
        device_lifetime: Duration,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, KeyError> {
        let loaded = ArcSwap::from_pointee(io::load(&layout)?);
        Ok(Self { layout, device_lifetime, entropy, loaded })
    }

    /// Reads the keys again. If that fails, the present ones stay in use.
    pub fn reload(&self) -> Result<(), KeyError> {
        self.loaded.store(io::load(&self.layout)?.into());
        Ok(())
    }

    /// Returns the authorities that devices' certificates are checked against, the issuing one first.
    #[must_use]
    pub fn device_authorities(&self) -> Vec<CertificateDer<'static>> {
        self.loaded.load().device_authorities().cloned().collect()
    }
}

impl Loaded {
    fn device_authorities(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        std::iter::once(self.device_ca.certificate()).chain(&self.former_device_cas)
    }
}

impl Signer for Keyring {
    fn issue_certificate(
        &self,
        enrollment: &CertifiedEnrollment,
        now: Timestamp,
    ) -> Result<Vec<Bytes>, SignerError> {
        let loaded = self.loaded.load();
        let serial = io::random(&*self.entropy)?;
        let time = (now, self.device_lifetime);
        let certificate =
            loaded.device_ca.issue_device(enrollment, time, &serial).map_err(KeyError::Issue)?;
        let chain = [&certificate, loaded.device_ca.certificate()];
        Ok(chain.map(|der| Bytes(der.to_vec())).into())
    }

    fn read_certificate(&self, der: &[u8]) -> Option<CertifiedEnrollment> {
        self.loaded.load().device_authorities().find_map(|authority| certified_enrollment(der, authority))
    }

    fn certificate_issuer(&self) -> Sha256 {
        self.loaded.load().device_ca.name()
    }

    fn sign_payload(&self, payload: &Payload) -> Result<Signed<Payload>, SignerError> {
        Ok(sign(payload, &[&self.loaded.load().payload_key]).map_err(KeyError::Sign)?)
    }

    fn seal_ticket(&self, plain: &[u8]) -> Result<Vec<u8>, SignerError> {
        let salt = io::random(&*self.entropy)?;
        let sealed = self.loaded.load().ticket.seal(plain, &salt);
        Ok(sealed.ok_or(KeyError::TicketTooLarge(plain.len()))?)
    }

    fn open_ticket(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        self.loaded.load().ticket.open(sealed)
    }

    fn page_token_secret(&self) -> [u8; 32] {
        self.loaded.load().ticket.derive_secret(b"unbox page tokens v1")
    }

    fn roots_after(&self, version: u64) -> Vec<Signed<SigningRoot>> {
        self.loaded.load().roots.after(version)
    }

    fn trust_bundle(&self, known: u64) -> Result<TrustBundle, SignerError> {
        Ok(io::trust_bundle(&self.layout, &self.loaded.load().roots, known)?)
    }
}

impl KeyError {
    /// Returns true if the server runs all the same.
    #[must_use]
    pub const fn is_harmless(&self) -> bool {
        matches!(self, Self::Outdated { .. } | Self::Unfinished(_))
    }

    /// Returns the error with the advice for a file whose path a person gave.
    #[must_use]
    pub fn with_advice_for_given_path(self) -> Self {
        match self {
            Self::Missing(path) | Self::Lost(path) => Self::NoFile(path),
            other => other,
        }
    }
}

impl From<KeyError> for SignerError {
    fn from(error: KeyError) -> Self {
        Self(Box::new(error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        entropy::{SeededEntropy, SystemEntropy},
        files,
    };
    use rcgen::KeyPair;
    use rustls::{
        RootCertStore,
        pki_types::UnixTime,
        server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    };
    use std::{fs, os::unix::fs::PermissionsExt as _};
    use tempfile::TempDir;
    use unbox_common::{
        bytes::FixedBytes,
        ids::{CompanyId, DeviceId, Generation},
        trust::DevicePublicKey,
    };

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn make_server() -> (TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path().join("server"));
        initialise(&layout, &example_founding(), NOW, &SystemEntropy::new()).unwrap();
        (dir, layout)
    }

    fn example_founding() -> Founding {
        Founding {
            names: vec!["enroll.example.com".to_owned(), "192.0.2.7".to_owned(), "2001:db8::7".to_owned()],
            url: "https://enroll.example.com:8443".to_owned(),
        }
    }

    fn keyring(layout: &Layout) -> Keyring {
        Keyring::load(layout.clone(), DEVICE_LIFETIME, Arc::new(SeededEntropy::new(1))).unwrap()
    }

    fn enrollment() -> CertifiedEnrollment {
        CertifiedEnrollment {
            device: DeviceId::new(4211).unwrap(),
            generation: Generation(3),
            owner: CompanyId::new(17).unwrap(),
            key: DevicePublicKey::from_point(KeyPair::generate().unwrap().public_key_raw()).unwrap(),
        }
    }

    fn tree(layout: &Layout) -> Vec<(PathBuf, u32, Vec<u8>)> {
        let mut files = Vec::new();
        for dir in [layout.dir().to_owned(), layout.keys(), layout.roots(), layout.trust()] {
            for entry in fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                let mode = path.metadata().unwrap().permissions().mode() & 0o777;
                files.push((path.clone(), mode, fs::read(&path).unwrap_or_default()));
            }
        }
        files.sort();
        files
    }

    fn verifier(layout: &Layout) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        for authority in keyring(layout).device_authorities() {
            roots.add(authority).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap()
    }

    #[test]
    fn everything_private_is_private() {
        let (_dir, layout) = make_server();
        assert_eq!(layout.keys().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        for (path, mode, contents) in tree(&layout) {
            let private =
                String::from_utf8_lossy(&contents).contains("PRIVATE") || path == layout.ticket_key();
            assert_eq!(private, path.parent() == Some(&layout.keys()), "{}", path.display());
            if path.is_file() {
                assert_eq!(mode, if private { 0o600 } else { 0o644 }, "{}", path.display());
            }
        }
    }

    #[test]
    fn a_second_init_is_refused_and_changes_nothing() {
        let (_dir, layout) = make_server();
        let before = tree(&layout);
        let again = initialise(&layout, &example_founding(), NOW, &SystemEntropy::new());
        assert!(matches!(again, Err(KeyError::Occupied(path)) if path == layout.keys()));
        assert_eq!(tree(&layout), before);
    }

    #[test]
    fn a_bad_name_is_refused() {
        for bad in ["", "*.example.com", "a b", "https://x", "x/y", "exämple.com"] {
            let dir = tempfile::tempdir().unwrap();
            let founding = Founding { names: vec![bad.to_owned()], url: String::new() };
            let refused = initialise(&Layout::new(dir.path()), &founding, NOW, &SystemEntropy::new());
            let invalid = matches!(refused, Err(KeyError::Names(AuthorityError::InvalidName(_))));
            assert!(invalid, "{bad:?}");
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "{bad:?}");
        }
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (_dir, layout) = make_server();
        let mut private = layout.private_files().to_vec();
        private.retain(|path| path.exists());
        private.extend([layout.payload_key(1), layout.root_key(1), layout.acme_account()]);
        files::write_new(&layout.acme_account(), b"{}", files::PRIVATE_FILE).unwrap();
        for path in private {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let refused = io::load(&layout).err();
            assert!(matches!(refused, Some(KeyError::Exposed { mode: 0o640, .. })), "{refused:?}");
            let faults = faults(&layout);
            let is_told =
                |fault: &KeyError| matches!(fault, KeyError::Exposed { path: told, .. } if *told == path);
            assert!(faults.len() == 1 && faults.iter().all(is_told), "{faults:?}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        }
        assert!(io::load(&layout).is_ok());
    }

    #[test]
    fn a_device_certificate_verifies_against_its_authority_and_no_other() {
        let (_dir, layout) = make_server();
        let (_other_dir, other) = make_server();
        let enrollment = enrollment();
        let chain = keyring(&layout).issue_certificate(&enrollment, NOW).unwrap();
        let [leaf, authority] = chain.as_slice() else { panic!("expected leaf and authority") };
        let leaf = CertificateDer::from(leaf.0.clone());
        let authority = [CertificateDer::from(authority.0.clone())];
        let at = |now: Timestamp| UnixTime::since_unix_epoch(Duration::from_millis(now.0));
        let own = verifier(&layout);
        for (now, valid) in [
            (NOW.minus(BACKDATED), true),
            (NOW.minus(BACKDATED + Duration::from_secs(1)), false),
            (NOW.plus(DEVICE_LIFETIME), true),
            (NOW.plus(DEVICE_LIFETIME + Duration::from_secs(1)), false),
        ] {
            assert_eq!(own.verify_client_cert(&leaf, &authority, at(now)).is_ok(), valid, "{now}");
        }
        assert!(verifier(&other).verify_client_cert(&leaf, &authority, at(NOW)).is_err());
        assert_eq!(
            DeviceCertificate::parse(&leaf),
            Ok(DeviceCertificate {
                device: enrollment.device,
                generation: enrollment.generation,
                owner: enrollment.owner,
                issuer: keyring(&layout).certificate_issuer(),
                not_after: NOW.plus(DEVICE_LIFETIME)
            })
        );
        assert!(leaf.windows(65).any(|window| window == enrollment.key.point()));
    }

    #[test]
    fn a_replaced_device_authority_counts_until_it_is_retired() {
        let (_dir, layout) = make_server();
        let keyring = keyring(&layout);
        let entropy = SystemEntropy::new();
        let enrollment = enrollment();
        let of_old = keyring.issue_certificate(&enrollment, NOW).unwrap();
        let old_issuer = keyring.certificate_issuer();
        let before = tree(&layout);
        assert!(matches!(rotate::retire_device_cas(&layout), Err(KeyError::NoFormerAuthority)));
        assert_eq!(tree(&layout), before);

        rotate::rotate_device_ca(&layout, NOW, &entropy).unwrap();
        keyring.reload().unwrap();
        let of_new = keyring.issue_certificate(&enrollment, NOW).unwrap();
        assert_ne!(of_new[1], of_old[1], "the new authority issues");
        let counts = |chain: &[Bytes]| {
            let [leaf, authority] = chain else { panic!("expected leaf and authority") };
            let [leaf, authority] = [leaf, authority].map(|der| CertificateDer::from(der.0.clone()));
            let now = UnixTime::since_unix_epoch(Duration::from_millis(NOW.0));
            verifier(&layout).verify_client_cert(&leaf, &[authority], now).is_ok()
        };
        assert!(counts(&of_old) && counts(&of_new));
        assert_eq!(keyring.read_certificate(of_old[0].as_ref()), Some(enrollment.clone()));
        assert_eq!(DeviceCertificate::parse(of_old[0].as_ref()).unwrap().issuer, old_issuer);
        assert_eq!(
            DeviceCertificate::parse(of_new[0].as_ref()).unwrap().issuer,
            keyring.certificate_issuer()
        );

        rotate::rotate_device_ca(&layout, NOW, &entropy).unwrap();
        assert!(counts(&of_old) && counts(&of_new), "two of them were replaced");
        rotate::retire_device_cas(&layout).unwrap();
        keyring.reload().unwrap();
        assert!(!counts(&of_old) && !counts(&of_new));
        assert_eq!(keyring.read_certificate(of_old[0].as_ref()), None);
    }

    #[test]
    fn a_certificate_attests_its_enrollment_to_its_own_server_alone() {
        let (_dir, layout) = make_server();
        let (_other_dir, other) = make_server();
        let keyring = keyring(&layout);
        let enrollment = enrollment();
        let chain = keyring.issue_certificate(&enrollment, NOW.minus(DEVICE_LIFETIME * 3)).unwrap();
        let leaf = chain[0].as_ref();
        assert_eq!(keyring.read_certificate(leaf), Some(enrollment), "also after its end");
        assert_eq!(self::keyring(&other).read_certificate(leaf), None);
        let mut changed = leaf.to_vec();
        let at = leaf.windows(4).position(|window| window == b"4211").unwrap();
        changed[at] = b'5';
        let last = leaf.len() - 1;
        let [mut resigned, longer] = [leaf.to_vec(), [leaf, &[0]].concat()];
        resigned[last] ^= 1;
        for bad in [&changed[..], &resigned, &longer, &leaf[..last], &[], chain[1].as_ref()] {
            assert_eq!(keyring.read_certificate(bad), None);
        }
    }

    #[test]
    fn the_authority_itself_is_no_device_and_the_server_no_client() {
        let (_dir, layout) = make_server();
        let authority = keyring(&layout).device_authorities().remove(0);
        assert_eq!(DeviceCertificate::parse(&authority), Err(NotADeviceCertificate));
        let server = server_identity(&layout.server_certificate(), &layout.server_certificate()).unwrap();
        assert_eq!(DeviceCertificate::parse(&server.chain[0]), Err(NotADeviceCertificate));
    }

    #[test]
    fn a_rotated_key_is_followed_and_a_retired_one_is_gone() {
        use unbox_common::payload::{ConfigurationRef, Setup};
        let (_dir, layout) = make_server();
        let keyring = keyring(&layout);
        let image: Signed<SigningRoot> =
            serde_json::from_slice(&fs::read(layout.trusted_root()).unwrap()).unwrap();
        let image = SigningRoot::from_image(&image).unwrap();
        let payload = Payload {
            device: DeviceId::new(7).unwrap(),
            generation: Generation(1),
            key_digest: Sha256::of(b"key"),
            nonce: FixedBytes([0; 32]),
            version: 1,
            issued_at: NOW,
            expires_at: NOW,
            configuration: ConfigurationRef {
                id: unbox_common::ids::ConfigurationId::new(1).unwrap(),
                name: "kiosk".to_owned(),
            },
            dpc: None,
            policy: Vec::new(),
            setup: Setup::default(),
        };
        let before = keyring.sign_payload(&payload).unwrap();
        assert!(before.verify(&image.payload_keys).is_ok());

        let rotated = rotate::rotate_payload_key(&layout, None, &SystemEntropy::new()).unwrap();
        keyring.reload().unwrap();
        let after = keyring.sign_payload(&payload).unwrap();
        assert!(after.verify(&image.payload_keys).is_err(), "the image's root does not know the new key");
        let followed = image.successor(&keyring.roots_after(1)[0]).unwrap();
        let signers = after.verify(&followed.payload_keys).unwrap();
        assert_eq!(signers.signers().iter().collect::<Vec<_>>(), [&rotated.key]);
        assert!(before.verify(&followed.payload_keys).is_ok(), "payloads under way are still believed");

        let retired = rotate::retire_payload_keys(&layout, None).unwrap();
        assert_eq!((retired.version, retired.key), (3, rotated.key));
        keyring.reload().unwrap();
        let followed = followed.successor(&keyring.roots_after(2)[0]).unwrap();
        assert!(before.verify(&followed.payload_keys).is_err());
        assert!(!layout.payload_key(1).exists() && layout.payload_key(2).exists());
        // As a power cut between the new root and the removal leaves it.
        let entropy = SystemEntropy::new();
        io::make_signing_key(&layout.payload_key(1), &entropy).unwrap();
        assert_eq!(rotate::retire_payload_keys(&layout, None).unwrap().version, 3);
        assert!(!layout.payload_key(1).exists());
        let again = rotate::retire_payload_keys(&layout, None);
        assert!(matches!(again, Err(KeyError::NothingToRetire)));
    }

    #[test]
    fn the_root_key_can_be_kept_elsewhere() {
        let (dir, layout) = make_server();
        let offline = dir.path().join("root-1.pem");
        fs::copy(layout.root_key(1), &offline).unwrap();
        fs::remove_file(layout.root_key(1)).unwrap();
        fs::remove_file(layout.tls_ca()).unwrap();
        assert!(io::load(&layout).is_ok(), "serving needs neither");

        let entropy = SystemEntropy::new();
        let before = tree(&layout);
        let refused = rotate::rotate_payload_key(&layout, None, &entropy);
        assert!(matches!(refused, Err(KeyError::NoRootKey(_))), "{refused:?}");
        let stranger = rotate::rotate_payload_key(&layout, Some(&layout.payload_key(1)), &entropy);
        assert!(matches!(stranger, Err(KeyError::NoRootKey(_))), "{stranger:?}");
        assert_eq!(tree(&layout), before);

        let new = dir.path().join("root-new.pem");
        let moved = rotate::rotate_root_key(&layout, Some(&offline), Some(&new), &entropy).unwrap();
        assert_eq!((moved.version, &moved.path), (2, &new));
        let by_old = rotate::rotate_payload_key(&layout, Some(&offline), &entropy);
        assert!(matches!(by_old, Err(KeyError::NoRootKey(_))), "{by_old:?}");
        assert_eq!(rotate::rotate_payload_key(&layout, Some(&new), &entropy).unwrap().version, 3);
        let summary = survey(&layout, &layout.server_certificate()).unwrap();
        assert_eq!((summary.root_version, summary.payload_keys.len()), (3, 2));
        assert_eq!(summary.root_keys[0].path, None);
    }

    #[test]
    fn a_reload_that_fails_keeps_the_keys_in_use() {
        let (_dir, layout) = make_server();
        let keyring = keyring(&layout);
        let ticket = keyring.seal_ticket(b"notes").unwrap();
        fs::remove_file(layout.ticket_key()).unwrap();
        assert!(matches!(keyring.reload(), Err(KeyError::Lost(_))));
        assert_eq!(keyring.open_ticket(&ticket).unwrap(), b"notes");
        assert_eq!(keyring.open_ticket(b"none of ours"), None);
    }

    #[test]
    fn the_server_certificate_carries_every_name_and_can_be_renewed() {
        let (_dir, layout) = make_server();
        let before = certificate(layout.server_certificate()).unwrap();
        assert_eq!(before.names, ["enroll.example.com", "192.0.2.7", "2001:db8::7"]);
        assert_eq!(before.not_after, NOW.plus(SERVER_LIFETIME));
        let later = NOW.plus(Duration::from_hours(24 * 300));
        rotate::renew_server(&layout, &["localhost".to_owned()], later, &SystemEntropy::new()).unwrap();
        let after = certificate(layout.server_certificate()).unwrap();
        assert_eq!(
            (after.names, after.not_after),
            (vec!["localhost".to_owned()], later.plus(SERVER_LIFETIME))
        );
        assert_eq!(layout.server_certificate().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
