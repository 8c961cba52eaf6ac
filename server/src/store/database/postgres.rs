//! A connection to PostgreSQL.

use super::{
    DatabaseError, Query, Value,
    value::{Names, Row, ValueRef},
};
use postgres::{
    Client, Config, NoTls, Statement,
    config::SslMode,
    fallible_iterator::FallibleIterator as _,
    types::{FromSql, IsNull, ToSql, Type, private::BytesMut, to_sql_checked},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use std::{collections::HashMap, error::Error, path::Path, sync::Arc, thread, time::Duration};
use tokio::runtime::Handle;
use tokio_postgres_rustls::MakeRustlsConnect;
use url::Url;

/// The number of statements that stay prepared.
const PREPARED: usize = 256;
/// The longest wait for a connection, and for an answer to the question whether it still works.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait for the network to acknowledge what was sent.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);
/// The system's certificate authorities, unless the URL names others as `sslrootcert`.
const SYSTEM_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// A connection to PostgreSQL.
pub(in crate::store) struct Postgres {
    /// Present until it is dropped.
    client: Option<Client>,
    prepared: HashMap<String, Statement>,
}

impl Postgres {
    /// Connects to the database of a URL.
    pub(in crate::store) fn connect(url: &str) -> Result<Self, DatabaseError> {
        let Settings { config, authorities } = Settings::of_url(url)?;
        let client = match authorities {
            None => config.connect(NoTls)?,
            Some(file) => config.connect(MakeRustlsConnect::new(tls(&file)?))?,
        };
        Ok(Self { client: Some(client), prepared: HashMap::new() })
    }

    pub(super) fn run(&mut self, statements: &str) -> Result<(), DatabaseError> {
        Ok(self.client().batch_execute(statements)?)
    }

    pub(super) fn execute(&mut self, query: &Query) -> Result<u64, DatabaseError> {
        let statement = self.prepare(query)?;
        let values: Vec<&(dyn ToSql + Sync)> = query.values.iter().map(|one| one as _).collect();
        Ok(self.client().execute(&statement, &values)?)
    }

    pub(super) fn for_each(
        &mut self,
        query: &Query,
        take: &mut dyn FnMut(Row) -> bool,
    ) -> Result<(), DatabaseError> {
        let statement = self.prepare(query)?;
        let names = Names::new(statement.columns().iter().map(postgres::Column::name));
        let mut rows = self.client().query_raw(&statement, &query.values)?;
        while let Some(from) = rows.next()? {
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

    pub(super) fn is_alive(&mut self) -> bool {
        self.client().is_valid(CONNECT_TIMEOUT).is_ok()
    }

    /// Says goodbye to the server, and waits for its end of the connection.
    pub(super) fn close(mut self) {
        drop(self.client.take());
    }

    fn prepare(&mut self, query: &Query) -> Result<Statement, DatabaseError> {
        if let Some(statement) = self.prepared.get(query.text.as_ref()) {
            return Ok(statement.clone());
        }
        let statement = self.client().prepare(&query.text)?;
        if query.keep {
            if self.prepared.len() >= PREPARED {
                self.prepared.clear();
            }
            self.prepared.insert(query.text.clone().into_owned(), statement.clone());
        }
        Ok(statement)
    }

    #[expect(clippy::expect_used, reason = "the client is taken out by `drop` only")]
    fn client(&mut self) -> &mut Client {
        self.client.as_mut().expect("a client until it is dropped")
    }
}

impl Drop for Postgres {
    /// Has another thread say goodbye to the server, because the client waits for that, which no thread of a
    /// runtime may do.
    fn drop(&mut self) {
        self.prepared.clear();
        if let Some(client) = self.client.take()
            && Handle::try_current().is_ok()
        {
            thread::spawn(move || drop(client));
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
        config.connect_timeout(CONNECT_TIMEOUT).tcp_user_timeout(SEND_TIMEOUT).ssl_mode(SslMode::Disable);
        config.user(&decode(url.username())?);
        if let Some(password) = url.password() {
            config.password(decode(password)?);
        }
        let name = decode(url.path().trim_start_matches('/'))?;
        if !name.is_empty() {
            config.dbname(&name);
        }
        let mut host = url.host_str().map(decode).transpose()?;
        let (mut port, mut encrypted, mut authorities) = (url.port(), false, None);
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "host" => host = Some(value.into_owned()),
                "port" => port = Some(value.parse().map_err(|_| refused("port", "a port"))?),
                "user" => drop(config.user(&value)),
                "password" => drop(config.password(value.as_bytes())),
                "dbname" => drop(config.dbname(&value)),
                "application_name" => drop(config.application_name(&value)),
                "options" => drop(config.options(&value)),
                "sslmode" => {
                    encrypted = match value.as_ref() {
                        "disable" => false,
                        "require" | "verify-ca" | "verify-full" => true,
                        _ => return Err(refused("sslmode", "disable, require, verify-ca or verify-full")),
                    }
                }
                "sslrootcert" => authorities = Some(value.into_owned()),
                other => return Err(DatabaseError::Settings(format!("unknown parameter {other:?}"))),
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
    use postgres::config::Host;

    #[test]
    fn a_url_is_read_as_libpq_reads_it() {
        let url =
            "postgresql://un%40box:h%3Aunter2@db.example:5433/un%2Fbox?application_name=a&sslmode=require";
        let Settings { config, authorities } = Settings::of_url(url).unwrap();
        assert_eq!(config.get_user(), Some("un@box"));
        assert_eq!(config.get_password(), Some(b"h:unter2".as_slice()));
        assert_eq!(config.get_dbname(), Some("un/box"));
        assert_eq!(config.get_hosts(), [Host::Tcp("db.example".to_owned())]);
        assert_eq!(config.get_ports(), [5433]);
        assert_eq!(config.get_ssl_mode(), SslMode::Require);
        assert_eq!(authorities.as_deref(), Some(SYSTEM_AUTHORITIES));

        let url = "postgres://unbox@localhost/unbox?host=/run/postgresql";
        let Settings { config, authorities } = Settings::of_url(url).unwrap();
        assert_eq!(config.get_hosts(), [Host::Unix("/run/postgresql".into())]);
        assert_eq!((config.get_ssl_mode(), authorities), (SslMode::Disable, None));
    }

    #[test]
    fn a_url_that_cannot_be_meant_is_refused_without_its_password() {
        for url in [
            "postgres://u:hunter2@h/d?sslmode=prefer",
            "postgres://u:hunter2@h/d?port=x",
            "postgres://u:hunter2@h/d?passwrd=hunter2",
            "postgres://u:hunter2@h:70000/d",
            "postgres://u:hunter2%ff@h/d",
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
