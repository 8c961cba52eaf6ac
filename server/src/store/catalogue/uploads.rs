//! Uploads in several requests: their announced properties and their progress.

use crate::{
    domain::{catalogue::artifact::Upload, tenancy::actor::Scope},
    store::{
        Reader, StoreError, Tx,
        database::{Row, query},
        error::check_one_row,
        row::{Fields, millis, number},
    },
};
use unbox_common::{
    ids::{CompanyId, UploadId},
    timestamp::Timestamp,
};

const SELECT: &str =
    "SELECT id, customer_id, name, size, expected, received, finished, created_at, touched_at
     FROM uploads WHERE 1 = 1";

fn upload(row: &Row) -> Result<Upload, StoreError> {
    let fields = Fields::of(row, "uploads", "id");
    Ok(Upload {
        id: fields.id("id", UploadId::new)?,
        customer: fields.id("customer_id", CompanyId::new)?,
        name: fields.parse("name")?,
        size: fields.count_opt("size")?,
        expected: fields.parse_opt("expected")?,
        received: fields.count("received")?,
        finished: fields.parse_opt("finished")?,
        created_at: fields.time("created_at")?,
        touched_at: fields.time("touched_at")?,
    })
}

impl Reader {
    /// Returns an upload, if it is in the scope.
    pub fn upload(&mut self, scope: Scope, id: UploadId) -> Result<Option<Upload>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("id =", Some(id.get())).scope("customer_id =", scope);
        let row = sql.query().fetch_optional(self.connection(), "find an upload")?;
        row.as_ref().map(upload).transpose()
    }

    /// Counts the unfinished uploads of a customer.
    pub fn open_uploads(&mut self, customer: CompanyId) -> Result<u64, StoreError> {
        let row = query("SELECT COUNT(*) AS open FROM uploads WHERE customer_id = $1 AND finished IS NULL")
            .bind(customer.get())
            .fetch_one(self.connection(), "count uploads")?;
        Fields::of(&row, "uploads", "open").count("open")
    }

    /// Returns the bytes of a customer's artifacts, and those of its uploads so far.
    pub fn stored_bytes(&mut self, customer: CompanyId) -> Result<u64, StoreError> {
        let row = query(
            "SELECT CAST(
                 (SELECT COALESCE(SUM(a.size), 0) FROM artifact_registrations AS r
                      JOIN artifacts AS a ON a.sha256 = r.sha256 WHERE r.customer_id = $1)
                 + (SELECT COALESCE(SUM(received), 0) FROM uploads
                        WHERE customer_id = $1 AND finished IS NULL) AS BIGINT) AS stored",
        )
        .bind(customer.get())
        .fetch_one(self.connection(), "count a customer's bytes")?;
        Fields::of(&row, "artifacts", "stored").count("stored")
    }

    /// Returns some of the uploads that received nothing since this time.
    pub fn uploads_untouched_since(&mut self, time: Timestamp) -> Result<Vec<Upload>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("touched_at <", Some(millis(time))).push(" ORDER BY touched_at LIMIT 100");
        let rows = sql.query().fetch_all(self.connection(), "list uploads")?;
        rows.iter().map(upload).collect()
    }
}

impl Tx {
    /// Adds an upload.
    pub fn insert_upload(&mut self, new: &Upload) -> Result<(), StoreError> {
        query(
            "INSERT INTO uploads (id, customer_id, name, size, expected, received, finished, created_at, touched_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(new.id.get())
        .bind(new.customer.get())
        .bind(new.name.as_str())
        .bind(new.size.map(number))
        .bind(new.expected.map(|digest| digest.to_string()))
        .bind(number(new.received))
        .bind(new.finished.map(|digest| digest.to_string()))
        .bind(millis(new.created_at))
        .bind(millis(new.touched_at))
        .execute(self.connection(), "add an upload")?;
        Ok(())
    }

    /// Updates all mutable fields of an upload.
    pub fn update_upload(&mut self, upload: &Upload) -> Result<(), StoreError> {
        const OPERATION: &str = "change an upload";
        let done = query(
            "UPDATE uploads SET size = $2, received = $3, finished = $4, touched_at = $5 WHERE id = $1",
        )
        .bind(upload.id.get())
        .bind(upload.size.map(number))
        .bind(number(upload.received))
        .bind(upload.finished.map(|digest| digest.to_string()))
        .bind(millis(upload.touched_at))
        .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }

    /// Deletes an upload; returns `false` if it is already gone.
    pub fn delete_upload(&mut self, id: UploadId) -> Result<bool, StoreError> {
        let done = query("DELETE FROM uploads WHERE id = $1")
            .bind(id.get())
            .execute(self.connection(), "forget an upload")?;
        Ok(done == 1)
    }
}
