//! Connections below HTTP: how many, how slow, and what happens to them when the server stops.

use crate::support::{TestDevice, TestServer, problem, retry_after};
use futures_util::future::join_all;
use std::{net::SocketAddr, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use unbox_common::{
    bytes::FixedBytes,
    ids::Generation,
    protocol::latest::{CHECK_IN_PATH, CheckIn, HELLO_PATH, PROVE_PATH, REPORT_PATH, Report},
    refusal::RefusalKind,
};
use unbox_server::{
    keys::{self, rotate},
    store::Store,
};

/// Ample time on a busy machine for what the server does after one second.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_client_that_never_finishes_its_request_is_sent_away() {
    let server = TestServer::with("[limits]\nheader_timeout_s = 1\nrequest_timeout_s = 1").await;
    let mut silent = server.connect().await;
    let mut slow_head = server.connect().await;
    slow_head.write_all(b"POST /device/v1/hello HTTP/1.1\r\nhost: localhost\r\n").await.unwrap();
    let mut slow_body = server.connect().await;
    let head = "POST /device/v1/hello HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 500\r\n\r\n{";
    slow_body.write_all(head.as_bytes()).await.unwrap();
    for (name, stream, expected) in
        [("silent", &mut silent, ""), ("head", &mut slow_head, ""), ("body", &mut slow_body, "HTTP/1.1 408")]
    {
        let mut answer = Vec::new();
        // Whether the close is clean or not, the connection must end.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect(name);
        assert!(String::from_utf8_lossy(&answer).starts_with(expected), "{name}");
    }
}

#[tokio::test]
async fn a_refusal_before_the_body_arrives_does_not_end_the_connection() {
    let server = TestServer::with("").await;
    let mut client = server.connect().await;
    let head = "POST /v1/partners/1/devices:claim HTTP/1.1\r\nhost: localhost\r\n\
                content-type: application/json\r\ncontent-length: 2\r\n";
    client.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    // By the time that this is counted, the server has seen the head.
    assert!(server.counts("unbox_connections 2").await);
    client.write_all(format!("{{}}{head}connection: close\r\n\r\n{{}}").as_bytes()).await.unwrap();
    let mut answers = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut answers)).await.unwrap().unwrap();
    assert_eq!(String::from_utf8_lossy(&answers).matches("HTTP/1.1 401").count(), 2);
}

