//! `factory`: the records of test stations, and their deletion.

use super::{
    Exit,
    confirm::Consent,
    context::{Opened, list},
    output::{Output, or_dash, sheet},
    view::View,
};
use crate::{
    domain::{claims::claim::lookup_texts, factory::record::FactoryRecord},
    service::FactoryFilter,
};
use clap::{Subcommand, value_parser};
use serde_json::json;
use unbox_common::ids::{ClaimId, FactoryRecordId};

/// The commands for records of factories.
#[derive(Debug, Subcommand)]
pub(super) enum Factory {
    /// List them, oldest first; all of them, unless you name an organisation.
    List {
        /// Of this organisation only: its id, or its exact name.
        #[arg(long)]
        company: Option<String>,
        /// Only of devices that show this serial number, MAC address, key or other identifier.
        #[arg(long)]
        identifier: Option<String>,
        /// The most records to show.
        #[arg(long, value_parser = value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Show one.
    Show {
        /// Its id.
        record: FactoryRecordId,
    },
    /// Delete records, such as those of units that were scrapped. The claim on such a device loses the key
    /// that it got from the record; it stays in force. Stops at the first that cannot be deleted.
    #[command(after_help = "\
A record stays while a device uses its key: `claim remove` or `device deprovision` comes first.")]
    Delete {
        /// Their ids.
        #[arg(required = true)]
        records: Vec<FactoryRecordId>,
        #[command(flatten)]
        consent: Consent,
    },
}

impl Factory {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::List { company, identifier, limit } => {
                let company = opened.company_id(company.as_deref()).await?;
                let filter = FactoryFilter { company, identifiers: identifier.as_deref().map(lookup_texts) };
                let page = |request| services.factory.list_factory_records(by, filter.clone(), request);
                list(output, limit, View, page).await?;
            }
            Self::Show { record } => show(services.factory.factory_record(by, record).await?, output)?,
            Self::Delete { records, consent } => {
                let ids: Vec<_> = records.iter().map(ToString::to_string).collect();
                consent.ask(&format!(
                    "This deletes the factory's records {}; claims lose the keys that they have from them",
                    ids.join(", ")
                ))?;
                let (mut deleted, mut kept) = (Vec::with_capacity(records.len()), None);
                for record in records {
                    match services.factory.delete_factory_record(by, record).await {
                        Ok(claim) => deleted.push((record, claim)),
                        Err(error) => {
                            kept = Some(error);
                            break;
                        }
                    }
                }
                show_deleted(&deleted, output)?;
                if let Some(error) = kept {
                    return Err(error.into());
                }
            }
        }
        Ok(Exit::Done)
    }
}

/// Reports the deleted records, even if the next one cannot be deleted.
fn show_deleted(deleted: &[(FactoryRecordId, Option<ClaimId>)], output: &mut Output) -> anyhow::Result<()> {
    if deleted.is_empty() {
        return Ok(());
    }
    let line = |(record, claim): &(FactoryRecordId, Option<ClaimId>)| {
        let lost = claim.map(|claim| format!(" Claim {claim} has no device key any more."));
        format!("Deleted record {record}.{}", lost.unwrap_or_default())
    };
    let said = deleted.iter().map(line).collect::<Vec<_>>().join("\n");
    let each = deleted.iter().map(|(record, claim)| json!({ "record": record, "claim": claim }));
    output.show(&json!({ "deleted": each.collect::<Vec<_>>() }), &said)
}

fn show(record: FactoryRecord, output: &mut Output) -> anyhow::Result<()> {
    let identifiers = record.identity.observations().iter().map(|one| one.identifier.to_string());
    let text = sheet(&[
        ("record", record.id.to_string()),
        ("company", record.company.to_string()),
        ("identifiers", identifiers.collect::<Vec<_>>().join(", ")),
        ("claim with its key", or_dash(record.claim)),
        ("since", record.created_at.to_string()),
        ("by", record.created_by.clone()),
    ]);
    output.show(&View(record), &text)
}
