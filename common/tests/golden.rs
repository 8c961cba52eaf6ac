//! The golden messages parse for ever, and `PROTOCOL.md` shows exactly them.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use serde::{Serialize, de::DeserializeOwned};
use std::{fs, path::Path};
use unbox_common::{
    attestation::{KeyRole, NotAttested, TpmPublic, verify_certification, verify_quote},
    bytes::FixedBytes,
    digest::Sha256,
    identity::HardwareIdentity,
    ids::{DeviceId, Generation},
    payload::{Expectation, judge},
    protocol::{
        latest::{Acknowledged, Challenge, CheckIn, Grant, Hello, News, Prove, Report},
        problem::Problem,
        transcript::transcript,
    },
    timestamp::Timestamp,
    trust::{Signed, SigningKey, SigningRoot, sign},
};

const MESSAGES: [&str; 14] = [
    "root",
    "hello",
    "hello-again",
    "challenge",
    "prove",
    "hello-tpm",
    "challenge-tpm",
    "prove-tpm",
    "grant",
    "report",
    "acknowledged",
    "check-in",
    "news",
    "problem",
];

fn here(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

fn body(name: &str) -> String {
    here(&format!("tests/golden/v1/{name}.json")).trim_end().to_owned()
}

/// Reads a golden message, and checks that writing it again gives the same bytes.
fn golden<T: Serialize + DeserializeOwned>(name: &str) -> T {
    let body = body(name);
    let message: T = serde_json::from_str(&body).unwrap();
    assert_eq!(serde_json::to_string_pretty(&message).unwrap(), body, "{name}");
    message
}

#[test]
fn every_message_reads_and_writes_the_same_bytes() {
    golden::<Signed<SigningRoot>>("root");
    golden::<Hello>("hello");
    golden::<Hello>("hello-again");
    golden::<Challenge>("challenge");
    golden::<Prove>("prove");
    golden::<Hello>("hello-tpm");
    golden::<Challenge>("challenge-tpm");
    golden::<Prove>("prove-tpm");
    golden::<Grant>("grant");
    golden::<Report>("report");
    golden::<Acknowledged>("acknowledged");
    golden::<CheckIn>("check-in");
    golden::<News>("news");
    golden::<Problem>("problem");
}

#[test]
fn the_document_shows_the_golden_messages() {
    let document = here("PROTOCOL.md");
    for name in MESSAGES {
        let shown = format!("<!-- golden: v1/{name}.json -->\n```json\n{}\n```", body(name));
        assert!(document.contains(&shown), "PROTOCOL.md does not show tests/golden/v1/{name}.json as it is");
    }
}

#[test]
fn the_document_lists_every_kind_of_identifier() {
    let document = here("PROTOCOL.md");
    let line = document.lines().find(|line| line.starts_with("Kinds of identifier:")).unwrap();
    for kind in unbox_common::identity::IdentifierKind::ALL {
        assert!(line.contains(&format!("`{kind}`")), "PROTOCOL.md lacks the kind {kind}");
    }
}

#[test]
fn the_document_lists_every_refusal_with_its_status_and_disposition() {
    let document = here("PROTOCOL.md");
    for kind in unbox_common::refusal::RefusalKind::ALL {
        let disposition = serde_json::to_value(kind.disposition()).unwrap();
        let row =
            format!("| `{kind}` | {} | {} |", kind.status(), disposition.as_str().unwrap().replace('_', " "));
        assert!(document.contains(&row), "PROTOCOL.md lacks the row {row}");
    }
}

#[test]
fn the_worked_example_replays() {
    let (hello, challenge, prove): (Hello, Challenge, Prove) =
        (golden("hello"), golden("challenge"), golden("prove"));
    HardwareIdentity::from_raw(&hello.identity).unwrap();

    let hello_digest = Sha256::of(body("hello").as_bytes());
    let signed = transcript(hello_digest, challenge.ticket.as_ref(), &challenge.nonce, challenge.proof);
    assert!(hello.device_key.verifies(&signed, &prove.signature));
    let document = here("PROTOCOL.md");
    assert!(document.contains(&hello_digest.to_string()), "the digest of the hello is not in PROTOCOL.md");
    assert!(
        document.contains(&Sha256::of(&signed).to_string()),
        "the digest of the transcript is not in PROTOCOL.md"
    );

    let grant: Grant = golden("grant");
    let root = SigningRoot::from_image(&golden("root")).unwrap();
    let payload = grant.payload.verify(&root.payload_keys).unwrap();
    // Ed25519 is deterministic: signing again gives the envelope of the example.
    assert_eq!(sign(&*payload, &[&SigningKey::from_seed(&[1; 32])]).unwrap(), grant.payload);
    let expectation = Expectation {
        device: DeviceId::new(4_211).unwrap(),
        generation: Generation(1),
        key_digest: Some(hello.device_key.digest()),
        nonce: Some(hello.nonce),
        installed_version: None,
        now: grant.server_time,
    };
    judge(payload, &expectation).unwrap();

    let (check_in, news): (CheckIn, News) = (golden("check-in"), golden("news"));
    let newer = news.payload.unwrap().verify(&root.payload_keys).unwrap();
    assert_eq!(newer.nonce, check_in.nonce);
    assert!(newer.version > check_in.installed.unwrap().version);
}

#[test]
fn the_worked_example_of_a_tpm_replays() {
    let (hello, challenge, prove): (Hello, Challenge, Prove) =
        (golden("hello-tpm"), golden("challenge-tpm"), golden("prove-tpm"));
    let hello_digest = Sha256::of(body("hello-tpm").as_bytes());
    let signed = transcript(hello_digest, challenge.ticket.as_ref(), &challenge.nonce, challenge.proof);
    assert!(hello.device_key.verifies(&signed, &prove.signature));

    let (introduced, answer) = (hello.tpm.unwrap(), prove.tpm.unwrap());
    let attestation = TpmPublic::parse(introduced.attestation_key.as_ref(), KeyRole::Attestation).unwrap();
    let device = TpmPublic::parse(answer.device_key.as_ref(), KeyRole::Device).unwrap();
    assert_eq!(*device.key(), hello.device_key);
    let bound_to = Sha256::of(&signed);
    let (statement, signature) = (answer.certification.as_ref(), &answer.certification_signature);
    verify_certification(&attestation, statement, signature, bound_to, &device).unwrap();
    let (statement, signature) = (answer.quote.as_ref(), &answer.quote_signature);
    verify_quote(&attestation, statement, signature, bound_to, &answer.pcrs).unwrap();

    let mut pcrs = answer.pcrs;
    pcrs[7] = FixedBytes([1; 32]);
    assert_eq!(
        verify_quote(&attestation, statement, signature, bound_to, &pcrs),
        Err(NotAttested::Measurements)
    );
    assert_eq!(
        verify_quote(&attestation, statement, signature, hello_digest, &answer.pcrs),
        Err(NotAttested::Replayed)
    );
    let document = here("PROTOCOL.md");
    for digest in [hello_digest, bound_to, Sha256::of(introduced.endorsement_key.as_ref())] {
        assert!(document.contains(&digest.to_string()), "{digest} is not in PROTOCOL.md");
    }
}

#[test]
fn a_newer_side_may_add_fields_to_messages_but_not_to_what_is_signed() {
    let hello = body("hello").replacen('{', "{\"from_the_future\": 1,", 1);
    serde_json::from_str::<Hello>(&hello).unwrap();
    let grant: Grant = golden("grant");
    let text = String::from_utf8(grant.payload.envelope().payload.0.clone()).unwrap();
    let extended = text.replacen('{', "{\"from_the_future\":1,", 1);
    assert!(serde_json::from_str::<unbox_common::payload::Payload>(&extended).is_err());
}

#[test]
fn another_handshake_needs_another_signature() {
    let (hello, challenge, prove): (Hello, Challenge, Prove) =
        (golden("hello"), golden("challenge"), golden("prove"));
    let other_nonce = FixedBytes([0x44; 32]);
    let other = transcript(
        Sha256::of(body("hello").as_bytes()),
        challenge.ticket.as_ref(),
        &other_nonce,
        challenge.proof,
    );
    assert!(!hello.device_key.verifies(&other, &prove.signature));
    assert_eq!(golden::<Acknowledged>("acknowledged").server_time, Timestamp(1_795_219_200_000));
}
