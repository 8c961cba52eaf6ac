//! `dpc`: the catalogue that customers choose from over the network.

use super::{
    Exit,
    context::{Opened, list, read_document},
    output::Output,
};
use clap::Subcommand;
use std::path::PathBuf;

const DESCRIPTION_HELP: &str = "\
A description is the part `dpc` of a configuration's document, without extras:
  {\"name\": \"acme-dpc\", \"version\": \"1.4.0\", \"kind\": \"tar\", \"artifact\": {\"sha256\": \"...\", \"size\": 1048576},
   \"unit\": \"acme-dpc.service\"}";

/// The commands for the catalogue.
#[derive(Debug, Subcommand)]
pub(super) enum Dpc {
    /// Add one from its JSON description, or replace the one of its name.
    #[command(after_help = DESCRIPTION_HELP)]
    Add {
        /// The description; - reads standard input.
        file: PathBuf,
        /// Its title, for people; its name if absent.
        #[arg(long)]
        title: Option<String>,
    },
    /// List all.
    List,
    /// Show one.
    Show {
        /// Its name.
        name: String,
    },
    /// Take one out; configurations that were made from it keep it.
    Remove {
        /// Its name.
        name: String,
    },
}

impl Dpc {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::Add { file, title } => {
                let saved = services.catalogue.save_dpc(by, title.as_deref(), &read_document(&file)?).await?;
                let said = format!("{} {} is in the catalogue.", saved.dpc.name, saved.dpc.version);
                output.show(&saved, &said)?;
            }
            Self::List => {
                list(output, None, |dpc| dpc, |request| services.catalogue.list_dpcs(request)).await?;
            }
            Self::Show { name } => {
                let found = services.catalogue.dpc(&name).await?;
                let said = serde_json::to_string_pretty(&found)?;
                output.show(&found, &said)?;
            }
            Self::Remove { name } => {
                services.catalogue.delete_dpc(by, &name).await?;
                output.say(&format!("{name} is no longer in the catalogue."))?;
            }
        }
        Ok(Exit::Done)
    }
}
