//! Writes the answers of a batch, in the form that Google's Python client splits at `\r\n\r\n`.

use super::{BatchedResponse, ContentId};
use axum::{
    body::Bytes,
    http::{Response, header},
};
use unbox_common::digest::Hasher;

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
}
