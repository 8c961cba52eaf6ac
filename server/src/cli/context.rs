//! Opens the parts of a server that a command needs: settings, keys, database, services.

use super::{
    Global,
    output::{Output, Row},
};
use crate::{
    clock::SystemClock,
    config::{Fragment, Settings},
    domain::{
        catalogue::configuration::Configuration,
        tenancy::{
            actor::Actor,
            company::{Company, CompanyKind},
        },
    },
    entropy::{Entropy, SystemEntropy},
    keys::{Keyring, Layout},
    service::{Page, PageRequest, ServiceError, Services},
    store::{Store, StoreError},
};
use anyhow::{Context as _, bail};
use std::{future::Future, io::Read as _, path::Path, sync::Arc};
use unbox_common::ids::{CompanyId, ConfigurationId};
use url::Url;

/// The largest document that a command reads into memory, in bytes.
const MAX_DOCUMENT_BYTES: u64 = 4 * 1024 * 1024;
/// Rows of a list that are read at once.
const PAGE_ROWS: u32 = 1000;

/// An opened server, for one command.
pub(super) struct Opened {
    pub(super) services: Services,
    pub(super) by: Actor,
}

impl Global {
    pub(super) fn layout(&self) -> Layout {
        Layout::new(&self.dir)
    }

    /// Merges the command line's settings over those of the file.
    pub(super) fn settings(&self, line: Fragment) -> anyhow::Result<Settings> {
        let layout = self.layout();
        let line = Fragment { database: self.database.clone(), ..line };
        let file = Fragment::read(&layout.settings())?;
        Ok(Settings::parse(line.merge_over(file), layout)?)
    }
}

impl Opened {
    pub(super) async fn open(global: &Global) -> anyhow::Result<Self> {
        Self::open_with(&global.settings(Fragment::default())?).await
    }

    pub(super) async fn open_with(settings: &Settings) -> anyhow::Result<Self> {
        Self::with_store(settings, Store::open(settings.database.expose())).await
    }

    /// Opens a server, and makes its database if there is none.
    pub(super) async fn create_with(settings: &Settings) -> anyhow::Result<Self> {
        Self::with_store(settings, Store::create(settings.database.expose())).await
    }

    /// Opens a server for inspection only: nothing in its database changes.
    pub(super) async fn inspect_with(settings: &Settings) -> anyhow::Result<Self> {
        Self::with_store(settings, Store::inspect(settings.database.expose())).await
    }

