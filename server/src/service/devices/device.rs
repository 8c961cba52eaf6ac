//! Devices from the administrator's point of view.

use crate::{
    domain::{
        devices::{
            device::{ApprovalRequest, Device, check_message},
            token::RESET_TICKET_PREFIX,
        },
        ids::{key_at, time_of},
        tenancy::{
            actor::Actor,
            audit::{Action, Entry, Subject},
        },
    },
    entropy,
    service::{Devices, ServiceError},
    store::{AuditFilter, DeviceFilter, Page, PageRequest, ResetTicket, StoredReport, Tx},
};
use serde_json::{Value, json};
use std::cmp::Reverse;
use unbox_common::{
    digest::Sha256,
    ids::{ClaimId, DeviceId},
    secret::Secret,
    timestamp::Timestamp,
};

/// The maximum number of requests in one list.
const MAX_REQUESTS: u32 = 1000;
/// The maximum number of reports shown with a device.
const SHOWN_REPORTS: u32 = 64;

/// A device with its requests, reports and history.
#[derive(Debug, Clone)]
pub struct DeviceView {
    /// The device.
    pub device: Device,
    /// Keys and hardware that wait for approval, or were approved and not yet used.
    pub requests: Vec<ApprovalRequest>,
    /// Its newest reports, newest first.
    pub reports: Vec<StoredReport>,
    /// The newest audit entries about it, newest first.
    pub history: Vec<Entry>,
}

/// An event in the life of a device.
#[derive(Debug, Clone)]
pub struct DeviceEvent {
    /// The sort key of the event; newer events have larger keys.
    pub key: i64,
    /// The kind of event.
    pub kind: EventKind,
}

/// The kind of an event in the life of a device.
#[derive(Debug, Clone)]
pub enum EventKind {
    /// An entry of the audit trail.
    Noted(Entry),
    /// A report of the device.
    Reported(StoredReport),
}

