//! Services: what the server does for devices and administrators, whoever calls.
//!
//! Routes and the command line call these methods and nothing below them. A method takes parsed
//! values (or, where exact bytes count, the bytes), decides with [`crate::domain`], keeps what
//! must last with [`crate::store`], and answers only when that is on disk.
//!
//! * devices: [`Services::hello`], [`Services::prove`] (`handshake/`), [`Services::report`],
//!   [`Services::check_in`] (`managed.rs`);
//! * administrators: one file for each kind of thing, each method with an
//!   [`Actor`](crate::domain::actor::Actor) that the audit trail names and whose scope the store
//!   applies;
//! * whoever signs in: `sign_in/`, which makes a [`Principal`](crate::domain::access::Principal) of an
//!   API key or an access token, and an access token of what a service account signed.
//!
//! To add an operation: its method in the file of its thing, its statements in the store's file
//! of the same name, its [`Action`](crate::domain::audit::Action), a test for each refusal.

mod accounts;
mod artifacts;
mod audit;
mod claiming;
mod claims;
mod companies;
mod company_changes;
mod configurations;
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
mod lookalikes;
mod managed;
mod operations;
mod patience;
mod readiness;
mod reselling;
mod retention;
mod room;
mod sign_in;
mod signer;
mod tokens;
mod uploads;

/// What lists are asked by, and answered with.
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
pub use managed::DeviceIdentityCert;
pub use reselling::ResellerClaims;
pub use sign_in::{OAuthError, OAuthRefusal, SignIn, TokenAnswer, TokenRequest};
pub use signer::{CertifiedEnrollment, Signer, SignerError, TrustBundle};
pub use tokens::NewToken;
pub use uploads::{MAX_OPEN_UPLOADS, NewUpload, UPLOAD_KEPT, UploadPart, UploadProgress, UploadTurn};

use crate::{
    clock::Clock,
    domain::{admission::Refusal, ids::IdSource},
    entropy::{Entropy, EntropyError},
    store::Store,
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

/// What an operator can choose about the services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Names of the server; the first is the main one.
    pub names: Vec<String>,
    /// Where devices and clients reach it, if that is known.
    pub url: Option<Url>,
    /// Where artifacts lie, each under its digest.
    pub artifact_directory: PathBuf,
    /// How long a challenge can be answered.
    pub ticket_lifetime: Duration,
    /// How long a payload can be installed.
    pub payload_lifetime: Duration,
    /// How long after registration the first key is bound without asking anybody.
    pub activation_window: Duration,
    /// How long a reset ticket can be used.
    pub reset_ticket_lifetime: Duration,
    /// How often managed devices ask for news, in seconds.
    pub check_in_interval_s: u32,
    /// When a device may ask again that an administrator has to let in, in seconds.
    pub retry_waiting_s: u32,
    /// When a device may ask again that came at a busy moment, in seconds.
    pub retry_busy_s: u32,
    /// How many unfinished operations a company may have.
    pub unfinished_operations: u64,
    /// Bytes of operations that a reseller or vendor may have.
    pub operations_bytes: u64,
    /// How long operations are kept after their end.
    pub operations_kept: Duration,
    /// How long what devices reported is kept.
    pub reports_kept: Duration,
    /// How long claims are kept after their end, with their devices.
    pub claims_kept: Duration,
    /// How long entries of the audit trail are kept in the database; for good if absent.
    pub audit_kept: Option<Duration>,
    /// Where they go then.
    pub audit_directory: PathBuf,
    /// Bytes of artifacts and uploads that a customer may have.
    pub company_bytes: u64,
    /// Bytes of the disk that uploads leave free.
    pub reserved_bytes: u64,
    /// The manufacturers whose TPMs are believed.
    pub tpm_roots: TpmRoots,
    /// The models of ChromeOS devices that can be claimed.
    pub models: Arc<Models>,
}

impl Settings {
    /// Whether the server goes by this name or address; an IPv6 address may stand in brackets.
    #[must_use]
    pub fn is_own_host(&self, host: &str) -> bool {
        let named = self.names.iter().map(String::as_str).chain(self.url.as_ref().and_then(Url::host_str));
        let bare = |host: &str| host.trim_matches(['[', ']']).to_ascii_lowercase();
        named.map(bare).any(|name| name == bare(host))
    }

    /// The defaults, with artifacts in this directory.
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
            operations_bytes: 1 << 30,
            operations_kept: Duration::from_hours(30 * 24),
            tpm_roots: TpmRoots::default(),
            models: Arc::new(Models::built_in().clone()),
        }
    }
}

/// All services. Cheap to clone; every clone is the same server.
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
    /// Which operation of each company was gone on with last.
    operation_turns: Mutex<BTreeMap<CompanyId, OperationId>>,
    /// Wakes whoever works on operations.
    operation_waits: tokio::sync::Notify,
    /// Held by whoever makes a key of a service account.
    key_making: tokio::sync::Mutex<()>,
    /// Whose turn it is to work on which upload.
    turns: uploads::Turns,
    /// What arrives of uploads.
    arriving: room::Arriving,
    readiness: readiness::Readiness,
}

impl Services {
    /// Wires the services.
    ///
    /// # Errors
    /// [`EntropyError`] if there is no randomness to start with.
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
            arriving: room::Arriving::default(),
            readiness: readiness::Readiness::default(),
        })))
    }

    /// What the operator chose.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Writes that wait for the database, for the metrics.
    #[must_use]
    pub fn waiting_writes(&self) -> usize {
        self.0.store.waiting_writes()
    }

    /// Waits until everything that was accepted is on disk, and takes nothing more.
    pub async fn close(&self) {
        self.0.store.close().await;
    }

    /// The present time, as services see it.
    #[must_use]
    pub fn present(&self) -> Timestamp {
        self.now()
    }

    /// A secret that all servers of these keys share, for page tokens.
    #[must_use]
    pub fn page_token_secret(&self) -> [u8; 32] {
        self.0.signer.page_token_secret()
    }

    /// What a device needs to trust this server, and the roots that follow the one that it knows.
    ///
    /// # Errors
    /// [`ServiceError::Signer`] if a file of it is not there.
    pub fn trust_bundle(&self, known: u64) -> Result<TrustBundle, ServiceError> {
        Ok(self.0.signer.trust_bundle(known)?)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// The refusal as it travels, with the time after which asking again makes sense.
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
