//! A connection to PostgreSQL.

use super::{
    DatabaseError, Query, Value,
    value::{Names, Row, ValueRef},
};
use crate::store::error::is_outage;
use futures_util::TryStreamExt as _;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use std::{collections::HashMap, error::Error, path::Path, pin::pin, sync::Arc, time::Duration};
use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
    time::timeout,
};
use tokio_postgres::{
    Client, Config, NoTls, Statement,
    config::SslMode,
    types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use url::{Host, Url};

/// The number of statements that stay prepared.
const PREPARED: usize = 256;
/// The longest wait for a connection, from its first packet to the end of the sign-in.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for the answer to the question whether a connection still works, and for its end.
const SHORT_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest wait for the network to acknowledge what was sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after which a silent connection is probed.
const KEEPALIVE: Duration = Duration::from_secs(10);
/// The system's certificate authorities, unless the URL names others as `sslrootcert`.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A connection to PostgreSQL. Its network is driven by whoever waits for an answer, and no longer than a
/// deadline: a server that is gone, or a network that loses everything, would otherwise hold a thread for
/// hours.
pub(in crate::store) struct Postgres {
    /// Present until the connection is closed.
    open: Option<Open>,
    /// The longest wait for the next part of an answer.
    deadline: Duration,
    prepared: HashMap<String, Statement>,
    /// True once an error has shown that the connection or its server is out of order.
    broken: bool,
}

struct Open {
    runtime: Runtime,
    client: Client,
    network: JoinHandle<()>,
}

impl Postgres {
    /// Connects to the database of a URL.
    pub(in crate::store) fn connect(url: &str, deadline: Duration) -> Result<Self, DatabaseError> {
        let Settings { config, authorities } = Settings::of_url(url)?;
        let tls = authorities.as_deref().map(tls).transpose()?;
        let runtime = Builder::new_current_thread().enable_all().build().map_err(DatabaseError::Runtime)?;
        let connecting = async {
            let (client, network) = match tls {
                None => {
                    let (client, network) = config.connect(NoTls).await?;
                    (client, tokio::spawn(async move { drop(network.await) }))
                }
                Some(tls) => {
                    let (client, network) = config.connect(MakeRustlsConnect::new(tls)).await?;
                    (client, tokio::spawn(async move { drop(network.await) }))
                }
            };
            Ok::<_, DatabaseError>((client, network))
        };
        let connected = runtime.block_on(async { timeout(CONNECT_TIMEOUT, connecting).await });
        let (client, network) = connected.map_err(|_| DatabaseError::Silent)??;
        let open = Some(Open { runtime, client, network });
        Ok(Self { open, deadline, prepared: HashMap::new(), broken: false })
    }

    pub(super) fn run(&mut self, statements: &str) -> Result<(), DatabaseError> {
        let deadline = self.deadline;
        self.wait(deadline, async |client| client.batch_execute(statements).await)
    }

    pub(super) fn execute(&mut self, query: &Query) -> Result<u64, DatabaseError> {
        let (deadline, statement) = (self.deadline, self.prepare(query)?);
        let values: Vec<&(dyn ToSql + Sync)> = query.values.iter().map(|one| one as _).collect();
        self.wait(deadline, async |client| client.execute(&statement, &values).await)
    }

    pub(super) fn for_each(
        &mut self,
        query: &Query,
        take: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), DatabaseError> {
        let (deadline, statement) = (self.deadline, self.prepare(query)?);
        let names = Names::new(statement.columns().iter().map(tokio_postgres::Column::name));
        let rows = self.wait(deadline, async |client| client.query_raw(&statement, &query.values).await)?;
        let mut rows = pin!(rows);
        while let Some(from) = self.wait(deadline, async |_| rows.try_next().await)? {
            let mut row = Row::new(&names);
            for column in 0..from.len() {
                match from.try_get::<_, Option<Read<'_>>>(column) {
                    Ok(None) => row.push(ValueRef::Null),
                    Ok(Some(Read(value))) => row.push(value),
                    Err(_) => return Err(row.type_error()),
                }
            }
            if !take(row) {
                break;
            }
        }
        Ok(())
    }

    /// Asks the server whether the connection still works.
    pub(super) fn is_alive(&mut self) -> bool {
        self.wait(SHORT_TIMEOUT, async |client| client.batch_execute("").await).is_ok()
    }

    pub(super) const fn is_broken(&self) -> bool {
        self.broken
    }

    /// Says goodbye to the server, and waits a moment for its end of the connection.
    pub(super) fn close(mut self) {
        self.prepared.clear();
        if let Some(Open { runtime, client, network }) = self.open.take() {
            drop(client);
            // If it does not answer, it is gone anyway.
            let _ = runtime.block_on(async { timeout(SHORT_TIMEOUT, network).await });
            runtime.shutdown_background();
        }
    }

    fn prepare(&mut self, query: &Query) -> Result<Statement, DatabaseError> {
        if let Some(statement) = self.prepared.get(query.text.as_ref()) {
            return Ok(statement.clone());
        }
        let deadline = self.deadline;
        let statement = self.wait(deadline, async |client| client.prepare(&query.text).await)?;
        if query.keep {
            if self.prepared.len() >= PREPARED {
                self.prepared.clear();
            }
            self.prepared.insert(query.text.clone().into_owned(), statement.clone());
        }
        Ok(statement)
    }

    /// Waits for an answer until the deadline. Blocks: no thread of a runtime may call it.
    fn wait<T>(
        &mut self,
        deadline: Duration,
        ask: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, DatabaseError> {
        let Some(Open { runtime, client, .. }) = &self.open else { return Err(DatabaseError::Silent) };
        let answer = match runtime.block_on(async { timeout(deadline, ask(client)).await }) {
            Ok(answer) => answer.map_err(DatabaseError::Postgres),
            Err(_) => Err(DatabaseError::Silent),
        };
        if let Err(error) = &answer {
            self.broken |= is_outage(error);
        }
        answer
    }
}

impl Drop for Postgres {
    /// Leaves the connection to its fate, because nobody may wait here.
    fn drop(&mut self) {
        self.prepared.clear();
        if let Some(Open { runtime, .. }) = self.open.take() {
            runtime.shutdown_background();
        }
    }
}

/// The parts of a URL.
struct Settings {
    config: Config,
    /// The file of the certificate authorities that the server is checked against; without it there is no TLS.
    authorities: Option<String>,
}

impl Settings {
    /// Reads a URL as libpq does. TLS is used with `sslmode=require`, `verify-ca` or `verify-full`, and the
    /// server's certificate and name are always checked then.
    fn of_url(url: &str) -> Result<Self, DatabaseError> {
        let url = Url::parse(url).map_err(|error| DatabaseError::Settings(error.to_string()))?;
        let mut config = Config::new();
        config.tcp_user_timeout(SEND_TIMEOUT).ssl_mode(SslMode::Disable);
        config.keepalives_idle(KEEPALIVE).keepalives_interval(KEEPALIVE / 2).keepalives_retries(3);
        if url.fragment().is_some() {
            return Err(DatabaseError::Settings("a `#` in a password has to be written as %23".to_owned()));
        }
        config.user(&decode(url.username())?);
        if let Some(password) = url.password() {
            config.password(decode(password)?);
        }
        let name = decode(url.path().trim_start_matches('/'))?;
        if !name.is_empty() {
            config.dbname(&name);
        }
        let mut host = match url.host() {
            Some(Host::Domain(name)) => Some(decode(name)?),
            Some(address) => Some(address.to_string().trim_matches(['[', ']']).to_owned()),
            None => None,
        };
        let (mut port, mut encrypted, mut authorities) = (url.port(), false, None);
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "host" => host = Some(value.into_owned()),
                "port" => port = Some(value.parse().map_err(|_| refused("port", "a port"))?),
                "user" => drop(config.user(value.as_ref())),
                "password" => drop(config.password(value.as_bytes())),
                "dbname" => drop(config.dbname(value.as_ref())),
                "application_name" => drop(config.application_name(value.as_ref())),
                "options" => drop(config.options(value.as_ref())),
                "sslmode" => {
                    encrypted = match value.as_ref() {
                        "disable" => false,
                        "require" | "verify-ca" | "verify-full" => true,
                        _ => return Err(refused("sslmode", "disable, require, verify-ca or verify-full")),
                    }
                }
                // The server's own patience is shorter than most.
                "connect_timeout" => {}
                "sslrootcert" => authorities = Some(value.into_owned()),
                other if other.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    return Err(DatabaseError::Settings(format!("unknown parameter {other:?}")));
                }
                // It may be a part of a password.
                _ => {
                    let advice = "an unknown parameter; a `?` in a password has to be written as %3F";
                    return Err(DatabaseError::Settings(advice.to_owned()));
                }
            }
        }
        config.host(host.as_deref().filter(|host| !host.is_empty()).unwrap_or("localhost"));
        if let Some(port) = port {
            config.port(port);
        }
        if encrypted {
            config.ssl_mode(SslMode::Require);
        }
        let authorities = encrypted.then(|| authorities.unwrap_or_else(|| SYSTEM_AUTHORITIES.to_owned()));
        Ok(Self { config, authorities })
    }
}

