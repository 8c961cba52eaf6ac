//! The server's own certificate while it is in use: renewed in time where its authority is here, and
//! warned about where it is not.

use super::{ServeError, tls};
use crate::{
    clock::Clock,
    config::Settings,
    entropy::Entropy,
    keys::{self, KeyError, Keyring, rotate},
    log::chain,
    route::App,
};
use axum_server::tls_rustls::RustlsConfig;
use std::{io, sync::Arc, time::Duration};
use tokio::time::interval;
use unbox_common::timestamp::Timestamp;

/// A certificate that ends sooner is renewed by its authority, if that is here.
const RENEWAL: Duration = Duration::from_hours(60 * 24);
/// A certificate that ends sooner is warned about: nobody has renewed it.
pub(crate) const NOTICE: Duration = Duration::from_hours(30 * 24);
/// How often it is looked at, and warned about.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// What is to be done about a certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Nothing.
    Good,
    /// It is time to renew it, if that is ours to do.
    Due,
    /// Somebody has to see to it.
    Notice,
    /// Devices refuse it.
    Ended,
}

fn standing(end: Timestamp, now: Timestamp) -> Standing {
    if end <= now {
        Standing::Ended
    } else if end.before(NOTICE) <= now {
        Standing::Notice
    } else if end.before(RENEWAL) <= now {
        Standing::Due
    } else {
        Standing::Good
    }
}

/// Renews the certificate if that is due and ours to do, and says when the one in use ends.
///
/// # Errors
/// [`KeyError`] if it cannot be read. That it could not be renewed is logged: the old one may still be good.
fn renewed(settings: &Settings, now: Timestamp, entropy: &dyn Entropy) -> Result<Timestamp, KeyError> {
    let path = settings.certificate.clone();
    let end = keys::certificate(path.clone())?.not_after;
    let layout = &settings.layout;
    let is_ours = path == layout.server_certificate() && layout.tls_ca().exists();
    if !is_ours || standing(end, now) == Standing::Good {
        return Ok(end);
    }
    match rotate::renew_server(layout, &settings.services.names, now, entropy) {
        Ok(()) => {
            let renewed = keys::certificate(path)?.not_after;
            tracing::info!(until = %renewed, "the server's certificate was renewed");
            Ok(renewed)
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "the server's certificate could not be renewed");
            Ok(end)
        }
    }
}

/// Makes sure that the server starts with a certificate that devices accept.
///
/// # Errors
/// [`ServeError::CertificateEnded`], unless the settings allow that.
pub(super) fn prepare(settings: &Settings, now: Timestamp, entropy: &dyn Entropy) -> Result<(), ServeError> {
    let end = renewed(settings, now, entropy)?;
    if standing(end, now) == Standing::Ended && !settings.allow_expired_certificate {
        return Err(ServeError::CertificateEnded { path: settings.certificate.clone(), end });
    }
    Ok(())
}

/// What looks after the certificate.
pub(super) struct Caretaker {
    pub(super) settings: Settings,
    pub(super) keyring: Arc<Keyring>,
    pub(super) tls: RustlsConfig,
    pub(super) app: Arc<App>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Caretaker {
    /// Reads keys and certificates again.
    pub(super) fn reload(&self) -> Result<(), ServeError> {
        self.keyring.reload()?;
        self.tls.reload_from_config(tls::server_config(&self.settings, &self.keyring)?);
        Ok(())
    }

    pub(super) async fn watch(self: Arc<Self>) -> io::Result<()> {
        let mut every = interval(LOOK_EVERY);
        let mut in_use = None;
        loop {
            every.tick().await;
            match self.look(in_use) {
                Ok(end) => in_use = Some(end),
                Err(error) => {
                    tracing::error!(error = chain(&error), "the server's certificate cannot be used");
                }
            }
        }
    }

    /// Renews the certificate if need be, takes one into use that was renewed here or by another server of
    /// the same keys, and says when it ends.
    fn look(&self, in_use: Option<Timestamp>) -> Result<Timestamp, ServeError> {
        let now = self.clock.now();
        let end = renewed(&self.settings, now, &*self.entropy)?;
        if in_use.is_some_and(|in_use| in_use != end) {
            self.tls.reload_from_config(tls::server_config(&self.settings, &self.keyring)?);
        }
        self.app.metrics().certificate_ends(end);
        if matches!(standing(end, now), Standing::Notice | Standing::Ended) {
            let path = self.settings.certificate.display();
            tracing::warn!(%path, until = %end, "the server's certificate ends soon, and is not renewed here");
        }
        Ok(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::FakeClock,
        config::Fragment,
        entropy::SystemEntropy,
        files,
        keys::{Founding, Layout, SERVER_LIFETIME},
        serve::Server,
        store::Store,
    };
    use std::fs;
    use tempfile::TempDir;

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_hours(24);

    /// A server's directory of that day, and settings for it.
    async fn founded() -> (TempDir, Settings) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path());
        let founding = Founding { names: vec!["localhost".to_owned()], url: "https://localhost".to_owned() };
        keys::initialise(&layout, &founding, START, &SystemEntropy::new()).unwrap();
        files::make_directory(&layout.artifacts(), files::PRIVATE_DIRECTORY).unwrap();
        let text = "names = [\"localhost\"]\nlisten = [\"127.0.0.1:0\"]\n";
        files::write_new(&layout.settings(), text.as_bytes(), files::PRIVATE_FILE).unwrap();
        let settings = Settings::parse(Fragment::read(&layout.settings()).unwrap(), layout).unwrap();
        Store::create(settings.database.expose()).await.unwrap().close().await;
        (dir, settings)
    }

