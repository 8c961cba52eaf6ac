//! Settings in three steps: fragments (all optional) are merged, the file below the command line,
//! into one; that becomes [`Settings`], in the types that the server uses.

use crate::{
    files::{self, FilesError},
    keys::{DEVICE_LIFETIME, Layout},
    service,
    tpm::{RootsError, TpmRoots},
};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use unbox_common::{
    models::{InvalidTable, Models},
    secret::Secret,
};
use url::{Host, Url};

/// Where devices connect unless the settings say otherwise.
pub const DEFAULT_LISTEN: &str = "[::]:443";
/// The largest settings file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;
/// The largest table of models that is read, in bytes.
const MAX_MODELS_BYTES: u64 = 4 * 1024 * 1024;
const DAY: Duration = Duration::from_hours(24);

/// What one source says; everything may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fragment {
    /// DNS names and addresses under which devices reach the server.
    pub names: Option<Vec<String>>,
    /// Where devices and clients reach the server, if its first name and port do not say it.
    pub url: Option<String>,
    /// Addresses to listen on for devices, with TLS.
    pub listen: Option<Vec<SocketAddr>>,
    /// Addresses to listen on without TLS: health, metrics and artifacts only.
    pub listen_plain: Option<Vec<SocketAddr>>,
    /// Addresses to listen on without TLS for the management API.
    pub listen_api: Option<Vec<SocketAddr>>,
    /// Whether a proxy that speaks TLS stands in front of `listen_api`.
    pub api_behind_tls_proxy: Option<bool>,
    /// Whether a balancer tells for whom it connects.
    pub proxy_protocol: Option<bool>,
    /// The database's URL.
    pub database: Option<Secret>,
    /// Where artifacts lie.
    pub artifacts: Option<PathBuf>,
    /// A table of further ChromeOS models.
    pub models: Option<PathBuf>,
    /// A certificate by another authority.
    #[serde(default)]
    pub tls: TlsFragment,
    /// The log.
    #[serde(default)]
    pub log: LogFragment,
    /// What devices get, and for how long.
    #[serde(default)]
    pub devices: DevicesFragment,
    /// Whose TPMs are believed.
    #[serde(default)]
    pub tpm: TpmFragment,
    /// How much the server takes on.
    #[serde(default)]
    pub limits: LimitsFragment,
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

/// `[log]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogFragment {
    /// `text` or `json`.
    pub format: Option<LogFormat>,
    /// What is logged: `info`, or a filter such as `warn,request=info`.
    pub filter: Option<String>,
}

/// How a line of the log looks.
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
    certificate_days: Option<u64>,
    check_in_s: Option<u64>,
    challenge_s: Option<u64>,
    payload_days: Option<u64>,
    activation_days: Option<u64>,
    reset_ticket_days: Option<u64>,
    retry_waiting_s: Option<u64>,
}

/// `[limits]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsFragment {
    connections: Option<u64>,
    connections_per_address: Option<u64>,
    requests: Option<u64>,
    header_timeout_s: Option<u64>,
    request_timeout_s: Option<u64>,
    shutdown_timeout_s: Option<u64>,
    address_burst: Option<u64>,
    address_per_second: Option<u64>,
    series_burst: Option<u64>,
    series_per_second: Option<u64>,
    api_queries_per_100s: Option<u64>,
}

/// What the server runs with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where keys, roots and trust lie.
    pub layout: Layout,
    /// Addresses for devices.
    pub listen: Vec<SocketAddr>,
    /// Addresses for health, metrics and artifacts, without TLS.
    pub listen_plain: Vec<SocketAddr>,
    /// Addresses for the management API without TLS: of this machine, or behind a proxy that speaks it.
    pub listen_api: Vec<SocketAddr>,
    /// Whether connections of devices start with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The database's URL; it may hold a password.
    pub database: Secret,
    /// The server's TLS certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub certificate_key: PathBuf,
    /// Certificates of TPM manufacturers: a file, or a folder of them.
    pub tpm_roots: Option<PathBuf>,
    /// How long a device's certificate lasts.
    pub device_certificate_lifetime: Duration,
    /// What the services need.
    pub services: service::Settings,
    /// How much the server takes on.
    pub limits: Limits,
    /// How a line of the log looks.
    pub log_format: LogFormat,
    /// What is logged.
    pub log_filter: String,
}

