//! `/batch`: many requests in one, as parts of a `multipart/mixed` body (RFC 2046, section 5.1),
//! each an HTTP/1.1 request of its own, and their answers in the same order.
//!
//! Lines may end in `\n` alone, because Google's Python client writes them so.

use super::status::{Code, Status};
use axum::{
    body::Bytes,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header},
};
use unbox_common::digest::Hasher;

/// The most requests of one batch.
pub const MAX_BATCH_PARTS: usize = 1000;
/// The largest batch, in bytes.
pub const MAX_BATCH_BYTES: usize = 20 * 1024 * 1024;
/// The most header lines of a part, and of the request in it.
const MAX_HEADERS: usize = 64;
/// The longest Content-ID, in bytes.
const MAX_CONTENT_ID_BYTES: usize = 256;
/// The longest boundary (RFC 2046, section 5.1.1).
const MAX_BOUNDARY_BYTES: usize = 70;

/// The client's name for one request of a batch, such as `<item1>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContentId(String);

/// One request of a batch.
#[derive(Debug)]
pub struct BatchedRequest {
    /// Its name, if the client gave one.
    pub id: Option<ContentId>,
    /// The request; its target is a path and perhaps a query.
    pub request: Request<Bytes>,
}

/// One answer of a batch.
#[derive(Debug)]
pub struct BatchedResponse {
    /// The name of the request.
    pub id: Option<ContentId>,
    /// The answer.
    pub response: Response<Bytes>,
}

/// Takes a batch apart. `content_type` is the header of the whole.
///
/// # Errors
/// [`Code::InvalidArgument`], with the number of the part that cannot be read. Nothing of the batch
/// is done then.
pub fn parse(content_type: &str, body: &Bytes) -> Result<Vec<BatchedRequest>, Status> {
    if body.len() > MAX_BATCH_BYTES {
        let message = format!("Request payload size exceeds the limit: {MAX_BATCH_BYTES} bytes.");
        return Err(Status::new(Code::InvalidArgument, message).answered_as(413));
    }
    let boundary = boundary(content_type)
        .ok_or_else(|| refused("Expected a Content-Type of multipart/mixed with a boundary."))?;
    let parts = split(&boundary, body)?;
    if parts.is_empty() {
        return Err(refused("The batch has no requests."));
    }
    let numbered = parts.into_iter().enumerate();
    numbered
        .map(|(at, part)| {
            read_part(&part).map_err(|rule| refused(&format!("Request {} of the batch: {rule}", at + 1)))
        })
        .collect()
}

fn refused(rule: &str) -> Status {
    Status::new(Code::InvalidArgument, rule)
}

/// The boundary in `multipart/mixed; boundary="..."`.
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

/// The parts between the boundary's lines. What is before the first and after the last is nothing.
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
            return Err(refused(&format!("A batch has at most {MAX_BATCH_PARTS} requests.")));
        }
        begun = Some(at);
    }
    Err(refused("The batch ends before its closing boundary."))
}

