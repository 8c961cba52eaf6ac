//! What units are held against, as the options of `verify` and `station` name it.

use super::factory::Office;
use crate::{
    models,
    station::{
        io::{OrderFile, Reference},
        office,
    },
};
use clap::Args;
use std::path::PathBuf;

/// Everybody who speaks for a unit beside its label.
#[derive(Debug, Clone, Args)]
pub(super) struct Witnesses {
    /// The order: a file with the columns of a claims file.
    #[arg(long, value_name = "CSV")]
    expect: Option<PathBuf>,
    /// A table of further ChromeOS models, in the columns of the built-in one; its rows count first.
    #[arg(long, value_name = "CSV")]
    models: Option<PathBuf>,
    /// Ask the server, too, whose each unit is. A station registers what passed there; without a network,
    /// later.
    #[arg(long, requires = "server")]
    online: bool,
    #[command(flatten)]
    office: Office,
}

impl Witnesses {
    /// The files among them.
    ///
    /// # Errors
    /// If one cannot be used.
    pub(super) fn reference(&self) -> anyhow::Result<Reference> {
        let order = self.expect.as_deref().map(OrderFile::open).transpose()?;
        Ok(Reference { order, models: models::read(self.models.as_deref())? })
    }

    /// The server, if it is asked.
    ///
    /// # Errors
    /// If it cannot be.
    pub(super) fn office(&self) -> anyhow::Result<Option<office::Office>> {
        self.online.then(|| self.office.open()).transpose()
    }
}