    async fn started(settings: &Settings, clock: &Arc<FakeClock>) -> Result<Server, ServeError> {
        Server::start(settings.clone(), clock.clone(), Arc::new(SystemEntropy::new())).await
    }

    #[tokio::test]
    async fn a_certificate_is_renewed_while_the_server_runs() {
        let (_dir, settings) = founded().await;
        let clock = Arc::new(FakeClock::at(START));
        let server = started(&settings, &clock).await.unwrap();
        let first = server.caretaker.look(None).unwrap();
        let in_use = server.caretaker.tls.get_inner();
        clock.advance(SERVER_LIFETIME.saturating_sub(61 * DAY));
        assert_eq!(server.caretaker.look(Some(first)).unwrap(), first, "it is too early");
        clock.advance(2 * DAY);
        let second = server.caretaker.look(Some(first)).unwrap();
        assert_eq!(second, clock.now().after(SERVER_LIFETIME));
        assert!(!Arc::ptr_eq(&in_use, &server.caretaker.tls.get_inner()), "new connections get it");
        assert_eq!(keys::certificate(settings.certificate.clone()).unwrap().names, ["localhost"]);
        server.stop().await;
    }

    #[tokio::test]
    async fn a_server_starts_with_a_certificate_that_devices_accept_or_says_why_not() {
        let (_dir, mut settings) = founded().await;
        let clock = Arc::new(FakeClock::at(START.after(SERVER_LIFETIME)));
        // Its authority is kept elsewhere.
        let (here, elsewhere) = (settings.layout.tls_ca(), settings.layout.dir().join("elsewhere.pem"));
        #[expect(clippy::disallowed_methods, reason = "an accident, and not ours")]
        fs::rename(&here, &elsewhere).unwrap();
        let before = fs::read(&settings.certificate).unwrap();
        let refused = started(&settings, &clock).await.err().unwrap();
        assert!(matches!(refused, ServeError::CertificateEnded { .. }), "{refused}");
        settings.allow_expired_certificate = true;
        started(&settings, &clock).await.unwrap().stop().await;
        assert_eq!(fs::read(&settings.certificate).unwrap(), before);

        settings.allow_expired_certificate = false;
        #[expect(clippy::disallowed_methods, reason = "what an operator does")]
        fs::rename(&elsewhere, &here).unwrap();
        started(&settings, &clock).await.unwrap().stop().await;
        let renewed = keys::certificate(settings.certificate.clone()).unwrap();
        assert_eq!(renewed.not_after, clock.now().after(SERVER_LIFETIME));
    }

    #[test]
    fn a_certificate_is_renewed_before_anybody_is_warned() {
        let end = Timestamp::from_secs(1_800_000_000);
        let days = |count: u32| end.before(Duration::from_hours(24) * count);
        for (now, expected) in [
            (days(397), Standing::Good),
            (days(61), Standing::Good),
            (days(60), Standing::Due),
            (days(31), Standing::Due),
            (days(30), Standing::Notice),
            (Timestamp(end.0 - 1), Standing::Notice),
            (end, Standing::Ended),
        ] {
            assert_eq!(standing(end, now), expected, "{now}");
        }
    }
}
