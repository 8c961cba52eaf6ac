//! The file of the device's key: read, or made in the TPM or in software.

use super::{DeviceKey, KeyError, key::MAX_KEY_BYTES};
use crate::{
    boot::{self, Layout},
    entropy::Entropy,
    files::{self, Attributes, Entry, FilesError, Owner, Status},
    machine::{MAX_MACHINE_BYTES, Machine},
    tpm::{Tpm, TpmError, TpmKey, TpmUse},
};
use rustls::pki_types::pem::{PemObject, SectionKind};
use std::{
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::PathBuf,
};
use unbox_common::{identity::HardwareIdentity, secret::Secret, trust::DevicePublicKey};

/// Makes the exchange folder, if it does not exist. Everybody may enter the folders above it. Returns whether
/// something else was in its place, with which everything in it is lost.
///
/// # Errors
/// [`FilesError`].
pub fn make_exchange(layout: &Layout) -> Result<bool, FilesError> {
    files::make_directory(&layout.state(), files::PUBLIC_DIRECTORY)?;
    let was_lost = files::free_directory(&layout.exchange())?;
    files::make_directory(&layout.exchange(), files::PRIVATE_DIRECTORY)?;
    Ok(was_lost)
}

/// Reads the device's key, or makes one: a key that the factory installed is used as it is.
///
/// A damaged key file is moved aside, and a new key is made: the server then says what a new key needs. A
/// file with any other content is not touched.
///
/// # Errors
/// [`KeyError`].
pub fn device_key(layout: &Layout, entropy: &Entropy) -> Result<DeviceKey, KeyError> {
    make_exchange(layout)?;
    match stored_key(layout, entropy) {
        Ok(Some(key)) => return Ok(key),
        Ok(None) => {}
        Err(KeyError::Damaged(path)) => {
            let aside = files::set_aside(&path, files::DAMAGED)?;
            tracing::error!(moved_to = %aside.display(), "the device's key was damaged: a new one is made");
        }
        Err(error) => return Err(error),
    }
    let key = new_key(layout, entropy)?;
    let text = key.to_file();
    // Root may make the key, in a factory; it belongs to the owner of the exchange.
    let exchange = layout.exchange();
    let owner = exchange.metadata().map_err(|source| FilesError::Read { path: exchange, source })?;
    let owner = Some(Owner { uid: owner.uid(), gid: owner.gid() });
    let attributes = Attributes { mode: files::PRIVATE_FILE, owner };
    Entry::from_path(&layout.device_key())?
        .write(attributes, |file| file.write_all(text.expose().as_bytes()))?;
    Ok(key)
}

/// Drops a key that came from another machine, together with everything bound to that machine, and
/// records the machine that the next key is made on. Returns whether there was such a key.
///
/// A key without such a record, made by an older agent or a factory, belongs to this machine from now on.
///
/// # Errors
/// [`FilesError`].
pub fn bind_to_machine(layout: &Layout, identity: &HardwareIdentity) -> Result<bool, FilesError> {
    make_exchange(layout)?;
    let known = machine(layout)?;
    let is_other =
        known.as_ref().is_some_and(|machine| machine.is_other_than(&Machine::from_identity(identity)));
    if is_other {
        // The key goes last, apart from its machine: until it is gone, a power cut does not change the
        // verdict.
        for of_the_other in [
            layout.pending_grant(),
            layout.grant(),
            layout.enrollment(),
            layout.queue(),
            layout.reset_ticket(),
            layout.device_key(),
        ] {
            files::discard(&of_the_other)?;
        }
    }
    if is_other || known.is_none() {
        store_machine(layout, identity)?;
    }
    Ok(is_other)
}

/// Returns the machine that the key is bound to; `None` if it was never recorded.
///
/// # Errors
/// [`FilesError`].
pub fn machine(layout: &Layout) -> Result<Option<Machine>, FilesError> {
    files::read_json(&layout.machine(), MAX_MACHINE_BYTES)
}

/// Records the identifiers that the machine shows now, as accepted by its server.
///
/// # Errors
/// [`FilesError`].
pub fn store_machine(layout: &Layout, identity: &HardwareIdentity) -> Result<(), FilesError> {
    let path = layout.machine();
    let json = files::to_json(&path, &Machine::from_identity(identity))?;
    let exchange = layout.exchange();
    let owner = exchange.metadata().map_err(|source| FilesError::Read { path: exchange, source })?;
    let owner = Some(Owner { uid: owner.uid(), gid: owner.gid() });
    let entry = Entry::from_path(&path)?;
    if !matches!(entry.status()?, Status::Absent | Status::File(..)) {
        entry.discard()?;
    }
    entry.write(Attributes { mode: files::PRIVATE_FILE, owner }, |file| file.write_all(&json))
}

