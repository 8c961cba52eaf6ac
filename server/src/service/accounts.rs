//! Accounts: who may ask this server for something on behalf of a company.
//!
//! Each company looks after its own; nobody makes an account mightier than their own, and a company
//! keeps at least one owner that can act.

use super::{ServiceError, Services, companies::shown};
use crate::{
    domain::{
        account::{Account, AccountKind, Email, Role},
        actor::{Actor, Scope},
        audit::{Action, Subject},
        name::Name,
    },
    store::{AccountsOf, Page, PageRequest, Tx},
};
use serde_json::json;
use unbox_common::ids::{AccountId, CompanyId};

/// An account that is to be created.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// Whose it is; `None` if it is the operator's.
    pub company: Option<CompanyId>,
    /// Person or program.
    pub holder: NewHolder,
    /// What it may do.
    pub role: Role,
}

/// Who is to stand behind an account.
#[derive(Debug, Clone)]
pub enum NewHolder {
    /// A person.
    User {
        /// Their e-mail address.
        email: String,
        /// What people call them; the e-mail address if absent.
        name: Option<String>,
    },
    /// A program.
    ServiceAccount {
        /// Its name, which becomes part of its address.
        name: String,
    },
}

/// What is to become of an account; `None` stays as it is.
#[derive(Debug, Clone, Default)]
pub struct AccountChange {
    /// Another name; a service account's is part of its address, and stays.
    pub name: Option<String>,
    /// Another role.
    pub role: Option<Role>,
    /// Whether it is disabled: whatever it signs in with opens nothing then.
    pub disabled: Option<bool>,
}

