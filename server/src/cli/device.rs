//! `device`: devices that were seen, and administrators' commands for them.

use super::{
    Exit,
    confirm::Consent,
    context::{Opened, list},
    output::{self, Output, or_dash, sheet},
    view::View,
};
use crate::{
    domain::{
        devices::device::{self, StateName},
        tenancy::audit::Subject,
    },
    service::{AuditFilter, DeviceFilter, DeviceView},
};
use anyhow::bail;
use clap::{Args, Subcommand, value_parser};
use serde_json::json;
use std::path::{Path, PathBuf};
use unbox_common::{
    digest::Sha256,
    ids::{ClaimId, DeviceId},
};

/// The commands for devices.
#[derive(Debug, Subcommand)]
pub(super) enum Device {
    /// List devices.
    List {
        /// Of this customer only.
        #[arg(long)]
        customer: Option<String>,
        /// In this state only: claimed, enrolling, managed, `pending_approval`, `hardware_changed`,
        /// disabled or deprovisioned.
        #[arg(long)]
        state: Option<StateName>,
        /// The most devices to show.
        #[arg(long, value_parser = value_parser!(u64).range(1..))]
        limit: Option<u64>,
    },
    /// Show one with its requests and reports.
    Show {
        /// Its id.
        device: DeviceId,
    },
    /// Show all events of one, newest first.
    History {
        /// Its id.
        device: DeviceId,
        /// The most events to show.
        #[arg(long, default_value_t = 100, value_parser = value_parser!(u64).range(1..))]
        limit: u64,
    },
    /// List keys and changed hardware that wait for approval.
    Requests,
    /// Approve a key, and the hardware that it was shown with.
    Approve(Request),
    /// Refuse a key, and the hardware that it was shown with.
    Refuse(Request),
    /// Disable a device: every request is refused, with the message.
    Disable {
        #[command(flatten)]
        which: Which,
        /// The message to the person who holds it.
        #[arg(long)]
        message: Option<String>,
    },
    /// Enable a device again, as it was before.
    Enable {
        /// Its id.
        device: DeviceId,
    },
    /// Release a device for good.
    Deprovision {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        consent: Consent,
    },
    /// Ask a device to enroll again; it learns of it when it checks in.
    ReEnroll {
        /// Its id.
        device: DeviceId,
    },
    /// Print a ticket, this once, that lets a device enroll with a new key after a factory reset.
    Ticket {
        #[command(flatten)]
        which: Which,
        /// Write it to a new file that only you can read, and not to the screen.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

/// A device, or the device of a claim, which may never have been seen.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Which {
    /// Its id.
    device: Option<DeviceId>,
    /// Or its claim's id, even before it was ever seen.
    #[arg(long)]
    claim: Option<ClaimId>,
}

/// A key that waits for approval.
#[derive(Debug, Args)]
pub(super) struct Request {
    /// The device's id.
    device: DeviceId,
    /// The key's SHA-256, if several wait.
    #[arg(long)]
    key: Option<Sha256>,
}

impl Device {
    pub(super) async fn run(self, opened: &Opened, output: &mut Output) -> anyhow::Result<Exit> {
        let Opened { services, by } = opened;
        match self {
            Self::List { customer, state, limit } => {
                let customer = opened.customer_id(customer.as_deref()).await?;
                let filter = DeviceFilter { customer, state, ..DeviceFilter::default() };
                list(output, limit, View, |request| {
                    services.devices.list_devices(by, filter.clone(), request)
                })
                .await?;
            }
            Self::Show { device } => show(services.devices.device(by, device).await?, output)?,
            Self::History { device, limit } => {
                let filter =
                    AuditFilter { subjects: vec![Subject::Device(device)], ..AuditFilter::default() };
                let page = |request| services.tenancy.list_audit(by, filter.clone(), request);
                list(output, Some(limit), |entry| entry, page).await?;
            }
            Self::Requests => {
                let requests: Vec<_> =
                    services.devices.list_requests(by).await?.into_iter().map(View).collect();
                output.rows(&requests)?;
            }
            Self::Approve(request) => {
                let key = request.key(opened).await?;
                services.devices.approve_request(by, request.device, key).await?;
                output.say(&format!("Approved. Device {} is let in when it asks again.", request.device))?;
            }
            Self::Refuse(request) => {
                let key = request.key(opened).await?;
                services.devices.refuse_request(by, request.device, key).await?;
                output.say(&format!("Refused. Device {} stays as it was.", request.device))?;
            }
            Self::Ticket { which, output: file } => {
                make_ticket(opened, output, &which, file.as_deref()).await?;
            }
            Self::ReEnroll { device } => {
                let asked = services.devices.request_re_enrollment(by, device).await?;
                let said = format!("Device {device} enrolls again after its next check-in.");
                output.show(&View(asked), &said)?;
            }
            Self::Disable { which, message } => {
                let device = which.find(opened).await?;
                show_changed(services.devices.disable_device(by, device, message).await?, output)?;
            }
            Self::Enable { device } => {
                show_changed(services.devices.enable_device(by, device).await?, output)?;
            }
            Self::Deprovision { which, consent } => {
                let device = which.find(opened).await?;
                let state = services.devices.device(by, device).await?.device.state.name();
                consent.ask(&format!("This releases device {device}, which is {state}, for good"))?;
                show_changed(services.devices.deprovision_device(by, device).await?, output)?;
            }
        }
        Ok(Exit::Done)
    }
}

fn show_changed(device: device::Device, output: &mut Output) -> anyhow::Result<()> {
    let said = format!("Device {} is {} now.", device.id, device.state.name());
    output.show(&View(device), &said)
}

async fn make_ticket(
    opened: &Opened,
    output: &mut Output,
    which: &Which,
    file: Option<&Path>,
) -> anyhow::Result<()> {
    output::check_is_new(file)?;
    let device = which.find(opened).await?;
    let (secret, expires_at) = opened.services.devices.mint_reset_ticket(&opened.by, device).await?;
    let minted = json!({ "device": device, "expires_at": expires_at });
    output.secret(&minted, ("reset ticket", &secret), file)
}

impl Which {
    async fn find(&self, opened: &Opened) -> anyhow::Result<DeviceId> {
        match (self.device, self.claim) {
            (Some(device), _) => Ok(device),
            (None, Some(claim)) => Ok(opened.services.devices.device_of_claim(&opened.by, claim).await?.id),
            (None, None) => bail!("say which device: its id, or --claim"),
        }
    }
}

impl Request {
    /// Returns the key that was named, or the only one that waits.
    async fn key(&self, opened: &Opened) -> anyhow::Result<Sha256> {
        if let Some(key) = self.key {
            return Ok(key);
        }
        let waiting = opened.services.devices.device(&opened.by, self.device).await?.requests;
        let mut keys =
            waiting.iter().filter(|request| request.approved_at.is_none()).map(|request| request.key);
        match (keys.next(), keys.next()) {
            (Some(key), None) => Ok(key),
            (None, _) => {
                bail!("nothing of device {} waits for approval: look with `device requests`", self.device)
            }
            _ => bail!("several keys of device {} wait: choose one with --key", self.device),
        }
    }
}

fn show(view: DeviceView, output: &mut Output) -> anyhow::Result<()> {
    let DeviceView { device, requests, reports, history } = view;
    let requests: Vec<_> = requests.into_iter().map(View).collect();
    let reports: Vec<_> = reports.into_iter().map(View).collect();
    if output.is_json() {
        let whole =
            json!({ "device": View(device), "requests": requests, "reports": reports, "history": history });
        return output.show(&whole, "");
    }
    let said = &device.last_said;
    let installed = said.installed.as_ref().map(|installed| {
        let dpc = installed.dpc.as_ref().map(|dpc| format!(", {} {}", dpc.name, dpc.version));
        format!(
            "configuration {}, version {}{}",
            installed.configuration,
            installed.version,
            dpc.unwrap_or_default()
        )
    });
    let identifiers = device.identity.as_ref().map(|identity| {
        identity.observations().iter().map(|one| one.identifier.to_string()).collect::<Vec<_>>().join(", ")
    });
    let text = sheet(&[
        ("device", device.id.to_string()),
        ("claim", device.claim.to_string()),
        ("customer", device.customer.to_string()),
        ("state", device.state.name().to_string()),
        ("generation", device.generation().to_string()),
        ("identifiers", or_dash(identifiers)),
        ("key", or_dash(device.latest.as_ref().map(|one| one.key.digest()))),
        ("installed", or_dash(installed)),
        ("healthy", or_dash(said.healthy)),
        ("agent", or_dash(said.agent_version.as_ref())),
        ("last seen", or_dash(said.at)),
        ("re-enrollment asked", or_dash(device.re_enroll_requested_at)),
    ]);
    output.show(&(), &text)?;
    if !requests.is_empty() {
        output.say("\nWaiting for approval:")?;
        output.rows(&requests)?;
    }
    if !reports.is_empty() {
        output.say("\nReports:")?;
        output.rows(&reports)?;
    }
    output.say("\nHistory:")?;
    output.rows(&history)
}
