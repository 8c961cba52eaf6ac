//! `google.rpc.Status`: the refusals of this API. Errors of services become one here, and nowhere else.

use super::{
    detail::{DOMAIN, Detail, FieldViolation, QuotaViolation, Reason},
    message::message,
};
use crate::{log::chain, route::budget::NoneFree, service::ServiceError};
use axum::http::HeaderMap;
use serde_json::{Map, Value};
use std::time::Duration;
use unbox_common::refusal::RefusalKind;

/// The pause before the next try if the server was busy.
const BUSY_PAUSE: Duration = Duration::from_secs(2);
/// The pause before the next try if the database is out of order.
const OUTAGE_PAUSE: Duration = Duration::from_secs(10);

/// The pause before the next try if a company has used up its share.
const QUOTA_PAUSE: Duration = Duration::from_secs(10);

/// The codes of an error (`google.rpc.Code`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(
    missing_docs,
    reason = "google/rpc/code.proto defines each; a second definition here could only differ"
)]
pub enum Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
}

impl Code {
    /// Returns number, name and HTTP status, as in `google/rpc/code.proto`.
    const fn row(self) -> (i32, &'static str, u16) {
        match self {
            Self::Cancelled => (1, "CANCELLED", 499),
            Self::Unknown => (2, "UNKNOWN", 500),
            Self::InvalidArgument => (3, "INVALID_ARGUMENT", 400),
            Self::DeadlineExceeded => (4, "DEADLINE_EXCEEDED", 504),
            Self::NotFound => (5, "NOT_FOUND", 404),
            Self::AlreadyExists => (6, "ALREADY_EXISTS", 409),
            Self::PermissionDenied => (7, "PERMISSION_DENIED", 403),
            Self::ResourceExhausted => (8, "RESOURCE_EXHAUSTED", 429),
            Self::FailedPrecondition => (9, "FAILED_PRECONDITION", 400),
            Self::Aborted => (10, "ABORTED", 409),
            Self::OutOfRange => (11, "OUT_OF_RANGE", 400),
            Self::Unimplemented => (12, "UNIMPLEMENTED", 501),
            Self::Internal => (13, "INTERNAL", 500),
            Self::Unavailable => (14, "UNAVAILABLE", 503),
            Self::DataLoss => (15, "DATA_LOSS", 500),
            Self::Unauthenticated => (16, "UNAUTHENTICATED", 401),
        }
    }

    /// Returns the number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.row().0
    }

    /// Returns the name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().1
    }

    /// Returns the HTTP status.
    #[must_use]
    pub const fn http(self) -> u16 {
        self.row().2
    }
}

/// The form of errors that a client asks for: by `X-GOOG-API-FORMAT-VERSION` or `$.xgafv`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum FormatVersion {
    /// The original form.
    #[default]
    V1,
    /// With the details of the terms of service.
    V2,
}

impl FormatVersion {
    /// The header with the version.
    pub const HEADER: &'static str = "x-goog-api-format-version";

    /// Returns the version that a request's headers ask for; an unknown one counts as absent.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let asked = headers.get(Self::HEADER).and_then(|value| value.to_str().ok());
        asked.and_then(Self::parse).unwrap_or_default()
    }

    /// Reads a version. `None` if there is no such version.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "1" => Some(Self::V1),
            "2" => Some(Self::V2),
            _ => None,
        }
    }
}

/// A refusal: the reason why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    code: Code,
    http: u16,
    message: String,
    details: Vec<Detail>,
}

