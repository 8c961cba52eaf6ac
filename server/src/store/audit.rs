//! The audit trail.

use super::{
    Page, PageRequest, Reader, StoreError, Tx,
    error::failed,
    row::{Fields, millis},
    together::rows_of,
};
use crate::domain::{
    actor::Scope,
    audit::{Action, Entry, Event, Subject},
};
use sqlx::any::AnyRow;
use std::collections::BTreeSet;
use unbox_common::{ids::CompanyId, timestamp::Timestamp};

const SELECT: &str = "SELECT id, happened_at, actor, action, subject, customer_id, detail, times, last_at FROM audit WHERE 1 = 1";

/// Which entries of the audit trail to list; `None` means any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this customer.
    pub customer: Option<CompanyId>,
    /// About these things.
    pub subjects: Vec<Subject>,
    /// Of this kind.
    pub action: Option<Action>,
    /// That happened, for the last time, not before this.
    pub since: Option<Timestamp>,
}

fn entry(row: &AnyRow) -> Result<Entry, StoreError> {
    let fields = Fields::of(row, "audit", "id");
    Ok(Entry {
        id: fields.read("id")?,
        at: fields.time("happened_at")?,
        actor: fields.read("actor")?,
        action: fields.parse("action")?,
        subject: fields.parse("subject")?,
        customer: fields.id_opt("customer_id", CompanyId::new)?,
        detail: fields.json("detail")?,
        count: fields.count("times")?,
        last_at: fields.time("last_at")?,
    })
}

impl Reader {
    /// Entries, newest first.
    pub async fn audit(
        &mut self,
        scope: Scope,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<Entry>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("customer_id =", filter.customer.map(CompanyId::get))
            .filter("action =", filter.action.map(Action::name))
            .filter("last_at >=", filter.since.map(millis))
            .filter("id <", page.key::<i64>()?)
            .scope("customer_id =", scope);
        if !filter.subjects.is_empty() {
            sql.push(" AND subject IN ").list(filter.subjects.iter().map(Subject::to_string));
        }
        sql.push(" ORDER BY id DESC LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection()).await.map_err(failed("list the audit trail"))?;
        let entries = rows.iter().map(entry).collect::<Result<_, _>>()?;
        Ok(page.page(entries, |one: &Entry| one.id))
    }
}

impl Tx {
    /// Adds an event when the transaction is committed. One that is counted with others raises
    /// their number instead.
    pub fn append(&mut self, id: i64, event: Event) {
        self.together.events.push((id, event));
    }

    /// Writes what was appended.
    pub(super) async fn write_events(&mut self, events: Vec<(i64, Event)>) -> Result<(), StoreError> {
        let events: Vec<_> = events.into_iter().map(|(id, event)| (id, event.fold(), event)).collect();
        let mut rest = events.as_slice();
        while !rest.is_empty() {
            let together = rest.get(..rows_together(rest)).unwrap_or(rest);
            rest = rest.get(together.len()..).unwrap_or_default();
            let mut sql = self.sql(
                "INSERT INTO audit (id, happened_at, actor, action, subject, customer_id, detail, fold, times, last_at) VALUES ",
            );
            sql.rows(together, |row, (id, fold, event)| {
                row.bind(*id)
                    .bind(millis(event.at))
                    .bind(event.actor.clone())
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
            sql.query().execute(self.connection()).await.map_err(failed("add to the audit trail"))?;
        }
        Ok(())
    }
}

/// How many of these rows go into the next statement: none that would count twice in the same row
/// (PostgreSQL: "cannot affect row a second time").
fn rows_together(rows: &[(i64, Option<String>, Event)]) -> usize {
    let mut folds = BTreeSet::new();
    rows_of(rows.iter().take_while(|(_, fold, _)| fold.is_none() || folds.insert(fold)).count())
}