/// How much the server takes on at once, and from one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections.
    pub connections: usize,
    /// Open connections from one address; one reseller's warehouse may sit behind it.
    pub connections_per_address: usize,
    /// Device messages that are worked on at the same time.
    pub requests: usize,
    /// Time for TLS, and for the head of a request; also how long an idle connection is kept.
    pub header_timeout: Duration,
    /// Time for the body of a request, and for its answer.
    pub request_timeout: Duration,
    /// Time that requests get to finish when the server stops.
    pub shutdown_timeout: Duration,
    /// Handshake messages from one address.
    pub address: Rate,
    /// Hellos of one series of identifiers.
    pub series: Rate,
    /// Queries of one account in 100 seconds, and of each user that it asks for; 0 for no limit.
    pub api_queries_per_100s: u32,
}

/// So many at once, and so many more each second. A burst of 0 means no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// At once.
    pub burst: u32,
    /// Each second after that.
    pub per_second: u32,
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// There is no settings file: this is no server's directory.
    #[error("{} is missing: run `unbox-server init` first, or name the right --dir", _0.display())]
    Missing(PathBuf),
    /// The file is not TOML, or says something that no setting is called.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong; for an unknown key, also the known ones.
        message: String,
    },
    /// The table of models is not there.
    #[error("the table of models {} is missing: put it there, or take `models` out of the settings", _0.display())]
    NoModels(PathBuf),
    /// The table of models cannot be used.
    #[error("the table of models {} cannot be used", path.display())]
    Models {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: InvalidTable,
    },
    /// A value is outside of what it may be.
    #[error("the setting `{field}` cannot be used: expected {expected}")]
    Value {
        /// Which.
        field: &'static str,
        /// What it may be.
        expected: String,
    },
}

impl LimitsFragment {
    /// What a sandbox holds its clients to: how often an account may ask in 100 seconds. They all come
    /// from one address, and one that tries what is refused is there for just that.
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
        let contents =
            files::read(path, MAX_FILE_BYTES)?.ok_or_else(|| ConfigError::Missing(path.to_owned()))?;
        let text = String::from_utf8_lossy(&contents);
        toml::from_str(&text).map_err(|error| {
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|byte| *byte == b'\n').count() + 1;
            ConfigError::Syntax { path: path.to_owned(), line, message: error.message().to_owned() }
        })
    }

    /// This fragment, and `below` where it says nothing. Only what the command line can say is
    /// merged by value; the tables come from the file.
    #[must_use]
    pub fn over(self, below: Self) -> Self {
        Self {
            names: self.names.or(below.names),
            url: self.url.or(below.url),
            listen: self.listen.or(below.listen),
            listen_plain: self.listen_plain.or(below.listen_plain),
            listen_api: self.listen_api.or(below.listen_api),
            api_behind_tls_proxy: self.api_behind_tls_proxy.or(below.api_behind_tls_proxy),
            proxy_protocol: self.proxy_protocol.or(below.proxy_protocol),
            database: self.database.or(below.database),
            artifacts: self.artifacts.or(below.artifacts),
            models: self.models.or(below.models),
            log: LogFragment {
                format: self.log.format.or(below.log.format),
                filter: self.log.filter.or(below.log.filter),
            },
            tls: below.tls,
            devices: below.devices,
            tpm: below.tpm,
            limits: below.limits,
        }
    }
}

