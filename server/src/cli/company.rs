//! `customer`, `reseller`, `vendor` and `emm`: companies.

use super::{
    Exit,
    confirm::Consent,
    context::{Opened, list},
    output::{Output, or_dash, sheet, warn},
};
use crate::{
    domain::tenancy::company::{self, CompanyKind, Terms},
    service::{CompanyFilter, NewCompany},
};
use clap::{ArgAction, Subcommand};

/// The commands for companies.
#[derive(Debug, Subcommand)]
pub(super) enum Company {
    /// Create one; prints its id.
    Create {
        /// Its name.
        name: String,
        /// The reseller that a vendor sells for: its id or exact name.
        #[arg(long)]
        reseller: Option<String>,
        /// The language of its people, such as `de-CH`.
        #[arg(long)]
        language: Option<String>,
        /// Its Google Workspace account, by which resellers may name it too.
        #[arg(long)]
        workspace: Option<String>,
        /// Let a reseller or vendor claim devices with protection.
        #[arg(long)]
        device_protection: bool,
    },
    /// List all.
    List,
    /// Show one.
    Show {
        /// Its id or exact name.
        company: String,
    },
    /// Note that a customer accepts the terms of service, or that there are new ones.
    Terms {
        /// Its id or exact name.
        company: String,
        /// `accepted`, `stale` or `not_accepted`.
        terms: Terms,
    },
    /// Set whether test stations of factories may register keys for a customer's claims.
    FactoryKeys {
        /// Its id or exact name.
        company: String,
        /// `on` or `off`.
        #[arg(action = ArgAction::Set, value_parser = parse_on_or_off)]
        allowed: bool,
    },
    /// Let a reseller, vendor or EMM work for a customer.
    Link {
        /// Its id or exact name.
        company: String,
        /// The customer's id or exact name.
        customer: String,
    },
    /// End a link, for a reseller's vendors too; claims stay, and belong to the customer alone from then on.
    Unlink {
        /// Its id or exact name.
        company: String,
        /// The customer's id or exact name.
        customer: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Delete one with its accounts; refused while something else belongs to it.
    Delete {
        /// Its id or exact name.
        company: String,
        #[command(flatten)]
        consent: Consent,
    },
    /// Give one another name.
    Rename {
        /// Its id or exact name.
        company: String,
        /// The new name.
        name: String,
    },
}

impl Company {
    pub(super) async fn run(
        self,
        kind: CompanyKind,
        opened: &Opened,
        output: &mut Output,
    ) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::Create { name, reseller, language, workspace, device_protection } => {
                let parent = opened.reseller_id(reseller.as_deref()).await?;
                let new = NewCompany { kind, name, parent, language, workspace, device_protection };
                let created = services.tenancy.create_company(by, new).await?;
                output.show(&created, &format!("Created {kind} {} ({}).", created.id, created.name))?;
                warn_of_lookalikes(opened, &created).await?;
            }
            Self::List => {
                let page = |request| {
                    services.tenancy.list_companies(by, CompanyFilter::of_kind(Some(kind)), request)
                };
                list(output, None, |company| company, page).await?;
            }
            Self::Show { company } => {
                let found = services.tenancy.find_company(by, kind, &company).await?;
                output.show(&found, &describe_company(&found))?;
            }
            Self::Terms { company, terms } => {
                let found = services.tenancy.find_company(by, kind, &company).await?;
                let changed = services.tenancy.set_terms(by, found.id, terms).await?;
                output.show(&changed, &format!("The terms of {kind} {}: {terms}.", changed.id))?;
            }
            Self::FactoryKeys { company, allowed } => {
                let found = services.tenancy.find_company(by, kind, &company).await?;
                let changed = services.tenancy.set_factory_keys(by, found.id, allowed).await?;
                let may = if allowed { "may" } else { "may not" };
                let said = format!("Factories {may} register keys for claims of {kind} {}.", changed.id);
                output.show(&changed, &said)?;
            }
            Self::Link { company, customer } => {
                let (found, customer) = (
                    services.tenancy.find_company(by, kind, &company).await?,
                    opened.customer(&customer).await?,
                );
                services.tenancy.set_works_for(by, found.id, customer.id, true).await?;
                output.show(&found, &format!("{kind} {} works for customer {}.", found.id, customer.id))?;
            }
            Self::Unlink { company, customer, consent } => {
                let (found, customer) = (
                    services.tenancy.find_company(by, kind, &company).await?,
                    opened.customer(&customer).await?,
                );
                consent.ask(&format!(
                    "This ends the work of {kind} {} ({}) for customer {} ({}), to whom alone its claims belong \
                     from then on",
                    found.id, found.name, customer.id, customer.name
                ))?;
                services.tenancy.set_works_for(by, found.id, customer.id, false).await?;
                let said =
                    format!("{kind} {} does not work for customer {} any more.", found.id, customer.id);
                output.show(&found, &said)?;
            }
            Self::Delete { company, consent } => {
                let found = services.tenancy.find_company(by, kind, &company).await?;
                consent.ask(&format!(
                    "This deletes {kind} {} ({}) with its accounts and their keys",
                    found.id, found.name
                ))?;
                let deleted = services.tenancy.delete_company(by, found.id).await?;
                output.show(&deleted, &format!("Deleted {kind} {} ({}).", deleted.id, deleted.name))?;
            }
            Self::Rename { company, name } => {
                let found = services.tenancy.find_company(by, kind, &company).await?;
                let renamed = services.tenancy.rename_company(by, found.id, &name).await?;
                output.show(&renamed, &format!("{kind} {} is called {} now.", renamed.id, renamed.name))?;
                warn_of_lookalikes(opened, &renamed).await?;
            }
        }
        Ok(Exit::Done)
    }
}

async fn warn_of_lookalikes(opened: &Opened, company: &company::Company) -> anyhow::Result<()> {
    match opened.services.tenancy.confusable_name_warning(&opened.by, company).await? {
        Some(warning) => warn(&warning),
        None => Ok(()),
    }
}

fn parse_on_or_off(text: &str) -> Result<bool, &'static str> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("expected on or off"),
    }
}

fn describe_company(company: &company::Company) -> String {
    sheet(&[
        ("id", company.id.to_string()),
        ("name", company.name.to_string()),
        ("kind", company.kind.to_string()),
        ("terms of service", company.terms.to_string()),
        ("reseller", or_dash(company.parent)),
        ("language", or_dash(company.language.clone())),
        ("Google Workspace", or_dash(company.workspace.clone())),
        ("device protection", company.device_protection.to_string()),
        ("keys from factories", company.factory_keys.to_string()),
        ("default configuration", or_dash(company.default_configuration)),
        ("since", company.created_at.to_string()),
    ])
}
