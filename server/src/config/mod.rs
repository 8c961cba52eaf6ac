//! Settings in three steps: fragments (all optional) are merged into one, with the command line over the
//! file; the result becomes [`Settings`], in the types that the server uses.
//!
//! To add a setting: its fragment, its value with the allowed range, its comment in `template.rs`, and the
//! table in the README, which a test compares.

mod address;
mod fragment;
mod limits;
mod models;
mod non_empty;
mod proxies;
mod template;
mod value;

pub use address::{build_url, server_url};
pub use fragment::{
    AcmeFragment, DevicesFragment, Fragment, LimitsFragment, LogFormat, LogFragment, RetentionFragment,
    StorageFragment, TlsFragment, TpmFragment,
};
pub use limits::{HourlyRate, Limits, Rate};
pub use proxies::{Proxies, ProxyHeader};
pub use template::default_file;

use crate::{
    files::FilesError,
    keys::{DEVICE_LIFETIME, Layout},
    service,
    tpm::{RootsError, TpmRoots},
};
use models::read_models;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};
use unbox_common::{models::InvalidTable, secret::Secret};
use value::{parse_days, parse_mib, parse_number, parse_span, value_error};

/// The default address for devices.
pub const DEFAULT_LISTEN: &str = "[::]:443";
/// Returns the default addresses for metrics. If another program listens there, the server does without
/// metrics.
#[must_use]
pub fn default_metrics() -> Vec<SocketAddr> {
    vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 9470))]
}

/// The addresses that `listen_api` may have.
const LOOPBACK_ONLY: &str = "addresses of this machine such as \"127.0.0.1:8480\": credentials would pass in the clear. \
     Or set `api_behind_tls_proxy = true` if a proxy in front of it speaks TLS";

/// The settings of a running server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The files of keys, roots and trust.
    pub layout: Layout,
    /// Addresses for devices.
    pub listen: Vec<SocketAddr>,
    /// Addresses for metrics, without TLS.
    pub listen_metrics: Vec<SocketAddr>,
    /// Addresses for health and artifacts, without TLS.
    pub listen_plain: Vec<SocketAddr>,
    /// Addresses for the management API without TLS: of this machine, or behind a proxy with TLS.
    pub listen_api: Vec<SocketAddr>,
    /// True if connections of devices start with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// The database's URL; it may hold a password.
    pub database: Secret,
    /// The server's TLS certificate chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub certificate_key: PathBuf,
    /// The ACME authority that issues them.
    pub acme: Option<Acme>,
    /// True if to start with a certificate that has ended, which devices refuse.
    pub allow_expired_certificate: bool,
    /// Certificates of TPM manufacturers: a file, or a folder of them.
    pub tpm_roots: Option<PathBuf>,
    /// The lifetime of a device's certificate.
    pub device_certificate_lifetime: Duration,
    /// The settings of the services.
    pub services: service::Settings,
    /// The limits of the server's load.
    pub limits: Limits,
    /// The form of log lines.
    pub log_format: LogFormat,
    /// The filter of the log.
    pub log_filter: String,
}

/// An authority that issues the server's certificate by ACME.
#[derive(Debug, Clone)]
pub struct Acme {
    /// Its directory.
    pub directory: url::Url,
    /// The contact that it writes to.
    pub contact: Option<String>,
    /// The certificate of its own server, if the system does not trust it.
    pub root: Option<PathBuf>,
}

/// The reason why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// There is no settings file: this is not a server's directory.
    #[error("{} is missing: name the right --dir, or run `unbox-server init` first", _0.display())]
    Missing(PathBuf),
    /// The settings file of a server is missing.
    #[error("{} is missing, but there are other files of a server beside it: put it back from a backup", _0.display())]
    Lost(PathBuf),
    /// The file is not TOML, or has an unknown setting.
    #[error("{}, line {line}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The problem; for an unknown key, also the known ones.
        message: String,
    },
    /// The table of models does not exist.
    #[error("the table of models {} is missing: put it there, or take `models` out of the settings", _0.display())]
    NoModels(PathBuf),
    /// The table of models cannot be used.
    #[error("the table of models {} cannot be used", path.display())]
    Models {
        /// The file.
        path: PathBuf,
        /// The problem with it.
        source: InvalidTable,
    },
    /// A value is outside of its range.
    #[error("the setting `{field}` cannot be used: expected {expected}")]
    Value {
        /// The name of the setting.
        field: &'static str,
        /// The values that are allowed.
        expected: String,
    },
}

/// The origin of the server's certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateSource {
    /// The server's own authority.
    Own,
    /// An ACME authority.
    Acme,
    /// An administrator, who names its files.
    Files,
}

impl CertificateSource {
    /// Returns the step that gives the server another certificate.
    #[must_use]
    pub const fn renewal(self) -> &'static str {
        match self {
            Self::Own => "run `unbox-server key renew-server`",
            Self::Acme => {
                "`unbox-server serve` asks the ACME authority for another one, and its log says why it gets none"
            }
            Self::Files => {
                "have its authority issue another one, put it and its key where [tls] in server.toml says, and \
                 reload the server"
            }
        }
    }
}

