//! The settings of one source: the file, or the command line. All of them are optional.

use super::{ConfigError, ProxyHeader};
use crate::{files, keys::Layout, store::Store};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};
use unbox_common::secret::Secret;
use url::Url;

/// The largest settings file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// The settings of one source; all of them are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fragment {
    /// DNS names and addresses under which devices reach the server.
    pub names: Option<Vec<String>>,
    /// The address of the server for devices and clients, unless it follows from its first name and port.
    pub url: Option<String>,
    /// Addresses to listen on for devices, with TLS.
    pub listen: Option<Vec<SocketAddr>>,
    /// Addresses to listen on without TLS for metrics.
    pub listen_metrics: Option<Vec<SocketAddr>>,
    /// Addresses to listen on without TLS: health and artifacts only.
    pub listen_plain: Option<Vec<SocketAddr>>,
    /// Addresses to listen on without TLS for the management API.
    pub listen_api: Option<Vec<SocketAddr>>,
    /// True if a proxy that speaks TLS stands in front of `listen_api`.
    pub api_behind_tls_proxy: Option<bool>,
    /// True if a balancer sends the client's address.
    pub proxy_protocol: Option<bool>,
    /// Proxies that are trusted about the client's address.
    pub trusted_proxies: Option<Vec<String>>,
    /// The header in which they send it.
    pub proxy_header: Option<ProxyHeader>,
    /// The database's URL.
    pub database: Option<Secret>,
    /// The directory of artifacts.
    pub artifacts: Option<PathBuf>,
    /// A table of further ChromeOS models.
    pub models: Option<PathBuf>,
    /// A certificate by another authority.
    #[serde(default)]
    pub tls: TlsFragment,
    /// An ACME authority that issues the certificate.
    #[serde(default)]
    pub acme: AcmeFragment,
    /// The log.
    #[serde(default)]
    pub log: LogFragment,
    /// Devices' configuration and lifetimes.
    #[serde(default)]
    pub devices: DevicesFragment,
    /// The trusted TPM manufacturers.
    #[serde(default)]
    pub tpm: TpmFragment,
    /// The limits of the server's load.
    #[serde(default)]
    pub limits: LimitsFragment,
    /// The room on the disk.
    #[serde(default)]
    pub storage: StorageFragment,
    /// The time for which the server keeps ended things.
    #[serde(default)]
    pub retention: RetentionFragment,
}

/// `[retention]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionFragment {
    #[serde(rename = "operations_days")]
    pub(super) operations: Option<u64>,
    #[serde(rename = "reports_days")]
    pub(super) reports: Option<u64>,
    #[serde(rename = "claims_days")]
    pub(super) claims: Option<u64>,
    #[serde(rename = "audit_days")]
    pub(super) audit: Option<u64>,
}

/// `[storage]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageFragment {
    #[serde(rename = "company_mib")]
    pub(super) company: Option<u64>,
    #[serde(rename = "operations_mib")]
    pub(super) operations: Option<u64>,
    #[serde(rename = "reserve_mib")]
    pub(super) reserve: Option<u64>,
}

/// `[tls]`: a server certificate that is not from this server's own authority.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFragment {
    /// The certificate chain, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM.
    pub key: Option<PathBuf>,
}

/// `[acme]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcmeFragment {
    /// The authority's directory, an address that begins with `https`.
    pub directory: Option<Url>,
    /// The contact that the authority writes to, such as `mailto:it@example.com`.
    pub contact: Option<String>,
    /// The certificate of the authority's own server, PEM, if the system does not trust it.
    pub root: Option<PathBuf>,
}

/// `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFragment {
    /// `text` or `json`.
    pub format: Option<LogFormat>,
    /// The filter of the log: `info`, or such as `warn,request=info`.
    pub filter: Option<String>,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// `key=value`, for people.
    #[default]
    Text,
    /// One JSON object, for machines.
    Json,
}

/// `[tpm]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TpmFragment {
    /// Certificates of the manufacturers: a file, or a folder of them.
    pub roots: Option<PathBuf>,
}

/// `[devices]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DevicesFragment {
    pub(super) certificate_days: Option<u64>,
    pub(super) check_in_s: Option<u64>,
    pub(super) challenge_s: Option<u64>,
    pub(super) payload_days: Option<u64>,
    pub(super) activation_days: Option<u64>,
    pub(super) reset_ticket_days: Option<u64>,
    pub(super) retry_waiting_s: Option<u64>,
}