/// Reads the device's key; `None` if there is none.
fn stored_key(layout: &Layout, entropy: &Entropy) -> Result<Option<DeviceKey>, KeyError> {
    let path = layout.device_key();
    let text = match files::read(&path, MAX_KEY_BYTES) {
        Ok(None) => return Ok(None),
        Ok(Some(text)) => text,
        Err(FilesError::Read { source, .. }) if source.kind() == io::ErrorKind::PermissionDenied => {
            return Err(KeyError::Unreadable(path));
        }
        Err(error) if error.is_not_a_document() => return Err(KeyError::Damaged(path)),
        Err(error) => return Err(error.into()),
    };
    let text = Secret::new(String::from_utf8_lossy(&text).into_owned());
    if let Status::File(attributes, _) = Entry::from_path(&path)?.status()?
        && attributes.mode & 0o007 != 0
    {
        return Err(KeyError::Exposed(path));
    }
    let text = text.expose().as_bytes();
    let read = match text {
        [b'{', ..] => TpmKey::from_file(text, &layout.tpm()).map(DeviceKey::from_tpm).ok(),
        _ => DeviceKey::from_pem(text, entropy).ok(),
    };
    match read {
        Some(key) => Ok(Some(key)),
        None if is_whole(text) => Err(KeyError::NotAKey(path)),
        None => Err(KeyError::Damaged(path)),
    }
}

/// Returns true if the file is a complete document, whatever its content.
fn is_whole(text: &[u8]) -> bool {
    match text {
        [b'{', ..] => serde_json::from_slice::<serde_json::Value>(text).is_ok(),
        _ => PemObject::from_pem_slice(text).is_ok_and(|_: (SectionKind, Vec<u8>)| true),
    }
}

/// Returns the public half of this device's key, computed from its private half or by its TPM; `None` if
/// there is no usable key.
///
/// If the file says that the key is in the TPM, the TPM has to make it again: the public half in the file
/// is whatever its owner wrote.
///
/// # Errors
/// [`KeyError`], except for damaged files.
pub fn public_key(layout: &Layout, entropy: &Entropy) -> Result<Option<DevicePublicKey>, KeyError> {
    let key = match stored_key(layout, entropy) {
        Ok(Some(key)) => key,
        Ok(None) | Err(KeyError::Damaged(_)) => return Ok(None),
        Err(error) => return Err(error),
    };
    match key.tpm() {
        Some(tpm) if !tpm.is_in_this_tpm()? => Err(TpmError::OtherTpm.into()),
        _ => Ok(Some(key.public().clone())),
    }
}

/// Makes a key, in the TPM if there is one and the settings allow it.
fn new_key(layout: &Layout, entropy: &Entropy) -> Result<DeviceKey, KeyError> {
    let tpm_use = boot::io::tpm_use(layout);
    if tpm_use == TpmUse::Never {
        return DeviceKey::generate(entropy);
    }
    let salt = entropy.nonce().map_err(KeyError::Generate)?;
    let path = layout.tpm();
    let opened =
        Tpm::open(&path).and_then(|tpm| tpm.map(|mut tpm| TpmKey::make(&mut tpm, &path, salt)).transpose());
    match (opened, tpm_use) {
        (Ok(Some(key)), _) => Ok(DeviceKey::from_tpm(key)),
        (Ok(None), TpmUse::Required) => Err(KeyError::NoTpm),
        (Err(error), TpmUse::Required) => Err(error.into()),
        (Ok(None), _) => DeviceKey::generate(entropy),
        (Err(error), _) => {
            // A device also enrolls with a broken TPM, unless its claim asks for the TPM's proof.
            tracing::warn!(error = &error as &dyn std::error::Error, "the key is made in software");
            DeviceKey::generate(entropy)
        }
    }
}

/// Returns true if the key's file cannot be used on this device: it is damaged, not a key, readable by
/// everybody or not by the network side, or for a TPM that this device does not have. A TPM that is there and cannot be asked now may
/// have it.
#[must_use]
pub fn is_unusable(layout: &Layout, entropy: &Entropy) -> bool {
    match stored_key(layout, entropy) {
        Ok(None) => false,
        Ok(Some(_)) if !is_the_network_sides(layout) => true,
        Ok(Some(key)) => {
            key.tpm().is_some_and(|tpm| matches!(tpm.is_in_this_tpm(), Ok(false) | Err(TpmError::Absent)))
        }
        Err(_) => true,
    }
}