impl Settings {
    /// Returns the origin of the server's certificate.
    #[must_use]
    pub fn certificate_source(&self) -> CertificateSource {
        if self.acme.is_some() {
            CertificateSource::Acme
        } else if self.certificate == self.layout.server_certificate() {
            CertificateSource::Own
        } else {
            CertificateSource::Files
        }
    }

    /// Returns the paths of the certificate that the server presents and of its key: those of its own
    /// authority until an ACME authority has issued the first one.
    #[must_use]
    pub fn presented_certificate(&self) -> (PathBuf, PathBuf) {
        if self.acme.is_some() && !self.certificate.exists() {
            (self.layout.server_certificate(), self.layout.server_certificate())
        } else {
            (self.certificate.clone(), self.certificate_key.clone())
        }
    }

    /// Turns the merged fragments into settings, for the directory of `layout`.
    ///
    /// # Errors
    /// [`ConfigError::Value`] with the first setting that cannot be used.
    pub fn parse(merged: Fragment, layout: Layout) -> Result<Self, ConfigError> {
        non_empty::check_not_empty(&merged)?;
        let database = merged.database_url(&layout);
        let listen = match merged.listen {
            Some(listen) => listen,
            None => DEFAULT_LISTEN.parse().into_iter().collect(),
        };
        if listen.is_empty() {
            return Err(value_error("listen", "at least one address such as \"[::]:443\""));
        }
        let url = merged.url.map(|url| server_url(&url).map_err(|expected| value_error("url", expected)));
        let url = url.transpose()?;
        let below = |path: PathBuf| layout.dir().join(path);
        let acme = parse_acme(merged.acme, merged.names.as_deref().unwrap_or_default(), below)?;
        let (certificate, certificate_key) = match (merged.tls.certificate, merged.tls.key) {
            (None, None) if acme.is_some() => (layout.acme_certificate(), layout.acme_certificate()),
            (None, None) => (layout.server_certificate(), layout.server_certificate()),
            (Some(_), Some(_)) if acme.is_some() => {
                return Err(value_error("tls", "nothing, because [acme] is set"));
            }
            (Some(certificate), Some(key)) => (below(certificate), below(key)),
            _ => return Err(value_error("tls", "`certificate` and `key` together, or neither")),
        };
        let artifacts = merged.artifacts.map_or_else(|| layout.artifacts(), below);
        let listen_api = merged.listen_api.unwrap_or_default();
        let behind_proxy = merged.api_behind_tls_proxy.unwrap_or_default();
        if !(behind_proxy || listen_api.iter().all(|address| address.ip().is_loopback())) {
            return Err(value_error("listen_api", LOOPBACK_ONLY));
        }
        let proxies = Proxies::parse(
            &merged.trusted_proxies.unwrap_or_default(),
            merged.proxy_header.unwrap_or_default(),
        )?;
        let proxy_protocol = merged.proxy_protocol.unwrap_or_default();
        if proxy_protocol && proxies.is_empty() {
            return Err(value_error(
                "trusted_proxies",
                "the addresses of the balancer, because `proxy_protocol` is set",
            ));
        }
        let names = non_empty::parse_names(merged.names)?;
        let mut services = service::Settings {
            url: url.or_else(|| build_url(&names, &listen)),
            names,
            audit_directory: layout.dir().join("audit"),
            ..service::Settings::new(artifacts)
        };
        if let Some(models) = merged.models {
            services.models = read_models(below(models))?;
        }
        let services =
            parse_services(services, &merged.devices, &merged.limits, &merged.retention, &merged.storage)?;
        Ok(Self {
            listen,
            listen_metrics: merged.listen_metrics.unwrap_or_else(default_metrics),
            listen_plain: merged.listen_plain.unwrap_or_default(),
            listen_api,
            proxy_protocol,
            database,
            certificate,
            certificate_key,
            acme,
            allow_expired_certificate: false,
            tpm_roots: merged.tpm.roots.map(below),
            device_certificate_lifetime: parse_days(
                "devices.certificate_days",
                merged.devices.certificate_days,
                DEVICE_LIFETIME,
            )?,
            services,
            limits: Limits { proxies, ..Limits::parse(&merged.limits)? },
            log_format: merged.log.format.unwrap_or_default(),
            log_filter: parse_log_filter(merged.log.filter)?,
            layout,
        })
    }

    /// Returns the settings of the services: the values, and the contents of the files that they name.
    ///
    /// # Errors
    /// [`RootsError`] if the TPM manufacturers' certificates cannot be read.
    pub fn load_service_settings(&self) -> Result<service::Settings, RootsError> {
        let tpm_roots = self.tpm_roots.as_deref().map(TpmRoots::load).transpose()?;
        Ok(service::Settings { tpm_roots: tpm_roots.unwrap_or_default(), ..self.services.clone() })
    }
}

fn parse_log_filter(given: Option<String>) -> Result<String, ConfigError> {
    let filter = given.unwrap_or_else(|| "info".to_owned());
    match crate::log::check_filter(&filter) {
        Ok(()) => Ok(filter),
        Err(error) => Err(value_error(
            "log.filter",
            format!("a filter such as \"info\" or \"warn,request=info\"; this one cannot be read: {error}"),
        )),
    }
}