#[tokio::test]
async fn a_client_that_stops_reading_is_given_up() {
    let server = TestServer::with("[limits]\nrequest_timeout_s = 1").await;
    let digest = server.artifact(Box::leak(vec![7; 32 * 1024 * 1024].into_boxed_slice())).await;
    let mut stream = server.connect().await;
    let request = format!("GET /artifacts/sha256/{digest} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // The client that asks for the metrics is the second.
    assert!(server.counts("unbox_connections 2").await);
    timeout(PATIENCE, async { while !server.counts("unbox_connections 1").await {} }).await.unwrap();
}

#[tokio::test]
async fn behind_a_balancer_the_client_counts_and_not_the_balancer() {
    let server = TestServer::with(
        "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n[limits]\nconnections_per_address = 1",
    )
    .await;
    let header = |address: &str| format!("PROXY TCP4 {address} 198.51.100.1 12345 8443\r\n").into_bytes();
    let mut first = server.connect_after(&header("192.0.2.1")).await.unwrap();
    let _second = server.connect_after(&header("198.51.100.2")).await.unwrap();
    assert!(server.connect_after(&header("192.0.2.1")).await.is_err(), "it has one already");
    assert!(server.try_connect().await.is_err(), "nobody comes without the balancer");
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    first.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn nobody_but_a_trusted_balancer_says_for_whom_it_connects() {
    let server = TestServer::with("proxy_protocol = true\ntrusted_proxies = [\"192.0.2.7\"]").await;
    let header = b"PROXY TCP4 192.0.2.1 198.51.100.1 12345 8443\r\n";
    assert!(server.connect_after(header).await.is_err(), "this is no TLS");
    assert!(server.try_connect().await.is_ok());
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_counted_one_by_one() {
    let settings = "trusted_proxies = [\"127.0.0.0/8\"]\n[limits]\naddress_burst = 3\naddress_per_second = 1";
    let server = TestServer::with(settings).await;
    let guess = async |client: &str| {
        let request = server.stranger().get(server.api_at("/v1/organisations")).bearer_auth("uak_guess");
        request.header("x-forwarded-for", client).send().await.unwrap().status().as_u16()
    };
    let mut guesses = Vec::new();
    for _ in 0..20 {
        guesses.push(guess("198.51.100.7").await);
    }
    assert!(guesses.contains(&429) && guesses.starts_with(&[401, 401, 401]), "{guesses:?}");
    assert_eq!(guess("198.51.100.8").await, 401, "another client is not kept out");
    let mut guesses = Vec::new();
    for at in 0..20 {
        // What a client writes itself stands before what the proxy adds.
        guesses.push(guess(&format!("203.0.113.{at}, 198.51.100.9")).await);
    }
    assert!(guesses.contains(&429), "{guesses:?}");
}

#[tokio::test]
async fn without_trusted_proxies_a_header_changes_nothing() {
    let server = TestServer::with("[limits]\naddress_burst = 3\naddress_per_second = 1").await;
    let mut guesses = Vec::new();
    for at in 0..20 {
        let request = server.stranger().get(server.api_at("/v1/organisations")).bearer_auth("uak_guess");
        let answer = request.header("x-forwarded-for", format!("198.51.100.{at}")).send().await.unwrap();
        guesses.push(answer.status().as_u16());
    }
    assert!(guesses.contains(&429), "{guesses:?}");
}

#[tokio::test]
async fn one_address_may_hold_so_many_connections() {
    let server = TestServer::with("[limits]\nconnections_per_address = 3").await;
    // Two thirds of its share, because none of them asks for anything.
    let first = server.connect().await;
    let _second = server.connect().await;
    assert!(server.try_connect().await.is_err(), "the third is closed at once");
    drop(first);
    timeout(PATIENCE, async { while server.try_connect().await.is_err() {} }).await.unwrap();
}

#[tokio::test]
async fn connections_that_say_nothing_keep_nobody_out() {
    let server = TestServer::with("[limits]\nconnections = 32\nconnections_per_address = 8").await;
    let plain = server.plain_at("").trim_start_matches("http://").parse().unwrap();
    let metrics = server.metrics_at().trim_start_matches("http://").replace("/metrics", "").parse().unwrap();
    let mut silent = Vec::new();
    for network in 1..=60 {
        for address in [server.address(), plain, metrics] {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(([127, 1, network, 1], 0).into()).unwrap();
            silent.push(socket.connect(address).await.unwrap());
        }
    }
    for url in [server.at("/healthz"), server.plain_at("/healthz"), server.metrics_at()] {
        let answer = timeout(PATIENCE, server.stranger().get(&url).send()).await.unwrap().unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{url}");
    }
    drop(silent);
}

/// Holds grown buffers of the listener for metrics, which has 8 of them, with heads that never end.
async fn hold_grown_buffers(server: &TestServer, networks: std::ops::Range<u8>) -> Vec<TcpStream> {
    let address: SocketAddr =
        server.metrics_at().replace("http://", "").replace("/metrics", "").parse().unwrap();
    let mut held = Vec::new();
    for network in networks {
        for host in 1..=3 {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(([127, 1, network, host], 0).into()).unwrap();
            let mut stream = socket.connect(address).await.unwrap();
            stream.write_all(&long_head("/metrics").as_bytes()[..12_000]).await.unwrap();
            held.push(stream);
        }
    }
    held
}

/// A request whose head takes more than connections have before their buffers grow.
fn long_head(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nx-long: {}\r\n\r\n", "x".repeat(14_000))
}

async fn asks_at_length(server: &TestServer) -> bool {
    let address = server.metrics_at().replace("http://", "").replace("/metrics", "");
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(long_head("/metrics").as_bytes()).await.unwrap();
    let mut start = [0; 12];
    let answered = timeout(Duration::from_secs(8), stream.read_exact(&mut start)).await;
    matches!(answered, Ok(Ok(_))) && &start == b"HTTP/1.1 200"
}

#[tokio::test]
async fn grown_buffers_of_others_give_way_to_a_long_request() {
    let server = TestServer::with("[limits]\nheader_timeout_s = 60").await;
    let held = hold_grown_buffers(&server, 1..6).await;
    assert!(asks_at_length(&server).await, "one from a network that holds none");
    drop(held);
}

#[tokio::test]
async fn behind_a_proxy_a_client_that_moves_nothing_holds_no_grown_buffers() {
    let server =
        TestServer::with("trusted_proxies = [\"127.0.0.0/8\"]\n[limits]\nheader_timeout_s = 60").await;
    let held = hold_grown_buffers(&server, 1..6).await;
    assert!(asks_at_length(&server).await);
    drop(held);
}

#[tokio::test]
async fn a_connection_whose_buffers_have_grown_ends_with_its_answer() {
    let server = TestServer::with("[limits]\nheader_timeout_s = 60").await;
    let refused = "POST /v1/partners/1/devices:claim HTTP/1.1\r\nhost: localhost\r\ncontent-type: \
                   application/json\r\ncontent-length: 20000\r\n\r\n";
    for request in [long_head("/healthz"), format!("{refused}{}", "x".repeat(20_000))] {
        let mut stream = server.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = timeout(Duration::from_secs(8), stream.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.contains("connection: close"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_ends_with_its_place() {
    const REQUESTS: usize = 40;
    let server = TestServer::with(
        "proxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n[limits]\nconnections = 4",
    )
    .await;
    let connect = async |network: u8| {
        let from = format!("PROXY TCP4 198.51.{network}.1 198.51.100.1 12345 8443\r\n");
        server.connect_after(from.as_bytes()).await.unwrap()
    };
    let request = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut stream = connect(1).await;
        stream.write_all(request("/openapi.json").repeat(REQUESTS).as_bytes()).await.unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        slow.push(stream);
    }
    let mut newcomer = connect(2).await;
    newcomer.write_all(request("/healthz").as_bytes()).await.unwrap();
    let mut start = [0; 12];
    timeout(PATIENCE, newcomer.read_exact(&mut start)).await.unwrap().unwrap();
    assert_eq!(&start, b"HTTP/1.1 200");
    let answered = join_all(slow.into_iter().map(async |mut stream| {
        let mut rest = Vec::new();
        // One that is not cut stays open after its last answer.
        let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        rest.windows(12).filter(|window| window == b"HTTP/1.1 200").count() + 1
    }))
    .await;
    let cut = answered.iter().filter(|count| **count < REQUESTS).count();
    assert_eq!(cut, 1, "a connection that has lost its place goes on: {answered:?}");
}

#[tokio::test]
async fn the_refusal_of_a_body_that_nobody_reads_arrives() {
    let server = TestServer::start().await;
    let rest = vec![b'x'; 4 * 1024 * 1024];
    for (path, length, expected) in [
        (HELLO_PATH, 50_000_000, "HTTP/1.1 413"),
        ("/v1/partners/1/devices:claim", 4 * 1024 * 1024, "HTTP/1.1 401"),
    ] {
        let mut stream = server.connect().await;
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A simple client that listens only once it has sent all that it has.
        stream.write_all(&rest).await.unwrap();
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
        assert!(String::from_utf8_lossy(&answer).starts_with(expected), "{path}");
    }
}

#[tokio::test]
async fn an_older_tls_is_refused() {
    let server = TestServer::start().await;
    // A ClientHello as TLS 1.2 has it (RFC 5246, section 7.4.1.2): no supported_versions.
    let extensions = [0, 13, 0, 4, 0, 2, 4, 3, 0, 10, 0, 4, 0, 2, 0, 23];
    let rest = [&[0, 0, 2, 0xc0, 0x2b, 1, 0, 0, 16][..], &extensions].concat();
    let hello = [&[3, 3][..], &[7; 32], &rest].concat();
    let length = u8::try_from(hello.len()).unwrap();
    let record = [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &hello].concat();
    let mut stream = TcpStream::connect(server.address()).await.unwrap();
    stream.write_all(&record).await.unwrap();
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap();
    assert_eq!(answer, [21, 3, 3, 0, 2, 2, 70], "a fatal alert: protocol_version");
}

#[tokio::test]
async fn more_than_the_server_takes_on_are_told_to_come_back_and_nothing_is_lost() {
    let server = TestServer::with("[limits]\nrequests = 1").await;
    let device = TestDevice::new("PF0ABCDE");
    server.claim(&device).await;
    let (hello, challenge) = server.challenge(&device).await;
    let prove = device.prove(&hello, &challenge);
    // Somebody else writes, so that the proof has to wait in the one place there is.
    let url = Store::sqlite_url(&server.layout().database());
    let other = rusqlite::Connection::open(url.trim_start_matches("sqlite://")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let client = server.stranger();
    let waiting = server.post(&client, PROVE_PATH, &prove);
    let others = async {
        while !server.counts("unbox_messages_in_progress 1").await {}
        let busy = server.post(&server.stranger(), HELLO_PATH, &TestDevice::new("PF0ZZZZZ").hello()).await;
        other.execute_batch("COMMIT").unwrap();
        busy
    };
    let (granted, busy) = timeout(PATIENCE, async { tokio::join!(waiting, others) }).await.unwrap();
    assert_eq!((granted.status().as_u16(), busy.status().as_u16()), (200, 503));
    let header = retry_after(&busy);
    let problem = problem(busy).await;
    assert_eq!((problem.kind, problem.retry_after_s), (RefusalKind::Busy, Some(header)));
    assert!((2..=15).contains(&header), "{header}");
}

#[tokio::test]
async fn beyond_the_memory_for_bodies_a_request_is_told_to_come_back_and_others_are_answered() {
    // A byte of a body takes four, and the first 12 KiB come from the reserve: there is room for one of these.
    let server = TestServer::with_memory(140_000).await;
    let body = format!("{{{}", " ".repeat(19_999));
    let mut held = server.connect().await;
    let message = format!(
        "POST {HELLO_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: 20001\r\n\r\n{body}"
    );
    held.write_all(message.as_bytes()).await.unwrap();
    let arrived = async { while !server.counts("unbox_request_memory_bytes 80000").await {} };
    timeout(PATIENCE, arrived).await.unwrap();

    let second = server.stranger_at("127.0.1.1");
    let ask = || {
        let request = second.post(server.at(HELLO_PATH)).header("content-type", "application/json");
        request.body(body.clone()).send()
    };
    let refused = ask().await.unwrap();
    assert_eq!(refused.status().as_u16(), 503);
    let header = retry_after(&refused);
    let problem = problem(refused).await;
    assert_eq!((problem.kind, problem.retry_after_s), (RefusalKind::Busy, Some(header)));
    let device = TestDevice::new("PF0ABCDE");
    server.claim(&device).await;
    let small = server.post(&server.stranger_at("127.0.2.1"), HELLO_PATH, &device.hello()).await;
    assert_eq!(small.status().as_u16(), 200, "a small message needs none of it");

    drop(held);
    let freed = async { while !server.counts("unbox_request_memory_bytes 0").await {} };
    timeout(PATIENCE, freed).await.unwrap();
    assert_eq!(ask().await.unwrap().status().as_u16(), 400, "it is read, and is no message");
}

#[tokio::test]
async fn a_request_under_way_is_answered_before_the_server_stops() {
    let server = TestServer::start().await;
    let body = serde_json::to_vec(&TestDevice::new("PF0ABCDE").hello()).unwrap();
    let mut stream = server.connect().await;
    let head = format!(
        "POST {HELLO_PATH} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut go_on = [0; "HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).await.unwrap();
    let address = server.address();
    let stopping = tokio::spawn(server.stop());
    timeout(PATIENCE, async { while TcpStream::connect(address).await.is_ok() {} }).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_after_a_reload() {
    let server = TestServer::start().await;
    let before = server.shown_certificate().await;
    assert_eq!(server.shown_certificate().await, before);
    let names = ["localhost".to_owned()];
    let entropy = unbox_server::entropy::SystemEntropy::new();
    rotate::renew_server(server.layout(), &names, TestServer::now(), &entropy).unwrap();
    server.reload().unwrap();
    let after = server.shown_certificate().await;
    assert_ne!(after, before);
    let path = server.layout().server_certificate();
    assert_eq!(keys::server_identity(&path, &path).unwrap().chain[0].as_ref(), after);
}

#[tokio::test]
async fn a_device_reports_only_so_often_and_others_are_not_kept_out() {
    let server = TestServer::with("[limits]\ndevice_burst = 3\ndevice_per_minute = 1").await;
    let (one, other) = (server.enrolled("PF0ABCDE").await, server.enrolled("PF0XYZAB").await);
    let report = Report { generation: Generation(1), entries: Vec::new(), outcome: None };
    for _ in 0..3 {
        assert_eq!(server.post(&one.client, REPORT_PATH, &report).await.status().as_u16(), 200);
    }
    let before = server.everything().await;
    let refused = server.post(&one.client, REPORT_PATH, &report).await;
    assert_eq!(refused.status().as_u16(), 429);
    assert!(retry_after(&refused) > 0);
    assert_eq!(problem(refused).await.kind, RefusalKind::TooManyRequests);
    assert_eq!(server.everything().await, before);
    assert_eq!(server.post(&other.client, REPORT_PATH, &report).await.status().as_u16(), 200);
}

#[tokio::test]
async fn check_ins_count_against_the_limit_of_reports() {
    let server = TestServer::with("[limits]\ndevice_burst = 3\ndevice_per_minute = 1").await;
    let (one, other) = (server.enrolled("PF0ABCDE").await, server.enrolled("PF0XYZAB").await);
    let report = Report { generation: Generation(1), entries: Vec::new(), outcome: None };
    let check_in = CheckIn {
        generation: Generation(1),
        agent_version: "0.1.0".to_owned(),
        installed: None,
        failed_version: None,
        healthy: true,
        nonce: FixedBytes([3; 32]),
        root_version: 1,
        renew_certificate: false,
    };
    assert_eq!(server.post(&one.client, REPORT_PATH, &report).await.status().as_u16(), 200);
    for _ in 0..2 {
        assert_eq!(server.post(&one.client, CHECK_IN_PATH, &check_in).await.status().as_u16(), 200);
    }
    let before = server.everything().await;
    let refused = server.post(&one.client, CHECK_IN_PATH, &check_in).await;
    assert_eq!(refused.status().as_u16(), 429);
    assert!(retry_after(&refused) > 0);
    assert_eq!(problem(refused).await.kind, RefusalKind::TooManyRequests);
    assert_eq!(server.post(&one.client, REPORT_PATH, &report).await.status().as_u16(), 429);
    assert_eq!(server.everything().await, before);
    assert_eq!(server.post(&other.client, CHECK_IN_PATH, &check_in).await.status().as_u16(), 200);
}
