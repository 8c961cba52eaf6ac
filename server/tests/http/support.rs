//! A server on the loopback, and devices that speak to it.

use futures_util::FutureExt as _;
use reqwest::{Client, Response};
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, pem::PemObject as _},
    version::TLS13,
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs, io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tempfile::TempDir;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_rustls::{TlsConnector, client::TlsStream};
use unbox_common::{
    bytes::{FixedBytes, Nonce},
    digest::Sha256,
    identity::{Identifier, IdentifierKind, RawIdentifier, Source},
    ids::{ClaimId, CompanyId, ConfigurationId, DeviceId},
    matching::IdentifierSet,
    protocol::{
        latest::{
            Challenge, Grant, HELLO_PATH, Hello, Outcome, PROTOCOL_VERSION, PROVE_PATH, ProofKind, Prove,
            REPORT_PATH, Report,
        },
        problem::Problem,
        transcript::transcript,
    },
    timestamp::Timestamp,
    trust::DevicePublicKey,
};
use unbox_server::{
    clock::{Clock, SystemClock},
    config::{Fragment, Settings},
    domain::{
        claims::claim::Metadata,
        tenancy::{
            account::Account,
            actor::Actor,
            company::{Company, CompanyKind},
        },
    },
    entropy::SystemEntropy,
    files,
    keys::{self, Founding, Layout},
    serve::{ServeError, Server},
    service::{ArtifactUpload, NewClaim, NewCompany, Services},
    store::{AccountsOf, AuditFilter, CompanyFilter, DeviceFilter, KeysOf, PageRequest, Store},
};

const DOCUMENT: &str =
    r#"{"contact": {"contact_email": "it@acme.example", "contact_phone": "+41 44 000 00 00"}}"#;

/// A server with one customer and one configuration, in a directory of its own.
pub(crate) struct TestServer {
    server: Server,
    layout: Layout,
    customer: CompanyId,
    configuration: ConfigurationId,
    pub(crate) operator: Actor,
    _dir: TempDir,
}

/// Everything that a refused request must leave as it is.
#[derive(Debug, PartialEq)]
pub(crate) struct Everything {
    pub(crate) devices: Vec<String>,
    granted: usize,
    companies: Vec<Company>,
    accounts: Vec<Account>,
    credentials_and_links: Vec<String>,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// A server whose settings file ends with `settings`.
    pub(crate) async fn with(settings: &str) -> Self {
        Self::with_changed(settings, |_| {}).await
    }

    /// A server with less memory for bodies than a settings file may say.
    pub(crate) async fn with_memory(bytes: usize) -> Self {
        Self::with_changed("", |settings| settings.limits.memory_bytes = bytes).await
    }

    async fn with_changed(settings: &str, change: impl FnOnce(&mut Settings)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let founding =
            Founding { names: vec!["localhost".to_owned()], url: "https://localhost:8443".to_owned() };
        keys::initialise(&layout, &founding, SystemClock.now(), &SystemEntropy::new()).unwrap();
        files::make_directory(&layout.artifacts(), files::PRIVATE_DIRECTORY).unwrap();
        let listen = "names = [\"localhost\"]\nlisten = [\"127.0.0.1:0\"]\nlisten_plain = [\"127.0.0.1:0\"]\n\
                      listen_metrics = [\"127.0.0.1:0\"]\nlisten_api = [\"127.0.0.1:0\"]\n";
        files::write_new(&layout.settings(), format!("{listen}{settings}").as_bytes(), files::PRIVATE_FILE)
            .unwrap();
        Store::create(&Store::sqlite_url(&layout.database())).await.unwrap().close().await;
        let server = started(&layout, Arc::new(SystemClock), change).await;
        let operator = Actor::operator("test");
        let services = server.services();
        let customer = services
            .tenancy
            .create_company(&operator, NewCompany::new(CompanyKind::Customer, "Acme AG"))
            .await
            .unwrap()
            .id;
        let configuration =
            services.catalogue.create_configuration(&operator, customer, "kiosk", DOCUMENT).await.unwrap().id;
        Self { server, layout, customer, configuration, operator, _dir: dir }
    }

