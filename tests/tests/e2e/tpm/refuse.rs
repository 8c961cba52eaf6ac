//! Lies about a TPM, told to the real server: each is refused, and nothing is enrolled by it.

use super::{CLAIMS, manufactured, policy};
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::sync::Arc;
use tokio::runtime::Runtime;
use unbox_agent::{
    entropy::Entropy,
    handshake::DeviceKey,
    tpm::{Tpm, TpmKey},
};
use unbox_common::{
    attestation::KeyRole,
    bytes::{Bytes, FixedBytes, to_base64},
    digest::Sha256,
    identity::{IdentifierKind, RawIdentifier, Source},
    protocol::{
        latest::{
            Challenge, HELLO_PATH, Hello, PROTOCOL_VERSION, PROVE_PATH, ProofKind, Prove, TpmEvidence,
            TpmIntroduction,
        },
        transcript::transcript,
    },
    secret::Secret,
    trust::{DeviceKeySignature, DevicePublicKey},
};
use unbox_tests::{
    fleet::{Anchors, Connection},
    scene::Scene,
    server,
    swtpm::Certified,
};

/// Somebody who speaks the protocol, and says what he likes.
struct Liar<'a> {
    scene: &'a Scene,
    runtime: Runtime,
    tls: Arc<rustls::ClientConfig>,
}

/// A handshake up to the challenge.
struct Asked {
    challenge: Challenge,
    transcript: Vec<u8>,
}

impl<'a> Liar<'a> {
    fn new(scene: &'a Scene) -> Result<Self> {
        let tls = Anchors::read(&scene.server.bundle().join("anchors.pem"))?.tls(None)?;
        Ok(Self { scene, runtime: Runtime::new()?, tls })
    }

    /// Posts a message; status and body of the answer.
    fn post(&self, path: &str, message: Vec<u8>) -> Result<(u16, Value)> {
        let answer = self.runtime.block_on(async {
            let mut connection =
                Connection::open(self.scene.server.address, server::NAME, Arc::clone(&self.tls)).await?;
            connection.post(path, message).await
        })?;
        Ok((answer.status, serde_json::from_slice(&answer.body)?))
    }

    fn hello(&self, key: &DevicePublicKey, tpm: Option<TpmIntroduction>) -> Result<Result<Asked, Value>> {
        let one = |kind, value: &str| RawIdentifier { kind, value: value.to_owned(), source: Source::Smbios };
        let hello = serde_json::to_vec(&Hello {
            protocol: PROTOCOL_VERSION,
            agent_version: "0.1.0".to_owned(),
            identity: vec![
                one(IdentifierKind::SerialNumber, "AC-0007"),
                one(IdentifierKind::Manufacturer, "Acme"),
                one(IdentifierKind::Model, "Gateway 3"),
            ],
            device_key: key.clone(),
            proofs: vec![ProofKind::Identifiers, ProofKind::Tpm],
            nonce: FixedBytes([1; 32]),
            root_version: 1,
            token_digest: None,
            tpm,
            enrollment: None,
        })?;
        let digest = Sha256::of(&hello);
        match self.post(HELLO_PATH, hello)? {
            (200, challenge) => {
                let challenge: Challenge = serde_json::from_value(challenge)?;
                let transcript =
                    transcript(digest, challenge.ticket.as_ref(), &challenge.nonce, challenge.proof);
                Ok(Ok(Asked { challenge, transcript }))
            }
            (_, problem) => Ok(Err(problem)),
        }
    }

    fn prove(
        &self,
        asked: &Asked,
        signature: DeviceKeySignature,
        tpm: Option<TpmEvidence>,
    ) -> Result<(u16, Value)> {
        let ticket = asked.challenge.ticket.clone();
        let prove = Prove { ticket, signature, token: None, reset_ticket: None, tpm };
        self.post(PROVE_PATH, serde_json::to_vec(&prove)?)
    }

    /// Nothing but refusals came of it.
    #[track_caller]
    fn nothing_is_enrolled(&self, problem: &Value, words: &str) -> Result<()> {
        assert_eq!(problem["kind"], "proof_required", "{problem:#}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(words), "{detail:?} does not say {words:?}");
        assert!(self.scene.devices()?.is_empty(), "{words}: a device came of it");
        assert!(self.scene.audit("granted")?.is_empty(), "{words}: something was granted");
        Ok(())
    }
}

#[test]
#[ignore = "needs swtpm: run tests/run"]
fn lies_about_a_tpm_are_refused_and_the_truth_is_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("s");
    let (maker, mut own) = manufactured(folder.path(), Certified::Rsa, &path)?;
    let roots = format!("{:?}", maker.roots()?.to_string_lossy());
    let scene = Scene::create_with(folder.path(), &[("roots", &roots)])?;
    scene.configure(None, &policy())?;
    scene.claim(CLAIMS, &["--proof", "tpm"])?;
    let liar = Liar::new(&scene)?;
    let mut tpm = Tpm::open(&path)?.context("a TPM")?;
    let key = TpmKey::make(&mut tpm, &path, FixedBytes([7; 32]))?;
    drop(tpm);
    let truth = key.introduction();

    introductions(&liar, &key, truth)?;
    answers(&liar, &key, truth)?;
    key_outside(&liar, &key, truth)?;

    // The attestation key of another TPM beside this one's endorsement key.
    own.switch_off();
    let mut another = maker.make(&folder.path().join("another"), Certified::Rsa)?;
    another.serve(&path)?;
    let mut tpm = Tpm::open(&path)?.context("another TPM")?;
    let theirs = TpmKey::make(&mut tpm, &path, FixedBytes([7; 32]))?;
    drop(tpm);
    let attestation_key = theirs.introduction().attestation_key.clone();
    let mixed = TpmIntroduction { attestation_key, ..truth.clone() };
    let asked = liar.hello(theirs.public(), Some(mixed))?.map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let credential = asked.challenge.tpm.as_ref().context("a credential")?;
    assert!(theirs.answer(credential, &asked.transcript).is_err(), "neither TPM can open it");
    another.switch_off();
    own.serve(&path)?;
    assert!(key.answer(credential, &asked.transcript).is_err(), "neither TPM can open it");

