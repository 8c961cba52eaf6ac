//! `configuration`: the setup of a customer's devices.

use super::{
    Exit,
    context::{Opened, list, read_document},
    output::Output,
};
use crate::{domain::catalogue::configuration, service::ConfigurationChange};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::path::PathBuf;
use unbox_common::payload::privileged_items;

const DOCUMENT_HELP: &str = "\
A document is JSON: `contact` (contact_email, contact_phone; perhaps company and message), and any \
of `dpc`, `policy` and `setup` as in the payload. The smallest one:
  {\"contact\": {\"contact_email\": \"it@acme.example\", \"contact_phone\": \"+41 44 000 00 00\"}}";

/// The commands for configurations.
#[derive(Debug, Subcommand)]
pub(super) enum Configuration {
    /// Create one from a JSON document; prints its id.
    #[command(after_help = DOCUMENT_HELP)]
    Create {
        /// Its name.
        name: String,
        /// Its owner: a customer's id or exact name.
        #[arg(long)]
        customer: String,
        /// The document; - reads standard input.
        #[arg(long)]
        file: PathBuf,
        /// Make it the default, for the customer's claims without a configuration of their own.
        #[arg(long)]
        default: bool,
    },
    /// List them.
    List {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Show one with its document.
    Show(Named),
    /// Change name, document or both; devices get the change when they check in.
    #[command(after_help = DOCUMENT_HELP)]
    Update {
        #[command(flatten)]
        named: Named,
        /// The new name.
        #[arg(long)]
        name: Option<String>,
        /// The new document; - reads standard input.
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// Delete one that no claim, token or default uses.
    Delete(Named),
    /// Set the default, for the customer's claims without a configuration of their own.
    Default {
        /// The customer's id or exact name.
        #[arg(long)]
        customer: String,
        /// The configuration's id or exact name; none if absent.
        configuration: Option<String>,
    },
}

/// A configuration, as people name it.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// Its id; or its exact name, with --customer.
    configuration: String,
    /// Its owner: a customer's id or exact name.
    #[arg(long)]
    customer: Option<String>,
}

impl Configuration {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::Create { customer, name, file, default } => {
                let customer = opened.customer(&customer).await?;
                let document = read_document(&file)?;
                let created =
                    services.catalogue.create_configuration(by, customer.id, &name, &document).await?;
                if default {
                    services.catalogue.set_default_configuration(by, customer.id, Some(created.id)).await?;
                }
                let text = format!("Created configuration {} ({}).", created.id, created.name);
                output.show(&created, &with_privileged_items(text, &created))?;
            }
            Self::List { customer } => {
                let customer = opened.customer_id(customer.as_deref()).await?;
                let page = |request| services.catalogue.list_configurations(by, customer, request);
                list(output, None, |configuration| configuration, page).await?;
            }
            Self::Show(named) => {
                let found = named.find(opened).await?;
                let text =
                    serde_json::to_string_pretty(&found).context("the configuration could not be shown")?;
                output.show(&found, &text)?;
            }
            Self::Update { named, name, file } => {
                let found = named.find(opened).await?;
                let document = file.as_deref().map(read_document).transpose()?;
                let change = ConfigurationChange { name, document, default: None };
                let updated = services.catalogue.update_configuration(by, found.id, change).await?;
                let text = format!("Changed configuration {} ({}).", updated.id, updated.name);
                output.show(&updated, &with_privileged_items(text, &updated))?;
            }
            Self::Delete(named) => {
                let found = named.find(opened).await?;
                services.catalogue.delete_configuration(by, found.id).await?;
                output.say(&format!("Deleted configuration {} ({}).", found.id, found.name))?;
            }
            Self::Default { customer, configuration } => {
                let customer = opened.customer(&customer).await?;
                let chosen = opened.configuration_id(configuration.as_deref(), Some(customer.id)).await?;
                services.catalogue.set_default_configuration(by, customer.id, chosen).await?;
                output.say(&match chosen {
                    Some(id) => format!("Claims of {} get configuration {id} by default.", customer.name),
                    None => format!("Claims of {} get no configuration by default.", customer.name),
                })?;
            }
        }
        Ok(Exit::Done)
    }
}

/// Adds the policy items that have power over the whole device.
fn with_privileged_items(text: String, configuration: &configuration::Configuration) -> String {
    match privileged_items(&configuration.document.policy) {
        items if items.is_empty() => text,
        items => format!("{text}\nPrivileged: {}.", items.join(", ")),
    }
}

impl Named {
    async fn find(&self, opened: &Opened) -> anyhow::Result<configuration::Configuration> {
        let customer = opened.customer_id(self.customer.as_deref()).await?;
        opened.configuration(&self.configuration, customer).await
    }
}