/// The line end before a boundary belongs to the boundary.
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
    if uri.path() == "/batch" {
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

/// What follows the head: as much as its length says, or all of it.
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

/// Writes the answers of a batch: the Content-Type of the whole, and its body.
#[must_use]
pub fn render(responses: &[BatchedResponse]) -> (String, Vec<u8>) {
    let boundary = boundary_for(responses);
    let mut body = Vec::new();
    for one in responses {
        body.extend_from_slice(format!("--{boundary}\r\nContent-Type: application/http\r\n").as_bytes());
        if let Some(id) = &one.id {
            body.extend_from_slice(format!("Content-ID: {}\r\n", id.of_response()).as_bytes());
        }
        body.extend_from_slice(b"\r\n");
        render_response(&one.response, &mut body);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    (format!("multipart/mixed; boundary={boundary}"), body)
}

fn render_response(response: &Response<Bytes>, to: &mut Vec<u8>) {
    let status = response.status();
    let reason = status.canonical_reason().unwrap_or("Unknown");
    to.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
    for (name, value) in response.headers() {
        if name != header::CONTENT_LENGTH {
            to.extend_from_slice(name.as_str().as_bytes());
            to.extend_from_slice(b": ");
            to.extend_from_slice(value.as_bytes());
            to.extend_from_slice(b"\r\n");
        }
    }
    let body = response.body();
    to.extend_from_slice(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    to.extend_from_slice(body);
}

/// A boundary that is in none of the answers: it is made of the digest of all of them.
fn boundary_for(responses: &[BatchedResponse]) -> String {
    let mut hasher = Hasher::new();
    for one in responses {
        hasher.update(one.response.body());
    }
    format!("batch_{}", hasher.finish())
}

impl ContentId {
    /// The name of the answer: `<response-...>`.
    fn of_response(&self) -> String {
        match self.0.strip_prefix('<') {
            Some(rest) => format!("<response-{rest}"),
            None => format!("response-{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;

    const TYPE: &str = "multipart/mixed; boundary=\"==b==\"";

    fn batch(text: &str) -> Result<Vec<BatchedRequest>, String> {
        parse(TYPE, &Bytes::from(text.to_owned())).map_err(|status| status.message().to_owned())
    }

    /// As google-api-python-client writes it: lines end in `\n`.
    const PYTHON: &str = "--==b==\n\
        Content-Type: application/http\n\
        MIME-Version: 1.0\n\
        Content-Transfer-Encoding: binary\n\
        Content-ID: <b29c5de2-0db4-490b-b421-6a51b598bd22 + 1>\n\
        \n\
        POST /v1/partners/7/devices:claim?alt=json HTTP/1.1\n\
        Content-Type: application/json\n\
        MIME-Version: 1.0\n\
        accept: application/json\n\
        content-length: 12\n\
        Host: 127.0.0.1:18765\n\
        \n\
        {\"a\": \"b\\n\"}\n\
        --==b==\n\
        Content-Type: application/http\n\
        Content-ID: <b29c5de2-0db4-490b-b421-6a51b598bd22 + 2>\n\
        \n\
        GET /v1/customers?alt=json HTTP/1.1\n\
        Host: 127.0.0.1:18765\n\
        \n\
        \n\
        --==b==--";

    #[test]
    fn a_batch_of_the_python_client_is_read_in_order() {
        for text in [PYTHON.to_owned(), PYTHON.replace('\n', "\r\n"), format!("preamble\n{PYTHON}\nepilogue")]
        {
            let parts = batch(&text).unwrap();
            let [claim, list] = parts.as_slice() else { panic!("{parts:?}") };
            assert_eq!(claim.request.method(), Method::POST);
            assert_eq!(claim.request.uri(), "/v1/partners/7/devices:claim?alt=json");
            assert_eq!(claim.request.headers()["content-type"], "application/json");
            assert_eq!(claim.request.body(), "{\"a\": \"b\\n\"}");
            assert_eq!(list.request.method(), Method::GET);
            assert_eq!(list.id, Some(ContentId("<b29c5de2-0db4-490b-b421-6a51b598bd22 + 2>".to_owned())));
            assert!(list.request.body().trim_ascii().is_empty());
        }
    }

    #[test]
    fn answers_come_in_order_and_name_their_requests() {
        let response = |id: Option<&str>, status, body: &'static str| BatchedResponse {
            id: id.map(|id| ContentId(id.to_owned())),
            response: Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .body(Bytes::from_static(body.as_bytes()))
                .unwrap(),
        };
        let (content_type, body) = render(&[
            response(Some("<b29c + 1>"), StatusCode::OK, "{}"),
            response(Some("two"), StatusCode::NOT_FOUND, "{\"error\":{}}"),
            response(None, StatusCode::OK, ""),
        ]);
        let boundary = content_type.strip_prefix("multipart/mixed; boundary=").unwrap();
        let expected = "--B\r\nContent-Type: application/http\r\nContent-ID: <response-b29c + 1>\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}\r\n\
            --B\r\nContent-Type: application/http\r\nContent-ID: response-two\r\n\r\n\
            HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\nContent-Length: 12\r\n\r\n{\"error\":{}}\r\n\
            --B\r\nContent-Type: application/http\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 0\r\n\r\n\r\n--B--\r\n";
        assert_eq!(String::from_utf8(body).unwrap().replace(boundary, "B"), expected);
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
            (PYTHON.replace("--==b==--", ""), "The batch ends before its closing boundary."),
            (PYTHON.replace("--==b==--", "--==b==-"), "The batch ends before its closing boundary."),
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
                format!("{}{}", PYTHON.replace("--==b==--", ""), inner("GET / HTTP/1.1\nX-\u{e9}: a\n\n")),
                "Request 3 of the batch: Expected a request line, header lines, and an empty one behind them.",
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
        let one = "--==b==\nContent-Type: application/http\n\nGET / HTTP/1.1\n\n";
        let text = |parts: usize| format!("{}--==b==--", one.repeat(parts));
        assert_eq!(batch(&text(MAX_BATCH_PARTS)).unwrap().len(), MAX_BATCH_PARTS);
        assert_eq!(
            batch(&text(MAX_BATCH_PARTS + 1)).map(|_| ()),
            Err("A batch has at most 1000 requests.".to_owned())
        );
        let large = parse(TYPE, &Bytes::from(vec![b'\n'; MAX_BATCH_BYTES + 1])).unwrap_err();
        assert_eq!(large.http(), 413);
    }
}
