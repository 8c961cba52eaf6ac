//! `sandbox`: a server for trying the management API, which forgets everything when it stops.

use super::{Exit, output::Output};
use crate::{
    clock::{Clock as _, SystemClock},
    config::{Fragment, LimitsFragment, Settings},
    domain::tenancy::{account::Role, actor::Actor, company::CompanyKind},
    entropy::SystemEntropy,
    files::{self, PRIVATE_DIRECTORY, PRIVATE_FILE},
    keys::{self, Founding, Layout},
    log,
    serve::{Addresses, HangUp, Server, Signals, run},
    service::{ArtifactUpload, ImportDefaults, NewAccount, NewApiKey, NewCompany, NewHolder, Services},
    store::Store,
};
use anyhow::{Context as _, bail};
use clap::Args;
use serde_json::{Value, json};
use std::{
    ffi::OsString,
    fmt::Write as _,
    fs,
    io::{self, Cursor, Read, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};
use unbox_common::{ids::CompanyId, secret::Secret};
use url::Url;

/// Serves the management API over plain HTTP on this machine, from a database that is removed when it
/// stops: with a reseller, a vendor, a customer, an EMM and a DPC, and keys for each of them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  unbox-server sandbox --out /tmp/unbox
  unbox-server sandbox --listen 127.0.0.1:8480 --out /tmp/unbox --claims 100000")]
pub(super) struct Sandbox {
    /// The address to listen on, one of this machine; port 0 takes any that is free.
    #[arg(long, default_value = "127.0.0.1:8480", value_name = "ADDRESS:PORT")]
    listen: SocketAddr,
    /// The directory for the keys that clients read; it is made if it does not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Fill it with this many claims, for load tests.
    #[arg(long, default_value_t = 0, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=100_000_000))]
    claims: u32,
    /// The queries that one account may make in 100 seconds; 0 for no limit.
    #[arg(long, default_value_t = 0, value_name = "N")]
    queries_per_100s: u64,
    /// The filter of the log.
    #[arg(long, env = "UNBOX_LOG", default_value = "warn", value_name = "FILTER")]
    log: String,
}

/// The file with everything that a client needs to know.
const ENVIRONMENT: &str = "env.json";
/// The key files, in the form of client libraries.
const KEY_FILES: [&str; 3] = ["reseller.json", "customer.json", "emm.json"];
/// Filled-in claims between two lines of progress.
const PROGRESS_CLAIMS: u32 = 100_000;

/// The companies of a sandbox.
struct Companies {
    reseller: CompanyId,
    vendor: CompanyId,
    customer: CompanyId,
    emm: CompanyId,
}

impl Sandbox {
    pub(super) async fn run(self, output: Output) -> anyhow::Result<Exit> {
        if !self.listen.ip().is_loopback() {
            bail!("a sandbox listens on this machine only: choose --listen 127.0.0.1:PORT or [::1]:PORT");
        }
        prepare_directory(&self.out)?;
        let mut signals = Signals::install(HangUp::Stop)?;
        let directory = tempfile::Builder::new().prefix("unbox-sandbox-").tempdir()?;
        let settings = self.settings(directory.path())?;
        log::start(settings.log_format, &settings.log_filter)
            .context("the log filter cannot be read: expected a form like `warn,request=info`")?;
        Store::create(settings.database.expose()).await?.close().await;
        let server = Server::start(settings, Arc::new(SystemClock), Arc::new(SystemEntropy::new())).await?;
        let prepared = tokio::select! {
            prepared = self.prepare(&server) => Some(prepared),
            () = signals.stop() => None,
        };
        match prepared {
            Some(Ok(prepared)) => serve(server, signals, prepared, output).await?,
            Some(Err(error)) => {
                server.stop().await;
                return Err(error);
            }
            None => server.stop().await,
        }
        Ok(Exit::Done)
    }

    /// Fills the database, and writes the files that clients read: `env.json` last, so that a client that
    /// waits for it finds everything else.
    async fn prepare(&self, server: &Server) -> anyhow::Result<Prepared> {
        let base = server.addresses().api_addresses.first().context("nothing is listened on")?;
        let base: Url = format!("http://{base}").parse()?;
        let by = Actor::operator("sandbox");
        let services = server.services();
        let companies = companies(services, &by).await?;
        let dpc = dpc(services, &by).await?;
        let resource = format!("customers/{}/dpcs/{dpc}", companies.customer);
        let keys = self.accounts(services, &by, &companies, &base).await?;
        self.add_claims(services, &by, &companies).await?;
        let environment = json!({
            "base_url": base.as_str().trim_end_matches('/'),
            "partner_id": companies.reseller,
            "vendor_id": companies.vendor,
            "customer_id": companies.customer,
            "emm_id": companies.emm,
            "dpc": resource,
            "api_keys": keys,
        });
        let text = serde_json::to_string_pretty(&environment)?;
        files::replace(&self.out.join(ENVIRONMENT), text.as_bytes(), PRIVATE_FILE)?;
        let advice = advice(&base, &std::path::absolute(&self.out)?, &companies);
        Ok(Prepared { environment, advice })
    }

    fn settings(&self, directory: &Path) -> anyhow::Result<Settings> {
        let layout = Layout::new(directory.join("server"));
        let names = vec!["localhost".to_owned(), self.listen.ip().to_string()];
        let founding = Founding { names: names.clone(), url: "https://localhost".to_owned() };
        keys::initialise(&layout, &founding, SystemClock.now(), &SystemEntropy::new())?;
        files::make_directory(&layout.artifacts(), PRIVATE_DIRECTORY)?;
        let fragment = Fragment {
            names: Some(names),
            listen: Some(vec![SocketAddr::new(self.listen.ip(), 0)]),
            listen_api: Some(vec![self.listen]),
            limits: LimitsFragment::of_sandbox(self.queries_per_100s),
            log: crate::config::LogFragment { filter: Some(self.log.clone()), ..Default::default() },
            ..Fragment::default()
        };
        Ok(Settings::parse(fragment, layout)?)
    }

    /// Makes an owner's service account with key file and API key for each company; returns the API keys
    /// by name.
    async fn accounts(
        &self,
        services: &Services,
        by: &Actor,
        companies: &Companies,
        base: &Url,
    ) -> anyhow::Result<Value> {
        let mut keys = serde_json::Map::new();
        for (name, company, file) in [
            ("reseller", companies.reseller, Some("reseller.json")),
            ("vendor", companies.vendor, None),
            ("customer", companies.customer, Some("customer.json")),
            ("emm", companies.emm, Some("emm.json")),
        ] {
            let holder = NewHolder::ServiceAccount { name: format!("sandbox-{name}") };
            let new = NewAccount { company: Some(company), holder, role: Role::Owner };
            let account = services.tenancy.create_account(by, new).await?.id;
            if let Some(file) = file {
                let (_, key_file) =
                    services.tenancy.create_service_account_key(by, account, base, None).await?;
                let text = Secret::new(serde_json::to_string_pretty(&key_file)?);
                files::replace(&self.out.join(file), text.expose().as_bytes(), PRIVATE_FILE)?;
            }
            let new = NewApiKey { account, name: "sandbox".to_owned(), expires_at: None };
            let (_, secret) = services.tenancy.create_api_key(by, new).await?;
            keys.insert(name.to_owned(), Value::String(secret.expose().to_owned()));
        }
        Ok(Value::Object(keys))
    }

    async fn add_claims(&self, services: &Services, by: &Actor, companies: &Companies) -> anyhow::Result<()> {
        if self.claims == 0 {
            return Ok(());
        }
        let defaults = ImportDefaults {
            customer: Some(companies.customer),
            reseller: Some(companies.reseller),
            ..ImportDefaults::default()
        };
        let mut filled = 0_u32;
        let tell = |_| {
            filled += 1;
            if filled.is_multiple_of(PROGRESS_CLAIMS) {
                // A closed standard error must not stop the filling.
                let _ = writeln!(io::stderr(), "{filled} of {} claims", self.claims);
            }
        };
        services.claims.import_claims(by, defaults, GeneratedClaims::new(self.claims), tell).await?;
        Ok(())
    }
}

/// The facts that a sandbox shows to its users.
struct Prepared {
    environment: Value,
    advice: String,
}

/// Serves until it is told to stop, or until the terminal is closed that it was started from.
async fn serve(
    server: Server,
    signals: Signals,
    prepared: Prepared,
    mut output: Output,
) -> anyhow::Result<()> {
    let announce = |_: &Addresses| {
        // Without a standard output there is nobody to read this.
        let _ = output.show(&prepared.environment, &prepared.advice);
    };
    Ok(run(server, signals, None, announce).await?)
}

/// Makes the directory for the keys, or reuses the one of an earlier sandbox. Any other is refused: a key
/// file of the same name may be the only copy of a key that is in use.
fn prepare_directory(out: &Path) -> anyhow::Result<()> {
    files::make_directory(out, PRIVATE_DIRECTORY)?;
    let mut found = Vec::new();
    for entry in fs::read_dir(out).with_context(|| format!("{} could not be read", out.display()))? {
        found.push(entry?.file_name());
    }
    let ours = |name: &OsString| KEY_FILES.iter().any(|file| name == file) || name == ENVIRONMENT;
    let earlier = found.iter().any(|name| name == ENVIRONMENT) && found.iter().all(ours);
    if !(found.is_empty() || earlier) {
        bail!("{} holds other files: choose an empty directory for --out, or a new one", out.display());
    }
    for file in found {
        // Keys of an earlier sandbox open nothing any more.
        files::remove(&out.join(file))?;
    }
    Ok(())
}

async fn companies(services: &Services, by: &Actor) -> anyhow::Result<Companies> {
    let create = async |new| services.tenancy.create_company(by, new).await.map(|company| company.id);
    let reseller = create(NewCompany::new(CompanyKind::Reseller, "Sandbox Reseller")).await?;
    let vendor = NewCompany::new(CompanyKind::Vendor, "Sandbox Vendor");
    let vendor = create(NewCompany { parent: Some(reseller), ..vendor }).await?;
    let customer = create(NewCompany::new(CompanyKind::Customer, "Sandbox Customer")).await?;
    let emm = create(NewCompany::new(CompanyKind::Emm, "Sandbox EMM")).await?;
    for company in [reseller, vendor, emm] {
        services.tenancy.set_works_for(by, company, customer, true).await?;
    }
    Ok(Companies { reseller, vendor, customer, emm })
}

/// Adds a small DPC that a device can install, and returns its name.
async fn dpc(services: &Services, by: &Actor) -> anyhow::Result<String> {
    let archive = archive()?;
    let size = archive.len();
    let upload = ArtifactUpload::for_all_customers("kiosk-1.0.0.tar", Cursor::new(archive));
    let artifact = services.catalogue.add_artifact(by, upload).await?;
    for (name, title) in [("kiosk", "Kiosk"), ("kiosk-staging", "Kiosk, staging")] {
        let description = json!({
            "name": name,
            "version": "1.0.0",
            "kind": "tar",
            "artifact": {"sha256": artifact.sha256, "size": size},
            "unit": "kiosk.service",
            "health": {"type": "unit_active", "stable_for_s": 1, "timeout_s": 60},
        });
        services.catalogue.save_dpc(by, Some(title), &description.to_string()).await?;
    }
    Ok("kiosk".to_owned())
}

const UNIT: &str = "[Unit]\nDescription=The kiosk of the sandbox\n\n[Service]\nExecStart=/bin/sleep infinity\n\n\
     [Install]\nWantedBy=multi-user.target\n";

fn archive() -> io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(UNIT.len() as u64);
    header.set_mode(0o644);
    archive.append_data(&mut header, "kiosk.service", UNIT.as_bytes())?;
    archive.into_inner()
}