impl Settings {
    /// Turns what was merged into what the server uses, for the directory of `layout`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the first setting that cannot be used.
    pub fn parse(merged: Fragment, layout: Layout) -> Result<Self, ConfigError> {
        let listen = match merged.listen {
            Some(listen) => listen,
            None => DEFAULT_LISTEN.parse().into_iter().collect(),
        };
        let names = merged.names.unwrap_or_default();
        if listen.is_empty() {
            return Err(value("listen", "at least one address such as \"[::]:443\""));
        }
        let url = match merged.url {
            Some(url) => Some(server_url(&url).map_err(|expected| value("url", expected))?),
            None => url_of(&names, &listen),
        };
        let below = |path: PathBuf| layout.dir().join(path);
        let (certificate, certificate_key) = match (merged.tls.certificate, merged.tls.key) {
            (None, None) => (layout.server_certificate(), layout.server_certificate()),
            (Some(certificate), Some(key)) => (below(certificate), below(key)),
            _ => return Err(value("tls", "`certificate` and `key` together, or neither")),
        };
        let artifacts = merged.artifacts.map_or_else(|| layout.artifacts(), below);
        let devices = merged.devices;
        let listen_api = merged.listen_api.unwrap_or_default();
        let behind_proxy = merged.api_behind_tls_proxy.unwrap_or_default();
        if !(behind_proxy || listen_api.iter().all(|address| address.ip().is_loopback())) {
            return Err(value("listen_api", LOOPBACK_ONLY));
        }
        let default = service::Settings::new(artifacts);
        Ok(Self {
            listen,
            listen_plain: merged.listen_plain.unwrap_or_default(),
            listen_api,
            proxy_protocol: merged.proxy_protocol.unwrap_or_default(),
            database: merged
                .database
                .unwrap_or_else(|| Secret::new(crate::store::Store::sqlite_url(&layout.database()))),
            certificate,
            certificate_key,
            tpm_roots: merged.tpm.roots.map(below),
            device_certificate_lifetime: days(
                "devices.certificate_days",
                devices.certificate_days,
                DEVICE_LIFETIME,
            )?,
            services: service::Settings {
                names,
                url,
                ticket_lifetime: span(
                    "devices.challenge_s",
                    devices.challenge_s,
                    default.ticket_lifetime,
                    5..=3600,
                )?,
                payload_lifetime: days(
                    "devices.payload_days",
                    devices.payload_days,
                    default.payload_lifetime,
                )?,
                activation_window: days(
                    "devices.activation_days",
                    devices.activation_days,
                    default.activation_window,
                )?,
                reset_ticket_lifetime: days(
                    "devices.reset_ticket_days",
                    devices.reset_ticket_days,
                    default.reset_ticket_lifetime,
                )?,
                check_in_interval_s: number(
                    "devices.check_in_s",
                    devices.check_in_s,
                    default.check_in_interval_s,
                    1..=604_800,
                )?,
                retry_waiting_s: number(
                    "devices.retry_waiting_s",
                    devices.retry_waiting_s,
                    default.retry_waiting_s,
                    1..=86_400,
                )?,
                models: merged.models.map_or(Ok(default.models.clone()), |path| read_models(below(path)))?,
                ..default
            },
            limits: Limits::parse(&merged.limits)?,
            log_format: merged.log.format.unwrap_or_default(),
            log_filter: merged.log.filter.unwrap_or_else(|| "info".to_owned()),
            layout,
        })
    }
}

impl Settings {
    /// What the services run with: the settings, and what lies in the files that they name.
    ///
    /// # Errors
    /// [`RootsError`] if the TPM manufacturers' certificates cannot be read.
    pub fn for_services(&self) -> Result<service::Settings, RootsError> {
        let tpm_roots = self.tpm_roots.as_deref().map(TpmRoots::load).transpose()?;
        Ok(service::Settings { tpm_roots: tpm_roots.unwrap_or_default(), ..self.services.clone() })
    }
}

