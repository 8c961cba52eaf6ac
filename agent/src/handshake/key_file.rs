//! The file of the device's key: read, or made in the TPM or in software.

use super::{DeviceKey, KeyError, key::MAX_KEY_BYTES};
use crate::{
    boot::{self, Layout},
    entropy::Entropy,
    files::{self, Attributes, Entry, FilesError, Owner, Status},
    tpm::{Tpm, TpmKey, TpmUse},
};
use std::{io::Write as _, os::unix::fs::MetadataExt as _};
use unbox_common::secret::Secret;

/// Makes the exchange, where nobody has made it yet. What leads to it is for everybody to pass.
///
/// # Errors
/// [`FilesError`].
pub fn make_exchange(layout: &Layout) -> Result<(), FilesError> {
    files::make_directory(&layout.state(), files::PUBLIC_DIRECTORY)?;
    files::make_directory(&layout.exchange(), files::PRIVATE_DIRECTORY)
}

/// Reads the device's key, or makes it: a key that the factory put there is used as it is.
///
/// # Errors
/// [`KeyError`].
pub fn device_key(layout: &Layout, entropy: &Entropy) -> Result<DeviceKey, KeyError> {
    let path = layout.device_key();
    make_exchange(layout)?;
    let Some(text) = files::read(&path, MAX_KEY_BYTES)? else {
        let key = new_key(layout, entropy)?;
        let text = key.to_file();
        // Root may make it, in a factory; it is for whoever owns the exchange.
        let exchange = layout.exchange();
        let owner = exchange.metadata().map_err(|source| FilesError::Read { path: exchange, source })?;
        let owner = Some(Owner { uid: owner.uid(), gid: owner.gid() });
        let attributes = Attributes { mode: files::PRIVATE_FILE, owner };
        Entry::of(&path)?.write(attributes, |file| file.write_all(text.expose().as_bytes()))?;
        return Ok(key);
    };
    let text = Secret::new(String::from_utf8_lossy(&text).into_owned());
    if let Status::File(attributes, _) = Entry::of(&path)?.status()?
        && attributes.mode & 0o007 != 0
    {
        return Err(KeyError::Exposed(path));
    }
    let text = text.expose().as_bytes();
    let read = match text {
        [b'{', ..] => TpmKey::from_file(text, &layout.tpm()).map(DeviceKey::in_tpm).ok(),
        _ => DeviceKey::from_pem(text, entropy).ok(),
    };
    read.ok_or(KeyError::NotAKey(path))
}

/// Makes a key, in the TPM where there is one and the settings leave it to us.
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
        (Ok(Some(key)), _) => Ok(DeviceKey::in_tpm(key)),
        (Ok(None), TpmUse::Required) => Err(KeyError::NoTpm),
        (Err(error), TpmUse::Required) => Err(error.into()),
        (Ok(None), _) => DeviceKey::generate(entropy),
        (Err(error), _) => {
            // A device enrolls with a broken TPM, too, unless its claim asks for the TPM's proof.
            tracing::warn!(error = &error as &dyn std::error::Error, "the key is made in software");
            DeviceKey::generate(entropy)
        }
    }
}

/// Whether the device's key is in a TPM that this device does not have: nobody here can use it again.
///
/// # Errors
/// [`KeyError`] if the TPM cannot be asked.
pub fn key_is_elsewhere(layout: &Layout, entropy: &Entropy) -> Result<bool, KeyError> {
    if !layout.device_key().exists() {
        return Ok(false);
    }
    let key = device_key(layout, entropy)?;
    Ok(key.tpm().map(TpmKey::is_here).transpose()? == Some(false))
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
                // A file where the device should be.
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
    fn a_file_that_only_says_to_be_in_the_tpm_is_no_key() {
        let root = tempfile::tempdir().unwrap();
        let layout = Layout::new(root.path());
        make_exchange(&layout).unwrap();
        for text in ["{", "{}", r#"{"held_in":"tpm"}"#, r#"{"held_in":"software"}"#] {
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
        files::replace(&layout.device_key(), b"half a k", 0o600).unwrap();
        assert!(matches!(device_key(&layout, &entropy), Err(KeyError::NotAKey(_))));
        let kept = files::read(&layout.device_key(), 99).unwrap().unwrap();
        assert_eq!(kept, b"half a k", "a damaged key is not replaced by itself");
    }
}
