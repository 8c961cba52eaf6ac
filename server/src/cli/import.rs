//! `import`: claims from a CSV file, with a result for each row.

use super::{Exit, claim::Proof, context::Opened, output::Output};
use crate::{
    files::{PRIVATE_FILE, Staged},
    service::{ImportDefaults, ImportSummary, KNOWN_COLUMNS, RowOutcome, RowResult},
};
use anyhow::Context as _;
use clap::Args;
use serde_json::json;
use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write as _},
    path::{Path, PathBuf},
};

/// Rows between two lines of progress on a terminal.
const PROGRESS_ROWS: u64 = 10_000;

/// Claims devices from a CSV file: a header, then one row for each device.
#[derive(Debug, Args)]
#[command(after_help = format!("\
Columns, in any order: {}.
Every identifier of a row must match. Rows that cannot be used are told, and the others imported; \
the same file again changes nothing.

Example:
  unbox-server import claims.csv --customer Acme --configuration kiosk --results results.csv", KNOWN_COLUMNS.join(", ")))]
pub(super) struct Import {
    /// The file; - reads standard input.
    file: PathBuf,
    /// The customer of rows that name none: an id or exact name.
    #[arg(long)]
    customer: Option<String>,
    /// The reseller that registers the devices: an id or exact name.
    #[arg(long)]
    reseller: Option<String>,
    /// The configuration of rows that name none: an id, or an exact name with --customer.
    #[arg(long)]
    configuration: Option<String>,
    /// The proof of rows that name none.
    #[arg(long)]
    proof: Option<Proof>,
    /// Write what became of each row here, as CSV.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,
}

impl Import {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let customer = opened.customer_id(self.customer.as_deref()).await?;
        let defaults = ImportDefaults {
            customer,
            reseller: opened.reseller_id(self.reseller.as_deref()).await?,
            configuration: opened.configuration_id(self.configuration.as_deref(), customer).await?,
            proof: self.proof.map(|proof| proof.0),
        };
        let csv: Box<dyn Read + Send> = if self.file == Path::new("-") {
            Box::new(io::stdin())
        } else {
            let opened = File::open(&self.file);
            Box::new(opened.with_context(|| format!("{} could not be opened", self.file.display()))?)
        };
        let mut told = Told::new(self.results.as_deref())?;
        let summary =
            opened.services.import_claims(&opened.by, defaults, csv, |row| told.tell(&row)).await.context(
                "the import stopped; rows before are claimed, and the same file can be imported again",
            )?;
        told.finish()?;
        output.show(&as_json(summary), &as_text(summary))?;
        let failed = summary.conflicts + summary.invalid > 0;
        Ok(if failed { Exit::Findings } else { Exit::Done })
    }
}

/// Where results of rows go: into a file, or the failed ones to standard error.
struct Told {
    file: Option<csv::Writer<Staged>>,
    progress: bool,
    rows: u64,
    failure: Option<anyhow::Error>,
}

impl Told {
    fn new(path: Option<&Path>) -> anyhow::Result<Self> {
        let file = match path {
            Some(path) => {
                let mut writer = csv::Writer::from_writer(Staged::new(path, PRIVATE_FILE)?);
                writer.write_record(["line", "result", "claim", "column", "field", "rule"])?;
                Some(writer)
            }
            None => None,
        };
        Ok(Self { file, progress: io::stderr().is_terminal(), rows: 0, failure: None })
    }

    /// Errors of writing are kept for the end: they must not stop an import half-way.
    fn tell(&mut self, row: &RowResult) {
        self.rows += 1;
        let written = match &mut self.file {
            Some(file) => file.write_record(record(row)).map_err(anyhow::Error::from),
            None => sentence(row).map_or(Ok(()), |text| Ok(writeln!(io::stderr(), "{text}")?)),
        };
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
        if self.progress && self.rows.is_multiple_of(PROGRESS_ROWS) {
            let _ = writeln!(io::stderr(), "{} rows", self.rows);
        }
    }

    fn finish(self) -> anyhow::Result<()> {
        if let Some(file) = self.file {
            let staged = file.into_inner().map_err(|error| anyhow::anyhow!("{}", error.error()));
            staged.context("the results could not be written")?.replace()?;
        }
        self.failure.map_or(Ok(()), |error| {
            Err(error.context("the rows are imported, but their results could not be written"))
        })
    }
}

fn record(row: &RowResult) -> [String; 6] {
    let text = |value: &dyn ToString| value.to_string();
    let none = String::new;
    let line = text(&row.line);
    match &row.outcome {
        RowOutcome::Imported(claim) => [line, "imported".to_owned(), text(claim), none(), none(), none()],
        RowOutcome::AlreadyClaimed(claim) => {
            [line, "already_claimed".to_owned(), text(claim), none(), none(), none()]
        }
        RowOutcome::Conflict => [line, "conflict".to_owned(), none(), none(), none(), none()],
        RowOutcome::Invalid { column, field, rule } => {
            let column = column.map(|column| column.to_string()).unwrap_or_default();
            [line, "invalid".to_owned(), none(), column, field.clone(), rule.clone()]
        }
    }
}

/// What is said of a row that was not imported.
fn sentence(row: &RowResult) -> Option<String> {
    let said = match &row.outcome {
        RowOutcome::Imported(_) | RowOutcome::AlreadyClaimed(_) => return None,
        RowOutcome::Conflict => {
            "another customer has claimed this device. Ask them to end their claim, or correct the row."
                .to_owned()
        }
        RowOutcome::Invalid { column, field, rule } => {
            let column = column.map(|column| format!("column {column}, ")).unwrap_or_default();
            format!("{column}{field}: {rule}")
        }
    };
    Some(format!("line {}: {}", row.line, super::output::printable(&said)))
}

fn as_text(summary: ImportSummary) -> String {
    let ImportSummary { rows, imported, already_claimed, conflicts, invalid } = summary;
    format!(
        "{rows} rows: {imported} imported, {already_claimed} claimed before, {conflicts} in conflict, \
         {invalid} that cannot be used."
    )
}

fn as_json(summary: ImportSummary) -> serde_json::Value {
    let ImportSummary { rows, imported, already_claimed, conflicts, invalid } = summary;
    json!({
        "rows": rows,
        "imported": imported,
        "already_claimed": already_claimed,
        "conflicts": conflicts,
        "invalid": invalid,
    })
}