    pub(crate) const fn customer(&self) -> CompanyId {
        self.customer
    }

    pub(crate) const fn configuration(&self) -> ConfigurationId {
        self.configuration
    }

    pub(crate) fn services(&self) -> &Services {
        self.server.services()
    }

    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) fn now() -> Timestamp {
        SystemClock.now()
    }

    pub(crate) fn reload(&self) -> Result<(), ServeError> {
        self.server.reload()
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }

    /// Stops it and starts it again, when this clock says.
    pub(crate) async fn start_again(self, clock: Arc<dyn Clock>) -> Self {
        let Self { server, layout, customer, configuration, operator, _dir: dir } = self;
        server.stop().await;
        Self {
            server: started(&layout, clock, |_| {}).await,
            layout,
            customer,
            configuration,
            operator,
            _dir: dir,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses().addresses[0]
    }

    pub(crate) fn at(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address().port())
    }

    pub(crate) fn plain_at(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.addresses().plain_addresses[0])
    }

    pub(crate) fn metrics_at(&self) -> String {
        format!("http://{}/metrics", self.server.addresses().metrics_addresses[0])
    }

    pub(crate) fn api_at(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.addresses().api_addresses[0])
    }

    pub(crate) fn trusted_root(&self) -> Vec<u8> {
        fs::read(self.layout.trusted_root()).unwrap()
    }

    /// A client without a certificate.
    pub(crate) fn stranger(&self) -> Client {
        self.client_with(None)
    }

    /// The same from another address of this machine.
    pub(crate) fn stranger_at(&self, address: &str) -> Client {
        self.client(None, Some(address.parse().unwrap()))
    }

    pub(crate) fn client_with(&self, identity: Option<&Identity>) -> Client {
        self.client(identity, None)
    }

    fn client(&self, identity: Option<&Identity>, from: Option<IpAddr>) -> Client {
        #[expect(clippy::disallowed_methods, reason = "the one place of these tests that builds a client")]
        let builder = Client::builder();
        builder
            .tls_backend_preconfigured(self.tls(identity))
            .no_proxy()
            .local_address(from)
            .resolve("localhost", self.address())
            .build()
            .unwrap()
    }

    fn tls(&self, identity: Option<&Identity>) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        let anchors = fs::read(self.layout.trusted_anchors()).unwrap();
        roots.add(CertificateDer::from_pem_slice(&anchors).unwrap()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_root_certificates(roots);
        match identity {
            None => config.with_no_client_auth(),
            Some((chain, key)) => config.with_client_auth_cert(chain.clone(), key.clone_key()).unwrap(),
        }
    }

    pub(crate) async fn metrics(&self) -> String {
        self.stranger().get(self.metrics_at()).send().await.unwrap().text().await.unwrap()
    }

    /// Whether this line is in the metrics.
    pub(crate) async fn counts(&self, line: &str) -> bool {
        self.metrics().await.lines().any(|one| one == line)
    }

    /// A TLS connection, for requests that no client library would send.
    pub(crate) async fn connect(&self) -> TlsStream<TcpStream> {
        self.try_connect().await.unwrap()
    }

    pub(crate) async fn try_connect(&self) -> io::Result<TlsStream<TcpStream>> {
        self.connect_after(b"").await
    }

    /// A TLS connection behind what a balancer sends first.
    pub(crate) async fn connect_after(&self, header: &[u8]) -> io::Result<TlsStream<TcpStream>> {
        let mut stream = TcpStream::connect(self.address()).await?;
        stream.write_all(header).await?;
        let name = ServerName::try_from("localhost").unwrap();
        TlsConnector::from(Arc::new(self.tls(None))).connect(name, stream).await
    }

    pub(crate) async fn shown_certificate(&self) -> Vec<u8> {
        let stream = self.connect().await;
        stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
    }

    pub(crate) async fn post(&self, client: &Client, path: &str, message: &impl Serialize) -> Response {
        let request = client.post(self.at(path)).header("content-type", "application/json");
        request.body(serde_json::to_vec(message).unwrap()).send().await.unwrap()
    }

    pub(crate) async fn claim(&self, device: &TestDevice) -> ClaimId {
        self.claim_with(device, Some(self.configuration)).await
    }

    pub(crate) async fn claim_without_configuration(&self, device: &TestDevice) -> ClaimId {
        self.claim_with(device, None).await
    }

    async fn claim_with(&self, device: &TestDevice, configuration: Option<ConfigurationId>) -> ClaimId {
        self.claim_by(vec![device.set()], ProofKind::Identifiers, configuration).await
    }

    /// Claims a device by its identifiers, and by a TPM with this endorsement key.
    pub(crate) async fn claim_tpm(&self, device: &TestDevice, key: &str) -> ClaimId {
        let tpm = Identifier::parse(IdentifierKind::TpmKey, key).unwrap();
        let sets = vec![device.set(), IdentifierSet::new([tpm]).unwrap()];
        self.claim_by(sets, ProofKind::Tpm, Some(self.configuration)).await
    }

    async fn claim_by(
        &self,
        sets: Vec<IdentifierSet>,
        proof: ProofKind,
        configuration: Option<ConfigurationId>,
    ) -> ClaimId {
        let new = NewClaim {
            customer: self.customer,
            reseller: None,
            configuration,
            proof,
            sets,
            order: None,
            metadata: Metadata::default(),
            protected: false,
        };
        self.services().claims.create_claim(&self.operator, new).await.unwrap().id
    }

    pub(crate) async fn artifact(&self, bytes: &'static [u8]) -> Sha256 {
        let upload = ArtifactUpload::for_all_customers("test", bytes);
        self.services().catalogue.add_artifact(&self.operator, upload).await.unwrap().sha256
    }

    /// Says hello; returns the exact bytes of it, and the challenge.
    pub(crate) async fn challenge(&self, device: &TestDevice) -> (Vec<u8>, Challenge) {
        self.challenge_to(&self.stranger(), device).await
    }

    async fn challenge_to(&self, client: &Client, device: &TestDevice) -> (Vec<u8>, Challenge) {
        let hello = device.hello();
        let challenge = self.post(client, HELLO_PATH, &hello).await.json().await.unwrap();
        (serde_json::to_vec(&hello).unwrap(), challenge)
    }

    pub(crate) async fn grant(&self, device: &TestDevice) -> Grant {
        self.grant_to(&self.stranger(), device).await
    }

    async fn grant_to(&self, client: &Client, device: &TestDevice) -> Grant {
        let (hello, challenge) = self.challenge_to(client, device).await;
        let answer = self.post(client, PROVE_PATH, &device.prove(&hello, &challenge)).await;
        answer.json().await.unwrap()
    }

    /// Claims a device and enrolls it, at another address than the one of [`TestServer::stranger`].
    pub(crate) async fn enrolled_elsewhere(&self, serial: &str) -> Enrolled {
        let device = TestDevice::new(serial);
        self.claim(&device).await;
        let grant = self.grant_to(&self.stranger_at("127.0.0.3"), &device).await;
        self.with_certificate(device, grant)
    }

    /// Claims and enrolls a device.
    pub(crate) async fn enrolled(&self, serial: &str) -> Enrolled {
        let device = TestDevice::new(serial);
        self.claim(&device).await;
        self.enroll(device).await
    }

    async fn enroll(&self, device: TestDevice) -> Enrolled {
        let grant = self.grant(&device).await;
        self.with_certificate(device, grant)
    }

    fn with_certificate(&self, device: TestDevice, grant: Grant) -> Enrolled {
        let identity = device.identity(&grant);
        Enrolled { id: grant.device_id, client: self.client_with(Some(&identity)), device, grant }
    }

    /// Enrolls once more with the same key, and completes it, so that the first is over.
    pub(crate) async fn enroll_again(&self, first: &Enrolled) -> Enrolled {
        let again = self.enroll(first.device.clone_key()).await;
        let report = Report {
            generation: again.grant.generation,
            entries: Vec::new(),
            outcome: Some(Outcome::Managed { version: 1 }),
        };
        let answer = self.post(&again.client, REPORT_PATH, &report).await;
        assert!(answer.status().is_success(), "{}", answer.status());
        again
    }

    pub(crate) async fn devices(&self) -> Vec<String> {
        let all = self.services().devices.list_devices(
            &self.operator,
            DeviceFilter::default(),
            PageRequest::default(),
        );
        all.await.unwrap().items.into_iter().map(|device| format!("{device:?}")).collect()
    }

    pub(crate) async fn everything(&self) -> Everything {
        let granted = AuditFilter {
            action: Some(unbox_server::domain::tenancy::audit::Action::Granted),
            ..AuditFilter::default()
        };
        let granted = self
            .services()
            .tenancy
            .list_audit(&self.operator, granted, PageRequest::default())
            .await
            .unwrap();
        let (services, by) = (self.services(), &self.operator);
        let companies = services.tenancy.list_companies(by, CompanyFilter::default(), PageRequest::default());
        let accounts = services.tenancy.list_accounts(by, AccountsOf::Anybody, None, PageRequest::default());
        let (companies, accounts) = (companies.await.unwrap().items, accounts.await.unwrap().items);
        let mut credentials_and_links = Vec::new();
        for account in &accounts {
            let of = KeysOf::Account(account.id);
            let keys = services.tenancy.list_api_keys(by, of, PageRequest::default()).await.unwrap().items;
            // Not when they were used.
            credentials_and_links
                .extend(keys.iter().map(|key| format!("{} {:?}", key.id, (key.expires_at, key.revoked_at))));
            let keys = services.tenancy.list_service_account_keys(by, account.id, PageRequest::default());
            credentials_and_links.extend(keys.await.unwrap().items.iter().map(|key| format!("{key:?}")));
        }
        for company in &companies {
            let links = services.tenancy.list_links(by, company, PageRequest::default()).await.unwrap().items;
            credentials_and_links
                .extend(links.iter().map(|link| format!("{} {}", company.id, link.other.id)));
        }
        Everything {
            devices: self.devices().await,
            granted: granted.items.len(),
            companies,
            accounts,
            credentials_and_links,
        }
    }
}

