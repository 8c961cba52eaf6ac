//! `GET /artifacts/sha256/<hex>`

use crate::support::{Exact, TestServer};
use reqwest::{Client, StatusCode};
use std::fmt::Write as _;
use unbox_common::digest::Sha256;

const BYTES: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

async fn get(client: &Client, url: &str, headers: &[(&str, &str)]) -> Exact {
    let request =
        headers.iter().fold(client.get(url), |request, (name, value)| request.header(*name, *value));
    Exact::of(request.send().await.unwrap()).await
}

#[tokio::test]
async fn an_artifact_comes_whole_or_in_ranges_and_may_be_kept_for_ever() {
    let server = TestServer::start().await;
    let digest = server.artifact(BYTES).await;
    let (client, url) = (server.stranger(), server.at(&format!("/artifacts/sha256/{digest}")));
    let etag = format!("\"{digest}\"");
    for (headers, status, range, body) in [
        (vec![], 200, None, BYTES),
        (vec![("range", "bytes=0-9")], 206, Some("bytes 0-9/36"), &BYTES[..10]),
        (vec![("range", "bytes=30-")], 206, Some("bytes 30-35/36"), &BYTES[30..]),
        (vec![("range", "bytes=-1")], 206, Some("bytes 35-35/36"), &BYTES[35..]),
        (vec![("range", "bytes=-36")], 206, Some("bytes 0-35/36"), BYTES),
        (vec![("range", "bytes=-99999")], 206, Some("bytes 0-35/36"), BYTES),
        // A download goes on where it stopped, if it is of the same bytes.
        (
            vec![("range", "bytes=10-"), ("if-range", etag.as_str())],
            206,
            Some("bytes 10-35/36"),
            &BYTES[10..],
        ),
        (vec![("range", "bytes=10-"), ("if-range", "\"another\"")], 200, None, BYTES),
        // Dates of files say nothing.
        (vec![("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT")], 200, None, BYTES),
        (vec![("if-unmodified-since", "Thu, 01 Jan 1970 00:00:01 GMT")], 200, None, BYTES),
        (vec![("if-none-match", "\"another\"")], 200, None, BYTES),
        (vec![("if-none-match", etag.as_str())], 304, None, b""),
    ] {
        let answer = get(&client, &url, &headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
        assert_eq!(answer.header("content-range"), range, "{headers:?}");
        assert_eq!(answer.body, body, "{headers:?}");
        assert_eq!(answer.header("etag"), Some(etag.as_str()), "{headers:?}");
        assert_eq!(
            answer.header("cache-control"),
            Some("public, max-age=31536000, immutable"),
            "{headers:?}"
        );
        assert_eq!(answer.header("last-modified"), None, "{headers:?}");
    }
    let head = Exact::of(client.head(&url).send().await.unwrap()).await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, Some("36"), 0));
}

#[tokio::test]
async fn an_artifact_that_another_server_has_is_to_be_asked_for_again() {
    let server = TestServer::start().await;
    let digest = server.artifact(BYTES).await;
    // Uploaded at another server of the same database, which has a directory of its own.
    unbox_server::files::remove(&server.layout().artifacts().join(digest.to_string())).unwrap();
    let (client, url) = (server.stranger(), server.at(&format!("/artifacts/sha256/{digest}")));
    for headers in [&[][..], &[("range", "bytes=10-")]] {
        let answer = get(&client, &url, headers).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("15")), "{headers:?}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    let unknown = server.at(&format!("/artifacts/sha256/{}", Sha256::of(b"unknown")));
    assert_eq!(get(&client, &unknown, &[]).await.status, 404);
}

#[tokio::test]
async fn a_range_outside_of_the_bytes_is_refused() {
    let server = TestServer::start().await;
    let digest = server.artifact(BYTES).await;
    let (client, url) = (server.stranger(), server.at(&format!("/artifacts/sha256/{digest}")));
    for range in ["bytes=36-", "bytes=36-40", "bytes=-0"] {
        let answer = get(&client, &url, &[("range", range)]).await;
        assert_eq!((answer.status, answer.header("content-range")), (416, Some("bytes */36")), "{range}");
    }
    for range in [
        "bytes=9-3",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=+1-2",
        "bytes=1",
        "bytes=1-2-3",
        "bytes 1-2",
        "1-2",
        "items=1-2",
        "bytes=0-1,x",
        "",
        "\u{e9}",
    ] {
        let answer = get(&client, &url, &[("range", range)]).await;
        assert_eq!((answer.status, answer.body.as_slice()), (200, BYTES), "{range} is no range, and ignored");
        assert_eq!(answer.header("content-range"), None, "{range}");
    }
    // Many ranges would multiply the work: they get the whole, as RFC 9110 allows.
    let mut many = "bytes=0-0".to_owned();
    for at in 1..30 {
        write!(many, ",{at}-{at}").unwrap();
    }
    let answer = get(&client, &url, &[("range", many.as_str())]).await;
    assert_eq!((answer.status, answer.body.as_slice()), (200, BYTES));
}

#[tokio::test]
async fn nothing_but_a_digest_names_an_artifact() {
    let server = TestServer::start().await;
    let digest = server.artifact(BYTES).await.to_string();
    let client = server.stranger();
    let unknown = Sha256::of(b"nothing").to_string();
    for path in [
        format!("/artifacts/sha256/{unknown}"),
        format!("/artifacts/sha256/{}", digest.to_uppercase()),
        format!("/artifacts/sha256/{}", &digest[1..]),
        format!("/artifacts/sha256/{digest}0"),
        format!("/artifacts/sha256/{digest}/"),
        format!("/artifacts/sha256/..%2f{digest}"),
        "/artifacts/sha256/..%2f..%2fserver.toml".to_owned(),
        "/artifacts/sha256/%2fetc%2fpasswd".to_owned(),
        "/artifacts/sha256/".to_owned(),
        format!("/artifacts/{digest}"),
    ] {
        let answer = get(&client, &server.at(&path), &[]).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{path}");
    }
    let answer = client.post(server.at(&format!("/artifacts/sha256/{digest}"))).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
}
