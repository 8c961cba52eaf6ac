//! A server with one customer and one configuration, and shortcuts for tests.

use super::{TestDatabase, TestSigner};
use std::{io::Cursor, sync::Arc};
use unbox_common::{
    identity::{Identifier, IdentifierKind},
    ids::{CompanyId, ConfigurationId},
    matching::IdentifierSet,
    protocol::{latest::ProofKind, problem::Problem},
    refusal::RefusalKind,
    timestamp::Timestamp,
};
use unbox_server::{
    clock::FakeClock,
    domain::{
        claims::claim::{Claim, Metadata},
        tenancy::{actor::Actor, company::CompanyKind},
    },
    entropy::SeededEntropy,
    service::{
        ImportDefaults, ImportSummary, NewClaim, NewCompany, RowResult, ServiceError, Services, Settings,
    },
};

/// The smallest configuration.
pub const MINIMAL_DOCUMENT: &str =
    r#"{"contact":{"contact_email":"it@acme.example","contact_phone":"+41 44 000 00 00"}}"#;

/// The time at which every test begins.
pub const START: Timestamp = Timestamp(1_795_219_200_000);

/// A server with one customer.
pub struct World {
    pub db: TestDatabase,
    pub services: Services,
    pub clock: Arc<FakeClock>,
    pub signer: Arc<TestSigner>,
    pub by: Actor,
    pub customer: CompanyId,
    pub configuration: ConfigurationId,
}

impl World {
    /// Makes a world with Acme, whose claims get the configuration Kiosk unless they name another.
    pub async fn new(db: TestDatabase) -> Self {
        let clock = Arc::new(FakeClock::at(START));
        let signer = Arc::new(TestSigner::new(1));
        let names = vec!["enroll.example.com".to_owned(), "2001:db8::7".to_owned()];
        let settings = Settings { names, ..Settings::new(db.directory.path().join("artifacts")) };
        let entropy = Arc::new(SeededEntropy::new(1));
        let services =
            Services::new(db.store.clone(), signer.clone(), clock.clone(), entropy, settings).unwrap();
        let by = Actor::operator("test");
        let customer = services
            .tenancy
            .create_company(&by, NewCompany::new(CompanyKind::Customer, "Acme"))
            .await
            .unwrap()
            .id;
        let configuration = services
            .catalogue
            .create_configuration(&by, customer, "Kiosk", MINIMAL_DOCUMENT)
            .await
            .unwrap()
            .id;
        services.catalogue.set_default_configuration(&by, customer, Some(configuration)).await.unwrap();
        Self { db, services, clock, signer, by, customer, configuration }
    }

    /// Starts another server on the same database.
    pub fn another_server(&self, seed: u64) -> Services {
        self.server_of(seed, self.services.settings().clone())
    }

    /// Starts another server on the same database, with other settings.
    pub fn server_with(&self, seed: u64, change: impl FnOnce(&mut Settings)) -> Services {
        let mut settings = self.services.settings().clone();
        change(&mut settings);
        self.server_of(seed, settings)
    }

    /// Starts another server on the same database, with another directory of artifacts.
    pub fn server_with_artifacts_in(&self, name: &str) -> Services {
        let artifact_directory = self.db.directory.path().join(name);
        self.server_of(9, Settings { artifact_directory, ..self.services.settings().clone() })
    }

    fn server_of(&self, seed: u64, settings: Settings) -> Services {
        let (signer, clock) = (self.signer.clone(), self.clock.clone());
        Services::new(self.db.store.clone(), signer, clock, Arc::new(SeededEntropy::new(seed)), settings)
            .unwrap()
    }

    pub async fn other_customer(&self, name: &str) -> CompanyId {
        self.services
            .tenancy
            .create_company(&self.by, NewCompany::new(CompanyKind::Customer, name))
            .await
            .unwrap()
            .id
    }

    /// Claims the Lenovo with this serial number for Acme.
    pub async fn claim(&self, serial: &str, proof: ProofKind) -> Claim {
        self.claim_for(self.customer, serial, proof).await.unwrap()
    }

    pub async fn claim_for(
        &self,
        customer: CompanyId,
        serial: &str,
        proof: ProofKind,
    ) -> Result<Claim, ServiceError> {
        self.services.claims.create_claim(&self.by, new_claim(customer, serial, proof)).await
    }

    /// Imports a file for Acme.
    pub async fn import(&self, file: &str) -> (Result<ImportSummary, ServiceError>, Vec<RowResult>) {
        let mut results = Vec::new();
        let defaults = ImportDefaults { customer: Some(self.customer), ..ImportDefaults::default() };
        let csv = Cursor::new(file.to_owned().into_bytes());
        let summary =
            self.services.claims.import_claims(&self.by, defaults, csv, |row| results.push(row)).await;
        (summary, results)
    }
}

/// Makes a claim on the Lenovo with this serial number.
pub fn new_claim(customer: CompanyId, serial: &str, proof: ProofKind) -> NewClaim {
    NewClaim {
        customer,
        reseller: None,
        configuration: None,
        proof,
        sets: vec![serial_set(serial)],
        order: None,
        metadata: Metadata::default(),
        protected: false,
    }
}

/// Returns the set that claims the Lenovo with this serial number.
pub fn serial_set(serial: &str) -> IdentifierSet {
    let members = [
        (IdentifierKind::SerialNumber, serial),
        (IdentifierKind::Manufacturer, "Lenovo"),
        (IdentifierKind::Model, "20QES0XX00"),
    ];
    IdentifierSet::new(members.map(|(kind, value)| Identifier::parse(kind, value).unwrap())).unwrap()
}

/// Returns the document of a refusal; any other result fails the test.
#[track_caller]
pub fn refusal<T>(result: Result<T, ServiceError>, kind: RefusalKind) -> Problem {
    match result {
        Err(ServiceError::Refused(problem)) if problem.kind == kind => *problem,
        Err(other) => panic!("expected {kind}, found {other:?}"),
        Ok(_) => panic!("expected {kind}, found success"),
    }
}
