//! Claims files over HTTP: `devices:import` and `devices:export` of partners and of customers, methods of
//! Unbox's own.
//!
//! An import answers while it reads: a line for each row, and a last one with the status `done`, or
//! `stopped` with the reason. A client may send everything before it reads any of it (`spool.rs`).

use super::{
    body_writer::{BodyWriter, Gone, body_writer},
    call::Call,
    spool::{SpoolReader, spool},
    wire::{
        query::Alt,
        status::{Code, Status},
    },
};
use crate::{
    domain::tenancy::actor::Scope,
    route::body::is_of_type,
    service::{
        ClaimExport, ClaimFilter, ClaimsForm, ExportedClaim, Import, ImportSummary, RowOutcome, RowResult,
        ServiceError,
    },
};
use axum::{
    body::{Body, Bytes},
    http::{HeaderValue, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use std::future::ready;
use tokio_util::sync::CancellationToken;

/// The columns of an import's answer.
const RESULT_COLUMNS: [&str; 6] = ["line", "status", "deviceId", "column", "field", "message"];

/// `partners.devices.import` and `customers.devices.import`
pub(super) async fn import(mut call: Call, body: Body) -> Result<Response, Status> {
    call.no_more_parameters()?;
    let form = Form::of(&call)?;
    if !is_of_type(&call.headers, "text/csv") {
        let rule = "The file must be of type text/csv.";
        return Err(Status::new(Code::InvalidArgument, rule).with_http(415));
    }
    let csv = call.reader(body)?;
    let import =
        call.services().claims.open_import(&call.actor, crate::service::ImportDefaults::default(), csv);
    let import = import.await?;
    let (results, waiting) = spool(call.services().settings().artifact_directory.clone());
    let (outgoing, answer) = body_writer(call.app.request_timeout);
    let read = CancellationToken::new();
    let reading = read.clone();
    tokio::spawn(async move {
        let _end = read.drop_guard();
        // If nobody reads the results any more, the answered rows stay, and the rest is not begun.
        let _ = run(import, form, &results).await;
    });
    let place = call.place.take();
    tokio::spawn(async move {
        let _place = place;
        let _ = forward_results(waiting, outgoing, reading).await;
    });
    Ok(form.response(answer, "results"))
}

async fn run(mut import: Import, form: Form, results: &super::spool::SpoolWriter) -> std::io::Result<()> {
    results.write(form.head(RESULT_COLUMNS)).await?;
    loop {
        match import.next_results().await {
            Ok(Some(rows)) => results.write(form.results(&rows)).await?,
            Ok(None) => return results.write(form.end("done", import.summary(), None)).await,
            Err(error) => {
                let why = match error {
                    ServiceError::Invalid { rule, .. } => rule,
                    other => Status::from(other).message().to_owned(),
                };
                return results.write(form.end("stopped", import.summary(), Some(&why))).await;
            }
        }
    }
}

/// Passes results on to a client, which may take its time while the file is read: it may be busy sending.
async fn forward_results(
    mut waiting: SpoolReader,
    outgoing: BodyWriter,
    reading: CancellationToken,
) -> Result<(), Gone> {
    // If the spool cannot be read, the answer ends as an unfinished one.
    while let Some(bytes) = waiting.next().await.map_err(|_| Gone)? {
        outgoing.send(bytes, reading.cancelled()).await?;
    }
    outgoing.end().await;
    Ok(())
}

/// `partners.devices.export` and `customers.devices.export`
pub(super) async fn export(mut call: Call, _body: Body) -> Result<Response, Status> {
    call.no_more_parameters()?;
    let form = Form::of(&call)?;
    let claims = match call.actor.scope() {
        Scope::Reseller(_) => ClaimsForm::Reseller,
        Scope::Customer(_) | Scope::Operator => ClaimsForm::Customer,
    };
    let customer = (claims == ClaimsForm::Customer).then(|| call.company()).transpose()?;
    let filter = ClaimFilter { customer, ..ClaimFilter::default() };
    let mut export = call.services().claims.export_claims(&call.actor, claims, filter);
    let (outgoing, answer) = body_writer(call.app.request_timeout);
    // An error in the first page can still be an answer of its own.
    let first = export.next_rows().await?;
    let place = call.place.take();
    tokio::spawn(async move {
        let _place = place;
        let _ = send_pages(first, export, form, outgoing).await;
    });
    Ok(form.response(answer, "devices"))
}

async fn send_pages(
    first: Option<Vec<ExportedClaim>>,
    mut export: ClaimExport,
    form: Form,
    outgoing: BodyWriter,
) -> Result<(), Gone> {
    let mut part = form.head(export.form().columns());
    let mut page = first;
    while let Some(rows) = page {
        part.extend(form.claims(&rows));
        outgoing.send(std::mem::take(&mut part).into(), ready(())).await?;
        page = export.next_rows().await.map_err(|error| {
            tracing::warn!(error = &error as &dyn std::error::Error, "an export could not be finished");
            Gone
        })?;
    }
    if !part.is_empty() {
        outgoing.send(Bytes::from(part), ready(())).await?;
    }
    outgoing.end().await;
    Ok(())
}

/// The form of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Csv,
    /// A document on each line.
    Json,
}

impl Form {
    fn of(call: &Call) -> Result<Self, Status> {
        Ok(if call.form_of_file()? == Some(Alt::Json) { Self::Json } else { Self::Csv })
    }

    fn response(self, body: Body, name: &'static str) -> Response {
        let (kind, extension) = match self {
            Self::Csv => ("text/csv; charset=utf-8", "csv"),
            Self::Json => ("application/x-ndjson", "ndjson"),
        };
        let kind = HeaderValue::from_static(kind);
        let mut response = ([(header::CONTENT_TYPE, kind)], body).into_response();
        let file = HeaderValue::try_from(format!("attachment; filename=\"{name}.{extension}\""));
        response.headers_mut().extend(file.ok().map(|file| (header::CONTENT_DISPOSITION, file)));
        response
    }

    fn head(self, columns: impl IntoIterator<Item = &'static str>) -> Vec<u8> {
        match self {
            Self::Csv => csv([columns.into_iter().map(str::to_owned)]),
            Self::Json => Vec::new(),
        }
    }

    fn results(self, rows: &[RowResult]) -> Vec<u8> {
        match self {
            Self::Csv => csv(rows.iter().map(cells)),
            Self::Json => rows.iter().flat_map(|row| line(&document(row))).collect(),
        }
    }

    fn end(self, status: &str, summary: ImportSummary, why: Option<&str>) -> Vec<u8> {
        let message = why.map_or_else(|| summary.to_string(), |why| format!("{why}. Before that: {summary}"));
        match self {
            Self::Csv => {
                let none = String::new;
                csv([[none(), status.to_owned(), none(), none(), none(), message]])
            }
            Self::Json => {
                line(&json!({"status": status, "message": message, "summary": summary_json(summary)}))
            }
        }
    }

    fn claims(self, rows: &[ExportedClaim]) -> Vec<u8> {
        match self {
            Self::Csv => csv(rows.iter().map(ExportedClaim::cells)),
            Self::Json => rows
                .iter()
                .filter_map(|row| serde_json::to_value(row).ok())
                .flat_map(|row| line(&row))
                .collect(),
        }
    }
}

fn csv(records: impl IntoIterator<Item = impl IntoIterator<Item = String>>) -> Vec<u8> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for record in records {
        // Memory takes everything, and every record has as many cells as the others.
        let _ = writer.write_record(record);
    }
    writer.into_inner().unwrap_or_default()
}

