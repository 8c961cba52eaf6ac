//! `audit`: all actions, with their actors and times.

use super::{
    Exit,
    context::{Opened, list},
    output::Output,
};
use crate::{
    domain::tenancy::audit::{Action, Subject},
    service::AuditFilter,
};
use clap::{Args, value_parser};
use unbox_common::timestamp::Timestamp;

/// Shows the audit trail, newest first.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  unbox-server audit --subject \"device 42\" --since 2026-11-01T00:00:00Z")]
pub(super) struct Audit {
    /// Of this customer only.
    #[arg(long)]
    customer: Option<String>,
    /// About this thing only, such as \"device 42\".
    #[arg(long)]
    subject: Option<Subject>,
    /// Of this kind only, such as `granted`.
    #[arg(long)]
    action: Option<Action>,
    /// Not before this time.
    #[arg(long, value_parser = time)]
    since: Option<Timestamp>,
    /// Before this time.
    #[arg(long, value_parser = time)]
    until: Option<Timestamp>,
    /// By this actor only, such as \"account 42\".
    #[arg(long)]
    actor: Option<String>,
    /// The most entries to show.
    #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(1..))]
    limit: u64,
}

impl Audit {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let customer = opened.customer_id(self.customer.as_deref()).await?;
        let filter = AuditFilter {
            customer,
            subjects: self.subject.into_iter().collect(),
            action: self.action,
            since: self.since,
            until: self.until,
            actor: self.actor,
            organisation: None,
        };
        let page = |request| opened.services.tenancy.list_audit(&opened.by, filter.clone(), request);
        list(output, Some(self.limit), |entry| entry, page).await?;
        Ok(Exit::Done)
    }
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse_rfc3339(text).ok_or("expected a time such as 2026-11-21T00:00:00Z")
}
