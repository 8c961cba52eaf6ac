//! The ground that every context stands on: the database, the clock, ids, randomness, the keys, the settings,
//! and the audit trail.

use super::{ServiceError, Signer};
use crate::{
    clock::Clock,
    domain::{
        devices::{admission::Refusal, device::Device},
        ids::IdSource,
        tenancy::{
            actor::Actor,
            audit::{Action, Event, Subject},
        },
    },
    entropy::Entropy,
    store::{Reader, Store, StoreError, Tx},
    tpm::TpmRoots,
};
use serde_json::{Value, json};
use std::{borrow::Cow, ops::Deref, path::PathBuf, sync::Arc, time::Duration};
use unbox_common::{
    ids::{CompanyId, DeviceId},
    models::Models,
    protocol::problem::Problem,
    refusal::Disposition,
    timestamp::Timestamp,
};
use url::Url;

/// The actor in entries about devices that have not proved their identity.
pub(super) const A_DEVICE: &str = "device";

/// The ground. Cloning is cheap; every clone is the same server.
#[derive(Clone)]
pub(super) struct Core(Arc<Parts>);

/// The parts of the ground.
pub(super) struct Parts {
    pub(super) store: Store,
    pub(super) signer: Arc<dyn Signer>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) ids: Arc<IdSource>,
    pub(super) settings: Settings,
}

impl Deref for Core {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Core {
    pub(super) fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Returns the time before which something that is kept for so long is old.
    pub(super) fn cutoff(&self, kept: Duration) -> Timestamp {
        let kept = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
        Timestamp(self.now().0.saturating_sub(kept))
    }

