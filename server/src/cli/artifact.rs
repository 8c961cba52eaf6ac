//! `artifact`: what devices download.

use super::{
    Exit,
    context::{Opened, list},
    output::Output,
};
use crate::service::ArtifactUpload;
use anyhow::Context as _;
use clap::Subcommand;
use std::{fs::File, path::PathBuf};
use unbox_common::digest::Sha256;

/// What can be done with artifacts.
#[derive(Debug, Subcommand)]
pub(super) enum Artifact {
    /// Add a file; prints the digest and size that a configuration names.
    Add {
        /// The file.
        file: PathBuf,
        /// What people call it; the file's name if absent.
        #[arg(long)]
        name: Option<String>,
    },
    /// List them.
    List,
    /// Delete one that no configuration uses.
    Delete {
        /// Its SHA-256.
        sha256: Sha256,
    },
}

impl Artifact {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::Add { file, name } => {
                let own = file.file_name().map(|name| name.to_string_lossy().into_owned());
                let bytes =
                    File::open(&file).with_context(|| format!("{} could not be opened", file.display()))?;
                let name = name.or(own).unwrap_or_default();
                let added = services.add_artifact(by, ArtifactUpload { name, bytes }).await?;
                output.show(&added, &format!("{} ({} bytes)", added.sha256, added.size))?;
            }
            Self::List => {
                list(output, None, |artifact| artifact, |request| services.list_artifacts(by, request))
                    .await?;
            }
            Self::Delete { sha256 } => {
                services.delete_artifact(by, sha256).await?;
                output.say(&format!("Deleted artifact {sha256}."))?;
            }
        }
        Ok(Exit::Done)
    }
}
