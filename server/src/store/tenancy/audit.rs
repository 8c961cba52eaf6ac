//! The audit trail.

use crate::{
    domain::tenancy::{
        actor::Scope,
        audit::{Action, Entry, Event, Subject},
    },
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::Row,
        row::{Fields, millis},
        sql::Sql,
    },
};
use std::collections::BTreeSet;
use unbox_common::{ids::CompanyId, timestamp::Timestamp};

/// The numbers of events in one INSERT, from a short list, so that a few prepared statements serve jobs of every
/// size.
const STATEMENT_ROWS: [usize; 7] = [64, 32, 16, 8, 4, 2, 1];

const SELECT: &str =
    "SELECT id, happened_at, actor, company_id, action, subject, customer_id, detail, times, last_at
    FROM audit WHERE 1 = 1";

/// A filter on entries of the audit trail; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only entries of this customer.
    pub customer: Option<CompanyId>,
    /// Only entries about objects of this company, or by its people.
    pub organisation: Option<CompanyId>,
    /// Only entries about these objects.
    pub subjects: Vec<Subject>,
    /// Only entries with this action.
    pub action: Option<Action>,
    /// Only entries whose last event was at or after this time.
    pub since: Option<Timestamp>,
    /// Only entries whose first event was before this time.
    pub until: Option<Timestamp>,
    /// Only entries by the actor with this name, or with a name that starts with these words.
    pub actor: Option<String>,
}

impl AuditFilter {
    fn narrow(&self, sql: &mut Sql) {
        sql.filter("customer_id =", self.customer.map(CompanyId::get))
            .filter("action =", self.action.map(Action::name))
            .filter("last_at >=", self.since.map(millis))
            .filter("happened_at <", self.until.map(millis));
        if let Some(actor) = &self.actor {
            let words = format!("{actor} ");
            sql.push(" AND (actor = ")
                .bind(actor.clone())
                .push(" OR substr(actor, 1, CAST(")
                .bind(i64::try_from(words.chars().count()).unwrap_or(i64::MAX))
                .push(" AS INTEGER)) = ")
                .bind(words)
                .push(")");
        }
        if !self.subjects.is_empty() {
            sql.push(" AND subject IN ").push_list(self.subjects.iter().map(Subject::to_string));
        }
    }
}

fn entry(row: &Row) -> Result<Entry, StoreError> {
    let fields = Fields::of(row, "audit", "id");
    Ok(Entry {
        id: fields.read("id")?,
        at: fields.time("happened_at")?,
        actor: fields.read("actor")?,
        company: fields.id_opt("company_id", CompanyId::new)?,
        action: fields.parse("action")?,
        subject: fields.parse("subject")?,
        customer: fields.id_opt("customer_id", CompanyId::new)?,
        detail: fields.json("detail")?,
        count: fields.count("times")?,
        last_at: fields.time("last_at")?,
    })
}

impl Reader {
    /// Lists entries, newest first. A company sees those about its own objects, and those about others'
    /// that its own people caused.
    pub fn audit(
        &mut self,
        scope: Scope,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<Entry>, StoreError> {
        let organisation = match (scope.company(), filter.organisation) {
            (Some(own), Some(asked)) if own != asked => {
                return Ok(page.page(Vec::new(), |one: &Entry| one.id));
            }
            (own, asked) => own.or(asked).map(CompanyId::get),
        };
        let after = page.key::<i64>()?;
        let narrow = |sql: &mut Sql| {
            filter.narrow(sql);
            sql.filter("id <", after).push(" ORDER BY id DESC LIMIT ").bind(page.limit());
        };
        let mut sql = self.sql("");
        match organisation {
            None => narrow(sql.push(SELECT)),
            // Two short lists from two indexes: a single condition for both would sort the whole trail.
            Some(own) => {
                narrow(sql.push("SELECT * FROM (").push(SELECT).filter("customer_id =", Some(own)));
                sql.push(") AS theirs UNION ALL SELECT * FROM (").push(SELECT);
                sql.push(" AND (customer_id IS NULL OR customer_id <> ").bind(own).push(")");
                narrow(sql.filter("company_id =", Some(own)));
                sql.push(") AS by_them ORDER BY id DESC LIMIT ").bind(page.limit());
            }
        }
        let rows = sql.query().fetch_all(self.connection(), "list the audit trail")?;
        let entries = rows.iter().map(entry).collect::<Result<_, _>>()?;
        Ok(page.page(entries, |one: &Entry| one.id))
    }
}

impl Reader {
    /// Returns the oldest entries whose last event was before this time. Entries are in order of their
    /// first event, so the search ends at the first that began later.
    pub fn audit_before(&mut self, time: Timestamp, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.push(" ORDER BY id LIMIT ").bind(i64::from(limit));
        let rows = sql.query().fetch_all(self.connection(), "list old entries of the audit trail")?;
        let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let older = entries.iter().take_while(|entry| entry.at < time).count();
        entries.truncate(older);
        entries.retain(|entry| entry.last_at < time);
        Ok(entries)
    }
}

impl Tx {
    /// Deletes entries.
    pub fn delete_audit(&mut self, ids: &[i64]) -> Result<(), StoreError> {
        let mut sql = self.sql("DELETE FROM audit WHERE id IN ");
        sql.push_list(ids.iter().copied());
        sql.query().execute(self.connection(), "delete from the audit trail")?;
        Ok(())
    }

    /// Adds an event at the end of the job. If it is counted with others, their number is raised instead.
    pub fn append(&mut self, id: i64, event: Event) {
        self.events.push((id, event));
    }

    /// Writes the added events.
    pub(in crate::store) fn write_events(&mut self) -> Result<(), StoreError> {
        let events: Vec<_> = std::mem::take(&mut self.events)
            .into_iter()
            .map(|(id, event)| (id, event.fold(), event))
            .collect();
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let part = rest.get(..rows_without_conflict(rest)).unwrap_or(rest);
            rest = rest.get(part.len()..).unwrap_or_default();
            let mut sql = self.sql(
                "INSERT INTO audit (id, happened_at, actor, company_id, action, subject, customer_id, detail, fold, times, last_at) VALUES ",
            );
            sql.push_rows(part, |row, (id, fold, event)| {
                row.bind(*id)
                    .bind(millis(event.at))
                    .bind(event.actor.clone())
                    .bind(event.company.map(CompanyId::get))
                    .bind(event.action.name())
                    .bind(event.subject.to_string())
                    .bind(event.customer.map(CompanyId::get))
                    .bind(event.detail.to_string())
                    .bind(fold.clone())
                    .bind(1_i64)
                    .bind(millis(event.at));
            });
            sql.push(
                " ON CONFLICT (fold) WHERE fold IS NOT NULL
                 DO UPDATE SET times = audit.times + 1, last_at = excluded.last_at, detail = excluded.detail",
            );
            sql.query().execute(self.connection(), "add to the audit trail")?;
        }
        Ok(())
    }
}

/// Returns the number of these rows for the next statement: no two that would count in the same row
/// (PostgreSQL: "cannot affect row a second time").
fn rows_without_conflict(rows: &[(i64, Option<String>, Event)]) -> usize {
    let mut folds = BTreeSet::new();
    rows_of(rows.iter().take_while(|(_, fold, _)| fold.is_none() || folds.insert(fold)).count())
}

/// Returns the number of rows for the next statement.
fn rows_of(remaining: usize) -> usize {
    STATEMENT_ROWS.into_iter().find(|rows| *rows <= remaining).unwrap_or(remaining)
}
