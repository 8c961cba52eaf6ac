//! `claim import`, `import` for short: claims from a CSV file, with a result for each row.

use super::{
    Exit,
    claim::Proof,
    context::Opened,
    output::{Output, warn},
};
use crate::{
    files::{PRIVATE_FILE, Staged},
    service::{ImportDefaults, RowOutcome, RowResult},
};
use anyhow::Context as _;
use clap::Args;
use std::{
    fs::File,
    io::{self, IsTerminal as _, Read, Write as _},
    path::{Path, PathBuf},
};
use unbox_common::claims_file::{PORTAL_COLUMNS, own_columns};

/// Rows between two lines of progress on a terminal.
const PROGRESS_ROWS: u64 = 10_000;

const STOPPED: &str = "the import stopped; rows before are claimed, and the same file can be imported again";

/// Claims devices from a CSV file: a header, then one row for each device.
#[derive(Debug, Args)]
#[command(after_help = format!("\
Columns, in any order:
  Unbox's own:    {}
  the portals':   {} (beside manufacturer and model; they may be mixed with the others)

A file with the column profileid and no owner is a customer's: it applies configurations to devices \
that --customer has already. Every other file claims devices. A modem or a certified id identifies by \
itself; all other identifiers of a row must match together. Rows that cannot be used are told, and \
the others imported; the same file again changes nothing.

Examples:
  unbox-server claim import claims.csv --customer Acme --configuration kiosk --results results.csv
  unbox-server claim import portal.csv --reseller Boxes", own_columns().collect::<Vec<_>>().join(","), PORTAL_COLUMNS.join(",")))]
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
    /// Write the result of each row here, as CSV.
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
        let reseller = defaults.reseller;
        let mut import =
            opened.services.claims.open_import(&opened.by, defaults, csv).await.context(STOPPED)?;
        while let Some(rows) = import.next_results().await.context(STOPPED)? {
            for row in &rows {
                told.write_result(row);
            }
        }
        told.finish()?;
        let summary = import.summary();
        output.show(&summary, &summary.to_string())?;
        for customer in import.unlinked_customers() {
            let reseller = reseller.map(|id| id.to_string()).unwrap_or_default();
            warn(&format!(
                "Reseller {reseller} does not work for customer {customer}, and does not see these devices. To \
                 let it: unbox-server reseller link {reseller} {customer}"
            ))?;
        }
        Ok(if summary.failed_rows() > 0 { Exit::Findings } else { Exit::Done })
    }
}

/// The progress of a command, reported on a terminal now and then.
pub(super) struct Progress {
    shown: bool,
    rows: u64,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { shown: io::stderr().is_terminal(), rows: 0 }
    }

    pub(super) fn count(&mut self, more: u64) {
        let before = self.rows / PROGRESS_ROWS;
        self.rows += more;
        if self.shown && self.rows / PROGRESS_ROWS > before {
            let _ = writeln!(io::stderr(), "{} rows", self.rows);
        }
    }
}

/// The destination of row results: a file, or standard error for the failed ones.
struct Told {
    file: Option<csv::Writer<Staged>>,
    progress: Progress,
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
        Ok(Self { file, progress: Progress::new(), failure: None })
    }

    /// Writes one result. Errors are kept for the end: they must not stop an import half-way.
    fn write_result(&mut self, row: &RowResult) {
        let written = match &mut self.file {
            Some(file) => file.write_record(record(row)).map_err(anyhow::Error::from),
            None => describe_problem(row).map_or(Ok(()), |text| Ok(writeln!(io::stderr(), "{text}")?)),
        };
        if let Err(error) = written {
            self.failure.get_or_insert(error);
        }
        self.progress.count(1);
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
    let (line, status) = (row.line.to_string(), row.outcome.status().to_owned());
    let claim = row.outcome.claim().map(|claim| claim.to_string()).unwrap_or_default();
    let (column, field, rule) = match &row.outcome {
        RowOutcome::Invalid { column, field, rule } => {
            (column.map(|column| column.to_string()), field.clone(), rule.clone())
        }
        _ => (None, String::new(), String::new()),
    };
    [line, status, claim, column.unwrap_or_default(), field, rule]
}

/// Returns the message for a row that should have changed something and did not.
fn describe_problem(row: &RowResult) -> Option<String> {
    let problem = row.outcome.problem()?;
    let place = match &row.outcome {
        RowOutcome::Invalid { column: Some(column), .. } => format!("line {}, column {column}", row.line),
        _ => format!("line {}", row.line),
    };
    Some(format!("{place}: {}", super::output::printable(&problem)))
}