fn decode(text: &str) -> Result<String, DatabaseError> {
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8();
    Ok(decoded.map_err(|error| DatabaseError::Settings(error.to_string()))?.into_owned())
}

fn refused(parameter: &str, expected: &str) -> DatabaseError {
    DatabaseError::Settings(format!("expected {expected} for the parameter {parameter:?}"))
}

/// Returns the TLS settings for a server whose certificate one of these authorities issued.
fn tls(authorities: &str) -> Result<ClientConfig, DatabaseError> {
    let problem =
        |error: &dyn Error| DatabaseError::Settings(format!("the authorities in {authorities}: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in
        CertificateDer::pem_file_iter(Path::new(authorities)).map_err(|error| problem(&error))?
    {
        let certificate = certificate.map_err(|error| problem(&error))?;
        roots.add(certificate).map_err(|error| problem(&error))?;
    }
    if roots.is_empty() {
        return Err(DatabaseError::Settings(format!("{authorities} holds no certificate")));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| problem(&error))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

/// A value as PostgreSQL sends it.
struct Read<'r>(ValueRef<'r>);

impl<'r> FromSql<'r> for Read<'r> {
    fn from_sql(of: &Type, raw: &'r [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(match *of {
            Type::INT8 => ValueRef::Number(i64::from_sql(of, raw)?),
            Type::INT4 => ValueRef::Number(i32::from_sql(of, raw)?.into()),
            _ => ValueRef::Text(<&str>::from_sql(of, raw)?),
        }))
    }

    fn accepts(of: &Type) -> bool {
        matches!(*of, Type::INT8 | Type::INT4) || <&str as FromSql>::accepts(of)
    }
}