impl Status {
    /// Makes a refusal with a code, and an explanation and remedy for people.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, http: code.http(), message: message.into(), details: Vec::new() }
    }

    /// Makes the refusal of fields that cannot be used.
    #[must_use]
    pub fn invalid(violations: Vec<FieldViolation>) -> Self {
        let named = violations.iter().take(3).map(|one| match one.field.as_str() {
            "" => one.description.clone(),
            field => format!("{field}: {}", one.description),
        });
        let mut message = named.collect::<Vec<_>>().join(" ");
        if violations.len() > 3 {
            message.push_str(" See the details for the other fields.");
        }
        Self::new(Code::InvalidArgument, message)
            .with_detail(Detail::BadRequest { field_violations: violations })
    }

    /// Makes the refusal of one field that cannot be used, with the rule that it broke.
    pub fn invalid_field(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::invalid(vec![FieldViolation::new(field, rule)])
    }

    /// Makes the refusal for a customer that has to accept the terms of service first.
    #[must_use]
    pub fn terms_not_accepted() -> Self {
        Self::new(
            Code::PermissionDenied,
            "The customer has not accepted the latest terms of service. An owner has to accept them first.",
        )
        .with_detail(Detail::TosError { latest_tos_accepted: false })
    }

    /// Makes the refusal for a quota that is used up until `retry`.
    pub fn quota_exceeded(
        subject: impl Into<String>,
        description: impl Into<String>,
        retry: Duration,
    ) -> Self {
        let (subject, description) = (subject.into(), description.into());
        Self::new(Code::ResourceExhausted, format!("{description} Ask again later."))
            .with_detail(Detail::QuotaFailure { violations: vec![QuotaViolation { subject, description }] })
            .with_detail(Detail::RetryInfo { retry_delay: retry })
    }

    /// Makes the refusal of a server that is busy.
    #[must_use]
    pub fn busy() -> Self {
        Self::new(Code::Unavailable, "The server is busy. Try again in a moment.")
            .with_detail(Detail::RetryInfo { retry_delay: BUSY_PAUSE })
    }

    /// Makes the refusal for an internal failure; the cause is only for the server's log.
    #[must_use]
    pub fn internal() -> Self {
        Self::new(Code::Internal, "The server failed. Try again; if it fails again, ask its operator.")
    }

    /// Adds a detail.
    #[must_use]
    pub fn with_detail(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }

    /// Adds the reason, in a word.
    #[must_use]
    pub fn with_reason(self, reason: Reason) -> Self {
        self.with_error_info(reason, std::iter::empty::<(String, String)>())
    }

    /// Adds the reason, in a word, and its details.
    #[must_use]
    pub fn with_error_info<K: Into<String>, V: Into<String>>(
        self,
        reason: Reason,
        metadata: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let metadata = metadata.into_iter().map(|(key, value)| (key.into(), value.into())).collect();
        self.with_detail(Detail::ErrorInfo { reason, domain: DOMAIN, metadata })
    }

    /// Sets another HTTP status than the code's, where HTTP has a more precise one: 405, 413 or 415.
    #[must_use]
    pub const fn with_http(mut self, http: u16) -> Self {
        self.http = http;
        self
    }

    /// Returns the code.
    #[must_use]
    pub const fn code(&self) -> Code {
        self.code
    }

    /// Returns the HTTP status of the answer.
    #[must_use]
    pub const fn http(&self) -> u16 {
        self.http
    }

    /// Returns the explanation and remedy, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the details, for programs.
    #[must_use]
    pub fn details(&self) -> &[Detail] {
        &self.details
    }

    /// Returns the reason, in a word; [`Reason::UnknownError`] if there is none.
    #[must_use]
    pub fn reason(&self) -> Reason {
        let said = self.details.iter().find_map(|detail| match detail {
            Detail::ErrorInfo { reason, .. } => Some(*reason),
            _ => None,
        });
        said.unwrap_or(Reason::UnknownError)
    }

    /// Returns the pause before the next try: the header `Retry-After`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.details.iter().find_map(|detail| match detail {
            Detail::RetryInfo { retry_delay } => Some(*retry_delay),
            _ => None,
        })
    }

    /// Returns the body of the answer.
    #[must_use]
    pub fn document(&self, format: FormatVersion) -> ErrorDocument {
        let shown =
            |detail: &&Detail| format == FormatVersion::V2 || !matches!(detail, Detail::TosError { .. });
        ErrorDocument {
            error: ErrorBody {
                code: i32::from(self.http),
                message: self.message.clone(),
                status: self.code.name().to_owned(),
                details: self.details.iter().filter(shown).map(Detail::object).collect(),
            },
        }
    }
}

message! {
    /// The body of an answer that says no.
    pub struct ErrorDocument {
        /// The error.
        error: ErrorBody = "error", REQUIRED;
    }
}

message! {
    /// An error in a request, or of the server.
    pub struct ErrorBody {
        /// The HTTP status.
        code: i32 = "code", REQUIRED;
        /// The description of the error and the next step, for people.
        message: String = "message", REQUIRED;
        /// The name of the google.rpc.Code.
        status: String = "status", REQUIRED;
        /// More about it, for programs.
        details: Vec<Map<String, Value>> = "details";
    }
}

