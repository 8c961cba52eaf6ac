//! `/v1/organisations/{organisation}/auditEntries`: everything done to its things, and by its people.

use super::{page_request, view};
use crate::{
    domain::tenancy::{actor::Actor, audit::Entry},
    log::chain,
    route::api::{
        body_writer::{BodyWriter, Gone, body_writer},
        call::{Answer, Call},
        message::audit::{AuditEntry, ListAuditEntriesResponse},
        wire::{form::Written, query::Alt, status::Status, timestamp},
    },
    service::{AuditFilter, MAX_ROWS, Page, PageRequest, ServiceError, Services},
};
use axum::{
    body::{Body, Bytes},
    http::header,
    response::{IntoResponse as _, Response},
};
use serde_json::Value;
use std::{error::Error, fmt::Display, future::ready, io};
use unbox_common::{ids::CompanyId, timestamp::Timestamp};

/// The columns of an export, under their names in messages.
const COLUMNS: [&str; 9] = [
    "firstTime",
    "lastTime",
    "count",
    "actor",
    "actorOrganisation",
    "action",
    "subject",
    "organisation",
    "detail",
];

/// `organisations.auditEntries.list`
pub(in crate::route::api) async fn list(mut call: Call) -> Answer {
    let organisation = call.company()?;
    let filter = take_filter(&mut call)?;
    let list = ("audit", format!("{filter:?}"));
    let request = page_request(&mut call, &list).await?;
    let page = call.services().tenancy.list_audit(&call.actor, filter, request).await?;
    let next_page_token = call.next_page(&list, page.next.as_deref())?;
    let audit_entries = page.items.into_iter().map(|one| view::audit_entry(organisation, one)).collect();
    call.answer(&Written(&ListAuditEntriesResponse { audit_entries, next_page_token }))
}

/// `organisations.auditEntries.export`: all of it, as lines of JSON or of CSV.
pub(in crate::route::api) async fn export(mut call: Call, _body: Body) -> Result<Response, Status> {
    let filter = take_filter(&mut call)?;
    call.no_more_parameters()?;
    let organisation = call.company()?;
    let alt = call.form_of_file()?.unwrap_or(Alt::Json);
    let (content_type, ending) = match alt {
        Alt::Json => ("application/x-ndjson", "ndjson"),
        Alt::Csv => ("text/csv; charset=UTF-8; header=present", "csv"),
    };
    let export =
        Export { services: call.services().clone(), by: call.actor.clone(), filter, organisation, alt };
    // The first page is read before the answer begins: a failure is then an answer of its own.
    let first = export.page(None).await?;
    let (outgoing, answer) = body_writer(call.app.request_timeout);
    let place = call.place.take();
    tokio::spawn(async move {
        let _place = place;
        // If the client is gone, there is nobody left to tell.
        let _ = export.send(first, outgoing).await;
    });
    let name = format!("attachment; filename=\"audit-{organisation}.{ending}\"");
    let headers = [(header::CONTENT_TYPE, content_type.to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, answer).into_response())
}

/// An export in progress: never more than a page of it is in memory.
struct Export {
    services: Services,
    by: Actor,
    filter: AuditFilter,
    organisation: CompanyId,
    alt: Alt,
}

impl Export {
    /// Sends page after page. A missing end shows that the answer was cut off.
    async fn send(self, first: Page<Entry>, outgoing: BodyWriter) -> Result<(), Gone> {
        let (mut page, mut is_first) = (first, true);
        loop {
            let lines = self.lines(page.items, is_first).map_err(|error| cut_off_export(&error))?;
            outgoing.send(lines, ready(())).await?;
            let Some(after) = page.next else { break };
            page = self.page(Some(after)).await.map_err(|error| cut_off_export(&error))?;
            is_first = false;
        }
        outgoing.end().await;
        Ok(())
    }

    async fn page(&self, after: Option<String>) -> Result<Page<Entry>, ServiceError> {
        let request = PageRequest { size: Some(MAX_ROWS), after };
        self.services.tenancy.list_audit(&self.by, self.filter.clone(), request).await
    }

    /// Formats the lines of a page; the first page begins with the names of the columns, if there are any.
    fn lines(&self, entries: Vec<Entry>, is_first: bool) -> io::Result<Bytes> {
        let entries = entries.into_iter().map(|entry| view::audit_entry(self.organisation, entry));
        let mut lines = Vec::new();
        match self.alt {
            Alt::Json => {
                for entry in entries {
                    serde_json::to_writer(&mut lines, &Written(&entry))?;
                    lines.push(b'\n');
                }
            }
            Alt::Csv => {
                let mut csv = csv::Writer::from_writer(&mut lines);
                if is_first {
                    csv.write_record(COLUMNS)?;
                }
                for entry in entries {
                    csv.write_record(cells(entry))?;
                }
                csv.flush()?;
            }
        }
        Ok(lines.into())
    }
}

fn cut_off_export(error: &(impl Error + 'static)) -> Gone {
    tracing::error!(error = chain(error), "an export was cut off");
    Gone
}

/// Formats the cells of a line. None begins like a spreadsheet formula: all are words of this server, or
/// begin with one.
fn cells(of: AuditEntry) -> [String; COLUMNS.len()] {
    let time = |at: Option<Timestamp>| at.map(timestamp::format).unwrap_or_default();
    [
        time(of.first_time),
        time(of.last_time),
        of.count.to_string(),
        of.actor,
        of.actor_organisation,
        of.action,
        of.subject,
        of.organisation,
        Value::Object(of.detail).to_string(),
    ]
}

/// Returns the requested filter; it selects entries of the path's organisation only.
fn take_filter(call: &mut Call) -> Result<AuditFilter, Status> {
    Ok(AuditFilter {
        customer: None,
        organisation: Some(call.company()?),
        subjects: take_parameter(call, "subject", str::parse)?.into_iter().collect(),
        action: take_parameter(call, "action", str::parse)?,
        since: take_time(call, "startTime")?,
        until: take_time(call, "endTime")?,
        actor: call.own.text("actor")?,
    })
}

fn take_time(call: &mut Call, name: &'static str) -> Result<Option<Timestamp>, Status> {
    let rule = "Expected a date and time since 1970, such as \"2026-11-21T00:00:00Z\".";
    take_parameter(call, name, |text| timestamp::parse(text).ok_or(rule))
}

fn take_parameter<T, E: Display>(
    call: &mut Call,
    name: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<Option<T>, Status> {
    let text = call.own.text(name)?;
    text.map(|text| parse(&text).map_err(|rule| Status::invalid_field(name, rule.to_string()))).transpose()
}
