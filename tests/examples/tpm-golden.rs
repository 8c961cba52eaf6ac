//! Records the worked example of the proof `tpm` in `PROTOCOL.md`, with a simulated TPM:
//! `cargo run -p unbox-tests --example tpm-golden`.
//!
//! Only for a new message or a new version: an old file stays as it is, because old devices do. Also
//! writes the TPM's certificates, which parsers are tried with.

use anyhow::{Context as _, Result};
use serde::Serialize;
use std::path::{Path, PathBuf};
use unbox_agent::tpm::{Tpm, TpmKey};
use unbox_common::{
    bytes::{Bytes, FixedBytes},
    digest::Sha256,
    identity::{IdentifierKind, RawIdentifier, Source},
    protocol::{
        latest::{Challenge, Hello, PROTOCOL_VERSION, ProofKind, Prove},
        transcript::transcript,
    },
};
use unbox_server::{entropy::SystemEntropy, tpm::Introduction};
use unbox_tests::{
    files,
    swtpm::{Certified, Manufacturer},
};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let manufacturer = Manufacturer::new(&folder.path().join("maker"))?;
    let mut made = manufacturer.make(&folder.path().join("tpm"), Certified::Rsa)?;
    let socket = folder.path().join("tpmrm0");
    made.serve(&socket)?;
    let mut tpm = Tpm::open(&socket)?.context("a TPM")?;
    let key = TpmKey::make(&mut tpm, &socket, FixedBytes([0x77; 32]))?;
    drop(tpm);

    let introduction = Introduction::read(key.introduction())?;
    let hello = write("hello-tpm", &hello(&key, introduction.digest))?;
    let credential =
        introduction.endorsement.seal(&introduction.attestation, &[0x55; 32], &SystemEntropy::new())?;
    let challenge = Challenge {
        ticket: Bytes(b"opaque to the device".to_vec()),
        nonce: FixedBytes([0x22; 32]),
        proof: ProofKind::Tpm,
        tpm: Some(credential.clone()),
    };
    write("challenge-tpm", &challenge)?;
    let signed = transcript(Sha256::of(&hello), challenge.ticket.as_ref(), &challenge.nonce, challenge.proof);
    let prove = Prove {
        ticket: challenge.ticket,
        signature: key.sign(&signed)?,
        token: None,
        reset_ticket: None,
        tpm: Some(key.answer(&credential, &signed)?),
    };
    write("prove-tpm", &prove)?;

    for (name, certified) in [("rsa-2048", Certified::Rsa), ("p-384", Certified::P384)] {
        let mut made = manufacturer.make(&folder.path().join(name), certified)?;
        made.serve(&socket)?;
        let mut tpm = Tpm::open(&socket)?.context("a TPM")?;
        let endorsement = unbox_agent::tpm::endorsement(&mut tpm)?;
        let certificate = endorsement.certificates.first().context("a certificate")?;
        let path = workspace().join("server/tests/fixtures/tpm").join(format!("{name}.der"));
        files::write(&path, certificate.as_ref())?;
        made.switch_off();
    }
    for name in ["issuercert.pem", "swtpm-localca-rootca-cert.pem"] {
        let certificate = std::fs::read(manufacturer.roots()?.join(name))?;
        let to = if name.starts_with("issuer") { "issuer.pem" } else { "root.pem" };
        files::write(&workspace().join("server/tests/fixtures/tpm").join(to), &certificate)?;
    }
    Ok(())
}

fn hello(key: &TpmKey, endorsement: Sha256) -> Hello {
    let one = |kind, value: &str, source| RawIdentifier { kind, value: value.to_owned(), source };
    Hello {
        protocol: PROTOCOL_VERSION,
        agent_version: "0.1.0".to_owned(),
        identity: vec![
            one(IdentifierKind::TpmKey, &endorsement.to_string(), Source::Tpm),
            one(IdentifierKind::SerialNumber, "PF0ABCDE", Source::Smbios),
            one(IdentifierKind::Manufacturer, "LENOVO", Source::Smbios),
            one(IdentifierKind::Model, "20QES0XX00", Source::Smbios),
        ],
        device_key: key.public().clone(),
        proofs: vec![ProofKind::Identifiers, ProofKind::RegisteredKey, ProofKind::Tpm],
        nonce: FixedBytes([0x11; 32]),
        root_version: 1,
        token_digest: None,
        tpm: Some(key.introduction().clone()),
        enrollment: None,
    }
}

/// Writes one golden file and returns the bytes of the message: the file without its last newline.
fn write(name: &str, message: &impl Serialize) -> Result<Vec<u8>> {
    let body = serde_json::to_string_pretty(message)?;
    let path = workspace().join("common/tests/golden/v1").join(format!("{name}.json"));
    files::write(&path, format!("{body}\n").as_bytes())?;
    Ok(body.into_bytes())
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
