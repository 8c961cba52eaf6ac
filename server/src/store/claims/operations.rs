//! Long-running operations and their items.

use crate::{
    domain::{
        claims::operation::{ItemResult, Operation, Work},
        tenancy::actor::Scope,
    },
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::{Row, query},
        error::check_one_row,
        row::{Fields, document, millis},
        sql::is_worth_preparing,
    },
};
use unbox_common::{
    ids::{AccountId, CompanyId, OperationId},
    timestamp::Timestamp,
};

/// The number of rows in one INSERT or UPDATE.
const ROWS: usize = 500;

const SELECT: &str =
    "SELECT id, company_id, kind, created_by, account_id, items, done, succeeded, created_at, done_at,
    cancelled_at FROM operations WHERE 1 = 1";

fn operation(row: &Row) -> Result<Operation, StoreError> {
    let fields = Fields::of(row, "operations", "id");
    let small =
        |column| u32::try_from(fields.count(column)?).map_err(|error| fields.wrong_value(column, error));
    Ok(Operation {
        id: fields.id("id", OperationId::new)?,
        company: fields.id("company_id", CompanyId::new)?,
        kind: fields.parse("kind")?,
        created_by: fields.read("created_by")?,
        account: fields.id_opt("account_id", AccountId::new)?,
        items: small("items")?,
        done: small("done")?,
        succeeded: small("succeeded")?,
        created_at: fields.time("created_at")?,
        done_at: fields.time_opt("done_at")?,
        cancelled_at: fields.time_opt("cancelled_at")?,
    })
}

/// An item of a new operation, in its stored form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueuedItem {
    /// The request's own JSON.
    pub echo: String,
    /// The work to do, as JSON.
    pub work: String,
}

/// A processed item: the request and its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoneItem {
    /// The request's own JSON.
    pub echo: String,
    /// The result; `None` if the item is waiting.
    pub result: Option<ItemResult>,
}

impl Reader {
    /// Returns an operation, if it is in the scope: a reseller's own.
    pub fn operation(&mut self, scope: Scope, id: OperationId) -> Result<Option<Operation>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("id =", Some(id.get())).scope_to_resellers("company_id =", scope);
        let row = sql.query().fetch_optional(self.connection(), "find an operation")?;
        row.as_ref().map(operation).transpose()
    }

    /// Lists operations, oldest first.
    pub fn operations(&mut self, scope: Scope, page: &PageRequest) -> Result<Page<Operation>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("id >", page.key::<i64>()?)
            .scope_to_resellers("company_id =", scope)
            .push(" ORDER BY id LIMIT ")
            .bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list operations")?;
        let operations = rows.iter().map(operation).collect::<Result<_, _>>()?;
        Ok(page.page(operations, |one: &Operation| one.id))
    }

    /// Returns the unfinished operations with their companies, oldest first. A company has few of them.
    pub fn unfinished_operations(&mut self) -> Result<Vec<(OperationId, CompanyId)>, StoreError> {
        let rows = query("SELECT id, company_id FROM operations WHERE done_at IS NULL ORDER BY id")
            .fetch_all(self.connection(), "look for operations to go on with")?;
        let both = |row| {
            let fields = Fields::of(row, "operations", "id");
            Ok((fields.id("id", OperationId::new)?, fields.id("company_id", CompanyId::new)?))
        };
        rows.iter().map(both).collect()
    }

    /// Returns some of the operations that ended before this time.
    pub fn operations_done_before(
        &mut self,
        time: Timestamp,
        limit: u32,
    ) -> Result<Vec<OperationId>, StoreError> {
        let rows = query(
            "SELECT id FROM operations WHERE done_at IS NOT NULL AND done_at < $1 ORDER BY done_at LIMIT $2",
        )
        .bind(millis(time))
        .bind(i64::from(limit))
        .fetch_all(self.connection(), "look for operations to forget")?;
        rows.iter().map(|row| Fields::of(row, "operations", "id").id("id", OperationId::new)).collect()
    }

    /// Returns a part of an operation's items, in the order of the request: at most `limit`, and no more
    /// once they have `bytes`.
    pub fn operation_items(
        &mut self,
        id: OperationId,
        from: u32,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<DoneItem>, StoreError> {
        const OPERATION: &str = "list an operation's items";
        let mut sql = self.sql("SELECT position, echo, result FROM operation_items WHERE operation_id = ");
        sql.bind(id.get()).filter("position >=", Some(i64::from(from)));
        sql.push(" ORDER BY position LIMIT ").bind(i64::from(limit));
        let (mut items, mut size) = (Vec::new(), 0);
        sql.query().for_each_while(self.connection(), OPERATION, |row| {
            let fields = Fields::of(&row, "operation_items", "position");
            let item = DoneItem { echo: fields.read("echo")?, result: fields.json_opt("result")? };
            size += item.echo.len();
            items.push(item);
            Ok::<_, StoreError>(size < bytes)
        })?;
        Ok(items)
    }
}

