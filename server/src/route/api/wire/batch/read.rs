//! Parses a batch. Lines may end in `\n` alone, because Google's Python client writes them like that.

use super::{BatchedRequest, ContentId, MAX_BATCH_BYTES, MAX_BATCH_PARTS};
use crate::route::api::wire::{
    name::normalised_path,
    status::{Code, Status},
};
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header},
};

/// The most header lines of a part, and of the request in it.
const MAX_HEADERS: usize = 64;
/// The longest Content-ID, in bytes.
const MAX_CONTENT_ID_BYTES: usize = 256;
/// The longest boundary (RFC 2046, section 5.1.1).
const MAX_BOUNDARY_BYTES: usize = 70;

/// Parses a batch. `content_type` is the header of the whole.
///
/// # Errors
/// [`Code::InvalidArgument`], with the number of the part that cannot be read. Nothing of the batch
/// is done then.
pub fn parse(content_type: &str, body: &Bytes) -> Result<Vec<BatchedRequest>, Status> {
    if body.len() > MAX_BATCH_BYTES {
        let message = format!("Request payload size exceeds the limit: {MAX_BATCH_BYTES} bytes.");
        return Err(Status::new(Code::InvalidArgument, message).with_http(413));
    }
    let boundary = boundary(content_type)
        .ok_or_else(|| format_error("Expected a Content-Type of multipart/mixed with a boundary."))?;
    let parts = split(&boundary, body)?;
    if parts.is_empty() {
        return Err(format_error("The batch has no requests."));
    }
    let numbered = parts.into_iter().enumerate();
    numbered
        .map(|(at, part)| {
            read_part(&part).map_err(|rule| format_error(&format!("Request {} of the batch: {rule}", at + 1)))
        })
        .collect()
}

fn format_error(rule: &str) -> Status {
    Status::new(Code::InvalidArgument, rule)
}

/// Returns the boundary in `multipart/mixed; boundary="..."`.
fn boundary(content_type: &str) -> Option<String> {
    let (essence, parameters) = content_type.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/mixed") {
        return None;
    }
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim())
    })?;
    let value = match value.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"')?,
        None => value,
    };
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"'()+_,-./:=? ".contains(&byte);
    let good = (1..=MAX_BOUNDARY_BYTES).contains(&value.len())
        && value.bytes().all(allowed)
        && !value.ends_with(' ');
    good.then(|| value.to_owned())
}

/// Splits off the parts between the boundary's lines. Text before the first and after the last is ignored.
fn split(boundary: &str, body: &Bytes) -> Result<Vec<Bytes>, Status> {
    let mut parts = Vec::new();
    let mut begun: Option<usize> = None;
    let mut at = 0;
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let start = at;
        at += line.len();
        let Some(rest) = line.strip_prefix(b"--").and_then(|line| line.strip_prefix(boundary.as_bytes()))
        else {
            continue;
        };
        let closes = match rest.trim_ascii_end() {
            b"" => false,
            b"--" => true,
            // A longer line that only begins like the boundary.
            _ => continue,
        };
        if let Some(begun) = begun {
            parts.push(without_line_end(&body.slice(begun..start)));
        }
        if closes {
            return Ok(parts);
        }
        if parts.len() >= MAX_BATCH_PARTS {
            return Err(format_error(&format!("A batch has at most {MAX_BATCH_PARTS} requests.")));
        }
        begun = Some(at);
    }
    Err(format_error("The batch ends before its closing boundary."))
}

/// Removes the line end before a boundary, which belongs to the boundary.
fn without_line_end(part: &Bytes) -> Bytes {
    let kept = part.strip_suffix(b"\n").map_or(&**part, |rest| rest.strip_suffix(b"\r").unwrap_or(rest));
    part.slice_ref(kept)
}

fn read_part(part: &Bytes) -> Result<BatchedRequest, &'static str> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let Ok(httparse::Status::Complete((length, lines))) = httparse::parse_headers(part, &mut lines) else {
        return Err("Expected header lines, and an empty one behind them.");
    };
    let headers = header_map(lines)?;
    let is = |name, expected: &[&str]| {
        headers.get(name).is_none_or(|value: &HeaderValue| {
            let value = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
            expected.iter().any(|one| value.eq_ignore_ascii_case(one))
        })
    };
    if !headers.contains_key(header::CONTENT_TYPE) || !is("content-type", &["application/http"]) {
        return Err("Expected a Content-Type of application/http.");
    }
    if !is("content-transfer-encoding", &["binary", "8bit", "7bit"]) {
        return Err("Expected a Content-Transfer-Encoding of binary.");
    }
    let id = headers.get("content-id").map(|value| content_id(value).ok_or("Expected a short Content-ID."));
    Ok(BatchedRequest { id: id.transpose()?, request: read_request(&part.slice(length..))? })
}

fn content_id(value: &HeaderValue) -> Option<ContentId> {
    let text = value.to_str().ok()?;
    (1..=MAX_CONTENT_ID_BYTES).contains(&text.len()).then(|| ContentId(text.to_owned()))
}

