//! Services: the server's operations for devices and administrators, independent of the caller, in one folder
//! for each context.
//!
//! | context | what it is about |
//! |---|---|
//! | [`Tenancy`] | organisations, their links, accounts and credentials, signing in, the audit trail |
//! | [`Catalogue`] | DPCs, artifacts and uploads, configurations |
//! | [`Factory`] | the records of factories, and the keys that claims get from there |
//! | [`Claims`] | claims, one by one, from files and in long-running operations |
//! | [`Devices`] | handshakes, managed devices, approvals, pre-provisioning tokens |
//! | [`Upkeep`] | the server itself: readiness, retention, the doctor |
//!
//! Routes and the command line call their methods and nothing below them. A method takes parsed values (or raw
//! bytes, if the exact bytes matter) and an [`Actor`](crate::domain::tenancy::actor::Actor) that the audit trail names
//! and whose scope the store applies; it decides with [`crate::domain`], stores lasting changes with
//! [`crate::store`], and answers only when they are on disk.
//!
//! A context may call those above it in the table, by their methods alone. All of them stand on `core.rs`.
//!
//! To add an operation: its method in the file of its object, its statements in the store's file of the
//! same name, its [`Action`](crate::domain::tenancy::audit::Action), a test for each refusal.

mod catalogue;
mod claims;
mod core;
mod devices;
mod error;
mod factory;
mod retry;
mod signer;
mod tenancy;
mod upkeep;

pub use self::core::Settings;
/// Parameters and results of lists.
pub use crate::store::{
    AccountsOf, ArtifactsOf, AuditFilter, ClaimFilter, CompanyFilter, DeviceFilter, DoneItem, FactoryFilter,
    KeysOf, MAX_ROWS, Page, PageRequest, StoredReport,
};
pub use catalogue::{
    ArtifactUpload, Catalogue, ConfigurationChange, MAX_OPEN_UPLOADS, NewUpload, UPLOAD_KEPT, UploadPart,
    UploadProgress, UploadTurn,
};
pub use claims::{
    ClaimExport, ClaimView, Claims, ClaimsForm, ExportedClaim, Import, ImportDefaults, ImportSummary,
    ItemSpool, NewClaim, ResellerClaims, RowOutcome, RowResult,
};
pub use devices::{
    DeviceEvent, DeviceIdentityCert, DeviceView, Devices, EventKind, Guess, Heard, HelloRequest, NewToken,
    Origin, Proof,
};
pub use error::ServiceError;
pub use factory::{Claimed, DeviceStanding, Factory, MAX_STATION_DEVICES, Registered, Registration};
pub use signer::{CertifiedEnrollment, Signer, SignerError, TrustBundle};
pub use tenancy::{
    AccountChange, CompanyChange, NewAccount, NewApiKey, NewCompany, NewHolder, OAuthError, OAuthRefusal,
    ServiceAccountKeyFile, SignIn, Tenancy, TokenAnswer, TokenRequest, base_url,
};
pub use upkeep::{Finding, Severity, Upkeep};

use self::core::{Core, Parts};
use crate::{
    clock::Clock,
    domain::ids::IdSource,
    entropy::{Entropy, EntropyError},
    store::Store,
};
use std::sync::Arc;
use unbox_common::timestamp::Timestamp;

/// All services. Cloning is cheap; every clone is the same server.
#[derive(Clone)]
pub struct Services {
    core: Core,
    /// Organisations, accounts and credentials.
    pub tenancy: Tenancy,
    /// DPCs, artifacts and configurations.
    pub catalogue: Catalogue,
    /// The records of factories.
    pub factory: Factory,
    /// Claims.
    pub claims: Claims,
    /// Devices.
    pub devices: Devices,
    /// The server itself.
    pub upkeep: Upkeep,
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
        let ids = Arc::new(IdSource::new(u32::from_ne_bytes(seed)));
        let core = Core::new(Parts { store, signer, clock, entropy, ids, settings });
        let tenancy = Tenancy::new(core.clone());
        let catalogue = Catalogue::new(core.clone());
        Ok(Self {
            factory: Factory::new(core.clone()),
            claims: Claims::new(core.clone(), tenancy.clone(), catalogue.clone()),
            devices: Devices::new(core.clone(), catalogue.clone()),
            upkeep: Upkeep::new(core.clone(), catalogue.clone()),
            core,
            tenancy,
            catalogue,
        })
    }

    /// Returns the operator's settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// Returns the number of writes that wait for the database, for the metrics.
    #[must_use]
    pub fn waiting_writes(&self) -> usize {
        self.core.store.waiting_writes()
    }

    /// Waits until everything that was accepted is on disk, and accepts nothing more.
    pub async fn close(&self) {
        self.core.store.close().await;
    }

    /// Returns the present time, as services see it.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.core.now()
    }

    /// Returns a secret for page tokens, shared by all servers with these keys.
    #[must_use]
    pub fn page_token_secret(&self) -> [u8; 32] {
        self.core.signer.page_token_secret()
    }

    /// Returns the files that a device needs to trust this server, and the roots after the one that it
    /// knows.
    ///
    /// # Errors
    /// [`ServiceError::Signer`] if one of the files is missing.
    pub fn trust_bundle(&self, known: u64) -> Result<TrustBundle, ServiceError> {
        Ok(self.core.signer.trust_bundle(known)?)
    }
}
