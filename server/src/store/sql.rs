//! Statements whose text depends on the request: the text consists of literals, values are bound.

use super::{
    database::{Query, Value},
    dialect::Dialect,
};
use crate::domain::tenancy::actor::Scope;
use unbox_common::ids::CompanyId;

/// A statement under construction.
pub(super) struct Sql {
    dialect: Dialect,
    text: String,
    values: Vec<Value>,
}

impl Sql {
    pub(super) fn new(dialect: Dialect, text: &'static str) -> Self {
        Self { dialect, text: text.to_owned(), values: Vec::new() }
    }

    /// Returns a statement composed of literals and of names that were checked against the database's.
    pub(super) fn from_names(dialect: Dialect, text: String) -> Self {
        Self { dialect, text, values: Vec::new() }
    }

    /// Appends literal text.
    pub(super) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Appends a value: its placeholder in the text, and the value beside it.
    pub(super) fn bind<T: Into<Value>>(&mut self, value: T) -> &mut Self {
        self.values.push(value.into());
        self.dialect.placeholder(self.values.len(), &mut self.text);
        self
    }

    /// Appends a condition, if there is a value to compare with.
    pub(super) fn filter<T: Into<Value>>(&mut self, condition: &'static str, value: Option<T>) -> &mut Self {
        if let Some(value) = value {
            self.push(" AND ").push(condition).push(" ").bind(value);
        }
        self
    }

    /// Limits the statement to one tenant's rows, by the column that names the customer. Resellers see
    /// nothing of such a table.
    pub(super) fn scope(&mut self, customer: &'static str, scope: Scope) -> &mut Self {
        match scope {
            Scope::Operator => self,
            Scope::Customer(id) => self.filter(customer, Some(id.get())),
            Scope::Reseller(_) => self.push(" AND 1 = 0"),
        }
    }

    /// Limits the statement to claims `c` in the scope. A reseller's are those that it registered for
    /// customers that it still works for.
    pub(super) fn scope_of_claims(&mut self, scope: Scope) -> &mut Self {
        match scope {
            Scope::Reseller(id) => self.filter("c.reseller_id =", Some(id.get())).only_while_linked(id),
            other => self.scope("c.customer_id =", other),
        }
    }

    /// Limits the statement to rows `c` of customers that this company works for.
    pub(super) fn only_while_linked(&mut self, company: CompanyId) -> &mut Self {
        self.push(
            " AND EXISTS (SELECT 1 FROM company_links AS l WHERE l.customer_id = c.customer_id AND l.company_id = ",
        )
        .bind(company.get())
        .push(")")
    }

    /// Limits the statement to a reseller's own rows. Customers see nothing of such a table.
    pub(super) fn scope_to_resellers(&mut self, reseller: &'static str, scope: Scope) -> &mut Self {
        match scope {
            Scope::Operator => self,
            Scope::Reseller(id) => self.filter(reseller, Some(id.get())),
            Scope::Customer(_) => self.push(" AND 1 = 0"),
        }
    }

    /// Appends `($1, $2), ($3, $4), ...`.
    pub(super) fn push_rows<T>(
        &mut self,
        rows: impl IntoIterator<Item = T>,
        columns: impl Fn(&mut Values<'_>, T),
    ) -> &mut Self {
        for (index, row) in rows.into_iter().enumerate() {
            self.text.push_str(if index == 0 { "(" } else { ", (" });
            columns(&mut Values { sql: self, first: true }, row);
            self.text.push(')');
        }
        self
    }

    /// Appends `($1, $2, ...)`.
    pub(super) fn push_list<T: Into<Value>>(&mut self, values: impl IntoIterator<Item = T>) -> &mut Self {
        self.push_rows([values.into_iter()], |to, values| {
            for value in values {
                to.bind(value);
            }
        })
    }

    /// Returns the statement, ready to run. Its text is prepared once and cached.
    pub(super) fn query(self) -> Query {
        #[cfg(test)]
        recorded::add(&self.text);
        Query::new(self.text.into(), self.values)
    }
}

/// Returns true if a statement over this many rows is worth keeping prepared: one row, or a full part of many. The
/// last part of a file may have any length, and each length would stay in memory.
pub(super) fn is_worth_preparing(rows: usize, full: usize) -> bool {
    rows == 1 || rows == full
}

/// The values of one row.
pub(super) struct Values<'s> {
    sql: &'s mut Sql,
    first: bool,
}

impl Values<'_> {
    /// Appends NULL, of any type.
    pub(super) fn bind_null(&mut self) -> &mut Self {
        self.sql.push(if std::mem::take(&mut self.first) { "NULL" } else { ", NULL" });
        self
    }

    pub(super) fn bind<T: Into<Value>>(&mut self, value: T) -> &mut Self {
        if !std::mem::take(&mut self.first) {
            self.sql.push(", ");
        }
        self.sql.bind(value);
        self
    }
}

/// The statements made on this thread, for the tests of their plans.
#[cfg(test)]
pub(super) mod recorded {
    use std::cell::RefCell;

    thread_local! {
        static TEXTS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    pub(super) fn add(text: &str) {
        TEXTS.with_borrow_mut(|texts| texts.push(text.to_owned()));
    }

    pub(in super::super) fn take() -> Vec<String> {
        TEXTS.with_borrow_mut(std::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_and_never_part_of_the_text() {
        let mut sql = Sql::new(Dialect::Postgres, "SELECT id FROM t WHERE id > ");
        sql.bind(5_i64)
            .filter("name =", Some("x'; DROP TABLE t; --".to_owned()))
            .filter("kind =", None::<String>)
            .scope("customer_id =", Scope::Customer(CompanyId::new(9).unwrap()))
            .scope("customer_id =", Scope::Operator)
            .scope("customer_id =", Scope::Reseller(CompanyId::new(8).unwrap()))
            .scope_of_claims(Scope::Customer(CompanyId::new(8).unwrap()))
            .push(" AND id IN ")
            .push_list([1_i64, 2]);
        assert_eq!(
            sql.text,
            "SELECT id FROM t WHERE id > $1 AND name = $2 AND customer_id = $3 AND 1 = 0 AND c.customer_id = $4 AND id IN ($5, $6)"
        );
        assert_eq!(sql.values.len(), 6);
    }

    #[test]
    fn sqlite_takes_values_by_their_place() {
        let mut sql = Sql::new(Dialect::Sqlite, "SELECT id FROM t WHERE id IN ");
        sql.push_list([1_i64, 2]).filter("name =", Some("x"));
        assert_eq!(sql.text, "SELECT id FROM t WHERE id IN (?, ?) AND name = ?");
    }

    #[test]
    fn rows_are_written_one_after_another() {
        let mut sql = Sql::new(Dialect::Postgres, "INSERT INTO t (a, b) VALUES ");
        sql.push_rows([(1_i64, "x"), (2, "y")], |to, (a, b)| {
            to.bind(a).bind(b);
        });
        assert_eq!(sql.text, "INSERT INTO t (a, b) VALUES ($1, $2), ($3, $4)");
    }
}