fn parse_acme(
    given: AcmeFragment,
    names: &[String],
    below: impl Fn(PathBuf) -> PathBuf,
) -> Result<Option<Acme>, ConfigError> {
    let AcmeFragment { directory, contact, root } = given;
    let Some(directory) = directory else {
        let is_empty = contact.is_none() && root.is_none();
        let expected = "the address of the authority's directory, because the rest of [acme] is set";
        return if is_empty { Ok(None) } else { Err(value_error("acme.directory", expected)) };
    };
    if directory.scheme() != "https" {
        return Err(value_error("acme.directory", "an address that begins with https://"));
    }
    if !names.iter().any(|name| name.parse::<IpAddr>().is_err()) {
        return Err(value_error("names", "a DNS name among them, because [acme] is set"));
    }
    Ok(Some(Acme { directory, contact, root: root.map(below) }))
}

/// Returns the services' settings with the given times and bounds.
fn parse_services(
    default: service::Settings,
    devices: &DevicesFragment,
    limits: &LimitsFragment,
    retention: &RetentionFragment,
    storage: &StorageFragment,
) -> Result<service::Settings, ConfigError> {
    let count = |field, given, default| parse_number(field, given, default, 1..=100_000).map(u64::from);
    Ok(service::Settings {
        ticket_lifetime: parse_span(
            "devices.challenge_s",
            devices.challenge_s,
            default.ticket_lifetime,
            5..=3600,
        )?,
        payload_lifetime: parse_days("devices.payload_days", devices.payload_days, default.payload_lifetime)?,
        activation_window: parse_days(
            "devices.activation_days",
            devices.activation_days,
            default.activation_window,
        )?,
        reset_ticket_lifetime: parse_days(
            "devices.reset_ticket_days",
            devices.reset_ticket_days,
            default.reset_ticket_lifetime,
        )?,
        check_in_interval_s: parse_number(
            "devices.check_in_s",
            devices.check_in_s,
            default.check_in_interval_s,
            1..=604_800,
        )?,
        retry_waiting_s: parse_number(
            "devices.retry_waiting_s",
            devices.retry_waiting_s,
            default.retry_waiting_s,
            1..=86_400,
        )?,
        unfinished_operations: parse_number(
            "limits.operations_per_company",
            limits.operations_per_company,
            50,
            1..=10_000,
        )?
        .into(),
        configurations: count(
            "limits.configurations_per_customer",
            limits.configurations_per_customer,
            1000,
        )?,
        accounts: count("limits.accounts_per_company", limits.accounts_per_company, 1000)?,
        reports_kept: parse_days("retention.reports_days", retention.reports, default.reports_kept)?,
        claims_kept: parse_days("retention.claims_days", retention.claims, default.claims_kept)?,
        audit_kept: retention
            .audit
            .filter(|days| *days > 0)
            .map(|given| parse_days("retention.audit_days", Some(given), Duration::ZERO))
            .transpose()?,
        company_bytes: parse_mib("storage.company_mib", storage.company, 32_768)?,
        operations_bytes: parse_mib("storage.operations_mib", storage.operations, 1024)?,
        reserved_bytes: parse_mib("storage.reserve_mib", storage.reserve, 1024)?,
        operations_kept: parse_days(
            "retention.operations_days",
            retention.operations,
            default.operations_kept,
        )?,
        ..default
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files;

    fn layout() -> Layout {
        Layout::new("/srv/unbox")
    }

    pub(super) fn parse(text: &str) -> Result<Settings, ConfigError> {
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
            .filter(|line| ["/etc/", "postgres", "acme"].iter().all(|other| !line.contains(other)))
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        assert!(uncommented.contains("\nseries_burst = 500\n"));
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
            ("trusted_proxies = [\"proxy.example.com\"]", "trusted_proxies"),
            ("proxy_protocol = true", "trusted_proxies"),
        ] {
            let refused = parse(&format!("names = [\"a\"]\n{text}")).unwrap_err();
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
    fn the_command_line_wins_over_the_file() {
        let file = Fragment {
            listen: Some(vec!["[::]:1".parse().unwrap()]),
            names: Some(vec!["enroll.example.com".to_owned()]),
            database: Some(Secret::new("sqlite::memory:".to_owned())),
            ..Fragment::default()
        };
        let line = Fragment { listen: Some(vec!["127.0.0.1:0".parse().unwrap()]), ..Fragment::default() };
        let settings = Settings::parse(line.merge_over(file), layout()).unwrap();
        assert_eq!(settings.listen, ["127.0.0.1:0".parse().unwrap()]);
        assert_eq!(settings.database.expose(), "sqlite::memory:");
    }

    #[test]
    fn a_database_password_is_not_shown() {
        let settings = parse("names = [\"a\"]\ndatabase = \"postgres://u:hunter2@db/unbox\"").unwrap();
        assert!(!format!("{settings:?}").contains("hunter2"));
    }
}
