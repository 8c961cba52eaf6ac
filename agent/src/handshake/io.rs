//! One attempt at the exchange.

use super::{DeviceKey, Granted, KeyError, Start};
use crate::{
    boot::{self, BootContext, Layout, Token},
    entropy::Entropy,
    failure::Failure,
    files::{self, FilesError},
    http::{Client, Misbehaviour},
};
use unbox_common::{
    identity::HardwareIdentity,
    protocol::{
        latest::{HELLO_PATH, PROVE_PATH, PriorEnrollment},
        limits::{MAX_CHALLENGE_BYTES, MAX_GRANT_BYTES, MAX_TOKEN_BYTES},
    },
    secret::Secret,
};

/// A device's credentials for enrollment.
#[derive(Debug, Clone)]
pub struct Applicant<'a> {
    /// The identity of the device.
    pub identity: &'a HardwareIdentity,
    /// The key of the device.
    pub key: &'a DeviceKey,
    /// The progress of an earlier enrollment, if there was one.
    pub enrollment: Option<PriorEnrollment>,
}

/// Performs the exchange once: two round trips on one connection.
///
/// # Errors
/// [`Failure`]; nothing has changed on this device.
pub async fn enroll(
    context: &BootContext,
    client: &Client,
    applicant: &Applicant<'_>,
    token: Option<&Token>,
    entropy: &Entropy,
) -> Result<Granted, Failure> {
    let server = context.server()?;
    let key = applicant.key;
    let start = Start {
        identity: applicant.identity.clone(),
        key: key.public().clone(),
        nonce: entropy.nonce()?,
        root_version: context.trust.root.version,
        token: token.map(|token| token.secret.clone()),
        reset_ticket: reset_ticket(&context.layout)?,
        tpm: key.tpm().map(|tpm| tpm.introduction().clone()),
        enrollment: applicant.enrollment.clone(),
    };
    let unsendable = |source| Misbehaviour::Unreadable { what: "own message", source };
    let (hello, next) = start.hello().map_err(unsendable)?;
    let challenge = client.post(server.endpoint(HELLO_PATH), hello, MAX_CHALLENGE_BYTES).await?;
    let prove = next.handle(&challenge)?;
    let signature = key.sign(prove.transcript(), entropy)?;
    let evidence = match (key.tpm(), prove.credential()) {
        (Some(tpm), Some(credential)) => {
            Some(tpm.answer(credential, prove.transcript()).map_err(KeyError::from)?)
        }
        _ => None,
    };
    let (prove, next) = prove.into_message(signature, evidence).map_err(unsendable)?;
    let grant = client.post(server.endpoint(PROVE_PATH), prove, MAX_GRANT_BYTES).await?;
    Ok(next.handle(&grant)?)
}