impl Devices {
    /// Counts the devices of a list.
    pub async fn count_devices(&self, by: &Actor, filter: DeviceFilter) -> Result<u64, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.count_devices(scope, &filter)).await
    }

    /// Returns the events of a device and its claim before the event with this key, newest first, with the
    /// key of the last one if there are more.
    pub async fn device_history(
        &self,
        by: &Actor,
        device: &Device,
        before: Option<i64>,
        limit: u32,
    ) -> Result<(Vec<DeviceEvent>, Option<i64>), ServiceError> {
        let (scope, id) = (by.scope(), device.id);
        self.core
            .read(move |reader| {
                let found = reader.device(scope, id)?;
                let claim = found.ok_or_else(|| ServiceError::not_found("device", id))?.claim;
                let subjects = vec![Subject::Device(id), Subject::Claim(claim)];
                let filter = AuditFilter { subjects, ..AuditFilter::default() };
                let page = PageRequest { size: Some(limit), after: before.map(|key| key.to_string()) };
                let noted = reader.audit(scope, &filter, &page)?;
                let reported = reader.reports_before(id, before.map(time_of), limit + 1)?;
                let more = noted.next.is_some() || noted.items.len() + reported.len() > limit as usize;
                let noted = noted
                    .items
                    .into_iter()
                    .map(|entry| DeviceEvent { key: entry.id, kind: EventKind::Noted(entry) });
                let reported = reported.into_iter().map(|report| DeviceEvent {
                    key: key_at(report.received_at, report.entry.sequence),
                    kind: EventKind::Reported(report),
                });
                let mut events: Vec<_> = noted.chain(reported).collect();
                events.sort_by_key(|event| Reverse(event.key));
                events.truncate(limit as usize);
                let next = events.last().filter(|_| more).map(|last| last.key);
                Ok::<_, ServiceError>((events, next))
            })
            .await
    }

    /// Lists devices, oldest first.
    pub async fn list_devices(
        &self,
        by: &Actor,
        filter: DeviceFilter,
        page: PageRequest,
    ) -> Result<Page<Device>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.devices(scope, &filter, &page)).await
    }

    /// Shows a device, its requests, reports and history.
    pub async fn device(&self, by: &Actor, id: DeviceId) -> Result<DeviceView, ServiceError> {
        let scope = by.scope();
        self.core
            .read(move |reader| {
                let device =
                    reader.device(scope, id)?.ok_or_else(|| ServiceError::not_found("device", id))?;
                let requests = reader.requests(scope, Some(id), MAX_REQUESTS)?;
                let reports = reader.reports(id, SHOWN_REPORTS)?;
                let filter = AuditFilter { subjects: vec![Subject::Device(id)], ..AuditFilter::default() };
                let history = reader.audit(scope, &filter, &PageRequest::default())?.items;
                Ok::<_, ServiceError>(DeviceView { device, requests, reports, history })
            })
            .await
    }

    /// Returns the device of a claim, after creating it if it never made a request, so that a device can be
    /// disabled or given a reset ticket before it is seen.
    pub async fn device_of_claim(&self, by: &Actor, claim: ClaimId) -> Result<Device, ServiceError> {
        let now = self.core.now();
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                tx.lock_claim(claim)?;
                let claim =
                    tx.claim(by.scope(), claim)?.ok_or_else(|| ServiceError::not_found("claim", claim))?;
                if let Some(device) = tx.device_of_claim(claim.id)? {
                    return Ok(device);
                }
                if claim.released_at.is_some() {
                    return Err(ServiceError::not_found("claim", claim.id));
                }
                let device = Device::new(this.core.ids.device(now), claim.id, claim.customer, now);
                tx.save_device(&device)?;
                Ok(device)
            })
            .await
    }

    /// Lists the requests that wait for approval, oldest first; at most 1,000.
    pub async fn list_requests(&self, by: &Actor) -> Result<Vec<ApprovalRequest>, ServiceError> {
        let scope = by.scope();
        self.core.read(move |reader| reader.requests(scope, None, MAX_REQUESTS)).await
    }

    /// Approves exactly this key with the hardware that it was shown with.
    pub async fn approve_request(&self, by: &Actor, id: DeviceId, key: Sha256) -> Result<(), ServiceError> {
        let now = self.core.now();
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let device = device_for_update(tx, &by, id)?;
                let request = approval_request(tx, id, key)?;
                tx.approve_request(id, key, now)?;
                let detail = json!({"key": key, "replaced": request.replaced});
                this.note_device(tx, &by, Action::RequestApproved, &device, detail);
                Ok(())
            })
            .await
    }

    /// Refuses this key with the hardware that it was shown with.
    pub async fn refuse_request(&self, by: &Actor, id: DeviceId, key: Sha256) -> Result<(), ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let mut device = device_for_update(tx, &by, id)?;
                let request = approval_request(tx, id, key)?;
                tx.delete_request(id, key)?;
                if tx.requests(by.scope(), Some(id), 1)?.is_empty() {
                    device.state = device.state.refuse();
                    tx.save_device(&device)?;
                }
                let detail = json!({"key": key, "replaced": request.replaced});
                this.note_device(tx, &by, Action::RequestRefused, &device, detail);
                Ok(())
            })
            .await
    }

    /// Disables a device: all its requests are answered with this message.
    pub async fn disable_device(
        &self,
        by: &Actor,
        id: DeviceId,
        message: Option<String>,
    ) -> Result<Device, ServiceError> {
        check_message(message.as_deref()).map_err(|rule| ServiceError::invalid("message", rule))?;
        let now = self.core.now();
        let detail = json!({"message": message});
        self.change_device(by, id, Action::DeviceDisabled, detail, move |device| {
            device.state = device.state.clone().disable(message.clone(), now)?;
            Ok(())
        })
        .await
    }

    /// Enables a device again, in its previous state.
    pub async fn enable_device(&self, by: &Actor, id: DeviceId) -> Result<Device, ServiceError> {
        self.change_device(by, id, Action::DeviceEnabled, json!({}), |device| {
            device.state = device.state.clone().enable()?;
            Ok(())
        })
        .await
    }

    /// Releases a device permanently.
    pub async fn deprovision_device(&self, by: &Actor, id: DeviceId) -> Result<Device, ServiceError> {
        let now = self.core.now();
        self.change_device(by, id, Action::DeviceDeprovisioned, json!({}), move |device| {
            device.state = device.state.clone().deprovision(now)?;
            Ok(())
        })
        .await
    }

    /// Asks a device to enroll again; each check-in repeats this until it has.
    pub async fn request_re_enrollment(&self, by: &Actor, id: DeviceId) -> Result<Device, ServiceError> {
        let now = self.core.now();
        self.change_device(by, id, Action::ReEnrollmentRequested, json!({}), move |device| {
            device.request_re_enrollment(now)
        })
        .await
    }

    /// Mints a one-time ticket that lets this device enroll with a new key after an authorised factory
    /// reset. Its older tickets become invalid. The secret is returned only this once.
    pub async fn mint_reset_ticket(
        &self,
        by: &Actor,
        id: DeviceId,
    ) -> Result<(Secret, Timestamp), ServiceError> {
        let secret = entropy::token_text(&*self.core.entropy, RESET_TICKET_PREFIX)?;
        let now = self.core.now();
        let expires_at = now.plus(self.core.settings.reset_ticket_lifetime);
        let ticket = ResetTicket {
            digest: Sha256::of(secret.expose().as_bytes()),
            device: id,
            created_at: now,
            expires_at,
        };
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let device = device_for_update(tx, &by, id)?;
                tx.insert_reset_ticket(ticket)?;
                let detail = json!({"expires_at": expires_at});
                this.note_device(tx, &by, Action::ResetTicketMinted, &device, detail);
                Ok::<_, ServiceError>(())
            })
            .await?;
        Ok((secret, expires_at))
    }

    async fn change_device(
        &self,
        by: &Actor,
        id: DeviceId,
        action: Action,
        detail: Value,
        change: impl Fn(&mut Device) -> Result<(), crate::domain::devices::device::IllegalTransition>
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> Result<Device, ServiceError> {
        let (this, by) = (self.clone(), by.clone());
        self.core
            .store
            .write(move |tx| {
                let mut device = device_for_update(tx, &by, id)?;
                change(&mut device)?;
                tx.save_device(&device)?;
                this.note_device(tx, &by, action, &device, detail.clone());
                Ok(device)
            })
            .await
    }

    fn note_device(&self, tx: &mut Tx, by: &Actor, action: Action, device: &Device, detail: Value) {
        self.core.note(tx, by, action, Subject::Device(device.id), Some(device.customer), detail);
    }
}

fn device_for_update(tx: &mut Tx, by: &Actor, id: DeviceId) -> Result<Device, ServiceError> {
    tx.device_for_update(by.scope(), id)?.ok_or_else(|| ServiceError::not_found("device", id))
}

fn approval_request(tx: &mut Tx, id: DeviceId, key: Sha256) -> Result<ApprovalRequest, ServiceError> {
    tx.request(id, key)?.ok_or_else(|| ServiceError::not_found("request with key", key))
}