/// Returns true if the key's file belongs to the owner of the exchange, who has to read it.
fn is_the_network_sides(layout: &Layout) -> bool {
    let owner = |path: PathBuf| path.symlink_metadata().ok().map(|metadata| metadata.uid());
    owner(layout.device_key()) == owner(layout.exchange())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Failure;

    #[test]
    fn without_a_tpm_that_works_the_settings_say_where_a_key_is_made() {
        let entropy = Entropy::system();
        for (setting, broken, expected) in [
            ("", false, Ok(())),
            ("tpm = \"auto\"", true, Ok(())),
            ("tpm = \"never\"", true, Ok(())),
            ("tpm = \"required\"", false, Err("no_tpm")),
            ("tpm = \"required\"", true, Err("tpm_failed")),
        ] {
            let root = tempfile::tempdir().unwrap();
            let layout = Layout::new(root.path());
            std::fs::create_dir_all(root.path().join("etc/unbox")).unwrap();
            files::replace(&layout.local_config(), setting.as_bytes(), 0o644).unwrap();
            if broken {
                // A regular file in place of the TPM's device.
                std::fs::create_dir(root.path().join("dev")).unwrap();
                std::fs::File::create_new(layout.tpm()).unwrap();
            }
            let made = device_key(&layout, &entropy);
            assert_eq!(layout.device_key().exists(), expected.is_ok(), "{setting} {broken}");
            let made =
                made.map(|key| assert!(key.tpm().is_none())).map_err(|error| Failure::from(error).kind());
            assert_eq!(made, expected, "{setting} {broken}");
        }
    }

    #[test]
    fn a_key_that_was_made_without_a_tpm_is_kept_when_one_shows_up() {
        let root = tempfile::tempdir().unwrap();
        let (layout, entropy) = (Layout::new(root.path()), Entropy::system());
        let key = device_key(&layout, &entropy).unwrap();
        std::fs::create_dir(root.path().join("dev")).unwrap();
        std::fs::File::create_new(layout.tpm()).unwrap();
        for again in [device_key(&layout, &entropy).unwrap(), device_key(&layout, &entropy).unwrap()] {
            assert_eq!(again.public(), key.public());
        }
        assert_eq!(public_key(&layout, &entropy).unwrap().as_ref(), Some(key.public()));
        assert!(!is_unusable(&layout, &entropy));
    }

    #[test]
    fn a_file_that_only_says_to_be_in_the_tpm_is_no_key() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        make_exchange(&layout).unwrap();
        for text in ["{}", r#"{"held_in":"tpm"}"#, r#"{"held_in":"software"}"#] {
            files::replace(&layout.device_key(), text.as_bytes(), 0o600).unwrap();
            assert!(matches!(device_key(&layout, &Entropy::system()), Err(KeyError::NotAKey(_))), "{text}");
        }
    }

    #[test]
    fn the_device_key_is_made_once_and_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let entropy = Entropy::system();
        let key = device_key(&layout, &entropy).unwrap();
        let mode = layout.device_key().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(device_key(&layout, &entropy).unwrap().public(), key.public());

        let factory = DeviceKey::generate(&entropy).unwrap();
        files::replace(&layout.device_key(), factory.to_file().expose().as_bytes(), 0o600).unwrap();
        assert_eq!(device_key(&layout, &entropy).unwrap().public(), factory.public());

        files::replace(&layout.device_key(), factory.to_file().expose().as_bytes(), 0o644).unwrap();
        assert!(matches!(device_key(&layout, &entropy), Err(KeyError::Exposed(_))));
        assert!(is_unusable(&layout, &entropy));
    }

    #[test]
    fn a_damaged_key_is_put_aside_and_something_else_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        let entropy = Entropy::system();
        let whole = device_key(&layout, &entropy).unwrap();
        let pem = files::read(&layout.device_key(), 1 << 14).unwrap().unwrap();
        for damage in [&b""[..], &[0; 512], &pem[..pem.len() / 2], b"{\"held_in\":\"t", b"half a k"] {
            files::replace(&layout.device_key(), damage, 0o600).unwrap();
            assert!(is_unusable(&layout, &entropy));
            let made = device_key(&layout, &entropy).unwrap();
            assert_ne!(made.public(), whole.public());
            assert_eq!(device_key(&layout, &entropy).unwrap().public(), made.public());
            let aside = layout.exchange().join("device.key.damaged");
            assert_eq!(files::read(&aside, 1 << 14).unwrap().unwrap(), damage);
        }
        let certificate = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        for other in [r#"{"held_in":"elsewhere"}"#, certificate] {
            files::replace(&layout.device_key(), other.as_bytes(), 0o600).unwrap();
            assert!(matches!(device_key(&layout, &entropy), Err(KeyError::NotAKey(_))), "{other}");
            assert_eq!(files::read(&layout.device_key(), 999).unwrap().unwrap(), other.as_bytes());
            assert!(is_unusable(&layout, &entropy));
        }
    }
}
