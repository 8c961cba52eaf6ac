//! The sources that units are checked against, as options of `verify` and `station`.

use super::factory::ServerOptions;
use crate::{
    io::{OrderFile, Reference},
    server_client,
};
use clap::Args;
use std::path::PathBuf;
use unbox_agent::models;

/// Every source about a unit apart from its label.
#[derive(Debug, Clone, Args)]
pub(super) struct Sources {
    /// The order: a file with the columns of a claims file.
    #[arg(long, value_name = "CSV")]
    expect: Option<PathBuf>,
    /// A table of further ChromeOS models, in the columns of the built-in one; its rows take precedence.
    #[arg(long, value_name = "CSV")]
    models: Option<PathBuf>,
    /// Also ask the server for each unit's claim. A station registers units that passed there; without a
    /// network, later.
    #[arg(long, requires = "server")]
    online: bool,
    #[command(flatten)]
    server: ServerOptions,
}

impl Sources {
    /// Opens the sources that are files.
    ///
    /// # Errors
    /// If one cannot be used.
    pub(super) fn reference(&self) -> anyhow::Result<Reference> {
        let order = self.expect.as_deref().map(OrderFile::open).transpose()?;
        Ok(Reference { order, models: models::read(self.models.as_deref())? })
    }

    /// Connects to the server, if `online` is set.
    ///
    /// # Errors
    /// If it cannot be used.
    pub(super) fn server_client(&self) -> anyhow::Result<Option<server_client::ServerClient>> {
        self.online.then(|| self.server.open()).transpose()
    }
}
