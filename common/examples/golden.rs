//! Writes the worked example of `PROTOCOL.md`: `cargo run -p unbox-common --example golden`.
//!
//! Only for a new message or a new version: an old file stays as it is, because old devices do.
//! Keys, nonces and times are fixed; ECDSA signatures alone differ from run to run.

use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use serde::Serialize;
use std::{error::Error, path::Path};
use unbox_common::{
    bytes::{Bytes, FixedBytes, Nonce},
    digest::Sha256,
    identity::{IdentifierKind, RawIdentifier, Source},
    ids::{ConfigurationId, DeviceId, Generation},
    payload::{ConfigurationRef, Payload, Setup},
    protocol::{
        latest::{
            Acknowledged, Challenge, CheckIn, Command, Grant, Hello, Installed, News, Outcome, Owner,
            PROTOCOL_VERSION, ProofKind, Prove, Report, ReportEntry,
        },
        problem::Problem,
        progress::Progress,
        transcript::transcript,
    },
    refusal::RefusalKind,
    secret::Secret,
    timestamp::Timestamp,
    trust::{DevicePublicKey, KeySet, SigningKey, SigningRoot, sign},
};

const NOW: Timestamp = Timestamp(1_795_219_200_000);
const DEVICE_NONCE: Nonce = FixedBytes([0x11; 32]);
const SERVER_NONCE: Nonce = FixedBytes([0x22; 32]);
const CHECK_IN_NONCE: Nonce = FixedBytes([0x33; 32]);

fn main() -> Result<(), Box<dyn Error>> {
    #[expect(clippy::disallowed_methods, reason = "ECDSA needs randomness; nothing else here does")]
    let random = SystemRandom::new();
    let document =
        EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).map_err(|_| "no key")?;
    let device_key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random)
        .map_err(|_| "no key")?;
    let public = DevicePublicKey::from_point(device_key.public_key().as_ref())?;
    let key_digest = public.digest();
    let (payload_key, root_key) = (SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32]));

    let root = SigningRoot {
        version: 1,
        payload_keys: KeySet::new(1, [payload_key.public()])?,
        root_keys: KeySet::new(1, [root_key.public()])?,
        tls_anchors: None,
    };
    write("root", &sign(&root, &[&root_key])?)?;

    let hello = write("hello", &hello(public))?;
    let challenge = Challenge {
        ticket: Bytes(b"opaque to the device".to_vec()),
        nonce: SERVER_NONCE,
        proof: ProofKind::Token,
        tpm: None,
    };
    write("challenge", &challenge)?;
    let signed = transcript(Sha256::of(&hello), challenge.ticket.as_ref(), &SERVER_NONCE, challenge.proof);
    let signature =
        <[u8; 64]>::try_from(device_key.sign(&random, &signed).map_err(|_| "no signature")?.as_ref())?;
    write(
        "prove",
        &Prove {
            ticket: challenge.ticket,
            signature: FixedBytes(signature),
            token: Some(Secret::new("ppt_example_0123456789".to_owned())),
            reset_ticket: None,
            tpm: None,
        },
    )?;
    write(
        "grant",
        &Grant {
            device_id: DeviceId::new(4_211)?,
            generation: Generation(1),
            certificate_chain: vec![Bytes(b"DER certificate".to_vec()), Bytes(b"DER issuer".to_vec())],
            owner: owner(),
            payload: sign(&payload(NOW.0, key_digest, DEVICE_NONCE)?, &[&payload_key])?,
            roots: Vec::new(),
            server_time: NOW,
            check_in_after_s: 3600,
        },
    )?;
    write_life(&payload_key, key_digest)
}

