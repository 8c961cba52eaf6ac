//! The agent's side and the server's side of the proof against each other, without a network between them.

use super::manufactured;
use anyhow::{Context as _, Result, ensure};
use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
};
use unbox_agent::tpm::{Tpm, TpmError, TpmKey};
use unbox_common::timestamp::Timestamp;
use unbox_common::{
    attestation::{KeyRole, NotAttested, TpmPublic, verify_certification, verify_quote},
    bytes::{FixedBytes, to_base64},
    digest::Sha256,
};
use unbox_server::{
    entropy::SystemEntropy,
    tpm::{Introduction, NotIntroduced, TpmRoots, Untraceable},
};
use unbox_tests::swtpm::{Certified, Manufacturer};

fn now() -> Timestamp {
    unbox_server::clock::Clock::now(&unbox_server::clock::SystemClock)
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn a_tpm_of_each_kind_opens_what_was_sealed_for_it_and_vouches_for_the_key() -> Result<()> {
    for certified in [Certified::Rsa, Certified::P384, Certified::Not] {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("tpmrm0");
        let (manufacturer, _tpm) = manufactured(folder.path(), certified, &path)?;
        let mut tpm = Tpm::open(&path)?.context("a TPM")?;
        let key = TpmKey::make(&mut tpm, &path, FixedBytes([7; 32]))?;
        drop(tpm);
        assert!(key.is_in_this_tpm()?);
        let signature = key.sign(b"transcript")?;
        assert!(key.public().verifies(b"transcript", &signature));

        let from = key.introduction();
        let length = match certified {
            Certified::Rsa => 294,
            Certified::P384 => 120,
            Certified::Not => 91,
        };
        assert_eq!(from.endorsement_key.0.len(), length, "{certified:?}: the length tells the kind of key");
        let introduction = Introduction::read(from)?;
        if certified == Certified::Not {
            assert_eq!(
                Introduction::check_voucher(from, &TpmRoots::default(), now()),
                Err(NotIntroduced::NoCertificate)
            );
        } else {
            let roots = TpmRoots::load(&manufacturer.roots()?)?;
            Introduction::check_voucher(from, &roots, now())?;
            let unknown = NotIntroduced::Untraceable(Untraceable::UnknownRoot);
            assert_eq!(Introduction::check_voucher(from, &TpmRoots::default(), now()), Err(unknown));
        }
        let challenge =
            introduction.endorsement.seal(&introduction.attestation, &[9; 32], &SystemEntropy::new())?;
        let answer = key.answer(&challenge, b"transcript")?;
        assert_eq!(answer.secret.expose(), to_base64(&[9; 32]), "{certified:?}");

        let bound_to = Sha256::of(b"transcript");
        let device = TpmPublic::parse(answer.device_key.as_ref(), KeyRole::Device)?;
        assert_eq!(device.key(), key.public());
        let by = &introduction.attestation;
        let (statement, signature) = (answer.certification.as_ref(), &answer.certification_signature);
        verify_certification(by, statement, signature, bound_to, &device)?;
        verify_quote(by, answer.quote.as_ref(), &answer.quote_signature, bound_to, &answer.pcrs)?;
        let elsewhere = Sha256::of(b"another transcript");
        assert_eq!(
            verify_quote(by, answer.quote.as_ref(), &answer.quote_signature, elsewhere, &answer.pcrs),
            Err(NotAttested::Replayed)
        );
        assert_eq!(
            verify_quote(by, statement, signature, bound_to, &answer.pcrs),
            Err(NotAttested::Form),
            "a certification is no quote"
        );
    }
    Ok(())
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn a_key_is_worth_nothing_in_another_tpm() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tpmrm0");
    let (manufacturer, mut own) = manufactured(folder.path(), Certified::Rsa, &path)?;
    let mut tpm = Tpm::open(&path)?.context("a TPM")?;
    let key = TpmKey::make(&mut tpm, &path, FixedBytes([7; 32]))?;
    let other = TpmKey::make(&mut tpm, &path, FixedBytes([8; 32]))?;
    assert_ne!(key.public(), other.public(), "another salt is another key");
    assert_eq!(TpmKey::make(&mut tpm, &path, FixedBytes([7; 32]))?, key, "and the same salt the same");
    drop(tpm);
    let sealed = Introduction::read(key.introduction())?;
    let challenge = sealed.endorsement.seal(&sealed.attestation, &[9; 32], &SystemEntropy::new())?;

    own.switch_off();
    let mut another = manufacturer.make(&folder.path().join("another"), Certified::Rsa)?;
    another.serve(&path)?;
    assert!(!key.is_in_this_tpm()?);
    assert!(matches!(key.sign(b"x"), Err(TpmError::OtherTpm)));
    assert!(
        matches!(key.answer(&challenge, b"x"), Err(TpmError::Refused { .. })),
        "it cannot open the secret"
    );

    another.switch_off();
    own.serve(&path)?;
    assert!(key.is_in_this_tpm()?, "switched off and on, it is the same key");
    let _: &Manufacturer = &manufacturer;
    Ok(())
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn a_cleared_tpm_makes_the_same_key_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("tpmrm0");
    let (_manufacturer, _tpm) = manufactured(folder.path(), Certified::Rsa, &path)?;
    let mut tpm = Tpm::open(&path)?.context("a TPM")?;
    let key = TpmKey::make(&mut tpm, &path, FixedBytes([7; 32]))?;
    drop(tpm);

    clear(&path)?;
    assert!(key.is_in_this_tpm()?, "the key that was made before is still to be had");
    let again = TpmKey::make(&mut Tpm::open(&path)?.context("a TPM")?, &path, FixedBytes([7; 32]))?;
    assert_eq!(again.public(), key.public());
    assert!(key.public().verifies(b"transcript", &key.sign(b"transcript")?));
    Ok(())
}

/// `TPM2_Clear` by the authorisation of the lockout hierarchy, which is empty (part 3, section 24.6).
fn clear(path: &Path) -> Result<()> {
    let head =
        [0x8002_u16.to_be_bytes().as_slice(), &27_u32.to_be_bytes(), &0x126_u32.to_be_bytes()].concat();
    let (lockout, password) = (0x4000_000a_u32.to_be_bytes(), 0x4000_0009_u32.to_be_bytes());
    let session = [&9_u32.to_be_bytes()[..], &password, &[0; 5]].concat();
    let mut socket = UnixStream::connect(path)?;
    socket.write_all(&[&head[..], &lockout, &session].concat())?;
    let mut answer = [0; 10];
    socket.read_exact(&mut answer)?;
    ensure!(answer[6..] == [0; 4], "TPM2_Clear was refused: {answer:02x?}");
    Ok(())
}