impl Limits {
    fn parse(from: &LimitsFragment) -> Result<Self, ConfigError> {
        let count = |field, value, default| {
            number(field, value, default, 1..=1_000_000)
                .map(|count| usize::try_from(count).unwrap_or(usize::MAX))
        };
        let rate = |field, value, default| number(field, value, default, 0..=1_000_000);
        let time = |field, value, secs| span(field, value, Duration::from_secs(secs), 1..=600);
        Ok(Self {
            connections: count("limits.connections", from.connections, 8192)?,
            connections_per_address: count(
                "limits.connections_per_address",
                from.connections_per_address,
                2048,
            )?,
            requests: count("limits.requests", from.requests, 1024)?,
            header_timeout: time("limits.header_timeout_s", from.header_timeout_s, 15)?,
            request_timeout: time("limits.request_timeout_s", from.request_timeout_s, 30)?,
            shutdown_timeout: time("limits.shutdown_timeout_s", from.shutdown_timeout_s, 20)?,
            address: Rate {
                burst: rate("limits.address_burst", from.address_burst, 4000)?,
                per_second: rate("limits.address_per_second", from.address_per_second, 50)?.max(1),
            },
            series: Rate {
                burst: rate("limits.series_burst", from.series_burst, 2000)?,
                per_second: rate("limits.series_per_second", from.series_per_second, 25)?.max(1),
            },
            api_queries_per_100s: rate("limits.api_queries_per_100s", from.api_queries_per_100s, 1000)?,
        })
    }
}

/// The built-in table and the one in this file.
fn read_models(path: PathBuf) -> Result<Arc<Models>, ConfigError> {
    let Some(table) = files::read(&path, MAX_MODELS_BYTES)? else { return Err(ConfigError::NoModels(path)) };
    match Models::parse(&table) {
        Ok(further) => Ok(Arc::new(Models::built_in().and(&further))),
        Err(source) => Err(ConfigError::Models { path, source }),
    }
}

fn number(
    field: &'static str,
    given: Option<u64>,
    default: u32,
    allowed: RangeInclusive<u64>,
) -> Result<u32, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    let outside = || value(field, format!("a number from {} to {}", allowed.start(), allowed.end()));
    if allowed.contains(&given) { u32::try_from(given).map_err(|_| outside()) } else { Err(outside()) }
}

fn span(
    field: &'static str,
    given: Option<u64>,
    default: Duration,
    allowed: RangeInclusive<u64>,
) -> Result<Duration, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    number(field, Some(given), 0, allowed).map(|secs| Duration::from_secs(secs.into()))
}

fn days(field: &'static str, given: Option<u64>, default: Duration) -> Result<Duration, ConfigError> {
    let Some(given) = given else { return Ok(default) };
    number(field, Some(given), 0, 1..=3650).map(|days| DAY * days)
}

fn value(field: &'static str, expected: impl Into<String>) -> ConfigError {
    ConfigError::Value { field, expected: expected.into() }
}

/// Where a server is reached: a host, and a port unless it is 443.
///
/// # Errors
/// What was expected instead.
pub fn server_url(text: &str) -> Result<Url, &'static str> {
    let expected = "an address such as https://enroll.example.com:8443";
    let url: Url = text.parse().map_err(|_| expected)?;
    let plain = url.scheme() == "https" && url.path() == "/" && url.query().is_none() && url.has_host();
    if plain && url.username().is_empty() && url.password().is_none() && url.fragment().is_none() {
        Ok(url)
    } else {
        Err(expected)
    }
}

/// The address that the main name and the first port make. There is none without a name, or while the
/// system has yet to choose the port.
#[must_use]
pub fn url_of(names: &[String], listen: &[SocketAddr]) -> Option<Url> {
    let name = names.first()?;
    let host = match name.parse::<std::net::Ipv6Addr>() {
        Ok(address) => Host::Ipv6(address),
        Err(_) => Host::parse(name).ok()?,
    };
    let port = listen.first().map(SocketAddr::port).filter(|port| *port != 0)?;
    format!("https://{host}:{port}").parse().ok()
}

