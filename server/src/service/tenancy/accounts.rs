//! Accounts: the people and programs that may use this server on behalf of a company.
//!
//! Each company manages its own accounts. Nobody can give an account more power than they have themselves,
//! and a company keeps at least one active owner.

use super::companies::quote_name;
use crate::{
    domain::{
        name::Name,
        tenancy::{
            account::{Account, AccountKind, Email, Role},
            actor::{Actor, Scope},
            audit::{Action, Subject},
        },
    },
    service::{ServiceError, Tenancy},
    store::{AccountsOf, Page, PageRequest, Tx},
};
use serde_json::json;
use unbox_common::ids::{AccountId, CompanyId};

/// An account to create.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The company that it belongs to; `None` for the operator's.
    pub company: Option<CompanyId>,
    /// The person or program behind it.
    pub holder: NewHolder,
    /// Its role.
    pub role: Role,
}

/// The holder of a new account.
#[derive(Debug, Clone)]
pub enum NewHolder {
    /// A person.
    User {
        /// The e-mail address.
        email: String,
        /// The name that people use; the e-mail address if absent.
        name: Option<String>,
    },
    /// A program.
    ServiceAccount {
        /// The name, which becomes part of its address.
        name: String,
    },
}

/// A change to an account; `None` leaves a field unchanged.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// The new name. A service account's name is part of its address and cannot change.
    pub name: Option<String>,
    /// The new role.
    pub role: Option<Role>,
    /// True if it is disabled, which makes all its credentials useless.
    pub disabled: Option<bool>,
}

impl Tenancy {
    /// Creates an account.
    pub async fn create_account(&self, by: &Actor, new: NewAccount) -> Result<Account, ServiceError> {
        check_may_manage(by, new.role)?;
        if by.scope() != Scope::Operator && new.company.is_none() {
            return Err(ServiceError::OperatorOnly);
        }
        let account = self.account_of(new)?;
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                if let Some(company) = account.company {
                    let own = by.scope().company().is_none_or(|own| own == company);
                    if !own || tx.company(Scope::Operator, company)?.is_none() {
                        return Err(ServiceError::not_found("company", company));
                    }
                }
                this.add_account(tx, &by, &account)?;
                Ok(account.clone())
            })
            .await
    }

    /// Lists accounts, of one kind or of both, oldest first.
    pub async fn list_accounts(
        &self,
        by: &Actor,
        of: AccountsOf,
        kind: Option<AccountKind>,
        page: PageRequest,
    ) -> Result<Page<Account>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.accounts(scope, of, kind, &page)).await
    }

    /// Finds an account by its id.
    pub async fn account(&self, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
        let scope = by.scope();
        let found = self.core.read(move |reader| reader.account(scope, id)).await?;
        found.ok_or_else(|| account_not_found(id))
    }

    /// Finds an account by its e-mail address or by its id.
    pub async fn find_account(&self, by: &Actor, id_or_email: &str) -> Result<Account, ServiceError> {
        let text = id_or_email.trim().to_ascii_lowercase();
        let (scope, named) = (by.scope(), id_or_email.to_owned());
        self.core
            .read(move |reader| {
                let mut all = reader.accounts_with_email(scope, &text, 2)?;
                let found = match (all.pop(), all.pop(), text.parse()) {
                    (Some(_), Some(_), _) => {
                        return Err(ServiceError::Conflict(format!(
                            "{text} has an account in several companies. Name it by its id."
                        )));
                    }
                    (Some(only), None, _) => Some(only),
                    (None, _, Ok(id)) => reader.account(scope, id)?,
                    (None, _, Err(_)) => None,
                };
                found.ok_or_else(|| ServiceError::not_found("account", quote_name(&named)))
            })
            .await
    }

    /// Changes an account's name or role, disables it or enables it again. Unchanged fields have no effect.
    pub async fn update_account(
        &self,
        by: &Actor,
        id: AccountId,
        change: AccountChange,
    ) -> Result<Account, ServiceError> {
        let now = self.core.now();
        let name: Option<Name> = change.name.as_deref().map(parse_name).transpose()?;
        let to = move |was: &Account| {
            let renamed = name.as_ref().is_some_and(|name| *name != was.name);
            if renamed && was.kind == AccountKind::ServiceAccount {
                let rule = "the name of a service account is part of its address: create another one";
                return Err(ServiceError::invalid("name", rule));
            }
            let disabled_at = match change.disabled {
                None => was.disabled_at,
                Some(true) => was.disabled_at.or(Some(now)),
                Some(false) => None,
            };
            Ok(Some(Account {
                name: name.clone().unwrap_or_else(|| was.name.clone()),
                role: change.role.unwrap_or(was.role),
                disabled_at,
                ..was.clone()
            }))
        };
        self.change_account(by, id, to).await
    }

    /// Disables an account, which makes all its credentials useless. A second call has no effect.
    pub async fn disable_account(&self, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
        let change = AccountChange { disabled: Some(true), ..AccountChange::default() };
        self.update_account(by, id, change).await
    }

    /// Enables an account again. A second call has no effect.
    pub async fn enable_account(&self, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
        let change = AccountChange { disabled: Some(false), ..AccountChange::default() };
        self.update_account(by, id, change).await
    }

    /// Deletes an account with all its credentials, and returns its last state.
    pub async fn delete_account(&self, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
        self.change_account(by, id, |_| Ok(None)).await
    }

    /// Adds an account in a transaction that also does something else, such as creating its company. The
    /// caller has to check that `by` may do so.
    pub(super) fn add_account(&self, tx: &mut Tx, by: &Actor, account: &Account) -> Result<(), ServiceError> {
        if let Some(company) = account.company {
            tx.lock_company(company)?;
            let most = self.core.settings.accounts;
            if tx.count_accounts(company)? >= most {
                return Err(ServiceError::Conflict(format!(
                    "This organisation has {most} accounts, which is the most. Delete one first."
                )));
            }
        }
        if !tx.insert_account(account)? {
            return Err(ServiceError::AlreadyExists(format!(
                "There is an account {} already. Change that one, or choose another.",
                account.email
            )));
        }
        let detail =
            json!({"kind": account.kind, "name": account.name, "email": account.email, "role": account.role});
        self.core.note(tx, by, Action::AccountCreated, Subject::Account(account.id), account.company, detail);
        Ok(())
    }

    /// Builds a new account with its id, once its names are valid.
    pub(super) fn account_of(&self, new: NewAccount) -> Result<Account, ServiceError> {
        let now = self.core.now();
        let (kind, name, email) = match new.holder {
            NewHolder::User { email, name } => {
                let email: Email = email.parse().map_err(|error| ServiceError::invalid("email", error))?;
                // An address may be longer than a name.
                let short = || email.as_str().chars().take(crate::domain::name::MAX_NAME_CHARS).collect();
                let name = parse_name(&name.unwrap_or_else(short))?;
                (AccountKind::User, name, email)
            }
            NewHolder::ServiceAccount { name } => {
                let email = Email::of_service_account(&name, new.company)
                    .map_err(|error| ServiceError::invalid("name", error))?;
                (AccountKind::ServiceAccount, parse_name(&name)?, email)
            }
        };
        check_role(kind, new.role)?;
        Ok(Account {
            id: self.core.ids.account(now),
            company: new.company,
            kind,
            name,
            email,
            role: new.role,
            created_at: now,
            disabled_at: None,
        })
    }

    /// Changes an account to the result of `to`, or deletes it if there is none.
    async fn change_account(
        &self,
        by: &Actor,
        id: AccountId,
        to: impl Fn(&Account) -> Result<Option<Account>, ServiceError> + Clone + Send + Sync + 'static,
    ) -> Result<Account, ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let was = managed_account(tx, &by, id)?;
                let after = to(&was)?;
                if after.as_ref() == Some(&was) {
                    return Ok(was);
                }
                if let Some(after) = &after {
                    check_may_manage(&by, after.role)?;
                    check_role(after.kind, after.role)?;
                }
                if was.leaves_no_owner(after.as_ref(), tx.other_owners(&was)?) {
                    return Err(ServiceError::Conflict(format!(
                        "{} is the last owner of its organisation. Make somebody else an owner first.",
                        was.email
                    )));
                }
                match &after {
                    Some(after) => tx.update_account(after)?,
                    None => tx.delete_account(id)?,
                }
                let result = after.clone().unwrap_or_else(|| was.clone());
                let detail = json!({
                    "email": was.email, "name": result.name, "role": result.role,
                    "was": {"name": was.name, "role": was.role},
                });
                for action in actions(&was, after.as_ref()) {
                    let subject = Subject::Account(id);
                    this.core.note(tx, &by, action, subject, was.company, detail.clone());
                }
                Ok(result)
            })
            .await
    }
}

