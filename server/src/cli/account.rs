//! `account`: the people and programs that may use the API for a company, and their keys.

mod credential;

use super::{
    Exit,
    confirm::Consent,
    context::{Opened, list},
    output::{Output, or_dash, sheet},
};
use crate::{
    domain::tenancy::account::{self, Role},
    service::{AccountChange, AccountsOf, NewAccount, NewHolder},
};
use clap::{Args, Subcommand};
use unbox_common::ids::CompanyId;

/// The advice for the first account of a company.
const FIRST_OWNER: &str = "\
The first owner of an organisation is made here; everybody after it by that owner, over HTTP:
  unbox-server reseller create Resale
  unbox-server account create --company Resale --service-account order-system --role owner
  unbox-server account api-key create order-system@NUMBER.unbox.invalid --out api-key
  curl -H \"X-Goog-Api-Key: $(cat api-key)\" https://enroll.example.com/v1/organisations

The same for a customer, a vendor or an EMM. An account made with --operator in place of --company makes
organisations and their first owners over HTTP, too.";

/// The commands for accounts.
#[derive(Debug, Subcommand)]
#[command(after_help = FIRST_OWNER)]
pub(super) enum Account {
    /// Create one, for a person or a program; prints its id.
    #[command(after_help = "\
Examples:
  unbox-server account create --company \"Acme AG\" --email it@acme.example --role owner
  unbox-server account create --company Resale --service-account order-system
  unbox-server account key create order-system@1882439470453409023.unbox.invalid --out key.json")]
    Create {
        #[command(flatten)]
        of: Of,
        #[command(flatten)]
        holder: Holder,
        /// Its role: viewer, admin or owner; or station, for a factory's test station.
        #[arg(long, default_value_t = Role::Admin)]
        role: Role,
    },
    /// List them; all of them, unless you name an owner.
    List {
        #[command(flatten)]
        of: PerhapsOf,
    },
    /// Show one.
    Show {
        /// Its id or e-mail address.
        account: String,
    },
    /// Give one another role.
    SetRole {
        /// Its id or e-mail address.
        account: String,
        /// Its new role: viewer, admin or owner; or station, for a factory's test station.
        role: Role,
    },
    /// Disable one: its keys open nothing.
    Disable {
        /// Its id or e-mail address.
        account: String,
    },
    /// Enable one again.
    Enable {
        /// Its id or e-mail address.
        account: String,
    },
    /// Delete one, and all of its keys.
    Delete {
        /// Its id or e-mail address.
        account: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Keys of service accounts, for client libraries.
    #[command(subcommand)]
    Key(credential::Key),
    /// API keys, for everything else.
    #[command(subcommand)]
    ApiKey(credential::ApiKey),
}

/// The owner of an account.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Of {
    /// A company's: its id, or its exact name.
    #[arg(long)]
    company: Option<String>,
    /// The operator's of this server: it may see and change everything.
    #[arg(long)]
    operator: bool,
}

/// The owner of accounts, or nobody in particular.
#[derive(Debug, Args)]
#[group(required = false, multiple = false)]
pub(super) struct PerhapsOf {
    /// A company's: its id, or its exact name.
    #[arg(long)]
    company: Option<String>,
    /// The operator's of this server.
    #[arg(long)]
    operator: bool,
}

/// The person or program behind an account.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub(super) struct Holder {
    /// A person, by their e-mail address.
    #[arg(long, conflicts_with = "service_account")]
    email: Option<String>,
    /// The person's name.
    #[arg(long, requires = "email")]
    name: Option<String>,
    /// A program, by a name of lower-case letters, digits and hyphens.
    #[arg(long, value_name = "NAME")]
    service_account: Option<String>,
}

impl Account {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::Create { of, holder, role } => {
                let company = opened.company_id(of.company.as_deref()).await?;
                let holder = holder.into_new();
                let created =
                    services.tenancy.create_account(by, NewAccount { company, holder, role }).await?;
                let text = format!("Created account {} ({}), {}.", created.id, created.email, created.role);
                output.show(&created, &text)?;
            }
            Self::List { of } => {
                let company = opened.company_id(of.company.as_deref()).await?;
                let of = accounts_of(company, of.operator);
                let page = |request| services.tenancy.list_accounts(by, of, None, request);
                list(output, None, |account| account, page).await?;
            }
            Self::Show { account } => {
                let found = services.tenancy.find_account(by, &account).await?;
                output.show(&found, &describe_account(&found))?;
            }
            Self::SetRole { account, role } => {
                let found = services.tenancy.find_account(by, &account).await?;
                let change = AccountChange { role: Some(role), ..AccountChange::default() };
                let changed = services.tenancy.update_account(by, found.id, change).await?;
                output.show(&changed, &format!("Account {} is {} now.", changed.email, changed.role))?;
            }
            Self::Disable { account } => {
                let found = services.tenancy.find_account(by, &account).await?;
                let changed = services.tenancy.disable_account(by, found.id).await?;
                output.show(&changed, &format!("Account {} is disabled.", changed.email))?;
            }
            Self::Enable { account } => {
                let found = services.tenancy.find_account(by, &account).await?;
                let changed = services.tenancy.enable_account(by, found.id).await?;
                output.show(&changed, &format!("Account {} is enabled.", changed.email))?;
            }
            Self::Delete { account, consent } => {
                let found = services.tenancy.find_account(by, &account).await?;
                consent.ask(&format!("This deletes account {} with all of its keys", found.email))?;
                let deleted = services.tenancy.delete_account(by, found.id).await?;
                output.show(&deleted, &format!("Deleted account {}.", deleted.email))?;
            }
            Self::Key(command) => command.run(opened, output).await?,
            Self::ApiKey(command) => command.run(opened, output).await?,
        }
        Ok(Exit::Done)
    }
}

impl Holder {
    fn into_new(self) -> NewHolder {
        match self.service_account {
            Some(name) => NewHolder::ServiceAccount { name },
            // Clap requires one of the two.
            None => NewHolder::User { email: self.email.unwrap_or_default(), name: self.name },
        }
    }
}

fn accounts_of(company: Option<CompanyId>, operator: bool) -> AccountsOf {
    match company {
        Some(company) => AccountsOf::Company(company),
        None if operator => AccountsOf::Operator,
        None => AccountsOf::Anybody,
    }
}

fn describe_account(account: &account::Account) -> String {
    sheet(&[
        ("id", account.id.to_string()),
        ("company", or_dash(account.company)),
        ("kind", account.kind.to_string()),
        ("e-mail", account.email.to_string()),
        ("name", account.name.to_string()),
        ("role", account.role.to_string()),
        ("since", account.created_at.to_string()),
        ("disabled", or_dash(account.disabled_at)),
    ])
}
