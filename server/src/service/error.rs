//! How a service says no: a refusal for a device, a reason for an administrator, or a failure.

use super::signer::SignerError;
use crate::{
    domain::{account::Role, device::IllegalTransition},
    entropy::EntropyError,
    files::FilesError,
    store::{JobError, Outage, StoreError},
};
use std::{fmt, io::ErrorKind};
use unbox_common::{protocol::problem::Problem, refusal::RefusalKind};

const UPLOAD_ELSEWHERE: &str = "This server does not have the first bytes of this upload; the server where it began has \
     them. Try again, so that the rest reaches that one, or cancel the upload and begin again. Servers of one \
     database need one artifact directory.";

/// Why a service did not do what it was asked. Routes map it to HTTP in one place.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A device is refused; nothing but this document is told.
    #[error("refused: {}", .0.kind)]
    Refused(Box<Problem>),
    /// The thing does not exist, or not within the actor's scope: no difference is made.
    #[error("There is no {what} {name}. List what there is, and name one of those.")]
    NotFound {
        /// What kind of thing.
        what: &'static str,
        /// What it was called.
        name: String,
    },
    /// A value cannot be used.
    #[error("{field}: {rule}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// The rule that it broke.
        rule: String,
    },
    /// More bytes than there may be.
    #[error("At most {0} bytes are taken. Send less.")]
    TooLarge(u64),
    /// Only the operator of this server may do this.
    #[error("Only the operator of this server may do this.")]
    OperatorOnly,
    /// The actor sees it, and may not decide about it; whom to ask.
    #[error("{0}")]
    NotYours(&'static str),
    /// There is one of that name already.
    #[error("{0}")]
    AlreadyExists(String),
    /// Within the same company, only a mightier role may do this.
    #[error("This takes the role {0} or one above it. Ask an owner of your organisation.")]
    RoleTooLow(Role),
    /// The API key or access token is unknown, expired or revoked, or its account is disabled: no
    /// difference is made.
    #[error("The credentials are not valid. Sign in again, or ask for a new API key.")]
    Unauthenticated,
    /// More of something than its company may have. Ask again when there is less of it.
    #[error("{0}")]
    QuotaExceeded(String),
    /// It contradicts what is there.
    #[error("{0}")]
    Conflict(String),
    /// The database cannot take this now; asking again helps.
    #[error("The database is busy. Try again in a moment.")]
    Busy,
    /// The database does nothing at the moment. The cause is for the log.
    #[error("{}", .outage.advice())]
    Unavailable {
        /// Why.
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
    /// Bytes that another server of this database has in a directory of its own.
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
    /// Returns true if a database that restarts, or is overloaded, explains it: the same again may well
    /// succeed in a moment.
    #[must_use]
    pub const fn is_passing(&self) -> bool {
        match self {
            Self::Busy => true,
            Self::Unavailable { outage, .. } => outage.is_passing(),
            _ => false,
        }
    }

    /// A refusal with nothing added to its kind.
    #[must_use]
    pub fn refused(kind: RefusalKind) -> Self {
        Problem::new(kind).into()
    }

    /// A refusal, and what happened.
    pub fn refused_because(kind: RefusalKind, detail: impl Into<String>) -> Self {
        Problem::new(kind).detail(detail).into()
    }

    /// A value cannot be used, and why.
    pub fn invalid(field: &'static str, rule: impl fmt::Display) -> Self {
        Self::Invalid { field, rule: rule.to_string() }
    }

    /// A thing is not there.
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
