//! Errors of services: a refusal for a device, a reason for an administrator, or a failure.

use super::signer::SignerError;
use crate::{
    domain::{devices::device::IllegalTransition, tenancy::account::Role},
    entropy::EntropyError,
    files::FilesError,
    store::{JobError, Outage, StoreError},
};
use std::{fmt, io::ErrorKind};
use unbox_common::{protocol::problem::Problem, refusal::RefusalKind};

const UPLOAD_ELSEWHERE: &str = "This server does not have the first bytes of this upload; the server where it began has \
     them. Try again, so that the rest reaches that one, or cancel the upload and begin again. Servers of one \
     database need one artifact directory.";

/// The reason why a service did not do what it was asked. Routes map it to HTTP in one place.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A device is refused; it receives nothing but this document.
    #[error("refused: {}", .0.kind)]
    Refused(Box<Problem>),
    /// The object does not exist, or is outside the actor's scope; the two cases look the same.
    #[error("There is no {what} {name}. List what there is, and name one of those.")]
    NotFound {
        /// The kind of object.
        what: &'static str,
        /// The name or id that was given.
        name: String,
    },
    /// A value is invalid.
    #[error("{field}: {rule}")]
    Invalid {
        /// The name of the field.
        field: &'static str,
        /// The broken rule.
        rule: String,
    },
    /// There are more bytes than allowed.
    #[error("At most {0} bytes are taken. Send less.")]
    TooLarge(u64),
    /// Only the operator of this server may do this.
    #[error("Only the operator of this server may do this.")]
    OperatorOnly,
    /// The actor sees the object but may not decide about it; the text says whom to ask.
    #[error("{0}")]
    NotYours(&'static str),
    /// An object with that name already exists.
    #[error("{0}")]
    AlreadyExists(String),
    /// Only a higher role within the same company may do this.
    #[error("This takes the role {0} or one above it. Ask an owner of your organisation.")]
    RoleTooLow(Role),
    /// The API key or access token is unknown, expired or revoked, or its account is disabled; all these
    /// cases look the same.
    #[error("The credentials are not valid. Sign in again, or ask for a new API key.")]
    Unauthenticated,
    /// The company's quota is exhausted. The request may be repeated when less of it is used.
    #[error("{0}")]
    QuotaExceeded(String),
    /// The request contradicts the present state.
    #[error("{0}")]
    Conflict(String),
    /// The database is overloaded; the request may be repeated.
    #[error("The database is busy. Try again in a moment.")]
    Busy,
    /// The database is down at the moment. The cause is for the log.
    #[error("{}", .outage.advice())]
    Unavailable {
        /// The reason.
        outage: Outage,
        /// The cause.
        #[source]
        source: StoreError,
    },
    /// The database failed. The cause is for the log.
    #[error("the database failed")]
    Storage(#[source] StoreError),
    /// A key of the server failed. The cause is for the log.
    #[error("a key of this server failed")]
    Signer(#[source] SignerError),
    /// There was no randomness. The cause is for the log.
    #[error("no random bytes")]
    Entropy(#[from] EntropyError),
    /// The bytes are in the separate directory of another server of this database.
    #[error("{0}")]
    Elsewhere(&'static str),
    /// The disk is full. The cause is for the log.
    #[error("The disk of this server is full. Send it again when its operator has made room.")]
    NoRoom(#[source] FilesError),
    /// A file could not be read or written. The cause is for the log.
    #[error("a file of this server failed")]
    Files(#[source] FilesError),
}

impl ServiceError {
    /// Returns true if a restart or an overload of the database explains the error, so that the same
    /// request may soon succeed.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Unavailable { outage, .. } => outage.is_passing(),
            _ => false,
        }
    }

    /// Returns a refusal with nothing but its kind.
    #[must_use]
    pub fn refusal(kind: RefusalKind) -> Self {
        Problem::new(kind).into()
    }

    /// Returns a refusal with an explanation.
    pub fn refusal_with_detail(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Problem::new(kind).detail(detail).into()
    }

    /// Returns the error for an invalid value, with the broken rule.
    pub fn invalid(field: &'static str, rule: impl fmt::Display) -> Self {
        Self::Invalid { field, rule: rule.to_string() }
    }

    /// Returns the error for an object that does not exist.
    pub fn not_found(what: &'static str, name: impl fmt::Display) -> Self {
        Self::NotFound { what, name: name.to_string() }
    }
}

impl From<Problem> for ServiceError {
    fn from(problem: Problem) -> Self {
        Self::Refused(Box::new(problem))
    }
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Busy => Self::Busy,
            StoreError::Cursor => Self::invalid("after", StoreError::Cursor),
            other => match other.outage() {
                Some(outage) => Self::Unavailable { outage, source: other },
                None => Self::Storage(other),
            },
        }
    }
}

impl JobError for ServiceError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Storage(error) | Self::Unavailable { source: error, .. } => Some(error),
            _ => None,
        }
    }
}

impl From<SignerError> for ServiceError {
    fn from(error: SignerError) -> Self {
        Self::Signer(error)
    }
}

impl From<FilesError> for ServiceError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::InUse(_) => Self::Busy,
            FilesError::Elsewhere(_) => Self::Elsewhere(UPLOAD_ELSEWHERE),
            FilesError::Write { ref source, .. }
                if matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded) =>
            {
                Self::NoRoom(error)
            }
            other => Self::Files(other),
        }
    }
}

impl From<IllegalTransition> for ServiceError {
    fn from(error: IllegalTransition) -> Self {
        Self::Conflict(format!("{error}. Look at its state, and choose another action."))
    }
}
