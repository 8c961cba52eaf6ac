//! `artifact`: files that devices download.

use super::{
    Exit,
    context::{Opened, list},
    output::{Output, sheet},
};
use crate::{
    domain::catalogue::artifact,
    service::{ArtifactUpload, ArtifactsOf},
};
use anyhow::Context as _;
use clap::{Args, Subcommand};
use std::{fs::File, path::PathBuf};
use unbox_common::digest::Sha256;

/// The commands for artifacts.
#[derive(Debug, Subcommand)]
pub(super) enum Artifact {
    /// Add a file; prints the digest and size that a configuration names.
    Add {
        /// The file.
        file: PathBuf,
        /// Its name, for people; the file's name if absent.
        #[arg(long)]
        name: Option<String>,
        /// For this customer only; for all of them if absent.
        #[arg(long)]
        customer: Option<String>,
        /// Refuse the file unless this is its SHA-256.
        #[arg(long)]
        sha256: Option<Sha256>,
    },
    /// List everybody's, or those that one customer may use.
    List {
        /// Those that this customer may use: its own, and the shared ones.
        #[arg(long)]
        customer: Option<String>,
    },
    /// Show one.
    Show(Which),
    /// Remove one that nothing uses.
    #[command(visible_alias = "delete")]
    Remove(Which),
}

/// An artifact of the operator, or of a customer.
#[derive(Debug, Args)]
pub(super) struct Which {
    /// Its SHA-256.
    sha256: Sha256,
    /// The customer that it belongs to; a shared one if absent.
    #[arg(long)]
    customer: Option<String>,
}

impl Artifact {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::Add { file, name, customer, sha256: expected } => {
                let own = file.file_name().map(|name| name.to_string_lossy().into_owned());
                let bytes =
                    File::open(&file).with_context(|| format!("{} could not be opened", file.display()))?;
                let name = name.or(own).unwrap_or_default();
                let customer = opened.customer_id(customer.as_deref()).await?;
                let upload = ArtifactUpload { customer, name, expected, bytes };
                let added = services.catalogue.add_artifact(by, upload).await?;
                output.show(&added, &format!("{} ({} bytes)", added.sha256, added.size))?;
            }
            Self::List { customer } => {
                let customer = opened.customer_id(customer.as_deref()).await?;
                let of = customer.map_or(ArtifactsOf::Anybody, ArtifactsOf::Customer);
                list(
                    output,
                    None,
                    |artifact| artifact,
                    |request| services.catalogue.list_artifacts(by, of, request),
                )
                .await?;
            }
            Self::Show(which) => {
                let customer = opened.customer_id(which.customer.as_deref()).await?;
                show(&services.catalogue.artifact(by, customer, which.sha256).await?, output)?;
            }
            Self::Remove(which) => {
                let customer = opened.customer_id(which.customer.as_deref()).await?;
                services.catalogue.delete_artifact(by, customer, which.sha256).await?;
                output.say(&format!("Removed artifact {}.", which.sha256))?;
            }
        }
        Ok(Exit::Done)
    }
}

fn show(artifact: &artifact::Artifact, output: &mut Output) -> anyhow::Result<()> {
    let text = sheet(&[
        ("sha256", artifact.sha256.to_string()),
        ("bytes", artifact.size.to_string()),
        ("customer", artifact.customer.map_or_else(|| "all".to_owned(), |customer| customer.to_string())),
        ("name", artifact.name.to_string()),
        ("since", artifact.created_at.to_string()),
    ]);
    output.show(artifact, &text)
}
