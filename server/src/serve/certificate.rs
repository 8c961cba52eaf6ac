//! The server's own certificate while it is in use: renewed in time if its authority's key is here, and
//! with warnings otherwise.

use super::{
    ServeError,
    acme::{self, Answers},
    tls,
};
use crate::{
    clock::Clock,
    config::{Acme, CertificateSource, Settings},
    entropy::Entropy,
    files,
    keys::{self, CertificateSummary, KeyError, Keyring, Standing, anchors, rotate},
    log::chain,
    route::App,
};
use axum_server::tls_rustls::RustlsConfig;
use std::{io, sync::Arc, time::Duration};
use tokio::time::interval;
use unbox_common::timestamp::Timestamp;
use zeroize::Zeroizing;

/// The largest certificate file, in bytes.
const MAX_PEM_BYTES: u64 = 64 * 1024;

/// The interval between checks, and between warnings.
const LOOK_EVERY: Duration = Duration::from_hours(1);

/// Renews the certificate if that is due and its authority's key is here, and returns the one that is in
/// use afterwards.
///
/// # Errors
/// [`KeyError`] if it cannot be read. A failed renewal is logged, because the old one may still be valid.
fn renew_if_due(
    settings: &Settings,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<CertificateSummary, KeyError> {
    let path = settings.certificate.clone();
    let in_use = keys::certificate(path.clone())?;
    let layout = &settings.layout;
    let is_ours = path == layout.server_certificate() && layout.tls_ca().exists();
    if !is_ours || in_use.standing(now) == Standing::Good {
        return Ok(in_use);
    }
    match rotate::renew_server(layout, &settings.services.names, now, entropy) {
        Ok(()) => {
            let renewed = keys::certificate(path)?;
            tracing::info!(until = %renewed.not_after, "the server's certificate was renewed");
            Ok(renewed)
        }
        Err(error) => {
            tracing::warn!(error = chain(&error), "the server's certificate could not be renewed");
            Ok(in_use)
        }
    }
}

/// Ensures that the server starts with a certificate that devices accept.
///
/// # Errors
/// [`ServeError::CertificateEnded`], unless the settings allow that, or an ACME authority has to reach the
/// server first. [`ServeError::NoAcmeAnchor`] if devices accept no authority but the server's own.
pub(super) fn prepare(settings: &Settings, now: Timestamp, entropy: &dyn Entropy) -> Result<(), ServeError> {
    if settings.acme.is_some() {
        return prepare_acme(settings, now);
    }
    if settings.certificate_source() == CertificateSource::Files {
        tls::own_certificate(settings)?;
    }
    let in_use = renew_if_due(settings, now, entropy)?;
    if in_use.standing(now) == Standing::Ended && !settings.allow_expired_certificate {
        return Err(ServeError::CertificateEnded {
            path: settings.certificate.clone(),
            end: in_use.not_after,
            renewal: settings.certificate_source().renewal(),
        });
    }
    Ok(())
}

/// Uses the certificate of the server's own authority until an ACME authority has issued the first one.
fn prepare_acme(settings: &Settings, now: Timestamp) -> Result<(), ServeError> {
    let layout = &settings.layout;
    if !anchors::name_another_authority(layout)? {
        return Err(ServeError::NoAcmeAnchor);
    }
    let (own, in_use, next) =
        (layout.server_certificate(), layout.acme_certificate(), layout.next_acme_certificate());
    if next.exists() && anchors::devices_accept_file(layout, &next, now)? {
        files::publish(&next, &in_use)?;
    }
    if !in_use.exists() {
        let pem = Zeroizing::new(files::read(&own, MAX_PEM_BYTES)?.unwrap_or_default());
        files::write_new(&in_use, &pem, files::PRIVATE_FILE)?;
    }
    Ok(())
}

/// The background task that keeps the certificate valid.
pub(super) struct Caretaker {
    pub(super) settings: Settings,
    pub(super) keyring: Arc<Keyring>,
    pub(super) tls: RustlsConfig,
    pub(super) answers: Arc<Answers>,
    pub(super) app: Arc<App>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Caretaker {
    /// Reads keys and certificates again.
    pub(super) fn reload(&self) -> Result<(), ServeError> {
        self.keyring.reload()?;
        let config = tls::server_config(&self.settings, &self.keyring, &self.answers)?;
        self.tls.reload_from_config(config);
        Ok(())
    }

    pub(super) async fn watch(self: Arc<Self>) -> io::Result<()> {
        let mut every = interval(LOOK_EVERY);
        // The one that the server has started with.
        let mut in_use = keys::certificate(self.settings.certificate.clone()).ok().map(|one| one.not_after);
        loop {
            every.tick().await;
            match self.renew_and_reload(in_use).await {
                Ok(end) => in_use = Some(end),
                Err(error) => {
                    tracing::error!(error = chain(&error), "the server's certificate cannot be used");
                }
            }
        }
    }

    /// Renews the certificate if necessary, starts to use one that was renewed here or by another server
    /// with the same keys, and returns the end of its validity.
    async fn renew_and_reload(&self, in_use: Option<Timestamp>) -> Result<Timestamp, ServeError> {
        let now = self.clock.now();
        if let Some(acme) = &self.settings.acme {
            self.ask_authority(acme, now).await?;
        }
        let certificate = renew_if_due(&self.settings, now, &*self.entropy)?;
        let end = certificate.not_after;
        if in_use.is_some_and(|in_use| in_use != end) {
            self.tls.reload_from_config(tls::server_config(&self.settings, &self.keyring, &self.answers)?);
        }
        self.app.metrics().set_certificate_end(end);
        if certificate.standing(now) >= Standing::Overdue {
            let path = self.settings.certificate.display();
            tracing::warn!(%path, until = %end, "the server's certificate ends soon, and nobody has renewed it");
        }
        Ok(end)
    }

    /// Requests a new certificate from the ACME authority if that is due. One that devices would refuse
    /// waits until the server restarts, because an administrator has to make devices accept it, and they
    /// have to learn of that.
    async fn ask_authority(&self, acme: &Acme, now: Timestamp) -> Result<(), ServeError> {
        let (path, layout) = (&self.settings.certificate, &self.settings.layout);
        let next = layout.next_acme_certificate();
        let is_the_first =
            files::read(path, MAX_PEM_BYTES)? == files::read(&layout.server_certificate(), MAX_PEM_BYTES)?;
        if !is_the_first && keys::certificate(path.clone())?.standing(now) == Standing::Good {
            return Ok(());
        }
        let waits = next.exists() && keys::certificate(next.clone())?.standing(now) == Standing::Good;
        if !waits {
            match acme::obtain(acme, layout, &self.settings.services.names, &self.answers).await {
                Ok(pem) => files::replace(&next, pem.as_bytes(), files::PRIVATE_FILE)?,
                Err(error) => {
                    tracing::warn!(error = chain(&error), "no certificate came from the ACME authority");
                    return Ok(());
                }
            }
            // Its validity may start in the very second in which it was issued.
            if anchors::devices_accept_file(layout, &next, self.clock.now())? {
                files::publish(&next, path)?;
                tracing::info!("the ACME authority issued the server's certificate");
                return Ok(());
            }
        }
        tracing::error!(
            "devices would refuse the certificate that was issued: run `unbox-server key rotate-anchors \
             --anchor FILE` with the root certificate of its authority, and restart the server when they have \
             checked in"
        );
        Ok(())
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
    use tokio::time::{sleep, timeout};

    const START: Timestamp = Timestamp::from_secs(1_800_000_000);
    const DAY: Duration = Duration::from_hours(24);

    /// Returns a server's directory created that day, and settings for it.
    async fn make_server_directory() -> (TempDir, Settings) {
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

    async fn start_server(settings: &Settings, clock: &Arc<FakeClock>) -> Result<Server, ServeError> {
        Server::start(settings.clone(), clock.clone(), Arc::new(SystemEntropy::new())).await
    }

    #[tokio::test]
    async fn a_certificate_is_renewed_while_the_server_runs() {
        let (_dir, settings) = make_server_directory().await;
        let clock = Arc::new(FakeClock::at(START));
        let server = start_server(&settings, &clock).await.unwrap();
        let first = server.caretaker.renew_and_reload(None).await.unwrap();
        let in_use = server.caretaker.tls.get_inner();
        clock.advance(SERVER_LIFETIME.saturating_sub(61 * DAY));
        assert_eq!(server.caretaker.renew_and_reload(Some(first)).await.unwrap(), first, "it is too early");
        clock.advance(2 * DAY);
        let second = server.caretaker.renew_and_reload(Some(first)).await.unwrap();
        assert_eq!(second, clock.now().plus(SERVER_LIFETIME));
        assert!(!Arc::ptr_eq(&in_use, &server.caretaker.tls.get_inner()), "new connections get it");
        assert_eq!(keys::certificate(settings.certificate.clone()).unwrap().names, ["localhost"]);
        server.stop().await;
    }

    #[tokio::test]
    async fn what_the_first_look_renews_is_shown_without_a_restart() {
        let (_dir, settings) = make_server_directory().await;
        let clock = Arc::new(FakeClock::at(START));
        let server = start_server(&settings, &clock).await.unwrap();
        let first = server.caretaker.tls.get_inner();
        clock.advance(SERVER_LIFETIME.saturating_sub(59 * DAY));
        let watch = tokio::spawn(server.caretaker.clone().watch());
        let reloaded = async {
            while Arc::ptr_eq(&first, &server.caretaker.tls.get_inner()) {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_mins(1), reloaded).await.unwrap();
        watch.abort();
        let renewed = keys::certificate(settings.certificate.clone()).unwrap();
        assert_eq!(renewed.not_after, clock.now().plus(SERVER_LIFETIME));
        server.stop().await;
    }

    #[tokio::test]
    async fn a_server_starts_with_a_certificate_that_devices_accept_or_says_why_not() {
        let (_dir, mut settings) = make_server_directory().await;
        let clock = Arc::new(FakeClock::at(START.plus(SERVER_LIFETIME)));
        // Its authority's key is stored elsewhere.
        let (here, elsewhere) = (settings.layout.tls_ca(), settings.layout.dir().join("elsewhere.pem"));
        #[expect(clippy::disallowed_methods, reason = "an accident, and not ours")]
        fs::rename(&here, &elsewhere).unwrap();
        let before = fs::read(&settings.certificate).unwrap();
        let refused = start_server(&settings, &clock).await.err().unwrap();
        assert!(matches!(refused, ServeError::CertificateEnded { .. }), "{refused}");
        settings.allow_expired_certificate = true;
        start_server(&settings, &clock).await.unwrap().stop().await;
        assert_eq!(fs::read(&settings.certificate).unwrap(), before);

        settings.allow_expired_certificate = false;
        #[expect(clippy::disallowed_methods, reason = "what an operator does")]
        fs::rename(&elsewhere, &here).unwrap();
        start_server(&settings, &clock).await.unwrap().stop().await;
        let renewed = keys::certificate(settings.certificate.clone()).unwrap();
        assert_eq!(renewed.not_after, clock.now().plus(SERVER_LIFETIME));
    }
}
