//! Accounts of companies, and of the operator.

use crate::{
    domain::tenancy::{
        account::{Account, AccountKind, Email, Role},
        actor::Scope,
    },
    store::{
        Page, PageRequest, Reader, StoreError, Tx,
        database::{Row, query},
        error::check_one_row,
        row::{Fields, millis},
        sql::Sql,
    },
};
use unbox_common::ids::{AccountId, CompanyId};

const SELECT: &str = "SELECT a.id, a.company_id, a.kind, a.name, a.email, a.role, a.created_at, a.disabled_at
    FROM accounts AS a WHERE 1 = 1";

/// The accounts to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AccountsOf {
    /// All accounts in the scope.
    #[default]
    Anybody,
    /// The operator's own accounts.
    Operator,
    /// The accounts of one company.
    Company(CompanyId),
}

fn account(row: &Row) -> Result<Account, StoreError> {
    let fields = Fields::of(row, "accounts", "id");
    Ok(Account {
        id: fields.id("id", AccountId::new)?,
        company: fields.id_opt("company_id", CompanyId::new)?,
        kind: fields.parse("kind")?,
        name: fields.parse("name")?,
        email: Email::from_stored(fields.read("email")?)
            .map_err(|error| fields.wrong_value("email", error))?,
        role: fields.parse("role")?,
        created_at: fields.time("created_at")?,
        disabled_at: fields.time_opt("disabled_at")?,
    })
}

/// Limits a statement over accounts, named `a` in it, to those of the scope's own company.
pub(super) fn accounts_within(sql: &mut Sql, scope: Scope) {
    sql.filter("a.company_id =", scope.company().map(CompanyId::get));
}

impl Reader {
    /// Returns an account, if it is in the scope.
    pub fn account(&mut self, scope: Scope, id: AccountId) -> Result<Option<Account>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("a.id =", Some(id.get()));
        accounts_within(&mut sql, scope);
        let row = sql.query().fetch_optional(self.connection(), "find an account")?;
        row.as_ref().map(account).transpose()
    }

    /// Returns the accounts with this e-mail address in the scope, at most `limit`: a person may have one
    /// in several companies.
    pub fn accounts_with_email(
        &mut self,
        scope: Scope,
        email: &str,
        limit: u32,
    ) -> Result<Vec<Account>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("a.email =", Some(email.to_owned()));
        accounts_within(&mut sql, scope);
        sql.push(" ORDER BY a.id LIMIT ").bind(i64::from(limit));
        let rows = sql.query().fetch_all(self.connection(), "find an account")?;
        rows.iter().map(account).collect()
    }

    /// Lists accounts, of one kind or of both, oldest first.
    pub fn accounts(
        &mut self,
        scope: Scope,
        of: AccountsOf,
        kind: Option<AccountKind>,
        page: &PageRequest,
    ) -> Result<Page<Account>, StoreError> {
        let mut sql = self.sql(SELECT);
        sql.filter("a.kind =", kind.map(AccountKind::name));
        match of {
            AccountsOf::Anybody => {}
            AccountsOf::Operator => {
                sql.push(" AND a.company_id IS NULL");
            }
            AccountsOf::Company(company) => {
                sql.filter("a.company_id =", Some(company.get()));
            }
        }
        accounts_within(&mut sql, scope);
        sql.filter("a.id >", page.key::<i64>()?).push(" ORDER BY a.id LIMIT ").bind(page.limit());
        let rows = sql.query().fetch_all(self.connection(), "list accounts")?;
        let accounts = rows.iter().map(account).collect::<Result<_, _>>()?;
        Ok(page.page(accounts, |one: &Account| one.id))
    }

    /// Counts the accounts of a company.
    pub fn count_accounts(&mut self, company: CompanyId) -> Result<u64, StoreError> {
        let row = query("SELECT COUNT(*) AS held FROM accounts WHERE company_id = $1")
            .bind(company.get())
            .fetch_one(self.connection(), "count accounts")?;
        Fields::of(&row, "accounts", "held").count("held")
    }

    /// Counts the other active owners of an account's company.
    pub fn other_owners(&mut self, account: &Account) -> Result<u64, StoreError> {
        let mut sql = self
            .sql("SELECT COUNT(*) AS owners FROM accounts AS a WHERE a.disabled_at IS NULL AND a.role = ");
        sql.bind(Role::Owner.name())
            .filter("a.company_id =", account.company.map(CompanyId::get))
            .filter("a.id <>", Some(account.id.get()));
        let row = sql.query().fetch_one(self.connection(), "count owners")?;
        Fields::of(&row, "accounts", "owners").count("owners")
    }
}

impl Tx {
    /// Locks the accounts of this account's company until the transaction ends, because two owners who
    /// demote each other at once would leave none.
    pub fn lock_account(&mut self, id: AccountId) -> Result<(), StoreError> {
        if self.dialect.locks_rows() {
            query(
                "SELECT id FROM companies WHERE id = (SELECT company_id FROM accounts WHERE id = $1)
                 FOR NO KEY UPDATE",
            )
            .bind(id.get())
            .fetch_optional(self.connection(), "lock an account")?;
        }
        Ok(())
    }

    /// Adds an account; returns `false` if its company has one with this e-mail address.
    pub fn insert_account(&mut self, new: &Account) -> Result<bool, StoreError> {
        let done = query(
            "INSERT INTO accounts (id, company_id, kind, name, email, role, created_at, disabled_at)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (email, COALESCE(company_id, 0)) DO NOTHING",
        )
        .bind(new.id.get())
        .bind(new.company.map(CompanyId::get))
        .bind(new.kind.name())
        .bind(new.name.as_str())
        .bind(new.email.as_str())
        .bind(new.role.name())
        .bind(millis(new.created_at))
        .bind(new.disabled_at.map(millis))
        .execute(self.connection(), "add an account")?;
        Ok(done == 1)
    }

    /// Updates all mutable fields of an account.
    pub fn update_account(&mut self, account: &Account) -> Result<(), StoreError> {
        let done = query("UPDATE accounts SET name = $2, role = $3, disabled_at = $4 WHERE id = $1")
            .bind(account.id.get())
            .bind(account.name.as_str())
            .bind(account.role.name())
            .bind(account.disabled_at.map(millis))
            .execute(self.connection(), "change an account")?;
        check_one_row("change an account", done)
    }

    /// Deletes an account, its keys and its tokens.
    pub fn delete_account(&mut self, id: AccountId) -> Result<(), StoreError> {
        let done = query("DELETE FROM accounts WHERE id = $1")
            .bind(id.get())
            .execute(self.connection(), "delete an account")?;
        check_one_row("delete an account", done)
    }
}