impl Tx {
    /// Adds an operation, whose items follow.
    pub fn insert_operation(&mut self, new: &Operation) -> Result<(), StoreError> {
        query(
            "INSERT INTO operations (id, company_id, kind, created_by, account_id, items, done, succeeded, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(new.id.get())
        .bind(new.company.get())
        .bind(new.kind.name())
        .bind(new.created_by.clone())
        .bind(new.account.map(AccountId::get))
        .bind(i64::from(new.items))
        .bind(i64::from(new.done))
        .bind(i64::from(new.succeeded))
        .bind(millis(new.created_at))
        .execute(self.connection(), "add an operation")?;
        Ok(())
    }

    /// Adds items to a new operation, starting at this position.
    pub fn insert_operation_items(
        &mut self,
        of: OperationId,
        first: usize,
        items: &[QueuedItem],
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "add items to an operation";
        let first = i64::try_from(first).unwrap_or(i64::MAX);
        for (part, first) in items.chunks(ROWS).zip((first..).step_by(ROWS)) {
            let mut sql =
                self.sql("INSERT INTO operation_items (operation_id, position, echo, work) VALUES ");
            sql.push_rows(part.iter().zip(first..), |row, (item, position)| {
                row.bind(of.get()).bind(position).bind(item.echo.clone()).bind(item.work.clone());
            });
            let usual = is_worth_preparing(part.len(), ROWS);
            sql.query().keep_prepared(usual).execute(self.connection(), OPERATION)?;
        }
        Ok(())
    }

    /// Records the size of an operation, in bytes.
    pub fn set_operation_bytes(&mut self, id: OperationId, bytes: u64) -> Result<(), StoreError> {
        const OPERATION: &str = "note the size of an operation";
        let done = query("UPDATE operations SET bytes = $2 WHERE id = $1")
            .bind(id.get())
            .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
            .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }

    /// Returns the size of all operations of a company, in bytes.
    pub fn operation_bytes(&mut self, of: CompanyId) -> Result<u64, StoreError> {
        let row = query(
            "SELECT CAST(COALESCE(SUM(bytes), 0) AS BIGINT) AS n FROM operations WHERE company_id = $1",
        )
        .bind(of.get())
        .fetch_one(self.connection(), "add up the room of operations")?;
        Fields::of(&row, "operations", "n").count("n")
    }

    /// Returns the operations of a company, oldest first, each with its size in bytes and whether it has
    /// ended.
    pub fn operation_sizes(&mut self, of: CompanyId) -> Result<Vec<(OperationId, u64, bool)>, StoreError> {
        let rows = query("SELECT id, bytes, done_at FROM operations WHERE company_id = $1 ORDER BY id")
            .bind(of.get())
            .fetch_all(self.connection(), "look for the room of operations")?;
        let size = |row| {
            let fields = Fields::of(row, "operations", "id");
            let has_ended = fields.time_opt("done_at")?.is_some();
            Ok((fields.id("id", OperationId::new)?, fields.count("bytes")?, has_ended))
        };
        rows.iter().map(size).collect()
    }

    /// Counts the unfinished operations of a company.
    pub fn count_unfinished_operations(&mut self, of: CompanyId) -> Result<u64, StoreError> {
        let row = query("SELECT COUNT(*) AS n FROM operations WHERE company_id = $1 AND done_at IS NULL")
            .bind(of.get())
            .fetch_one(self.connection(), "count a company's operations")?;
        Fields::of(&row, "operations", "n").count("n")
    }

    /// Ends an operation before its last device, and deletes the rest of its work.
    pub fn cancel_operation(&mut self, id: OperationId, now: Timestamp) -> Result<(), StoreError> {
        const OPERATION: &str = "cancel an operation";
        query("UPDATE operation_items SET work = '' WHERE operation_id = $1 AND result IS NULL")
            .bind(id.get())
            .execute(self.connection(), OPERATION)?;
        let done = query("UPDATE operations SET done_at = $2, cancelled_at = $2 WHERE id = $1")
            .bind(id.get())
            .bind(millis(now))
            .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }

    /// Deletes an operation with its items.
    pub fn delete_operation(&mut self, id: OperationId) -> Result<(), StoreError> {
        const OPERATION: &str = "delete an operation";
        for statement in
            ["DELETE FROM operation_items WHERE operation_id = $1", "DELETE FROM operations WHERE id = $1"]
        {
            query(statement).bind(id.get()).execute(self.connection(), OPERATION)?;
        }
        Ok(())
    }

    /// Returns an operation in the scope, locked until the transaction ends.
    pub fn operation_to_change(
        &mut self,
        scope: Scope,
        id: OperationId,
    ) -> Result<Option<Operation>, StoreError> {
        let lock = if self.dialect.locks_rows() { " FOR UPDATE" } else { "" };
        let mut sql = self.sql(SELECT);
        sql.filter("id =", Some(id.get())).scope_to_resellers("company_id =", scope).push(lock);
        let row = sql.query().fetch_optional(self.connection(), "find an operation")?;
        row.as_ref().map(operation).transpose()
    }

    /// Returns an operation to continue, unless it is done or another server is working on it. It stays
    /// locked until the transaction ends.
    pub fn operation_to_do(&mut self, id: OperationId) -> Result<Option<Operation>, StoreError> {
        let lock = if self.dialect.locks_rows() { " FOR UPDATE SKIP LOCKED" } else { "" };
        let mut sql = self.sql(SELECT);
        sql.filter("id =", Some(id.get())).push(" AND done_at IS NULL").push(lock);
        let row = sql.query().fetch_optional(self.connection(), "find an operation")?;
        row.as_ref().map(operation).transpose()
    }

    /// Returns the next work of an operation: at most `limit` items, and no more once they have `bytes`.
    pub fn operation_work(
        &mut self,
        of: &Operation,
        limit: u32,
        bytes: usize,
    ) -> Result<Vec<Work>, StoreError> {
        const OPERATION: &str = "read what an operation is to do";
        let (mut work, mut size) = (Vec::new(), 0);
        query(
            "SELECT position, work, CAST(LENGTH(work) AS BIGINT) AS size FROM operation_items
             WHERE operation_id = $1 AND position >= $2 ORDER BY position LIMIT $3",
        )
        .bind(of.id.get())
        .bind(i64::from(of.done))
        .bind(i64::from(limit))
        .for_each_while(self.connection(), OPERATION, |row| {
            let fields = Fields::of(&row, "operation_items", "position");
            work.push(fields.json("work")?);
            size += fields.count("size")?;
            Ok::<_, StoreError>(size < bytes as u64)
        })?;
        Ok(work)
    }

    /// Saves the results of the next items, and the progress of the operation.
    pub fn save_results(
        &mut self,
        of: &Operation,
        results: &[ItemResult],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const OPERATION: &str = "keep what became of an operation's items";
        for (part, first) in results.chunks(ROWS).zip((i64::from(of.done)..).step_by(ROWS)) {
            let mut sql =
                self.sql("INSERT INTO operation_items (operation_id, position, echo, work, result) VALUES ");
            sql.push_rows(part.iter().zip(first..), |row, (result, position)| {
                row.bind(of.id.get()).bind(position).bind("").bind("").bind(document(result));
            });
            sql.push(" ON CONFLICT (operation_id, position) DO UPDATE SET work = excluded.work, result = excluded.result");
            let usual = is_worth_preparing(part.len(), ROWS);
            sql.query().keep_prepared(usual).execute(self.connection(), OPERATION)?;
        }
        let succeeded = results.iter().filter(|result| result.device.is_some()).count();
        let done = query(
            "UPDATE operations SET done = done + $2, succeeded = succeeded + $3,
                 done_at = CASE WHEN done + $2 >= items THEN CAST($4 AS BIGINT) END WHERE id = $1",
        )
        .bind(of.id.get())
        .bind(i64::try_from(results.len()).unwrap_or(i64::MAX))
        .bind(i64::try_from(succeeded).unwrap_or(i64::MAX))
        .bind(millis(now))
        .execute(self.connection(), OPERATION)?;
        check_one_row(OPERATION, done)
    }
}