impl Services {
    /// Creates an account.
    pub async fn create_account(&self, by: &Actor, new: NewAccount) -> Result<Account, ServiceError> {
        may_manage(by, new.role)?;
        if by.scope() != Scope::Operator && new.company.is_none() {
            return Err(ServiceError::OperatorOnly);
        }
        let account = self.account_of(new)?;
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by, account) = (services.clone(), by.clone(), account.clone());
                Box::pin(async move {
                    if let Some(company) = account.company {
                        let own = by.scope().company().is_none_or(|own| own == company);
                        if !own || tx.company(Scope::Operator, company).await?.is_none() {
                            return Err(ServiceError::not_found("company", company));
                        }
                    }
                    services.add_account(tx, &by, &account).await?;
                    Ok(account)
                })
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
        Ok(self.0.store.reader().await?.accounts(by.scope(), of, kind, &page).await?)
    }

    /// Finds an account by its id.
    pub async fn account(&self, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
        let found = self.0.store.reader().await?.account(by.scope(), id).await?;
        found.ok_or_else(|| no_account(id))
    }

    /// Finds an account as people name it: by its e-mail address, or by its id.
    pub async fn find_account(&self, by: &Actor, id_or_email: &str) -> Result<Account, ServiceError> {
        let text = id_or_email.trim().to_ascii_lowercase();
        let mut reader = self.0.store.reader().await?;
        let mut named = reader.accounts_with_email(by.scope(), &text, 2).await?;
        let found = match (named.pop(), named.pop(), text.parse()) {
            (Some(_), Some(_), _) => {
                return Err(ServiceError::Conflict(format!(
                    "{text} has an account in several companies. Name it by its id."
                )));
            }
            (Some(only), None, _) => Some(only),
            (None, _, Ok(id)) => reader.account(by.scope(), id).await?,
            (None, _, Err(_)) => None,
        };
        found.ok_or_else(|| ServiceError::not_found("account", shown(id_or_email)))
    }

    /// Gives an account another name or role, disables it or enables it again. What is so already stays.
    pub async fn update_account(
        &self,
        by: &Actor,
        id: AccountId,
        change: AccountChange,
    ) -> Result<Account, ServiceError> {
        let now = self.now();
        let name: Option<Name> = change.name.as_deref().map(parsed_name).transpose()?;
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

    /// Disables an account: whatever it signs in with opens nothing. Once more changes nothing.
    pub async fn disable_account(&self, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
        let change = AccountChange { disabled: Some(true), ..AccountChange::default() };
        self.update_account(by, id, change).await
    }

    /// Enables an account again. Once more changes nothing.
    pub async fn enable_account(&self, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
        let change = AccountChange { disabled: Some(false), ..AccountChange::default() };
        self.update_account(by, id, change).await
    }

    /// Deletes an account and everything that it signs in with; returns what it was.
    pub async fn delete_account(&self, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
        self.change_account(by, id, |_| Ok(None)).await
    }

    /// Adds an account in a transaction that also does something else, such as creating its company.
    /// Whether `by` may do so is the caller's to know.
    pub(super) async fn add_account(
        &self,
        tx: &mut Tx,
        by: &Actor,
        account: &Account,
    ) -> Result<(), ServiceError> {
        if !tx.insert_account(account).await? {
            return Err(ServiceError::AlreadyExists(format!(
                "There is an account {} already. Change that one, or choose another.",
                account.email
            )));
        }
        let detail =
            json!({"kind": account.kind, "name": account.name, "email": account.email, "role": account.role});
        self.note(tx, by, Action::AccountCreated, Subject::Account(account.id), account.company, detail);
        Ok(())
    }

    /// A new account with its id, once its names are good.
    pub(super) fn account_of(&self, new: NewAccount) -> Result<Account, ServiceError> {
        let now = self.now();
        let (kind, name, email) = match new.holder {
            NewHolder::User { email, name } => {
                let email: Email = email.parse().map_err(|error| ServiceError::invalid("email", error))?;
                // An address may be longer than a name.
                let short = || email.as_str().chars().take(crate::domain::name::MAX_NAME_CHARS).collect();
                let name = parsed_name(&name.unwrap_or_else(short))?;
                (AccountKind::User, name, email)
            }
            NewHolder::ServiceAccount { name } => {
                let email = Email::of_service_account(&name, new.company)
                    .map_err(|error| ServiceError::invalid("name", error))?;
                (AccountKind::ServiceAccount, parsed_name(&name)?, email)
            }
        };
        check_role(kind, new.role)?;
        Ok(Account {
            id: self.0.ids.account(now),
            company: new.company,
            kind,
            name,
            email,
            role: new.role,
            created_at: now,
            disabled_at: None,
        })
    }

    /// Changes an account into what `to` makes of it, or deletes it if that is nothing.
    async fn change_account(
        &self,
        by: &Actor,
        id: AccountId,
        to: impl Fn(&Account) -> Result<Option<Account>, ServiceError> + Clone + Send + Sync + 'static,
    ) -> Result<Account, ServiceError> {
        let (services, by) = (self.clone(), by.clone());
        self.0
            .store
            .write(move |tx| {
                let (services, by, to) = (services.clone(), by.clone(), to.clone());
                Box::pin(async move {
                    let was = managed_account(tx, &by, id).await?;
                    let after = to(&was)?;
                    if after.as_ref() == Some(&was) {
                        return Ok(was);
                    }
                    if let Some(after) = &after {
                        may_manage(&by, after.role)?;
                        check_role(after.kind, after.role)?;
                    }
                    if was.leaves_no_owner(after.as_ref(), tx.other_owners(&was).await?) {
                        return Err(ServiceError::Conflict(format!(
                            "{} is the last owner of its organisation. Make somebody else an owner first.",
                            was.email
                        )));
                    }
                    match &after {
                        Some(after) => tx.update_account(after).await?,
                        None => tx.delete_account(id).await?,
                    }
                    let result = after.clone().unwrap_or_else(|| was.clone());
                    let detail = json!({
                        "email": was.email, "name": result.name, "role": result.role,
                        "was": {"name": was.name, "role": was.role},
                    });
                    for action in actions(&was, after.as_ref()) {
                        let subject = Subject::Account(id);
                        services.note(tx, &by, action, subject, was.company, detail.clone());
                    }
                    Ok(result)
                })
            })
            .await
    }
}

/// What became of an account, in the words of the audit trail.
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

/// An account that the actor may see and change, and that nobody else changes meanwhile.
pub(super) async fn managed_account(tx: &mut Tx, by: &Actor, id: AccountId) -> Result<Account, ServiceError> {
    tx.lock_account(id).await?;
    let account = tx.account(by.scope(), id).await?.ok_or_else(|| no_account(id))?;
    may_manage(by, account.role)?;
    Ok(account)
}

/// A test station is a program.
fn check_role(kind: AccountKind, role: Role) -> Result<(), ServiceError> {
    if kind == AccountKind::User && role == Role::Station {
        return Err(ServiceError::invalid(
            "role",
            "the role station is for programs: make a service account",
        ));
    }
    Ok(())
}

/// Whether the actor may change accounts of this role.
pub(super) fn may_manage(by: &Actor, role: Role) -> Result<(), ServiceError> {
    if by.role().may_manage(role) { Ok(()) } else { Err(ServiceError::RoleTooLow(role.max(Role::Admin))) }
}

fn no_account(id: AccountId) -> ServiceError {
    ServiceError::not_found("account", id)
}

fn parsed_name(text: &str) -> Result<Name, ServiceError> {
    text.parse().map_err(|error| ServiceError::invalid("name", error))
}
