//! `customer`, `reseller` and `emm`: companies.

use super::{
    Exit,
    context::{Opened, list},
    output::{Output, or_dash, sheet},
};
use crate::domain::company::{self, CompanyKind};
use clap::Subcommand;

/// What can be done with companies.
#[derive(Debug, Subcommand)]
pub(super) enum Company {
    /// Create one; prints its id.
    Create {
        /// Its name.
        name: String,
    },
    /// List all.
    List,
    /// Show one.
    Show {
        /// Its id or exact name.
        company: String,
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
            Self::Create { name } => {
                let created = services.create_company(by, kind, &name).await?;
                output.show(&created, &format!("Created {kind} {} ({}).", created.id, created.name))?;
            }
            Self::List => {
                let page = |request| services.list_companies(by, Some(kind), request);
                list(output, None, |company| company, page).await?;
            }
            Self::Show { company } => {
                let found = services.find_company(by, kind, &company).await?;
                output.show(&found, &shown(&found))?;
            }
            Self::Rename { company, name } => {
                let found = services.find_company(by, kind, &company).await?;
                let renamed = services.rename_company(by, found.id, &name).await?;
                output.show(&renamed, &format!("{kind} {} is called {} now.", renamed.id, renamed.name))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn shown(company: &company::Company) -> String {
    sheet(&[
        ("id", company.id.to_string()),
        ("name", company.name.to_string()),
        ("kind", company.kind.to_string()),
        ("default configuration", or_dash(company.default_configuration)),
        ("since", company.created_at.to_string()),
    ])
}