fn read_request(bytes: &Bytes) -> Result<Request<Bytes>, &'static str> {
    let mut lines = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut lines);
    // A request without a body may end with its last header line.
    let closed = Bytes::from([&**bytes, b"\r\n\r\n"].concat());
    let Ok(httparse::Status::Complete(length)) = head.parse(&closed) else {
        return Err("Expected a request line, header lines, and an empty one behind them.");
    };
    let method = head.method.and_then(|method| Method::from_bytes(method.as_bytes()).ok());
    let method = method.ok_or("The method is none.")?;
    let uri: Uri = head.path.and_then(|path| path.parse().ok()).ok_or("The path cannot be read.")?;
    if uri.scheme().is_some() || !uri.path().starts_with('/') {
        return Err("Expected a path, without a host.");
    }
    if normalised_path(uri.path()).is_ok_and(|path| path == "/batch") {
        return Err("A batch cannot hold another one.");
    }
    let headers = header_map(head.headers)?;
    let body = read_body(bytes.slice(length.min(bytes.len())..), &headers)?;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    *request.headers_mut() = headers;
    Ok(request)
}

/// Returns the body behind the head: as much as its length says, or all of it.
fn read_body(rest: Bytes, headers: &HeaderMap) -> Result<Bytes, &'static str> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        return Err("A request in a batch has no Transfer-Encoding.");
    }
    if headers.get_all(header::CONTENT_LENGTH).iter().count() > 1 {
        return Err("The request has more than one Content-Length.");
    }
    let Some(length) = headers.get(header::CONTENT_LENGTH) else {
        return Ok(rest);
    };
    let digits = length.to_str().ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let length = digits.and_then(|text| text.parse::<usize>().ok()).filter(|length| *length <= rest.len());
    let length = length.ok_or("The Content-Length is not that of the request's body.")?;
    if rest.slice(length..).trim_ascii().is_empty() {
        Ok(rest.slice(..length))
    } else {
        Err("The request is longer than its Content-Length.")
    }
}