fn reset_ticket(layout: &Layout) -> Result<Option<Secret>, FilesError> {
    // A malformed ticket is not sent: the server then says what it needs instead.
    let bytes = match files::read(&layout.reset_ticket(), MAX_TOKEN_BYTES as u64 + 2) {
        Err(error) if error.is_not_a_document() => None,
        read => read?,
    };
    Ok(bytes.and_then(|bytes| boot::parse_token(&Secret::new(String::from_utf8_lossy(&bytes).into_owned()))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        handshake::{certificate::tests::certificate, key_file::device_key},
        test_server::{CERTIFIED_FROM, NOW, Reply, Request, TestServer, Then},
    };
    use serde_json::json;
    use std::time::{Duration, Instant};
    use unbox_common::{
        bytes::{Bytes, FixedBytes},
        identity::RawIdentifier,
        protocol::{latest::Hello, problem::Problem},
        refusal::RefusalKind,
        timestamp::Timestamp,
    };

    fn identity() -> HardwareIdentity {
        let tag = r#"[{"kind":"service_tag","value":"7XK9Q13","source":"smbios"}]"#;
        let raw: Vec<RawIdentifier> = serde_json::from_str(tag).unwrap();
        HardwareIdentity::from_raw(&raw).unwrap()
    }

    fn applicant<'a>(identity: &'a HardwareIdentity, key: &'a DeviceKey) -> Applicant<'a> {
        Applicant { identity, key, enrollment: None }
    }

    /// Tries once against a server, and checks the files on the device afterwards.
    async fn tried_at(server: &TestServer, now: Timestamp) -> Result<Granted, Failure> {
        let root = tempfile::tempdir().unwrap();
        let context = server.context(Layout::new(root.path()));
        let entropy = Entropy::system();
        let key = device_key(&context.layout, &entropy).unwrap();
        let client = TestServer::client(&context, now);
        let tried = enroll(&context, &client, &applicant(&identity(), &key), None, &entropy).await;
        if tried.is_err() {
            let left: Vec<_> = context.layout.exchange().read_dir().unwrap().collect();
            assert_eq!(left.len(), 1, "only the key: {left:?}");
        }
        tried
    }

    async fn kind_of(server: &TestServer) -> &'static str {
        tried_at(server, NOW).await.unwrap_err().kind()
    }

    /// Starts an honest server, for the key in the hello.
    fn honest(certify: impl Fn(&Hello) -> Bytes + Send + Sync + 'static) -> TestServer {
        let seen = std::sync::Mutex::new(None);
        TestServer::start(move |request| {
            if request.line.contains(HELLO_PATH) {
                *seen.lock().unwrap() = serde_json::from_slice::<Hello>(&request.body).ok();
                let ticket = Bytes(b"ticket".to_vec());
                Reply::json(&json!({"ticket": ticket, "nonce": FixedBytes([2; 32]), "proof": "identifiers"}))
            } else {
                let golden = include_str!("../../../common/tests/golden/v1/grant.json");
                let mut grant: serde_json::Value = serde_json::from_str(golden).unwrap();
                let hello = seen.lock().unwrap().take().unwrap();
                grant["certificate_chain"] = json!([certify(&hello)]);
                Reply::json(&grant)
            }
        })
    }

    #[tokio::test]
    async fn an_honest_server_takes_the_device_in_over_one_connection() {
        for _ in 0..20 {
            let root = tempfile::tempdir().unwrap();
            let layout = Layout::new(root.path());
            let entropy = Entropy::system();
            let key = device_key(&layout, &entropy).unwrap();
            let issued = certificate(&key, CERTIFIED_FROM, NOW.plus(Duration::from_hours(1)));
            let server = honest(move |_| issued.clone());
            let context = server.context(layout);
            let client = TestServer::client(&context, NOW);
            let granted =
                enroll(&context, &client, &applicant(&identity(), &key), None, &entropy).await.unwrap();
            assert_eq!(granted.grant().device_id.get(), 4211);
            assert_eq!(server.connections(), 1);
            let [hello, prove]: [Request; 2] = server.requests().try_into().unwrap();
            assert_eq!(hello.header("content-type"), Some("application/json"));
            assert!(prove.line.starts_with("POST /device/v1/prove "));
        }
    }

    #[tokio::test]
    async fn answers_that_are_none_are_named() {
        let json = &[("content-type", "application/json")][..];
        let html = &[("content-type", "text/html")][..];
        for (reply, expected) in [
            (Reply::with("200 OK", json, b"\xff\x00garbage"), "answer_unreadable"),
            (Reply::with("200 OK", json, b"{}"), "answer_unreadable"),
            (Reply::with("200 OK", html, b"<p>Please sign in to this Wi-Fi"), "wrong_content_type"),
            (Reply::with("302 Found", &[("location", "https://elsewhere.example/")], b""), "redirected"),
            (Reply::with("307 Temporary Redirect", &[("location", "/device/v1/hello")], b""), "redirected"),
            (Reply::with("204 No Content", json, b""), "unexpected_status"),
            (Reply::with("502 Bad Gateway", html, b"<p>upstream"), "unexpected_status"),
            (
                Reply::with(
                    "404 Not Found",
                    &[("content-type", "application/problem+json")],
                    b"{\"kind\":\"teapot\"}",
                ),
                "unexpected_status",
            ),
            (Reply::with("200 OK", json, &vec![b' '; MAX_CHALLENGE_BYTES + 1]), "answer_too_large"),
            (
                Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n ").then(Then::Endless),
                "answer_too_large",
            ),
            (
                Reply::raw("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n ").then(Then::Drip),
                "timed_out",
            ),
            (Reply::raw("HTTP/1.1 200 OK\r\nx: ").then(Then::Drip), "timed_out"),
            (Reply::raw("").then(Then::Stall), "timed_out"),
            (Reply::raw("").then(Then::Cut), "connection_cut"),
            (
                Reply::raw(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
                )
                .then(Then::Cut),
                "connection_cut",
            ),
            (Reply::raw("SSH-2.0-OpenSSH_9.2\r\n").then(Then::Cut), "connection_cut"),
        ] {
            let shown = format!("{reply:.120?}");
            let server = TestServer::start(move |_| reply.clone());
            #[expect(clippy::disallowed_methods, reason = "the test measures how long it took")]
            let begun = Instant::now();
            assert_eq!(kind_of(&server).await, expected, "{shown}");
            assert!(begun.elapsed() < Duration::from_secs(4), "{shown}: {:?}", begun.elapsed());
        }
    }

    #[tokio::test]
    async fn what_is_not_tls_1_3_is_refused() {
        const OLD_HELLO: &[u8] = b"\x16\x03\x03\x00\x2c\x02\x00\x00\x28\x03\x03\
            00000000000000000000000000000000\x00\xc0\x2f\x00\x00\x00";
        for (bytes, expected) in [
            (&b"\x15\x03\x03\x00\x02\x02\x46"[..], "tls_failed"),
            (OLD_HELLO, "tls_failed"),
            (b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n", "tls_failed"),
        ] {
            assert_eq!(kind_of(&TestServer::start_without_tls(bytes)).await, expected, "{bytes:?}");
        }
    }

    #[tokio::test]
    async fn a_strangers_certificate_and_a_wrong_time_are_told_apart() {
        let server = TestServer::start(|_| Reply::raw("").then(Then::Cut));
        let stranger = TestServer::start(|_| Reply::raw("").then(Then::Cut));
        let root = tempfile::tempdir().unwrap();
        let mut context = server.context(Layout::new(root.path()));
        context.settings.server = stranger.context(Layout::new("/")).settings.server;
        let client = TestServer::client(&context, NOW);
        let entropy = Entropy::system();
        let key = DeviceKey::generate(&entropy).unwrap();
        let refused =
            enroll(&context, &client, &applicant(&identity(), &key), None, &entropy).await.unwrap_err();
        assert_eq!(refused.kind(), "server_untrusted");
        assert!(stranger.requests().is_empty(), "nothing was said to a stranger");

        for wrong in [Timestamp::from_secs(1_000_000_000), Timestamp::from_secs(4_000_000_000)] {
            let skewed = tried_at(&server, wrong).await.unwrap_err();
            assert_eq!(skewed.kind(), "clock_skew", "{wrong}");
        }
    }

    #[tokio::test]
    async fn a_refusal_brings_the_servers_words_and_its_pause() {
        let problem = Problem::new(RefusalKind::Busy).retry_after_s(7);
        let server = TestServer::start(move |_| Reply::problem(&problem));
        let refused = tried_at(&server, NOW).await.unwrap_err();
        assert_eq!((refused.kind(), refused.hint()), ("busy", Some(Duration::from_secs(7))));
        let overloaded = Reply::with("503 Busy", &[("retry-after", "11")], b"");
        let server = TestServer::start(move |_| overloaded.clone());
        let refused = tried_at(&server, NOW).await.unwrap_err();
        assert_eq!(refused.hint(), Some(Duration::from_secs(11)));
    }

    #[tokio::test]
    async fn nobody_there_is_unreachable() {
        let server = TestServer::start(|_| Reply::raw(""));
        let root = tempfile::tempdir().unwrap();
        let mut context = server.context(Layout::new(root.path()));
        context.settings.server =
            Some(boot::Server::parse("https://localhost:1", boot::Origin::Credential).unwrap());
        let client = TestServer::client(&context, NOW);
        let entropy = Entropy::system();
        let key = DeviceKey::generate(&entropy).unwrap();
        let failed =
            enroll(&context, &client, &applicant(&identity(), &key), None, &entropy).await.unwrap_err();
        assert_eq!(failed.kind(), "unreachable");
    }
}