impl ToSql for Value {
    fn to_sql(&self, of: &Type, to: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match (self, of) {
            (Self::Null, _) => Ok(IsNull::Yes),
            (Self::Number(number), &Type::INT4) => i32::try_from(*number)?.to_sql(of, to),
            (Self::Number(number), &Type::INT8) => number.to_sql(of, to),
            (Self::Text(text), of) if <&str as FromSql>::accepts(of) => text.to_sql(of, to),
            _ => Err(format!("expected a value of type {of}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_postgres::config::Host as Reached;

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        let url =
            "postgresql://un%40box:h%3Aunter2@db.example:5433/un%2Fbox?application_name=a&sslmode=require";
        let Settings { config, authorities } = Settings::of_url(url).unwrap();
        assert_eq!(config.get_user(), Some("un@box"));
        assert_eq!(config.get_password(), Some(b"h:unter2".as_slice()));
        assert_eq!(config.get_dbname(), Some("un/box"));
        assert_eq!(config.get_hosts(), [Reached::Tcp("db.example".to_owned())]);
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(authorities.as_deref(), Some(SYSTEM_AUTHORITIES));

        let url = "postgres://unbox@localhost/unbox?host=/run/postgresql";
        let Settings { config, authorities } = Settings::of_url(url).unwrap();
        assert_eq!(config.get_hosts(), [Reached::Unix("/run/postgresql".into())]);
        assert_eq!((config.get_ssl_mode(), authorities), (SslMode::Disable, None));

        let Settings { config, .. } = Settings::of_url("postgres://unbox@[::1]:6543/unbox").unwrap();
        assert_eq!(
            (config.get_hosts(), config.get_ports()),
            (&[Reached::Tcp("::1".to_owned())][..], &[6543][..])
        );
    }

    #[test]
    fn a_url_that_cannot_be_meant_is_refused_without_its_password() {
        for url in [
            "postgres://u:hunter2@h/d?sslmode=prefer",
            "postgres://u:hunter2@h/d?port=x",
            "postgres://u:hunter2@h/d?passwrd=hunter2",
            "postgres://u:hunter2@h:70000/d",
            "postgres://u:hunter2%ff@h/d",
            "postgres://u:123?hunter2@h/d",
            "postgres://u:123#hunter2@h/d",
        ] {
            let refused = Settings::of_url(url).map(|_| ()).unwrap_err().to_string();
            assert!(!refused.contains("hunter2"), "{refused}");
        }
    }

    #[test]
    fn tls_needs_authorities_that_can_be_read() {
        let refused = tls("/nonexistent/root.crt").unwrap_err().to_string();
        assert!(refused.contains("/nonexistent/root.crt"), "{refused}");
    }
}