fn line(document: &Value) -> Vec<u8> {
    format!("{document}\n").into_bytes()
}

fn problem_place(outcome: &RowOutcome) -> (Option<usize>, &str) {
    match outcome {
        RowOutcome::Invalid { column, field, .. } => (*column, field),
        _ => (None, ""),
    }
}

fn cells(row: &RowResult) -> [String; 6] {
    let (column, field) = problem_place(&row.outcome);
    [
        row.line.to_string(),
        row.outcome.status().to_owned(),
        row.outcome.claim().map(|claim| claim.to_string()).unwrap_or_default(),
        column.map(|column| column.to_string()).unwrap_or_default(),
        field.to_owned(),
        row.outcome.problem().unwrap_or_default(),
    ]
}

fn document(row: &RowResult) -> Value {
    let (column, field) = problem_place(&row.outcome);
    let mut document = json!({"line": row.line, "status": row.outcome.status()});
    let device = row.outcome.claim().map(|claim| claim.to_string().into());
    let more = [
        ("deviceId", device),
        ("column", column.map(Value::from)),
        ("field", Some(field).filter(|field| !field.is_empty()).map(Value::from)),
        ("message", row.outcome.problem().map(Value::from)),
    ];
    if let Some(fields) = document.as_object_mut() {
        fields.extend(more.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
    }
    document
}

fn summary_json(summary: ImportSummary) -> Value {
    json!({
        "rows": summary.rows,
        "imported": summary.imported,
        "alreadyClaimed": summary.already_claimed,
        "applied": summary.applied,
        "alreadyApplied": summary.already_applied,
        "conflicts": summary.conflicts,
        "notFound": summary.not_found,
        "invalid": summary.invalid,
    })
}
