//! The row that the readiness probe writes.

use super::{StoreError, Tx, database::query, error::check_one_row, row::millis};
use unbox_common::timestamp::Timestamp;

impl Tx {
    pub(super) fn write_readiness(&mut self, now: Timestamp) -> Result<(), StoreError> {
        const OPERATION: &str = "write to the database";
        let done = query(
            "INSERT INTO readiness (id, written_at) VALUES (1, $1)
             ON CONFLICT (id) DO UPDATE SET written_at = excluded.written_at",
        )
        .bind(millis(now))
        .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }
}