/// `[limits]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsFragment {
    pub(super) connections: Option<u64>,
    pub(super) connections_per_address: Option<u64>,
    pub(super) requests: Option<u64>,
    pub(super) memory_mib: Option<u64>,
    pub(super) least_bytes_per_s: Option<u64>,
    pub(super) operations_per_company: Option<u64>,
    pub(super) configurations_per_customer: Option<u64>,
    pub(super) accounts_per_company: Option<u64>,
    pub(super) header_timeout_s: Option<u64>,
    pub(super) request_timeout_s: Option<u64>,
    pub(super) shutdown_timeout_s: Option<u64>,
    pub(super) address_burst: Option<u64>,
    pub(super) address_per_second: Option<u64>,
    pub(super) series_burst: Option<u64>,
    pub(super) series_per_hour: Option<u64>,
    pub(super) device_burst: Option<u64>,
    pub(super) device_per_minute: Option<u64>,
    pub(super) api_queries_per_100s: Option<u64>,
}

impl LimitsFragment {
    /// Returns the limits of a sandbox's clients: `per_100s` queries of an account in 100 seconds. They all
    /// come from one address, which is not limited, because some of them test refusals on purpose.
    #[must_use]
    pub fn of_sandbox(per_100s: u64) -> Self {
        Self { api_queries_per_100s: Some(per_100s), address_burst: Some(0), ..Self::default() }
    }
}

impl Fragment {
    /// Reads the settings file.
    ///
    /// # Errors
    /// [`ConfigError`] with the line; the line itself is not shown, because it may hold a password.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let contents = files::read(path, MAX_FILE_BYTES)?.ok_or_else(|| missing_error(path))?;
        Self::parse(path, &contents)
    }

    /// Parses the contents of a settings file; `path` is only for errors.
    ///
    /// # Errors
    /// [`ConfigError`] with the line.
    pub fn parse(path: &Path, contents: &[u8]) -> Result<Self, ConfigError> {
        let text = String::from_utf8_lossy(contents);
        toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            ConfigError::Syntax { path: path.to_owned(), line, message: error.message().to_owned() }
        })
    }

    /// Returns the database's URL: that of this directory's embedded database, unless the fragment has one.
    #[must_use]
    pub fn database_url(&self, layout: &Layout) -> Secret {
        let embedded = || Secret::new(Store::sqlite_url(&layout.database()));
        self.database.clone().unwrap_or_else(embedded)
    }

    /// Returns true if the database's URL has a password in it.
    #[must_use]
    pub fn holds_password(&self) -> bool {
        let url = self.database.as_ref().and_then(|url| Url::parse(url.expose()).ok());
        url.is_some_and(|url| {
            url.password().is_some() || url.query_pairs().any(|(name, _)| name == "password")
        })
    }

    /// Merges this fragment over `below`, which fills its gaps. Only settings that the command line can have
    /// are merged by value; the tables come from the file.
    #[must_use]
    pub fn merge_over(self, below: Self) -> Self {
        Self {
            names: self.names.or(below.names),
            url: self.url.or(below.url),
            listen: self.listen.or(below.listen),
            listen_plain: self.listen_plain.or(below.listen_plain),
            listen_api: self.listen_api.or(below.listen_api),
            api_behind_tls_proxy: self.api_behind_tls_proxy.or(below.api_behind_tls_proxy),
            listen_metrics: self.listen_metrics.or(below.listen_metrics),
            proxy_protocol: self.proxy_protocol.or(below.proxy_protocol),
            trusted_proxies: self.trusted_proxies.or(below.trusted_proxies),
            proxy_header: self.proxy_header.or(below.proxy_header),
            database: self.database.or(below.database),
            artifacts: self.artifacts.or(below.artifacts),
            models: self.models.or(below.models),
            log: LogFragment {
                format: self.log.format.or(below.log.format),
                filter: self.log.filter.or(below.log.filter),
            },
            tls: below.tls,
            acme: below.acme,
            devices: below.devices,
            tpm: below.tpm,
            limits: below.limits,
            storage: below.storage,
            retention: below.retention,
        }
    }
}

/// Returns the error for a settings file that is not there: in a server's directory, it was lost.
fn missing_error(path: &Path) -> ConfigError {
    if path.parent().is_some_and(|directory| Layout::new(directory).keys().exists()) {
        ConfigError::Lost(path.to_owned())
    } else {
        ConfigError::Missing(path.to_owned())
    }
}
