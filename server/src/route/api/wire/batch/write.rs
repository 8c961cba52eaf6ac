//! Writes the answers of a batch, in the form that Google's Python client splits at `\r\n\r\n`.

use super::ContentId;
use axum::http::{header, response::Parts};

/// Writes the answers of a batch one after the other. The separator is random, so no answer contains it.
#[derive(Debug)]
pub struct BatchWriter {
    boundary: String,
}

impl BatchWriter {
    /// Makes a writer with this separator.
    #[must_use]
    pub fn new(random: [u8; 16]) -> Self {
        Self { boundary: format!("batch_{:032x}", u128::from_be_bytes(random)) }
    }

    /// Returns the Content-Type of the whole.
    #[must_use]
    pub fn content_type(&self) -> String {
        format!("multipart/mixed; boundary={}", self.boundary)
    }

    /// Returns the head of an answer's part; the body has `length` bytes, if that is known.
    #[must_use]
    pub fn head(&self, id: Option<&ContentId>, response: &Parts, length: Option<u64>) -> Vec<u8> {
        let mut head = format!("--{}\r\nContent-Type: application/http\r\n", self.boundary).into_bytes();
        if let Some(id) = id {
            head.extend_from_slice(format!("Content-ID: {}\r\n", id.response_name()).as_bytes());
        }
        let status = response.status;
        let reason = status.canonical_reason().unwrap_or("Unknown");
        head.extend_from_slice(format!("\r\nHTTP/1.1 {} {reason}\r\n", status.as_u16()).as_bytes());
        for (name, value) in &response.headers {
            if name != header::CONTENT_LENGTH {
                head.extend_from_slice(name.as_str().as_bytes());
                head.extend_from_slice(b": ");
                head.extend_from_slice(value.as_bytes());
                head.extend_from_slice(b"\r\n");
            }
        }
        if let Some(length) = length {
            head.extend_from_slice(format!("Content-Length: {length}\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        head
    }

    /// Returns the end of an answer's part.
    #[must_use]
    pub const fn tail(&self) -> &'static [u8] {
        b"\r\n"
    }

    /// Returns the end of the whole batch.
    #[must_use]
    pub fn end(&self) -> Vec<u8> {
        format!("--{}--\r\n", self.boundary).into_bytes()
    }
}

impl ContentId {
    /// Returns the name of the answer: `<response-...>`.
    fn response_name(&self) -> String {
        match self.0.strip_prefix('<') {
            Some(rest) => format!("<response-{rest}"),
            None => format!("response-{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::{Response, StatusCode};

    #[test]
    fn answers_come_in_order_and_name_their_requests() {
        let writer = BatchWriter::new([0xb; 16]);
        let boundary = writer.content_type();
        let boundary = boundary.strip_prefix("multipart/mixed; boundary=").unwrap();
        let mut text = Vec::new();
        for (id, status, body, length) in [
            (Some("<b29c + 1>"), StatusCode::OK, "{}", Some(2)),
            (Some("two"), StatusCode::NOT_FOUND, "{\"error\":{}}", Some(12)),
            (None, StatusCode::OK, "[1,2]", None),
        ] {
            let response = Response::builder()
                .status(status)
                .header("content-type", "application/json")
                .header("content-length", "9")
                .body(())
                .unwrap();
            let id = id.map(|id| ContentId(id.to_owned()));
            text.extend(writer.head(id.as_ref(), &response.into_parts().0, length));
            text.extend(body.as_bytes());
            text.extend(writer.tail());
        }
        text.extend(writer.end());
        let expected = "--B\r\nContent-Type: application/http\r\nContent-ID: <response-b29c + 1>\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}\r\n\
            --B\r\nContent-Type: application/http\r\nContent-ID: response-two\r\n\r\n\
            HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\nContent-Length: 12\r\n\r\n{\"error\":{}}\r\n\
            --B\r\nContent-Type: application/http\r\n\r\n\
            HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[1,2]\r\n--B--\r\n";
        assert_eq!(String::from_utf8(text).unwrap().replace(boundary, "B"), expected);
    }
}