    let asked =
        liar.hello(key.public(), Some(truth.clone()))?.map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let evidence = key.answer(asked.challenge.tpm.as_ref().context("a credential")?, &asked.transcript)?;
    let (status, grant) = liar.prove(&asked, key.sign(&asked.transcript)?, Some(evidence))?;
    assert_eq!(status, 200, "{grant:#}");
    Ok(())
}

/// Lies in the hello.
fn introductions(liar: &Liar<'_>, key: &TpmKey, truth: &TpmIntroduction) -> Result<()> {
    let unrestricted = KeyRole::Device.template(&[7; 32]);
    let mut other_key = truth.clone();
    other_key.endorsement_key = Bytes(key.public().spki().to_vec());
    let with = |certificates: Vec<Bytes>| TpmIntroduction { certificates, ..truth.clone() };
    let own = truth.certificates.first().context("a certificate")?;
    let mut cut = own.clone();
    cut.0.truncate(cut.0.len() / 2);
    let padded = Bytes([own.as_ref(), &[0]].concat());
    for (told, words) in [
        (TpmIntroduction { attestation_key: Bytes(unrestricted), ..truth.clone() }, "attestation key"),
        (TpmIntroduction { attestation_key: Bytes(vec![0; 5000]), ..truth.clone() }, "attestation key"),
        (TpmIntroduction { endorsement_key: Bytes(vec![0x30; 600]), ..truth.clone() }, "endorsement key"),
        (other_key, "another endorsement key"),
        (with(Vec::new()), "no certificate"),
        (with(vec![Bytes(Vec::new())]), "not an X.509"),
        (with(vec![cut]), "not an X.509"),
        (with(vec![padded]), "not an X.509"),
        (with(vec![own.clone(); 5]), "more than"),
    ] {
        let refused = liar.hello(key.public(), Some(told))?;
        liar.nothing_is_enrolled(&refused.err().context(words)?, words)?;
    }
    let refused = liar.hello(key.public(), None)?;
    liar.nothing_is_enrolled(&refused.err().context("no TPM")?, "TPM")
}

/// Lies in the proof.
fn answers(liar: &Liar<'_>, key: &TpmKey, truth: &TpmIntroduction) -> Result<()> {
    type Lie = fn(&mut TpmEvidence, &TpmEvidence);
    let lies: [(&str, Lie); 9] = [
        ("did not open", |told, _| told.secret = Secret::new(to_base64(&[0; 32]))),
        ("did not open", |told, _| told.secret = Secret::new("not base64".to_owned())),
        ("did not open", |told, earlier| told.secret = earlier.secret.clone()),
        ("firmware", |told, _| told.pcrs[7] = FixedBytes([1; 32])),
        ("firmware", |told, _| told.quote.0.reverse()),
        ("firmware", |told, earlier| {
            told.quote = earlier.quote.clone();
            told.quote_signature = earlier.quote_signature;
        }),
        ("not in the TPM", |told, earlier| {
            told.certification = earlier.certification.clone();
            told.certification_signature = earlier.certification_signature;
        }),
        ("not in the TPM", |told, _| told.certification = told.quote.clone()),
        ("not in the TPM", |told, _| told.device_key = Bytes(vec![0xff; 60_000 / 2])),
    ];
    let ask =
        || liar.hello(key.public(), Some(truth.clone()))?.map_err(|problem| anyhow::anyhow!("{problem}"));
    let answer = |asked: &Asked| -> Result<TpmEvidence> {
        Ok(key.answer(asked.challenge.tpm.as_ref().context("a credential")?, &asked.transcript)?)
    };
    let earlier = answer(&ask()?)?;
    for (words, lie) in lies {
        let asked = ask()?;
        let mut told = answer(&asked)?;
        lie(&mut told, &earlier);
        let (status, problem) = liar.prove(&asked, key.sign(&asked.transcript)?, Some(told))?;
        assert_ne!(status, 200);
        liar.nothing_is_enrolled(&problem, words)?;
    }
    let asked = ask()?;
    let (_, problem) = liar.prove(&asked, key.sign(&asked.transcript)?, None)?;
    liar.nothing_is_enrolled(&problem, "missing")
}

/// A key that anybody could copy, beside a TPM that is real.
fn key_outside(liar: &Liar<'_>, key: &TpmKey, truth: &TpmIntroduction) -> Result<()> {
    let entropy = Entropy::system();
    let outside = DeviceKey::generate(&entropy)?;
    let asked =
        liar.hello(outside.public(), Some(truth.clone()))?.map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let honest = key.answer(asked.challenge.tpm.as_ref().context("a credential")?, &asked.transcript)?;
    // The real public area, with the other key's point in it.
    let area = honest.device_key.as_ref();
    let (x, y) = outside.public().point().split_at(1).1.split_at(32);
    let start = area.get(..area.len() - 68).context("a public area")?;
    let forged = [start, &[0, 32], x, &[0, 32], y].concat();
    for device_key in [honest.device_key.clone(), Bytes(forged)] {
        let told = TpmEvidence { device_key, ..honest.clone() };
        let signature = outside.sign(&asked.transcript, &entropy)?;
        let (_, problem) = liar.prove(&asked, signature, Some(told))?;
        liar.nothing_is_enrolled(&problem, "not in the TPM")?;
    }
    Ok(())
}