/// The settings file of a new server: what was chosen, and everything else as a comment.
#[must_use]
pub fn default_file(
    names: &[String],
    url: Option<&Url>,
    listen: &[SocketAddr],
    database: Option<&Secret>,
) -> String {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let list = |items: &mut dyn Iterator<Item = String>| items.collect::<Vec<_>>().join(", ");
    let url = match (url, url_of(names, listen)) {
        (Some(url), made) if made.as_ref() != Some(url) => format!("url = {}", quoted(url.as_str())),
        (_, Some(made)) => format!("#url = {}", quoted(made.as_str())),
        (_, None) => "#url = \"https://enroll.example.com/\"".to_owned(),
    };
    let names = list(&mut names.iter().map(|name| quoted(name)));
    let listen = list(&mut listen.iter().map(|address| quoted(&address.to_string())));
    let database = match database {
        Some(url) => format!("database = {}", quoted(url.expose())),
        None => "#database = \"postgres://unbox@db.example.com/unbox\"".to_owned(),
    };
    TEMPLATE
        .replace("{names}", &names)
        .replace("{url}", &url)
        .replace("{listen}", &listen)
        .replace("{database}", &database)
}

/// What `listen_api` may be.
const LOOPBACK_ONLY: &str = "addresses of this machine such as \"127.0.0.1:8480\": credentials would pass in the clear. \
     Or set `api_behind_tls_proxy = true` if a proxy in front of it speaks TLS";

const TEMPLATE: &str = "\
# Settings of unbox-server. A line that starts with # shows the default.
# Changes count after a restart; keys and certificates also after SIGHUP.

# Names and addresses under which devices reach this server; they stand in its certificate.
# After a change: unbox-server key renew-server
names = [{names}]

# Where devices and clients reach it, if the first name and port do not say it.
{url}

# Where devices connect. TLS 1.3, with client certificates once they are enrolled.
listen = [{listen}]

# Health, metrics and artifacts without TLS, for a load balancer or a scraper on this machine.
# Device messages are never taken here.
#listen_plain = []

# The management API without TLS; with TLS it is where devices connect. Credentials pass here, so only
# addresses of this machine are taken, unless a proxy that speaks TLS is in front of them.
#listen_api = []
#api_behind_tls_proxy = false

# A balancer in front of this server passes TLS through, and says with the PROXY protocol (1 or 2)
# for whom. Only if nobody else can reach `listen`: whoever connects says who they are.
#proxy_protocol = false

# The database: a file in this directory, or PostgreSQL.
{database}

# What devices download, each file under its SHA-256.
#artifacts = \"artifacts\"

# ChromeOS models beside those that this version knows: CSV with the columns model, brand,
# manufactured_from, certified_id and footnote.
#models = \"/etc/unbox/chromeos-models.csv\"

# A certificate by an authority of your own, in place of the one that init made. Put the
# authority's certificate into the image's anchors.pem.
[tls]
#certificate = \"/etc/ssl/enroll.pem\"
#key = \"/etc/ssl/private/enroll.pem\"

[log]
# text or json, one line for each request; never a token, a body or an identifier.
#format = \"text\"
#filter = \"info\"

[devices]
# How long a device's certificate lasts; devices renew it when they check in.
#certificate_days = 365
# How often managed devices ask for news.
#check_in_s = 3600
# How long a device may take between the two messages of its handshake.
#challenge_s = 120
# How long a device may take from the grant to the end of its installation.
#payload_days = 7
# How long after a claim the first key is bound without asking anybody.
#activation_days = 90
# How long a reset ticket can be used.
#reset_ticket_days = 7
# When a device asks again that waits for an administrator.
#retry_waiting_s = 30

# Whose TPMs are believed where a claim asks for one: their manufacturers' certificates, in a file or a
# folder. Without them, only TPMs whose keys are registered.
[tpm]
#roots = \"/etc/ssl/tpm-roots\"