/// Returns the actions for the audit trail that describe the change of an account.
fn actions(was: &Account, after: Option<&Account>) -> Vec<Action> {
    let Some(after) = after else { return vec![Action::AccountDeleted] };
    let mut actions = Vec::new();
    if (&after.name, after.role) != (&was.name, was.role) {
        actions.push(Action::AccountUpdated);
    }
    match (was.disabled_at, after.disabled_at) {
        (None, Some(_)) => actions.push(Action::AccountDisabled),
        (Some(_), None) => actions.push(Action::AccountEnabled),
        _ => {}
    }
    actions
}

/// Returns an account that the actor may see and change, locked until the transaction ends.
pub(super) fn managed_account(tx: &mut Tx, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
    tx.lock_account(id)?;
    let account = tx.account(by.scope(), id)?.ok_or_else(|| account_not_found(id))?;
    check_may_manage(by, account.role)?;
    Ok(account)
}

/// Checks the role: only service accounts can be test stations.
fn check_role(kind: AccountKind, role: Role) -> Result<(), ServiceError> {
    if kind == AccountKind::User && role == Role::Station {
        return Err(ServiceError::invalid(
            "role",
            "the role station is for programs: make a service account",
        ));
    }
    Ok(())
}

/// Checks that the actor may change accounts of this role.
pub(super) fn check_may_manage(by: &Actor, role: Role) -> Result<(), ServiceError> {
    if by.role().may_manage(role) { Ok(()) } else { Err(ServiceError::RoleTooLow(role.max(Role::Admin))) }
}

fn account_not_found(id: AccountId) -> ServiceError {
    ServiceError::not_found("account", id)
}

fn parse_name(text: &str) -> Result<Name, ServiceError> {
    text.parse().map_err(|error| ServiceError::invalid("name", error))
}