impl From<NoneFree> for Status {
    fn from(why: NoneFree) -> Self {
        match why {
            NoneFree::All => Self::busy(),
            NoneFree::Share => Self::quota_exceeded(
                "memory",
                "Too many large requests at the same time. Send them one after the other.",
                BUSY_PAUSE,
            ),
        }
    }
}

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        match &error {
            ServiceError::NotFound { .. } => Self::new(Code::NotFound, error.to_string()),
            ServiceError::Invalid { field, rule } => Self::invalid_field(*field, rule),
            ServiceError::TooLarge(_) => Self::new(Code::InvalidArgument, error.to_string()).with_http(413),
            ServiceError::OperatorOnly | ServiceError::NotYours(_) | ServiceError::RoleTooLow(_) => {
                Self::new(Code::PermissionDenied, error.to_string())
            }
            ServiceError::Unauthenticated => Self::new(Code::Unauthenticated, error.to_string()),
            ServiceError::AlreadyExists(_) => Self::new(Code::AlreadyExists, error.to_string()),
            ServiceError::Conflict(_) => Self::new(Code::FailedPrecondition, error.to_string()),
            ServiceError::QuotaExceeded(rule) => Self::quota_exceeded("organisation", rule, QUOTA_PAUSE),
            ServiceError::Busy => Self::busy(),
            ServiceError::Elsewhere(why) => {
                Self::new(Code::Unavailable, *why).with_detail(Detail::RetryInfo { retry_delay: BUSY_PAUSE })
            }
            ServiceError::Refused(problem) if problem.kind == RefusalKind::TermsNotAccepted => {
                Self::terms_not_accepted()
            }
            ServiceError::Refused(problem) => {
                let detail = problem.detail.as_deref().unwrap_or(&problem.title);
                Self::new(Code::FailedPrecondition, detail)
            }
            ServiceError::NoRoom(_) => {
                tracing::error!(error = chain(&error), "the disk is full");
                Self::new(Code::Unavailable, error.to_string())
            }
            ServiceError::Unavailable { .. } => {
                tracing::warn!(error = chain(&error), "a request was turned away");
                Self::new(Code::Unavailable, error.to_string())
                    .with_detail(Detail::RetryInfo { retry_delay: OUTAGE_PAUSE })
            }
            ServiceError::Storage(_)
            | ServiceError::Signer(_)
            | ServiceError::Entropy(_)
            | ServiceError::Files(_) => {
                tracing::error!(error = chain(&error), "a request failed in the server");
                Self::internal()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        files::FilesError,
        store::{Outage, StoreError},
    };
    use serde_json::json;
    use std::io::ErrorKind;

    fn to_json(status: &Status, format: FormatVersion) -> Value {
        serde_json::to_value(status.document(format)).unwrap()
    }

    #[test]
    fn the_answer_names_the_field_and_the_rule() {
        let status = Status::invalid_field("customer.companyName", "A value is required.")
            .with_error_info(Reason::InvalidParameter, [("line", "7")]);
        assert_eq!(status.reason(), Reason::InvalidParameter);
        assert_eq!(
            to_json(&status, FormatVersion::V1),
            json!({"error": {
                "code": 400,
                "message": "customer.companyName: A value is required.",
                "status": "INVALID_ARGUMENT",
                "details": [
                    {
                        "@type": "type.googleapis.com/google.rpc.BadRequest",
                        "fieldViolations":
                            [{"field": "customer.companyName", "description": "A value is required."}],
                    },
                    {
                        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                        "reason": "INVALID_PARAMETER",
                        "domain": DOMAIN,
                        "metadata": {"line": "7"},
                    },
                ],
            }})
        );
    }

    #[test]
    fn the_terms_are_a_detail_only_for_those_who_understand_it() {
        let status = Status::terms_not_accepted();
        let (old, new) = (to_json(&status, FormatVersion::V1), to_json(&status, FormatVersion::V2));
        assert_eq!((status.http(), &old["error"]["status"]), (403, &json!("PERMISSION_DENIED")));
        assert_eq!(old["error"].get("details"), None);
        assert_eq!(
            new["error"]["details"],
            json!([{
                "@type": "type.googleapis.com/google.android.device.provisioning.v1.TosError",
                "latestTosAccepted": false,
            }])
        );
    }

    #[test]
    fn the_header_asks_for_a_format() {
        for (value, format) in [
            ("2", FormatVersion::V2),
            ("1", FormatVersion::V1),
            ("3", FormatVersion::V1),
            ("", FormatVersion::V1),
        ] {
            let headers = HeaderMap::from_iter([(
                axum::http::HeaderName::from_static(FormatVersion::HEADER),
                axum::http::HeaderValue::from_static(value),
            )]);
            assert_eq!(FormatVersion::from_headers(&headers), format, "{value}");
        }
        assert_eq!(FormatVersion::from_headers(&HeaderMap::new()), FormatVersion::V1);
    }

    #[test]
    fn a_used_up_quota_says_whose_and_when_to_come_back() {
        let status =
            Status::quota_exceeded("user:7", "At most 1000 requests in 100 s.", Duration::from_secs(9));
        assert_eq!((status.http(), status.retry_after()), (429, Some(Duration::from_secs(9))));
        assert_eq!(
            to_json(&status, FormatVersion::V1)["error"]["details"],
            json!([
                {
                    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
                    "violations": [{"subject": "user:7", "description": "At most 1000 requests in 100 s."}],
                },
                {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9s"},
            ])
        );
    }

    #[test]
    fn every_error_of_a_service_has_its_code() {
        let conflict = || "It is in use.".to_owned();
        let full = |kind: ErrorKind| {
            ServiceError::from(FilesError::Write { path: "artifacts".into(), source: kind.into() })
        };
        let outage = |outage| ServiceError::Unavailable { outage, source: StoreError::Closed };
        for (error, http, code) in [
            (ServiceError::not_found("device", 7), 404, Code::NotFound),
            (ServiceError::invalid("name", "is empty"), 400, Code::InvalidArgument),
            (ServiceError::TooLarge(7), 413, Code::InvalidArgument),
            (ServiceError::OperatorOnly, 403, Code::PermissionDenied),
            (ServiceError::NotYours("Ask its owner."), 403, Code::PermissionDenied),
            (ServiceError::AlreadyExists(conflict()), 409, Code::AlreadyExists),
            (ServiceError::Conflict(conflict()), 400, Code::FailedPrecondition),
            (ServiceError::Busy, 503, Code::Unavailable),
            (ServiceError::QuotaExceeded(conflict()), 429, Code::ResourceExhausted),
            (ServiceError::refusal(RefusalKind::TermsNotAccepted), 403, Code::PermissionDenied),
            (ServiceError::refusal(RefusalKind::NoLicence), 400, Code::FailedPrecondition),
            (FilesError::Elsewhere("part".into()).into(), 503, Code::Unavailable),
            (outage(Outage::Unreachable), 503, Code::Unavailable),
            (outage(Outage::Full), 503, Code::Unavailable),
            (outage(Outage::Failing), 503, Code::Unavailable),
            (outage(Outage::ReadOnly), 503, Code::Unavailable),
            (outage(Outage::Damaged), 503, Code::Unavailable),
            (full(ErrorKind::StorageFull), 503, Code::Unavailable),
            (full(ErrorKind::QuotaExceeded), 503, Code::Unavailable),
            (full(ErrorKind::PermissionDenied), 500, Code::Internal),
            (ServiceError::Storage(StoreError::Closed), 500, Code::Internal),
        ] {
            let status = Status::from(error);
            assert_eq!((status.http(), status.code()), (http, code), "{status:?}");
        }
    }

    #[test]
    fn a_failure_inside_tells_nothing_about_the_inside() {
        let status = Status::from(ServiceError::Storage(StoreError::Row {
            table: "claims",
            row: "7".to_owned(),
            column: "owner",
            problem: "secret".to_owned(),
        }));
        assert!(!to_json(&status, FormatVersion::V2).to_string().contains("claims"));
    }

    #[test]
    fn many_violations_do_not_fill_the_message() {
        let many = (0..50).map(|n| FieldViolation::new(format!("f{n}"), "A value is required.")).collect();
        let status = Status::invalid(many);
        assert!(status.message().len() < 200, "{}", status.message());
    }
}