    async fn with_store(
        settings: &Settings,
        store: impl Future<Output = Result<Store, StoreError>>,
    ) -> anyhow::Result<Self> {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy::new());
        let lifetime = settings.device_certificate_lifetime;
        let keyring = Keyring::load(settings.layout.clone(), lifetime, entropy.clone())?;
        let store = store.await?;
        let clock = Arc::new(SystemClock);
        let services =
            Services::new(store, Arc::new(keyring), clock, entropy, settings.load_service_settings()?)?;
        Ok(Self { services, by: operator() })
    }

    /// Finds a customer by id or exact name.
    pub(super) async fn customer(&self, id_or_name: &str) -> anyhow::Result<Company> {
        Ok(self.services.tenancy.find_company(&self.by, CompanyKind::Customer, id_or_name).await?)
    }

    pub(super) async fn customer_id(&self, given: Option<&str>) -> anyhow::Result<Option<CompanyId>> {
        match given {
            Some(id_or_name) => Ok(Some(self.customer(id_or_name).await?.id)),
            None => Ok(None),
        }
    }

    pub(super) async fn reseller_id(&self, given: Option<&str>) -> anyhow::Result<Option<CompanyId>> {
        let Some(id_or_name) = given else { return Ok(None) };
        let found = self.services.tenancy.find_company(&self.by, CompanyKind::Reseller, id_or_name).await?;
        Ok(Some(found.id))
    }

    /// Finds a company of any kind by id, or by exact name if no two kinds share it.
    pub(super) async fn company_id(&self, given: Option<&str>) -> anyhow::Result<Option<CompanyId>> {
        let Some(id_or_name) = given else { return Ok(None) };
        let mut found: Option<Company> = None;
        for kind in CompanyKind::ALL {
            match (self.services.tenancy.find_company(&self.by, *kind, id_or_name).await, &found) {
                (Ok(company), None) => found = Some(company),
                (Ok(company), Some(other)) => bail!(
                    "{} {} and {} {} are both called \"{id_or_name}\": give the id",
                    other.kind,
                    other.id,
                    company.kind,
                    company.id
                ),
                (Err(ServiceError::NotFound { .. }), _) => {}
                (Err(error), _) => return Err(error.into()),
            }
        }
        match found {
            Some(company) => Ok(Some(company.id)),
            None => Err(ServiceError::not_found("company", format!("{id_or_name:?}")).into()),
        }
    }

    /// Returns the address at which clients reach this server, unless the command line says otherwise.
    pub(super) fn base_url(&self) -> anyhow::Result<Url> {
        let url = self.services.settings().url.clone();
        url.context("the settings do not say where clients reach this server: say it with --base-url")
    }

    /// Finds a configuration by id, or by exact name within a customer.
    pub(super) async fn configuration(
        &self,
        id_or_name: &str,
        customer: Option<CompanyId>,
    ) -> anyhow::Result<Configuration> {
        if let Some(customer) = customer {
            return Ok(self.services.catalogue.find_configuration(&self.by, customer, id_or_name).await?);
        }
        let Ok(id) = id_or_name.parse() else {
            bail!("\"{id_or_name}\" is a name: say whose configuration with --customer, or give its id");
        };
        Ok(self.services.catalogue.configuration(&self.by, id).await?)
    }

    pub(super) async fn configuration_id(
        &self,
        given: Option<&str>,
        customer: Option<CompanyId>,
    ) -> anyhow::Result<Option<ConfigurationId>> {
        match given {
            Some(id_or_name) => Ok(Some(self.configuration(id_or_name, customer).await?.id)),
            None => Ok(None),
        }
    }
}

/// Shows a list page by page, in constant memory, up to `limit` rows.
pub(super) async fn list<T, R: Row, F>(
    output: &mut Output,
    limit: Option<u64>,
    row: impl Fn(T) -> R,
    mut page: impl FnMut(PageRequest) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = Result<Page<T>, ServiceError>>,
{
    let mut left = limit.unwrap_or(u64::MAX);
    let mut request = PageRequest::default();
    let mut listing = output.list();
    loop {
        request.size = Some(u32::try_from(left).unwrap_or(PAGE_ROWS).min(PAGE_ROWS));
        let found = page(request.clone()).await?;
        left = left.saturating_sub(found.items.len() as u64);
        listing.rows(&found.items.into_iter().map(&row).collect::<Vec<R>>())?;
        match found.next {
            Some(next) if left > 0 => request.after = Some(next),
            _ => return listing.end(),
        }
    }
}

/// Reads a document from a file, or from standard input if it is called `-`.
pub(super) fn read_document(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().take(MAX_DOCUMENT_BYTES + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path)
            .with_context(|| format!("{} could not be opened", path.display()))?
            .take(MAX_DOCUMENT_BYTES + 1)
            .read_to_string(&mut text)
    };
    let bytes = read.with_context(|| format!("{} could not be read as text", path.display()))?;
    if bytes as u64 > MAX_DOCUMENT_BYTES {
        bail!("{} is larger than {MAX_DOCUMENT_BYTES} bytes: is it the right file?", path.display());
    }
    Ok(text)
}

/// Returns the person who runs this command, as the audit trail names them.
fn operator() -> Actor {
    let user = ["SUDO_USER", "USER", "LOGNAME"].into_iter().find_map(|name| std::env::var(name).ok());
    match user {
        Some(user) if !user.is_empty() => Actor::operator(&format!("operator {user}")),
        _ => Actor::operator("operator"),
    }
}