[limits]
# Open connections in all, and from one address (IPv6: one /64).
#connections = 8192
#connections_per_address = 2048
# Device messages at the same time; more are told to come back.
#requests = 1024
# Time for TLS and the head of a request, for the whole request, and for requests to finish
# when the server stops.
#header_timeout_s = 15
#request_timeout_s = 30
#shutdown_timeout_s = 20
# Handshake messages from one address: so many at once, and so many more each second. 1,000
# devices behind one address take about 2,000 when they are switched on. 0 at once: no limit.
#address_burst = 4000
#address_per_second = 50
# Hellos of one series of identifiers (maker and first characters), against enumeration.
#series_burst = 2000
#series_per_second = 25
# Queries of one account of the management API in 100 seconds. 0: no limit.
#api_queries_per_100s = 1000
";

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new("/srv/unbox")
    }

    fn parse(text: &str) -> Result<Settings, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("server.toml");
        files::replace(&path, text.as_bytes(), files::PRIVATE_FILE).unwrap();
        Settings::parse(Fragment::read(&path)?, layout())
    }

    fn file() -> String {
        let listen = [DEFAULT_LISTEN.parse().unwrap()];
        default_file(&["enroll.example.com".to_owned()], None, &listen, None)
    }

    #[test]
    fn every_comment_of_the_default_file_is_the_default() {
        let written = parse(&file()).unwrap();
        let uncommented: String = file()
            .lines()
            .filter(|line| !line.contains("/etc/") && !line.contains("postgres"))
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        assert!(uncommented.contains("\nseries_burst = 2000\n"));
        assert_eq!(format!("{:?}", parse(&uncommented).unwrap()), format!("{written:?}"));
        assert_eq!(format!("{written:?}"), format!("{:?}", parse(&uncommented).unwrap()));
        let nothing = parse("names = [\"enroll.example.com\"]").unwrap();
        assert_eq!(format!("{nothing:?}"), format!("{written:?}"));
    }

    #[test]
    fn the_table_in_the_readme_is_this_one() {
        let readme = include_str!("../README.md");
        let (_, table) = readme.split_once("| setting | default |").unwrap();
        let rows: Vec<&str> = table.lines().take_while(|line| !line.is_empty()).skip(2).collect();
        let (mut section, mut settings) = (String::new(), 0);
        for line in file().lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                section = format!("{name}.");
            }
            let setting = line.strip_prefix('#').unwrap_or(line).split_once(" = ");
            let Some((name, value)) = setting.filter(|(name, _)| !name.contains(' ')) else { continue };
            let name = format!("`{section}{name}`");
            let row = rows.iter().find(|row| row.contains(&name));
            let row = row.unwrap_or_else(|| panic!("{name} is not in the table"));
            let mut cells = row.split('|').skip(1);
            let place = cells.next().unwrap().split(", ").position(|one| one.trim() == name).unwrap();
            let default = cells.next().unwrap().split(", ").nth(place).unwrap_or_default();
            if value.parse::<u64>().is_ok() {
                assert_eq!(default.trim(), value, "{name}");
            }
            settings += 1;
        }
        let listed: usize =
            rows.iter().map(|row| row.split('|').nth(1).unwrap().matches('`').count() / 2).sum();
        assert_eq!(listed, settings);
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line_and_the_known_ones() {
        let refused = parse("names = []\n\ndatabse = \"postgres://u:hunter2@db\"\n").unwrap_err();
        let ConfigError::Syntax { line, message, .. } = &refused else { panic!("{refused}") };
        assert_eq!(*line, 3);
        assert!(message.contains("`databse`") && message.contains("`database`"), "{message}");
        let refused = parse("[limits]\nrequest = 5").unwrap_err().to_string();
        assert!(refused.contains("line 2") && refused.contains("`requests`"), "{refused}");
        assert!(!format!("{refused:?}").contains("hunter2"));
    }

    #[test]
    fn a_value_out_of_range_is_refused_with_the_range() {
        for (text, field) in [
            ("[devices]\ncertificate_days = 0", "devices.certificate_days"),
            ("[devices]\ncheck_in_s = 99999999999", "devices.check_in_s"),
            ("[limits]\nrequests = 0", "limits.requests"),
            ("listen = []", "listen"),
            ("url = \"http://enroll.example.com\"", "url"),
            ("[tls]\nkey = \"x\"", "tls"),
        ] {
            let refused = parse(text).unwrap_err();
            assert!(
                matches!(refused, ConfigError::Value { field: found, .. } if found == field),
                "{refused}"
            );
        }
        for text in ["listen = [\"localhost\"]", "listen = 5", "names = [", "[limits]\nrequests = -1"] {
            assert!(matches!(parse(text), Err(ConfigError::Syntax { .. })), "{text}");
        }
    }

    #[test]
    fn further_models_are_read_and_a_mistake_in_them_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("models.csv");
        let settings = format!("models = {:?}", path.display().to_string());
        assert!(matches!(parse(&settings), Err(ConfigError::NoModels(_))));
        for (row, says) in [
            ("Chromebook Acme 1,Acme,,serial,", None),
            ("Chromebook Acme 1,Acme,,imei,", Some("line 2, column certified_id: \"imei\"")),
        ] {
            let table = format!("model,brand,manufactured_from,certified_id,footnote\n{row}\n");
            files::replace(&path, table.as_bytes(), files::PRIVATE_FILE).unwrap();
            match (parse(&settings), says) {
                (Ok(settings), None) => {
                    assert!(settings.services.models.find("chromebook acme 1").is_some());
                    assert_eq!(settings.services.models.iter().len(), 188);
                }
                (Err(ConfigError::Models { source, .. }), Some(says)) => {
                    assert!(source.to_string().starts_with(says), "{source}");
                }
                (other, _) => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_address_is_what_is_said_or_made_of_the_first_name_and_port() {
        for (name, listen, expected) in [
            ("enroll.example.com", "[::]:8443", Some("https://enroll.example.com:8443/")),
            ("192.0.2.7", "0.0.0.0:443", Some("https://192.0.2.7/")),
            ("2001:db8::7", "[::]:8443", Some("https://[2001:db8::7]:8443/")),
            ("localhost", "127.0.0.1:0", None),
            ("a b", "127.0.0.1:1", None),
        ] {
            let made = url_of(&[name.to_owned()], &[listen.parse().unwrap()]);
            assert_eq!(made.as_ref().map(Url::as_str), expected, "{name}");
            let said: Url = "https://front.example.com".parse().unwrap();
            let file = default_file(&[name.to_owned()], Some(&said), &[listen.parse().unwrap()], None);
            assert_eq!(parse(&file).unwrap().services.url, Some(said), "{name}");
            let file = default_file(&[name.to_owned()], made.as_ref(), &[listen.parse().unwrap()], None);
            assert_eq!(parse(&file).unwrap().services.url, made, "{name}");
        }
        assert_eq!(url_of(&[], &["[::]:443".parse().unwrap()]), None);
        for bad in ["http://x.example", "https://x.example/y", "https://u@x.example", "https://x.example/?q"]
        {
            assert!(server_url(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_command_line_wins_over_the_file() {
        let file = Fragment {
            listen: Some(vec!["[::]:1".parse().unwrap()]),
            database: Some(Secret::new("sqlite::memory:".to_owned())),
            ..Fragment::default()
        };
        let line = Fragment { listen: Some(vec!["127.0.0.1:0".parse().unwrap()]), ..Fragment::default() };
        let settings = Settings::parse(line.over(file), layout()).unwrap();
        assert_eq!(settings.listen, ["127.0.0.1:0".parse().unwrap()]);
        assert_eq!(settings.database.expose(), "sqlite::memory:");
    }

    #[test]
    fn a_database_password_is_not_shown() {
        let settings = parse("database = \"postgres://u:hunter2@db/unbox\"").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