fn write_life(payload_key: &SigningKey, key_digest: Sha256) -> Result<(), Box<dyn Error>> {
    let entry = |sequence, progress| ReportEntry {
        sequence,
        at: Timestamp(NOW.0 + sequence),
        progress,
        detail: None,
    };
    write(
        "report",
        &Report {
            generation: Generation(1),
            entries: vec![entry(1, Progress::BootstrapInitiated), entry(2, Progress::BootstrapComplete)],
            outcome: Some(Outcome::Managed { version: NOW.0 }),
        },
    )?;
    write("acknowledged", &Acknowledged { sequence: 2, server_time: NOW })?;
    write(
        "check-in",
        &CheckIn {
            generation: Generation(1),
            agent_version: "0.1.0".to_owned(),
            installed: Some(Installed {
                configuration: ConfigurationId::new(17)?,
                version: NOW.0,
                dpc: None,
            }),
            failed_version: None,
            healthy: true,
            nonce: CHECK_IN_NONCE,
            root_version: 1,
            renew_certificate: false,
        },
    )?;
    write(
        "news",
        &News {
            check_in_after_s: 3600,
            server_time: NOW,
            commands: vec![Command::ReEnroll],
            payload: Some(sign(&payload(NOW.0 + 1, key_digest, CHECK_IN_NONCE)?, &[payload_key])?),
            roots: Vec::new(),
            certificate_chain: Vec::new(),
            owner: owner(),
        },
    )?;
    let busy = Problem::new(RefusalKind::Busy).detail("The database is not reachable.").retry_after_s(7);
    write("problem", &busy).map(drop)
}

fn hello(device_key: DevicePublicKey) -> Hello {
    let one = |kind, value: &str| RawIdentifier { kind, value: value.to_owned(), source: Source::Smbios };
    Hello {
        protocol: PROTOCOL_VERSION,
        agent_version: "0.1.0".to_owned(),
        identity: vec![
            one(IdentifierKind::SerialNumber, "PF0ABCDE"),
            one(IdentifierKind::SystemUuid, "4c4c4544-0058-4b10-8039-b7c04f513133"),
            one(IdentifierKind::Manufacturer, "LENOVO"),
            one(IdentifierKind::Model, "20QES0XX00"),
        ],
        device_key,
        proofs: vec![ProofKind::Identifiers, ProofKind::Token],
        nonce: DEVICE_NONCE,
        root_version: 1,
        token_digest: None,
        tpm: None,
        enrollment: None,
    }
}

fn owner() -> Owner {
    Owner {
        company: "Acme AG".to_owned(),
        contact_email: "it@acme.example".to_owned(),
        contact_phone: "+41 44 000 00 00".to_owned(),
        message: Some("Welcome. Sign in with your Acme account.".to_owned()),
    }
}

fn payload(version: u64, key_digest: Sha256, nonce: Nonce) -> Result<Payload, Box<dyn Error>> {
    Ok(Payload {
        device: DeviceId::new(4_211)?,
        generation: Generation(1),
        key_digest,
        nonce,
        version,
        issued_at: NOW,
        expires_at: Timestamp(NOW.0 + 7 * 24 * 3600 * 1000),
        configuration: ConfigurationRef { id: ConfigurationId::new(17)?, name: "Kiosk".to_owned() },
        dpc: Some(serde_json::from_str(
            r#"{
                "name": "acme-dpc", "version": "1.4.0", "kind": "tar",
                "artifact": {
                    "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", "size": 0
                },
                "unit": "acme-dpc.service", "extras": {"site": "zurich-1"},
                "health": {"type": "unit_active", "stable_for_s": 5, "timeout_s": 60}
            }"#,
        )?),
        policy: serde_json::from_str(
            r#"[
                {"type": "hostname", "name": "kiosk-1"},
                {"type": "file", "path": "/etc/motd", "content": {"text": "Property of Acme\n"}, "mode": "0644"}
            ]"#,
        )?,
        setup: Setup::default(),
    })
}

/// Writes one golden file and returns the bytes of the message: the file without its last newline.
fn write(name: &str, message: &impl Serialize) -> Result<Vec<u8>, Box<dyn Error>> {
    let body = serde_json::to_string_pretty(message)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1").join(format!("{name}.json"));
    #[expect(clippy::disallowed_methods, reason = "a developer's tool; git keeps the file before it")]
    std::fs::write(path, format!("{body}\n"))?;
    Ok(body.into_bytes())
}