async fn started(layout: &Layout, clock: Arc<dyn Clock>, change: impl FnOnce(&mut Settings)) -> Server {
    let mut settings = Settings::parse(Fragment::read(&layout.settings()).unwrap(), layout.clone()).unwrap();
    change(&mut settings);
    Server::start(settings, clock, Arc::new(SystemEntropy::new())).await.unwrap()
}

/// A certificate chain and its key.
pub(crate) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A device that has not enrolled yet.
pub(crate) struct TestDevice {
    pkcs8: Vec<u8>,
    key: EcdsaKeyPair,
    identity: Vec<RawIdentifier>,
    pub(crate) nonce: Nonce,
}

/// A device that has.
pub(crate) struct Enrolled {
    pub(crate) id: DeviceId,
    pub(crate) client: Client,
    device: TestDevice,
    grant: Grant,
}

impl Enrolled {
    pub(crate) fn identity(&self) -> Identity {
        self.device.identity(&self.grant)
    }

    pub(crate) fn hello(&self) -> Hello {
        self.device.hello()
    }
}

impl TestDevice {
    pub(crate) fn new(serial: &str) -> Self {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random()).unwrap();
        Self::with_key(serial, pkcs8.as_ref().to_vec())
    }

    fn with_key(serial: &str, pkcs8: Vec<u8>) -> Self {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &pkcs8, &random()).unwrap();
        let one = |kind, value: &str| RawIdentifier { kind, value: value.to_owned(), source: Source::Smbios };
        let identity = vec![
            one(IdentifierKind::SerialNumber, serial),
            one(IdentifierKind::Manufacturer, "LENOVO"),
            one(IdentifierKind::Model, "20QES0XX00"),
        ];
        Self { pkcs8, key, identity, nonce: FixedBytes([9; 32]) }
    }

    fn clone_key(&self) -> Self {
        Self::with_key(&self.identity[0].value, self.pkcs8.clone())
    }

    pub(crate) fn hello(&self) -> Hello {
        Hello {
            protocol: PROTOCOL_VERSION,
            agent_version: "0.1.0".to_owned(),
            identity: self.identity.clone(),
            device_key: DevicePublicKey::from_point(self.key.public_key().as_ref()).unwrap(),
            proofs: vec![ProofKind::Identifiers, ProofKind::Token, ProofKind::RegisteredKey],
            nonce: self.nonce,
            root_version: 1,
            token_digest: None,
            tpm: None,
            enrollment: None,
        }
    }

    /// The device with one more identifier.
    pub(crate) fn with_identifier(mut self, kind: IdentifierKind, value: &str) -> Self {
        self.identity.push(RawIdentifier { kind, value: value.to_owned(), source: Source::Smbios });
        self
    }

    /// The set by which it is claimed.
    fn set(&self) -> IdentifierSet {
        let members = self.identity.iter().map(|one| Identifier::parse(one.kind, &one.value).unwrap());
        IdentifierSet::new(members).unwrap()
    }

    /// What a reseller writes into a claim of it.
    pub(crate) fn identifier(&self) -> serde_json::Value {
        let value = |at: usize| self.identity[at].value.clone();
        serde_json::json!({"serialNumber": value(0), "manufacturer": value(1), "model": value(2)})
    }

    /// The HTTP status with which a hello is answered.
    pub(crate) async fn hello_status(&self, server: &TestServer) -> u16 {
        server.post(&server.stranger(), HELLO_PATH, &self.hello()).await.status().as_u16()
    }

    pub(crate) fn prove(&self, hello: &[u8], challenge: &Challenge) -> Prove {
        let signed =
            transcript(Sha256::of(hello), challenge.ticket.as_ref(), &challenge.nonce, challenge.proof);
        let signature = self.key.sign(&random(), &signed).unwrap();
        Prove {
            ticket: challenge.ticket.clone(),
            signature: FixedBytes(signature.as_ref().try_into().unwrap()),
            token: None,
            reset_ticket: None,
            tpm: None,
        }
    }

    fn identity(&self, grant: &Grant) -> Identity {
        let chain = grant.certificate_chain.iter().map(|der| CertificateDer::from(der.0.clone())).collect();
        (chain, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(self.pkcs8.clone())))
    }
}

