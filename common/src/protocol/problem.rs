//! A refusal as it travels: a problem document (RFC 9457) whose `kind` is from a closed set.

use crate::refusal::RefusalKind;
use serde::{Deserialize, Serialize};

/// Media type of a problem document.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// A refusal with what the device needs to act on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A URN that names the kind (RFC 9457, section 3.1.1).
    #[serde(rename = "type")]
    pub problem_type: String,
    /// The kind, from the closed set.
    pub kind: RefusalKind,
    /// The HTTP status, once more (RFC 9457, section 3.1.2).
    pub status: u16,
    /// One line for people; the same for every problem of this kind.
    pub title: String,
    /// The circumstances of this occurrence, and the remedy; never anything secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The administrator's message to the person at the device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The time until the next request, in seconds; the same as the `Retry-After` header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// Makes the problem document of a kind, with nothing added.
    #[must_use]
    pub fn new(kind: RefusalKind) -> Self {
        Self {
            problem_type: format!("urn:unbox:problem:{kind}"),
            kind,
            status: kind.status(),
            title: kind.advice().to_owned(),
            detail: None,
            message: None,
            retry_after_s: None,
        }
    }

    /// Adds the circumstances of this occurrence.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// Adds the administrator's message.
    #[must_use]
    pub fn message(mut self, message: Option<String>) -> Self {
        self.message = message;
        self
    }

    /// Adds the time until the next request, in seconds.
    #[must_use]
    pub const fn retry_after_s(mut self, seconds: u32) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}