    /// Reads from the database.
    pub(super) async fn read<T, E>(
        &self,
        job: impl FnOnce(&mut Reader) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        E: From<StoreError> + Into<ServiceError> + Send + 'static,
    {
        self.store.read(job).await.map_err(Into::into)
    }

    /// Records an administrator's action, in the transaction that performs it.
    pub(super) fn note(
        &self,
        tx: &mut Tx,
        by: &Actor,
        action: Action,
        subject: Subject,
        customer: Option<CompanyId>,
        detail: Value,
    ) {
        let at = self.now();
        let event = Event {
            at,
            actor: by.name().to_owned(),
            company: by.company(),
            action,
            subject,
            customer,
            detail,
        };
        tx.append(self.ids.next(at), event);
    }

    /// Counts a refusal in the audit trail, in the background. Nobody waits for it, and under load it is
    /// the first thing to be dropped: an unknown client must not be able to make others wait.
    pub(super) fn note_refusal(
        &self,
        now: Timestamp,
        subject: Subject,
        customer: Option<CompanyId>,
        refusal: &Refusal,
        detail: Value,
    ) {
        let event = refusal_event(now, subject, customer, refusal, detail);
        let ids = Arc::clone(&self.ids);
        self.store.write_soon(move |tx| {
            tx.append(ids.next(now), event.clone());
            Ok(())
        });
    }

    /// Returns the refusal as it is sent, with the time after which the device may ask again.
    pub(super) fn refuse(&self, refusal: Refusal) -> ServiceError {
        let mut problem = Problem::new(refusal.kind).message(refusal.message);
        problem.detail = refusal.detail.map(Cow::into_owned);
        problem.retry_after_s = match refusal.kind.disposition() {
            Disposition::Retry => Some(self.settings.retry_busy_s),
            Disposition::WaitForAdministrator => Some(self.settings.retry_waiting_s),
            Disposition::Fatal => None,
        };
        problem.into()
    }
}

/// Builds the event of a refusal.
pub(super) fn refusal_event(
    at: Timestamp,
    subject: Subject,
    customer: Option<CompanyId>,
    refusal: &Refusal,
    detail: Value,
) -> Event {
    let mut detail = detail;
    if let Value::Object(fields) = &mut detail {
        fields.insert("kind".to_owned(), json!(refusal.kind));
        if let Some(said) = &refusal.detail {
            fields.insert("detail".to_owned(), json!(said));
        }
    }
    let (actor, action) = (A_DEVICE.to_owned(), Action::Refused);
    Event { at, actor, company: None, action, subject, customer, detail }
}

/// Builds the event of a device's action.
pub(super) fn device_event(
    at: Timestamp,
    action: Action,
    id: DeviceId,
    device: &Device,
    detail: Value,
) -> Event {
    Event {
        at,
        actor: format!("{A_DEVICE} {id}"),
        company: None,
        action,
        subject: Subject::Device(id),
        customer: Some(device.customer),
        detail,
    }
}

/// The operator's settings for the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Names of the server; the first is the main one.
    pub names: Vec<String>,
    /// The URL at which devices and clients reach the server, if known.
    pub url: Option<Url>,
    /// The directory of the artifacts, which are named by their digest.
    pub artifact_directory: PathBuf,
    /// The time in which a challenge may be answered.
    pub ticket_lifetime: Duration,
    /// The time in which a payload may be installed.
    pub payload_lifetime: Duration,
    /// The time after registration in which the first key is bound without approval.
    pub activation_window: Duration,
    /// The lifetime of a reset ticket.
    pub reset_ticket_lifetime: Duration,
    /// The interval at which managed devices check in, in seconds.
    pub check_in_interval_s: u32,
    /// The time after which a device that waits for approval may ask again, in seconds.
    pub retry_waiting_s: u32,
    /// The time after which a device that met a busy server may ask again, in seconds.
    pub retry_busy_s: u32,
    /// The maximum number of unfinished operations of a company.
    pub unfinished_operations: u64,
    /// The maximum number of configurations of a customer.
    pub configurations: u64,
    /// The maximum number of accounts of a company.
    pub accounts: u64,
    /// The maximum number of bytes of operations of a reseller or vendor.
    pub operations_bytes: u64,
    /// The time for which operations are kept after their end.
    pub operations_kept: Duration,
    /// The time for which reports of devices are kept.
    pub reports_kept: Duration,
    /// The time for which claims and their devices are kept after the claims' end.
    pub claims_kept: Duration,
    /// The time for which audit entries are kept in the database; unlimited if absent.
    pub audit_kept: Option<Duration>,
    /// The directory of older audit entries.
    pub audit_directory: PathBuf,
    /// The maximum number of bytes of artifacts and uploads of a customer.
    pub company_bytes: u64,
    /// The bytes of the disk that uploads leave free.
    pub reserved_bytes: u64,
    /// The TPM manufacturers that are trusted.
    pub tpm_roots: TpmRoots,
    /// The models of ChromeOS devices that can be claimed.
    pub models: Arc<Models>,
}

impl Settings {
    /// Returns true if this is a name or address of the server; an IPv6 address may be in brackets.
    #[must_use]
    pub fn is_own_host(&self, host: &str) -> bool {
        let named = self.names.iter().map(String::as_str).chain(self.url.as_ref().and_then(Url::host_str));
        let bare = |host: &str| host.trim_matches(['[', ']']).to_ascii_lowercase();
        named.map(bare).any(|name| name == bare(host))
    }

    /// Returns the defaults, with artifacts in this directory.
    #[must_use]
    pub fn new(artifact_directory: PathBuf) -> Self {
        Self {
            names: Vec::new(),
            url: None,
            audit_directory: artifact_directory.join("../audit"),
            artifact_directory,
            reports_kept: Duration::from_hours(365 * 24),
            claims_kept: Duration::from_hours(3 * 365 * 24),
            audit_kept: None,
            company_bytes: 32 << 30,
            reserved_bytes: 1 << 30,
            ticket_lifetime: Duration::from_mins(2),
            payload_lifetime: Duration::from_hours(7 * 24),
            activation_window: Duration::from_hours(90 * 24),
            reset_ticket_lifetime: Duration::from_hours(7 * 24),
            check_in_interval_s: 3600,
            retry_waiting_s: 30,
            retry_busy_s: 5,
            unfinished_operations: 50,
            configurations: 1000,
            accounts: 1000,
            operations_bytes: 1 << 30,
            operations_kept: Duration::from_hours(30 * 24),
            tpm_roots: TpmRoots::default(),
            models: Arc::new(Models::built_in().clone()),
        }
    }
}
