//! `openapi`: the description of the management API.

use super::{Exit, output::Output};
use crate::{
    files::{self, PUBLIC_FILE},
    route::api::openapi,
};
use clap::Args;
use std::path::PathBuf;

/// Prints the description of the management API, as a server answers it at `/openapi.json`.
#[derive(Debug, Args)]
pub(super) struct Openapi {
    /// Write it to this file.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Openapi {
    pub(super) fn run(self, output: &mut Output) -> anyhow::Result<Exit> {
        let text = openapi::text();
        match self.out {
            Some(path) => files::replace(&path, text.as_bytes(), PUBLIC_FILE)?,
            None => output.script(text.as_bytes())?,
        }
        Ok(Exit::Done)
    }
}
