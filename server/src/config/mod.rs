//! Settings in three steps: fragments (all optional) are merged, the file below the command line,
//! into one; that becomes [`Settings`], in the types that the server uses.
//!
//! To add a setting: its fragment, its value with the range that it may have, its comment in
//! `template.rs`, and the table in the README, which a test compares.

mod fragment;
mod template;

pub use fragment::{
    DevicesFragment, Fragment, LimitsFragment, LogFormat, LogFragment, TlsFragment, TpmFragment,
};
pub use template::default_file;

use crate::{
    files::{self, FilesError},
    keys::{DEVICE_LIFETIME, Layout},
    service,
    tpm::{RootsError, TpmRoots},
};
use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, sync::Arc, time::Duration};
use unbox_common::{
    models::{InvalidTable, Models},
    secret::Secret,
};
use url::{Host, Url};

/// Where devices connect unless the settings say otherwise.
pub const DEFAULT_LISTEN: &str = "[::]:443";
/// The largest table of models that is read, in bytes.
const MAX_MODELS_BYTES: u64 = 4 * 1024 * 1024;
const DAY: Duration = Duration::from_hours(24);

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
/// What `listen_api` may be.
const LOOPBACK_ONLY: &str = "addresses of this machine such as \"127.0.0.1:8480\": credentials would pass in the clear. \
     Or set `api_behind_tls_proxy = true` if a proxy in front of it speaks TLS";
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
        let readme = include_str!("../../README.md");
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