fn random() -> SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "devices need different keys, whichever they are")]
    SystemRandom::new()
}

/// An answer, byte for byte; only the date differs from one to the next.
#[derive(Debug)]
pub(crate) struct Exact {
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Exact {
    pub(crate) async fn of(answer: Response) -> Self {
        let status = answer.status().as_u16();
        let header = |(name, value): (&reqwest::header::HeaderName, &reqwest::header::HeaderValue)| {
            (name.to_string(), value.to_str().unwrap().to_owned())
        };
        let mut headers: BTreeMap<_, _> = answer.headers().iter().map(header).collect();
        headers.remove("date");
        Self { status, headers, body: answer.bytes().map(Result::unwrap).await.to_vec() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

/// An answer as one text, to be compared with another.
pub(crate) async fn exact(answer: Response) -> String {
    let Exact { status, headers, body } = Exact::of(answer).await;
    format!("{status} {headers:?} {}", String::from_utf8(body).unwrap())
}

/// The problem document of a refusal, of the right type and with the status of the answer.
pub(crate) async fn problem(answer: Response) -> Problem {
    let status = answer.status().as_u16();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Problem = answer.json().await.unwrap();
    assert_eq!(problem.status, status);
    problem
}

pub(crate) fn retry_after(answer: &Response) -> u32 {
    answer.headers()["retry-after"].to_str().unwrap().parse().unwrap()
}
