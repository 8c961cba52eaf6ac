//! Services: the server's operations for devices and administrators, independent of the caller.
//!
//! Routes and the command line call these methods and nothing below them. A method takes parsed values (or
//! raw bytes, if the exact bytes matter), decides with [`crate::domain`], stores lasting changes with
//! [`crate::store`], and answers only when they are on disk.
//!
//! * devices: [`Services::hello`], [`Services::prove`] (`handshake/`), [`Services::report`],
//!   [`Services::check_in`] (`managed_devices.rs`);
//! * administrators: one file for each kind of object, each method with an
//!   [`Actor`](crate::domain::actor::Actor) that the audit trail names and whose scope the store
//!   applies;
//! * sign-in: `sign_in/`, which turns an API key or an access token into a
//!   [`Principal`](crate::domain::access::Principal), and a service account's assertion into an access token.
//!
//! To add an operation: its method in the file of its object, its statements in the store's file of the
//! same name, its [`Action`](crate::domain::audit::Action), a test for each refusal.

mod accounts;
mod artifacts;
mod audit;
mod claims;
mod companies;
mod company_changes;
mod configurations;
mod confusable_names;
mod credentials;
mod devices;
mod doctor;
mod dpcs;
mod error;
mod export;
mod factory;
mod factory_records;
mod handshake;
mod import;
mod item_results;
mod item_spool;
mod key_file;
mod links;
mod managed_devices;
mod operations;
mod quota;
mod readiness;
mod register_claims;
mod reseller_claims;
mod retention;
mod retry;
mod sign_in;
mod signer;
mod tokens;
mod uploads;

/// Parameters and results of lists.
pub use crate::store::{
    AccountsOf, ArtifactsOf, AuditFilter, ClaimFilter, CompanyFilter, DeviceFilter, DoneItem, FactoryFilter,
    KeysOf, MAX_ROWS, Page, PageRequest, StoredReport,
};
pub use accounts::{AccountChange, NewAccount, NewHolder};
pub use artifacts::ArtifactUpload;
pub use claims::{ClaimView, NewClaim};
pub use companies::NewCompany;
pub use company_changes::CompanyChange;
pub use configurations::ConfigurationChange;
pub use credentials::NewApiKey;
pub use devices::{DeviceEvent, DeviceView, EventKind};
pub use doctor::{Finding, Severity};
pub use error::ServiceError;
pub use export::{ClaimExport, ClaimsForm, ExportedClaim};
pub use factory::{Claimed, DeviceStanding, MAX_STATION_DEVICES, Registered, Registration};
pub use handshake::{Guess, Heard, HelloRequest, Origin, Proof};
pub use import::{Import, ImportDefaults, ImportSummary, RowOutcome, RowResult};
pub use item_spool::ItemSpool;
pub use key_file::{ServiceAccountKeyFile, base_url};
pub use managed_devices::DeviceIdentityCert;
pub use reseller_claims::ResellerClaims;
pub use sign_in::{OAuthError, OAuthRefusal, SignIn, TokenAnswer, TokenRequest};
pub use signer::{CertifiedEnrollment, Signer, SignerError, TrustBundle};
pub use tokens::NewToken;
pub use uploads::{MAX_OPEN_UPLOADS, NewUpload, UPLOAD_KEPT, UploadPart, UploadProgress, UploadTurn};

use crate::{
    clock::Clock,
    domain::{admission::Refusal, ids::IdSource},
    entropy::{Entropy, EntropyError},
    store::{Reader, Store, StoreError},
    tpm::TpmRoots,
};
use std::{
    borrow::Cow,
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use unbox_common::{
    ids::{CompanyId, OperationId},
    models::Models,
    protocol::problem::Problem,
    refusal::Disposition,
    timestamp::Timestamp,
};
use url::Url;

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

/// All services. Cloning is cheap; every clone is the same server.
#[derive(Clone)]
pub struct Services(Arc<Parts>);

struct Parts {
    store: Store,
    signer: Arc<dyn Signer>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ids: Arc<IdSource>,
    settings: Settings,
    recent: configurations::Recent,
    /// The operation of each company that was continued last.
    operation_turns: Mutex<BTreeMap<CompanyId, OperationId>>,
    /// Wakes the worker of operations.
    operation_waits: tokio::sync::Notify,
    /// Held while a key of a service account is made.
    key_making: tokio::sync::Mutex<()>,
    /// The turns of requests that work on uploads.
    turns: uploads::Turns,
    /// The open streams of bytes, by customer.
    open_streams: quota::OpenStreams,
    readiness: readiness::Readiness,
}

impl Services {
    /// Connects the services.
    ///
    /// # Errors
    /// [`EntropyError`] if there is no randomness at the start.
    pub fn new(
        store: Store,
        signer: Arc<dyn Signer>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        settings: Settings,
    ) -> Result<Self, EntropyError> {
        let mut seed = [0; 4];
        entropy.fill(&mut seed)?;
        let recent = configurations::Recent::default();
        let operation_waits = tokio::sync::Notify::new();
        let ids = Arc::new(IdSource::new(u32::from_ne_bytes(seed)));
        let key_making = tokio::sync::Mutex::default();
        Ok(Self(Arc::new(Parts {
            store,
            signer,
            clock,
            entropy,
            ids,
            settings,
            recent,
            operation_turns: Mutex::default(),
            operation_waits,
            key_making,
            turns: uploads::Turns::default(),
            open_streams: quota::OpenStreams::default(),
            readiness: readiness::Readiness::default(),
        })))
    }

    /// Returns the operator's settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Returns the number of writes that wait for the database, for the metrics.
    #[must_use]
    pub fn waiting_writes(&self) -> usize {
        self.0.store.waiting_writes()
    }

    /// Waits until everything that was accepted is on disk, and accepts nothing more.
    pub async fn close(&self) {
        self.0.store.close().await;
    }

    /// Returns the present time, as services see it.
    #[must_use]
    pub fn current_time(&self) -> Timestamp {
        self.now()
    }

    /// Returns a secret for page tokens, shared by all servers with these keys.
    #[must_use]
    pub fn page_token_secret(&self) -> [u8; 32] {
        self.0.signer.page_token_secret()
    }

    /// Returns the files that a device needs to trust this server, and the roots after the one that it
    /// knows.
    ///
    /// # Errors
    /// [`ServiceError::Signer`] if one of the files is missing.
    pub fn trust_bundle(&self, known: u64) -> Result<TrustBundle, ServiceError> {
        Ok(self.0.signer.trust_bundle(known)?)
    }

    /// Reads from the database.
    async fn read<T, E>(
        &self,
        job: impl FnOnce(&mut Reader) -> Result<T, E> + Send + 'static,
    ) -> Result<T, ServiceError>
    where
        T: Send + 'static,
        E: From<StoreError> + Into<ServiceError> + Send + 'static,
    {
        self.0.store.read(job).await.map_err(Into::into)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Returns the refusal as it is sent, with the time after which the device may ask again.
    fn refuse(&self, refusal: Refusal) -> ServiceError {
        let mut problem = Problem::new(refusal.kind).message(refusal.message);
        problem.detail = refusal.detail.map(Cow::into_owned);
        problem.retry_after_s = match refusal.kind.disposition() {
            Disposition::Retry => Some(self.settings().retry_busy_s),
            Disposition::WaitForAdministrator => Some(self.settings().retry_waiting_s),
            Disposition::Fatal => None,
        };
        problem.into()
    }
}
