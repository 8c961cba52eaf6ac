//! `claim export`: claims as a file in the portals' forms.

use super::{Exit, context::Opened, import::Progress, output::Output};
use crate::{
    files::{PRIVATE_FILE, Staged},
    service::{ClaimFilter, ClaimsForm, ExportedClaim},
};
use clap::Args;
use serde_json::json;
use std::{
    io::Write,
    path::{Path, PathBuf},
};

/// Write the claims in force to a CSV file, in the portals' forms.
#[derive(Debug, Args)]
#[command(after_help = "\
With --customer alone it is a customer's file, in which profileid 0 is the default configuration; \
without it a reseller's, with the owner of each device. Either can be imported again. A cell that a \
spreadsheet would take for a formula begins with an apostrophe, which an import takes away. The \
columns deviceid, claimtime, vacationmodestarttime and vacationmodeexpiretime are for reading only. \
The file is not of one moment: each claim is in it as it is when it is read.

Examples:
  unbox-server claim export --reseller Boxes --output boxes.csv
  unbox-server claim export --customer Acme --json")]
pub(super) struct Export {
    /// Of this customer only: an id or exact name.
    #[arg(long)]
    customer: Option<String>,
    /// Registered by this reseller: an id or exact name.
    #[arg(long)]
    reseller: Option<String>,
    /// Write them to this file, replacing one that exists.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Export {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let customer = opened.customer_id(self.customer.as_deref()).await?;
        let reseller = opened.reseller_id(self.reseller.as_deref()).await?;
        let form = match (customer, reseller) {
            (Some(_), None) => ClaimsForm::Customer,
            _ => ClaimsForm::Operator,
        };
        let filter = ClaimFilter { customer, reseller, ..ClaimFilter::default() };
        let mut export = opened.services.claims.export_claims(&opened.by, form, filter);
        let mut sheet = Sheet::new(form, output.is_json());
        let mut to = Destination::new(self.output.as_deref(), output)?;
        let mut progress = Progress::new();
        to.write(&sheet.head()?)?;
        while let Some(rows) = export.next_rows().await? {
            to.write(&sheet.rows(&rows)?)?;
            progress.count(rows.len() as u64);
        }
        to.write(sheet.end())?;
        let staged = match to {
            Destination::File(staged) => staged,
            Destination::Output(_) => return Ok(Exit::Done),
        };
        staged.replace()?;
        let rows = sheet.rows;
        let said = format!("Wrote {rows} claims to {}.", self.output.unwrap_or_default().display());
        output.show(&json!({ "rows": rows }), &said)?;
        Ok(Exit::Done)
    }
}

/// The destination of the export.
enum Destination<'o> {
    File(Staged),
    Output(&'o mut Output),
}

impl<'o> Destination<'o> {
    fn new(path: Option<&Path>, output: &'o mut Output) -> anyhow::Result<Self> {
        Ok(match path {
            Some(path) => Self::File(Staged::new(path, PRIVATE_FILE)?),
            None => Self::Output(output),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match self {
            Self::File(staged) => Ok(staged.write_all(bytes)?),
            Self::Output(output) => output.script(bytes),
        }
    }
}

/// The growing file: CSV, or one JSON document.
struct Sheet {
    form: ClaimsForm,
    json: bool,
    rows: u64,
}

impl Sheet {
    const fn new(form: ClaimsForm, json: bool) -> Self {
        Self { form, json, rows: 0 }
    }

    fn head(&self) -> anyhow::Result<Vec<u8>> {
        if self.json {
            return Ok(b"{\"claims\":[".to_vec());
        }
        let mut csv = csv::Writer::from_writer(Vec::new());
        csv.write_record(self.form.columns())?;
        Ok(csv.into_inner()?)
    }

    fn rows(&mut self, rows: &[ExportedClaim]) -> anyhow::Result<Vec<u8>> {
        let first = self.rows == 0;
        self.rows += rows.len() as u64;
        if self.json {
            let mut text = Vec::new();
            for (number, row) in rows.iter().enumerate() {
                text.extend_from_slice(if first && number == 0 { b"\n" } else { b",\n" });
                serde_json::to_writer(&mut text, row)?;
            }
            return Ok(text);
        }
        let mut csv = csv::Writer::from_writer(Vec::new());
        for row in rows {
            csv.write_record(row.cells())?;
        }
        Ok(csv.into_inner()?)
    }

    const fn end(&self) -> &'static [u8] {
        if self.json { b"]}\n" } else { b"" }
    }
}
