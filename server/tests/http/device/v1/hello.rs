//! `POST /device/v1/hello`

use crate::{
    beside::beside,
    support::{TestDevice, TestServer, exact, problem, retry_after},
    tpm,
};
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, StatusCode};
use std::{future::ready, time::Duration};
use tokio::time::Instant;
use unbox_common::{
    bytes::Bytes,
    digest::Sha256,
    identity::{IdentifierKind, RawIdentifier, Source},
    protocol::latest::{Challenge, HELLO_PATH, Hello, ProofKind, TpmIntroduction},
    refusal::RefusalKind,
};
use unbox_server::{
    service::{ImportDefaults, NewToken},
    store::Store,
    tpm::EndorsementCertificate,
};

#[tokio::test]
async fn a_claimed_device_is_challenged_and_nothing_is_stored() {
    let server = TestServer::start().await;
    let device = TestDevice::new("PF0ABCDE");
    server.claim(&device).await;
    let before = server.everything().await;
    let answer = server.post(&server.stranger(), HELLO_PATH, &device.hello()).await;
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let challenge: Challenge = answer.json().await.unwrap();
    assert_eq!(challenge.proof, ProofKind::Identifiers);
    assert_eq!(server.everything().await, before);
}

#[tokio::test]
async fn unknown_and_unclaimed_devices_get_byte_equal_answers() {
    let server = TestServer::start().await;
    let (unknown, released) = (TestDevice::new("PF0AAAAA"), TestDevice::new("PF0BBBBB"));
    let unconfigured = TestDevice::new("PF0CCCCC");
    let claim = server.claim(&released).await;
    server.services().claims.unclaim(&server.operator, claim).await.unwrap();
    server.claim_without_configuration(&unconfigured).await;
    let client = server.stranger();
    let mut answers = Vec::new();
    for device in [&unknown, &released, &unconfigured] {
        answers.push(exact(server.post(&client, HELLO_PATH, &device.hello()).await).await);
    }
    assert!(answers[0].contains("404") && answers[0].contains("not_claimed"), "{}", answers[0]);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[tokio::test]
async fn another_version_of_the_protocol_is_refused() {
    let server = TestServer::start().await;
    let mut hello = TestDevice::new("PF0ABCDE").hello();
    hello.protocol = 2;
    let answer = server.post(&server.stranger(), HELLO_PATH, &hello).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(problem(answer).await.kind, RefusalKind::UnsupportedProtocol);
}

#[tokio::test]
async fn one_address_may_ask_so_often_and_is_told_when_to_come_back() {
    let server = TestServer::with("[limits]\naddress_burst = 3\naddress_per_second = 1").await;
    let client = server.stranger();
    let mut statuses = Vec::new();
    for serial in ["PF0AAAAA", "QG0BBBBB", "RH0CCCCC", "SI0DDDDD"] {
        let answer = server.post(&client, HELLO_PATH, &TestDevice::new(serial).hello()).await;
        statuses.push(answer.status().as_u16());
        if answer.status() == StatusCode::TOO_MANY_REQUESTS {
            let header = retry_after(&answer);
            let problem = problem(answer).await;
            assert_eq!(problem.kind, RefusalKind::TooManyRequests);
            assert_eq!(problem.retry_after_s, Some(header));
            assert!((1..=62).contains(&header), "{header}");
        }
    }
    assert_eq!(statuses, [404, 404, 404, 429]);
}

#[tokio::test]
async fn an_address_that_guesses_waits_and_nobody_else_does() {
    let server = TestServer::with("[limits]\nseries_burst = 2\nseries_per_hour = 1").await;
    let fresh = TestDevice::new("PF0AB009");
    let enrolled = server.enrolled_elsewhere("PF0AB010").await;
    server.claim(&fresh).await;
    let attacker = server.stranger();
    let status =
        async |client: &Client, hello: &Hello| server.post(client, HELLO_PATH, hello).await.status().as_u16();
    for (serial, expected) in [("PF0AB001", 404), ("ZZ9AB002", 404), ("PF0AB001", 404), ("PF0AB003", 429)] {
        assert_eq!(status(&attacker, &TestDevice::new(serial).hello()).await, expected, "{serial}");
    }
    assert_eq!(status(&attacker, &fresh.hello()).await, 429, "it does not learn which are claimed");
    let mut beside = fresh.hello();
    let other = RawIdentifier { value: "00:16:3e:00:00:99".to_owned(), ..beside.identity[0].clone() };
    beside.identity.push(RawIdentifier { kind: IdentifierKind::MacAddress, ..other });
    assert_eq!(status(&attacker, &beside).await, 429, "nor with another identifier beside it");
    let elsewhere = server.stranger_at("127.0.0.2");
    assert_eq!(status(&elsewhere, &fresh.hello()).await, 200);

    // Behind the same address, a device that has more than identifiers is not kept waiting.
    assert_eq!(status(&attacker, &enrolled.hello()).await, 200, "its key");
    let wiped = TestDevice::new("PF0AB010").hello();
    assert_eq!(status(&attacker, &wiped).await, 429);
    assert_eq!(status(&enrolled.client, &wiped).await, 200, "its certificate");
    assert_eq!(status(&enrolled.client, &fresh.hello()).await, 429, "which is worth nothing for another");
}

#[tokio::test]
async fn nothing_that_follows_tells_a_hit_that_was_held_back_from_a_miss() {
    let server = TestServer::with("[limits]\nseries_burst = 2\nseries_per_hour = 1").await;
    let claimed = TestDevice::new("PF0AB009");
    server.claim(&claimed).await;
    let attacker = server.stranger();
    let ask = async |serial: &str, makers: &[&str]| {
        let mut hello = TestDevice::new(serial).hello();
        let own = hello.identity.iter().position(|one| one.kind == IdentifierKind::Manufacturer).unwrap();
        let own = hello.identity.remove(own);
        hello
            .identity
            .extend(makers.iter().map(|&maker| RawIdentifier { value: maker.to_owned(), ..own.clone() }));
        server.post(&attacker, HELLO_PATH, &hello).await.status().as_u16()
    };
    for serial in ["PF0AB001", "PF0AB002"] {
        ask(serial, &["LENOVO"]).await;
    }
    for serial in ["PF0AB009", "PF0AB008"] {
        let began = Instant::now();
        assert_eq!(ask(serial, &["LENOVO", "Invented"]).await, 429, "{serial}");
        assert!(began.elapsed() >= Duration::from_millis(100), "{serial}: the time of the look-up is hidden");
    }
    ask("PF0AB003", &["Invented"]).await;
    assert_eq!(ask("PF0AB009", &["Invented"]).await, ask("PF0AB008", &["Invented"]).await);
}

#[tokio::test]
async fn a_device_with_a_token_of_its_owner_is_not_kept_waiting() {
    let server = TestServer::with("[limits]\nseries_burst = 1\nseries_per_hour = 1").await;
    let device = TestDevice::new("PF0AB009");
    let claim = server.claim(&device).await;
    let (services, by) = (server.services(), &server.operator);
    services.claims.set_claim_proof(by, claim, ProofKind::Token).await.unwrap();
    let new = |name: &str| NewToken {
        customer: server.customer(),
        name: name.to_owned(),
        configuration: None,
        expires_at: None,
    };
    let (_, good) = services.devices.create_token(by, new("Image")).await.unwrap();
    let (revoked, old) = services.devices.create_token(by, new("Old image")).await.unwrap();
    services.devices.revoke_token(by, revoked.id).await.unwrap();
    let client = server.stranger();
    for serial in ["PF0AB001", "PF0AB002"] {
        server.post(&client, HELLO_PATH, &TestDevice::new(serial).hello()).await;
    }
    for (token, expected) in
        [(None, 429), (Some("ppt_made_up"), 429), (Some(old.expose()), 429), (Some(good.expose()), 200)]
    {
        let token_digest = token.map(|token| Sha256::of(token.as_bytes()));
        let hello = Hello { token_digest, ..device.hello() };
        assert_eq!(server.post(&client, HELLO_PATH, &hello).await.status().as_u16(), expected);
    }
}

/// Settings by which the authority of the TPM that introduces itself is believed.
fn with_tpm_roots(settings: &str) -> String {
    let roots = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tpm/issuer.pem");
    format!("{settings}\n[tpm]\nroots = {roots:?}\n")
}

#[tokio::test]
async fn an_introduced_tpm_hides_from_its_address_which_devices_are_claimed() {
    let server = TestServer::with(&with_tpm_roots("[limits]\nseries_burst = 2\nseries_per_hour = 1")).await;
    let claimed = TestDevice::new("PF0AB009");
    let claim = server.claim(&claimed).await;
    server.services().claims.set_claim_proof(&server.operator, claim, ProofKind::Tpm).await.unwrap();
    let hello = |device: &TestDevice| Hello {
        proofs: vec![ProofKind::Tpm],
        tpm: Some(tpm::introduction()),
        ..device.hello()
    };
    let fresh = server.post(&server.stranger_at("127.0.0.2"), HELLO_PATH, &hello(&claimed)).await;
    assert_eq!(fresh.status(), StatusCode::OK, "where nobody guesses, a hit costs nothing");
    let challenge: Challenge = fresh.json().await.unwrap();
    assert!(challenge.tpm.is_some());

    let attacker = server.stranger();
    for serial in ["PF0AB001", "PF0AB002"] {
        let missed = server.post(&attacker, HELLO_PATH, &hello(&TestDevice::new(serial))).await;
        assert_eq!(missed.status(), StatusCode::NOT_FOUND);
    }
    let before = server.everything().await;
    let mut told = Vec::new();
    for device in [&claimed, &TestDevice::new("PF0AB003")] {
        let answer = server.post(&attacker, HELLO_PATH, &hello(device)).await;
        assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
        let problem = problem(answer).await;
        assert!(problem.retry_after_s.is_some_and(|wait| wait > 3000), "{problem:?}");
        told.push((problem.kind, problem.detail));
    }
    assert_eq!(told[0], told[1], "a hit and a miss");
    assert_eq!(server.everything().await, before);
}

#[tokio::test]
async fn a_device_whose_tpm_its_claim_registers_is_not_kept_waiting() {
    let server = TestServer::with(&with_tpm_roots("[limits]\nseries_burst = 1\nseries_per_hour = 1")).await;
    let device = TestDevice::new("PF0AB009");
    let introduction = tpm::introduction();
    let key = Sha256::of(introduction.endorsement_key.as_ref()).to_string();
    server.claim_tpm(&device, &key).await;
    let client = server.stranger();
    for serial in ["PF0AB001", "PF0AB002"] {
        server.post(&client, HELLO_PATH, &TestDevice::new(serial).hello()).await;
    }
    let hello = Hello { proofs: vec![ProofKind::Tpm], ..device.hello() };
    let unknown = server.post(&client, HELLO_PATH, &hello).await;
    assert_eq!(unknown.status(), StatusCode::TOO_MANY_REQUESTS);
    let known = Hello { tpm: Some(introduction), ..hello };
    assert_eq!(server.post(&client, HELLO_PATH, &known).await.status(), StatusCode::OK);
}

/// Notes a TPM among the identifiers by which the one device of this server enrolled.
fn bind_tpm(server: &TestServer, key: String) {
    let url = Store::sqlite_url(&server.layout().database());
    beside(&url, |database| {
        assert_eq!(database.run("SELECT COUNT(*) FROM devices"), "1");
        let shown = database.run("SELECT identity FROM devices");
        let mut shown: Vec<RawIdentifier> = serde_json::from_str(&shown).unwrap();
        shown.push(RawIdentifier { kind: IdentifierKind::TpmKey, value: key, source: Source::Tpm });
        let shown = serde_json::to_string(&shown).unwrap().replace('\'', "''");
        database.run(&format!("UPDATE devices SET identity = '{shown}'"));
    });
}

#[tokio::test]
async fn a_device_whose_tpm_enrolled_before_is_not_kept_waiting() {
    let server = TestServer::with(&with_tpm_roots("[limits]\nseries_burst = 1\nseries_per_hour = 1")).await;
    let enrolled = server.enrolled_elsewhere("PF0AB009").await;
    let (services, by) = (server.services(), &server.operator);
    let claim = services.devices.device(by, enrolled.id).await.unwrap().device.claim;
    services.claims.set_claim_proof(by, claim, ProofKind::Tpm).await.unwrap();
    let client = server.stranger();
    for serial in ["PF0AB001", "PF0AB002"] {
        server.post(&client, HELLO_PATH, &TestDevice::new(serial).hello()).await;
    }
    let introduction = tpm::introduction();
    let key = Sha256::of(introduction.endorsement_key.as_ref()).to_string();
    // Its disk was wiped: its key is a new one.
    let wiped = TestDevice::new("PF0AB009").hello();
    let hello = Hello { proofs: vec![ProofKind::Tpm], tpm: Some(introduction), ..wiped };
    let unknown = server.post(&client, HELLO_PATH, &hello).await;
    assert_eq!(unknown.status(), StatusCode::TOO_MANY_REQUESTS, "its claim registers no TPM");
    bind_tpm(&server, key);
    assert_eq!(server.post(&client, HELLO_PATH, &hello).await.status(), StatusCode::OK);
    let without = Hello { tpm: None, ..hello };
    let refused = server.post(&client, HELLO_PATH, &without).await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endorsement_key_off_its_curve_is_refused_and_never_a_fault_of_the_server() {
    let server = TestServer::start().await;
    let device = TestDevice::new("PF0AB009");
    let introduction = introduction_off_curve();
    let key = Sha256::of(introduction.endorsement_key.as_ref()).to_string();
    server.claim_tpm(&device, &key).await;
    let hello = Hello { proofs: vec![ProofKind::Tpm], tpm: Some(introduction), ..device.hello() };
    let refused = server.post(&server.stranger(), HELLO_PATH, &hello).await;
    assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(problem(refused).await.kind, RefusalKind::ProofRequired);
}

/// An introduction whose key, on P-384, is no point of that curve.
fn introduction_off_curve() -> TpmIntroduction {
    let certificate = include_bytes!("../../../fixtures/tpm/p-384.der");
    let certificate = EndorsementCertificate::parse(certificate).unwrap();
    let mut key = certificate.public_key().to_vec();
    *key.last_mut().unwrap() ^= 1;
    TpmIntroduction { endorsement_key: Bytes(key), certificates: Vec::new(), ..tpm::introduction() }
}

/// With the limits of a server whose settings say nothing about them.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_devices_behind_one_address_at_once_are_all_challenged() {
    const DEVICES: usize = 1000;
    let server = TestServer::start().await;
    let serials: Vec<String> = (0..DEVICES).map(|number| format!("PF0AB{number:03}")).collect();
    let rows: Vec<String> = serials.iter().map(|serial| format!("{serial},LENOVO,20QES0XX00")).collect();
    let csv = std::io::Cursor::new(format!("serial,manufacturer,model\n{}\n", rows.join("\n")).into_bytes());
    let defaults = ImportDefaults {
        customer: Some(server.customer()),
        configuration: Some(server.configuration()),
        ..ImportDefaults::default()
    };
    let summary =
        server.services().claims.import_claims(&server.operator, defaults, csv, |_| {}).await.unwrap();
    assert_eq!(summary.imported, DEVICES as u64);
    let client = server.stranger();
    // Half a school that nobody has claimed yet is switched on there, too.
    let unclaimed = (0..DEVICES / 2).map(|number| format!("PF0CD{number:03}"));
    let asked: Vec<(String, u16)> = serials
        .into_iter()
        .map(|serial| (serial, 200))
        .chain(unclaimed.map(|serial| (serial, 404)))
        .collect();
    for _ in 0..2 {
        let statuses = stream::iter(&asked).map(async |(serial, expected)| {
            let answer = server.post(&client, HELLO_PATH, &TestDevice::new(serial).hello()).await;
            (serial, answer.status().as_u16(), *expected)
        });
        let wrong: Vec<_> = statuses
            .buffer_unordered(64)
            .filter(|(_, status, expected)| ready(status != expected))
            .collect()
            .await;
        assert!(wrong.is_empty(), "{} of them, {:?}", wrong.len(), wrong.first());
    }
}