/// A claims file of any length that is generated while it is read.
struct GeneratedClaims {
    next: u32,
    end: u32,
    pending: Vec<u8>,
    read: usize,
}

impl GeneratedClaims {
    fn new(rows: u32) -> Self {
        Self { next: 0, end: rows, pending: b"serial_number,manufacturer,model\n".to_vec(), read: 0 }
    }
}

impl Read for GeneratedClaims {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.read == self.pending.len() {
            self.read = 0;
            self.pending.clear();
            let mut text = String::new();
            let until = self.end.min(self.next.saturating_add(1000));
            for number in self.next..until {
                let _ = writeln!(text, "SB{number:08},Acme,Gateway 3");
            }
            self.next = until;
            self.pending = text.into_bytes();
        }
        let rest = self.pending.get(self.read..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        let (Some(to), Some(from)) = (buffer.get_mut(..length), rest.get(..length)) else {
            return Ok(0);
        };
        to.copy_from_slice(from);
        self.read += length;
        Ok(length)
    }
}

fn advice(base: &Url, out: &Path, companies: &Companies) -> String {
    let base = base.as_str().trim_end_matches('/');
    let out = out.display();
    let (partner, customer) = (companies.reseller, companies.customer);
    format!(
        "The sandbox is {base}. It forgets everything when it stops (Ctrl+C).\n\
         \n\
         Keys are in {out}: reseller.json, customer.json and emm.json for client libraries,\n\
         env.json with every id and an API key for each company.\n\
         \n\
         With curl:\n\
         \u{20} KEY=$(python3 -c 'import json; print(json.load(open(\"{out}/env.json\"))[\"api_keys\"][\"reseller\"])')\n\
         \u{20} curl -s {base}/v1/partners/{partner}/devices:claim -H \"X-Goog-Api-Key: $KEY\" \\\n\
         \u{20}   -H 'Content-Type: application/json' -d '{{\"customerId\": \"{customer}\",\n\
         \u{20}    \"sectionType\": \"SECTION_TYPE_ZERO_TOUCH\", \"deviceIdentifier\":\n\
         \u{20}    {{\"serialNumber\": \"PF0ABCDE\", \"manufacturer\": \"LENOVO\", \"model\": \"20QES0XX00\"}}}}'\n\
         \n\
         With Google's Python client (pip install google-api-python-client):\n\
         \u{20} from google.oauth2 import service_account\n\
         \u{20} from googleapiclient.discovery import build\n\
         \u{20} credentials = service_account.Credentials.from_service_account_file(\n\
         \u{20}     \"{out}/reseller.json\", scopes=[\"https://www.googleapis.com/auth/androidworkprovisioning\"])\n\
         \u{20} service = build(\"androiddeviceprovisioning\", \"v1\", credentials=credentials,\n\
         \u{20}     static_discovery=True, client_options={{\"api_endpoint\": \"{base}\"}})\n\
         \u{20} print(service.partners().customers().list(partnerId=\"{partner}\").execute())\n"
    )
}