fn header_map(lines: &[httparse::Header<'_>]) -> Result<HeaderMap, &'static str> {
    let mut headers = HeaderMap::new();
    for line in lines {
        let name =
            HeaderName::from_bytes(line.name.as_bytes()).map_err(|_| "A header's name cannot be read.")?;
        let value = HeaderValue::from_bytes(line.value).map_err(|_| "A header's value cannot be read.")?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request, without an end.
    const OPEN: &str = "--==b==\nContent-Type: application/http\n\nGET / HTTP/1.1\n\n";
    const TYPE: &str = "multipart/mixed; boundary=\"==b==\"";

    fn batch(text: &str) -> Result<Vec<BatchedRequest>, String> {
        parse(TYPE, &Bytes::from(text.to_owned())).map_err(|status| status.message().to_owned())
    }

    /// A batch as google-api-python-client 2.202.0 wrote it.
    const PYTHON: &str = include_str!("../../../../../tests/golden_api/python_batch.txt");
    const PYTHON_TYPE: &str = "multipart/mixed; boundary=\"===============7022500454162308191==\"";

    #[test]
    fn a_batch_of_the_python_client_is_read_in_order() {
        for text in [PYTHON.to_owned(), PYTHON.replace('\n', "\r\n"), format!("preamble\n{PYTHON}\nepilogue")]
        {
            let parts = parse(PYTHON_TYPE, &Bytes::from(text)).unwrap();
            let [claim, get, list] = parts.as_slice() else { panic!("{parts:?}") };
            assert_eq!(claim.request.method(), Method::POST);
            assert_eq!(claim.request.uri(), "/v1/partners/7/devices:claim?alt=json");
            assert_eq!(claim.request.headers()["content-type"], "application/json");
            let body: serde_json::Value = serde_json::from_slice(claim.request.body()).unwrap();
            assert_eq!(body["deviceIdentifier"]["imei"], "123456789012347");
            assert_eq!(get.request.method(), Method::GET);
            assert_eq!(get.id, Some(ContentId("<5ddff6f4-38ae-41ec-a6ff-47290b0091cd + 2>".to_owned())));
            assert!(get.request.body().is_empty());
            assert_eq!(list.request.uri(), "/v1/customers?pageSize=5&alt=json");
        }
    }

    #[test]
    fn the_boundary_is_read_with_and_without_quotes() {
        for (content_type, expected) in [
            ("multipart/mixed; boundary=abc", Some("abc")),
            ("Multipart/Mixed;Boundary=\"a c\"", Some("a c")),
            ("multipart/mixed; charset=utf-8; boundary=abc", Some("abc")),
            ("multipart/mixed", None),
            ("multipart/mixed; boundary=", None),
            ("multipart/mixed; boundary=\"\"", None),
            ("multipart/mixed; boundary=\"a", None),
            ("multipart/mixed; boundary=a\"b", None),
            ("multipart/form-data; boundary=abc", None),
            ("application/json", None),
            ("", None),
        ] {
            assert_eq!(boundary(content_type).as_deref(), expected, "{content_type}");
        }
        assert_eq!(boundary(&format!("multipart/mixed; boundary={}", "a".repeat(71))), None);
    }

    #[test]
    fn a_batch_that_cannot_be_read_is_refused_with_the_part() {
        let part = |head: &str, inner: &str| format!("--==b==\n{head}\n\n{inner}\n--==b==--\n");
        let inner = |inner: &str| part("Content-Type: application/http", inner);
        for (text, message) in [
            (String::new(), "The batch ends before its closing boundary."),
            ("--==b==--".to_owned(), "The batch has no requests."),
            (OPEN.to_owned(), "The batch ends before its closing boundary."),
            (format!("{OPEN}--==b==-"), "The batch ends before its closing boundary."),
            (
                part("Content-Type: text/plain", "GET / HTTP/1.1\n\n"),
                "Request 1 of the batch: Expected a Content-Type of application/http.",
            ),
            (
                part("Content-ID: <1>", "GET / HTTP/1.1\n\n"),
                "Request 1 of the batch: Expected a Content-Type of application/http.",
            ),
            (
                part("Content-Type: application/http\nContent-Transfer-Encoding: base64", "R0VU"),
                "Request 1 of the batch: Expected a Content-Transfer-Encoding of binary.",
            ),
            (
                part(
                    &format!("Content-Type: application/http\nContent-ID: <{}>", "x".repeat(300)),
                    "GET / HTTP/1.1\n\n",
                ),
                "Request 1 of the batch: Expected a short Content-ID.",
            ),
            (
                part("no colon", "GET / HTTP/1.1\n\n"),
                "Request 1 of the batch: Expected header lines, and an empty one behind them.",
            ),
            (
                part(&"X: y\n".repeat(65), "GET / HTTP/1.1\n\n"),
                "Request 1 of the batch: Expected header lines, and an empty one behind them.",
            ),
            (
                inner(""),
                "Request 1 of the batch: Expected a request line, header lines, and an empty one behind them.",
            ),
            (
                inner("GET /\n\n"),
                "Request 1 of the batch: Expected a request line, header lines, and an empty one behind them.",
            ),
            (
                inner("GET http://other/v1 HTTP/1.1\n\n"),
                "Request 1 of the batch: Expected a path, without a host.",
            ),
            (inner("OPTIONS * HTTP/1.1\n\n"), "Request 1 of the batch: Expected a path, without a host."),
            (inner("POST /batch?x HTTP/1.1\n\n"), "Request 1 of the batch: A batch cannot hold another one."),
            (inner("POST /%62atch HTTP/1.1\n\n"), "Request 1 of the batch: A batch cannot hold another one."),
            (
                inner("POST / HTTP/1.1\nContent-Length: 9\n\n{}"),
                "Request 1 of the batch: The Content-Length is not that of the request's body.",
            ),
            (
                inner("POST / HTTP/1.1\nContent-Length: +2\n\n{}"),
                "Request 1 of the batch: The Content-Length is not that of the request's body.",
            ),
            (
                inner("POST / HTTP/1.1\nContent-Length: 1\n\n{}"),
                "Request 1 of the batch: The request is longer than its Content-Length.",
            ),
            (
                inner("POST / HTTP/1.1\nContent-Length: 1\nContent-Length: 2\n\n{}"),
                "Request 1 of the batch: The request has more than one Content-Length.",
            ),
            (
                inner("POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n0\n"),
                "Request 1 of the batch: A request in a batch has no Transfer-Encoding.",
            ),
            (
                format!("{OPEN}{}", inner("GET / HTTP/1.1\nX-\u{e9}: a\n\n")),
                "Request 2 of the batch: Expected a request line, header lines, and an empty one behind them.",
            ),
        ] {
            assert_eq!(batch(&text).map(|parts| parts.len()), Err(message.to_owned()), "{text}");
        }
    }

    #[test]
    fn a_line_that_only_begins_like_the_boundary_is_content() {
        let text =
            "--==b==\nContent-Type: application/http\n\nPOST / HTTP/1.1\n\n--==b==x\n --==b==\n--==b==--\n";
        let parts = batch(text).unwrap();
        assert_eq!(parts[0].request.body(), "--==b==x\n --==b==");
    }

    #[test]
    fn a_flood_of_parts_is_refused() {
        let text = |parts: usize| format!("{}--==b==--", OPEN.repeat(parts));
        assert_eq!(batch(&text(MAX_BATCH_PARTS)).unwrap().len(), MAX_BATCH_PARTS);
        assert_eq!(
            batch(&text(MAX_BATCH_PARTS + 1)).map(|_| ()),
            Err("A batch has at most 1000 requests.".to_owned())
        );
        let large = parse(TYPE, &Bytes::from(vec![b'\n'; MAX_BATCH_BYTES + 1])).unwrap_err();
        assert_eq!(large.http(), 413);
    }
}
