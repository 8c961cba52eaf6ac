//! The results of the rows of a claims file.

use serde::Serialize;
use unbox_common::ids::ClaimId;

/// The result of one row, with its line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowResult {
    /// The line that the row starts on, from 1; the header is line 1.
    pub line: u64,
    /// The result.
    pub outcome: RowOutcome,
}

/// The result of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowOutcome {
    /// The device is now claimed.
    Imported(ClaimId),
    /// The same customer claimed the device before, perhaps in an earlier row; nothing changed.
    AlreadyClaimed(ClaimId),
    /// The claim has this configuration now.
    Applied(ClaimId),
    /// The claim had this configuration before; nothing changed.
    AlreadyApplied(ClaimId),
    /// Another customer claimed the device, perhaps in an earlier row; nothing changed.
    Conflict,
    /// Somebody else claimed the device for the same customer; nothing changed.
    OtherReseller,
    /// The customer has no such device; nothing changed.
    NotFound,
    /// The row is invalid; nothing changed.
    Invalid {
        /// The column, from 1; `None` if the row as a whole is wrong.
        column: Option<usize>,
        /// The column's name, or `row`.
        field: String,
        /// The broken rule, to be read after the field. It never repeats a value, because secrets may be in
        /// wrong columns.
        rule: String,
    },
}

impl RowOutcome {
    /// Returns the status as one word.
    #[must_use]
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Imported(_) => "imported",
            Self::AlreadyClaimed(_) => "already_claimed",
            Self::Applied(_) => "applied",
            Self::AlreadyApplied(_) => "already_applied",
            Self::Conflict | Self::OtherReseller => "conflict",
            Self::NotFound => "not_found",
            Self::Invalid { .. } => "invalid",
        }
    }

    /// Returns the claim, if there is one that may be named.
    #[must_use]
    pub const fn claim(&self) -> Option<ClaimId> {
        match self {
            Self::Imported(id) | Self::AlreadyClaimed(id) | Self::Applied(id) | Self::AlreadyApplied(id) => {
                Some(*id)
            }
            Self::Conflict | Self::OtherReseller | Self::NotFound | Self::Invalid { .. } => None,
        }
    }

    /// Returns the problem with the row and its remedy; `None` if there is none.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        Some(match self {
            Self::Imported(_) | Self::AlreadyClaimed(_) | Self::Applied(_) | Self::AlreadyApplied(_) => {
                return None;
            }
            Self::Conflict => {
                "Another customer has claimed this device. Ask them to end their claim, or correct the row."
                    .to_owned()
            }
            Self::OtherReseller => format!("{} Nothing was changed.", super::OTHER_RESELLER),
            Self::NotFound => {
                "The customer has no device with all of these identifiers. Ask its reseller to claim it, or \
                 correct the row."
                    .to_owned()
            }
            Self::Invalid { field, rule, .. } => format!("The {field} {rule}."),
        })
    }

    pub(super) fn invalid(column: Option<usize>, field: &str, rule: impl Into<String>) -> Self {
        Self::Invalid { column, field: field.to_owned(), rule: rule.into() }
    }
}

/// The totals of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ImportSummary {
    /// The number of rows that were read.
    pub rows: u64,
    /// The number of new claims.
    pub imported: u64,
    /// The number of rows that were already claimed.
    pub already_claimed: u64,
    /// The number of newly applied configurations.
    pub applied: u64,
    /// The number of configurations that were already applied.
    pub already_applied: u64,
    /// The number of rows that somebody else has claimed.
    pub conflicts: u64,
    /// The number of rows whose device the customer does not have.
    pub not_found: u64,
    /// The number of invalid rows.
    pub invalid: u64,
}

impl ImportSummary {
    pub(super) fn count(&mut self, outcome: &RowOutcome) {
        self.rows += 1;
        *match outcome {
            RowOutcome::Imported(_) => &mut self.imported,
            RowOutcome::AlreadyClaimed(_) => &mut self.already_claimed,
            RowOutcome::Applied(_) => &mut self.applied,
            RowOutcome::AlreadyApplied(_) => &mut self.already_applied,
            RowOutcome::Conflict | RowOutcome::OtherReseller => &mut self.conflicts,
            RowOutcome::NotFound => &mut self.not_found,
            RowOutcome::Invalid { .. } => &mut self.invalid,
        } += 1;
    }

    /// Returns the number of rows that failed.
    #[must_use]
    pub const fn failed_rows(&self) -> u64 {
        self.conflicts + self.not_found + self.invalid
    }
}

impl std::fmt::Display for ImportSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.rows, if self.rows == 1 { "row" } else { "rows" })?;
        let counts = [
            (self.imported, "imported"),
            (self.already_claimed, "claimed before"),
            (self.applied, "applied"),
            (self.already_applied, "applied before"),
            (self.conflicts, "in conflict"),
            (self.not_found, "not found"),
            (self.invalid, "that cannot be used"),
        ];
        for (number, (count, what)) in counts.into_iter().filter(|(count, _)| *count > 0).enumerate() {
            write!(f, "{} {count} {what}", if number == 0 { ":" } else { "," })?;
        }
        f.write_str(".")
    }
}
