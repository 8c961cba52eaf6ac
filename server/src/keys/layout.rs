//! Where everything that the server keeps lies below its directory.

use std::path::{Path, PathBuf};

/// The server's directory, and the name of each thing in it.
///
/// ```text
/// server.toml         settings
/// unbox.db            the embedded database
/// artifacts/          what devices download
/// disk.json           how full the disks were, day by day
/// keys/               private, 0700
///   tls-ca.pem        the authority that devices' images trust for TLS: key and certificate
///   server.pem        the server's own TLS key and certificate
///   device-ca.pem     the authority of device certificates: key and certificate
///   payload-N.pem     the key that signs payloads since root version N
///   root-N.pem        the key that signs signing roots since root version N; better kept offline
///   acme.pem          the server's TLS key and certificate by an ACME authority; acme-next.pem where
///                     devices do not accept that yet
///   acme-account.json the account with that authority
///   ticket.key        seals the server's notes between two messages of a handshake
/// former-device-cas.pem  certificates of device authorities that were replaced and still count
/// roots/N.json        every signing root, each signed by the keys of the one before
/// trust/              public: what an image needs to trust this server
/// ```
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// The layout below `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Settings.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.dir.join("server.toml")
    }

    /// The embedded database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.dir.join("unbox.db")
    }

    /// What devices download.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.dir.join("artifacts")
    }

    /// How full the disks were, day by day.
    #[must_use]
    pub fn disk_history(&self) -> PathBuf {
        self.dir.join("disk.json")
    }

    /// Everything private.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// The signing roots.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.dir.join("roots")
    }

    /// What goes into an image.
    #[must_use]
    pub fn trust(&self) -> PathBuf {
        self.dir.join("trust")
    }

    /// The authority of the server's TLS certificate.
    #[must_use]
    pub fn tls_ca(&self) -> PathBuf {
        self.keys().join("tls-ca.pem")
    }

    /// The server's TLS key and certificate.
    #[must_use]
    pub fn server_certificate(&self) -> PathBuf {
        self.keys().join("server.pem")
    }

    /// The server's TLS key and certificate by an ACME authority.
    #[must_use]
    pub fn acme_certificate(&self) -> PathBuf {
        self.keys().join("acme.pem")
    }

    /// The one that an ACME authority issued, and devices do not accept yet.
    #[must_use]
    pub fn next_acme_certificate(&self) -> PathBuf {
        self.keys().join("acme-next.pem")
    }

    /// The account with the ACME authority.
    #[must_use]
    pub fn acme_account(&self) -> PathBuf {
        self.keys().join("acme-account.json")
    }

    /// The authority of device certificates.
    #[must_use]
    pub fn device_ca(&self) -> PathBuf {
        self.keys().join("device-ca.pem")
    }

    /// Device authorities that were replaced, and whose certificates still count.
    #[must_use]
    pub fn former_device_cas(&self) -> PathBuf {
        self.dir.join("former-device-cas.pem")
    }

    /// The key that signs payloads since a root version.
    #[must_use]
    pub fn payload_key(&self, version: u64) -> PathBuf {
        self.keys().join(format!("payload-{version}.pem"))
    }

    /// The key that signs roots since a root version.
    #[must_use]
    pub fn root_key(&self, version: u64) -> PathBuf {
        self.keys().join(format!("root-{version}.pem"))
    }

    /// The key that seals tickets.
    #[must_use]
    pub fn ticket_key(&self) -> PathBuf {
        self.keys().join("ticket.key")
    }

    /// One signing root.
    #[must_use]
    pub fn root(&self, version: u64) -> PathBuf {
        self.roots().join(format!("{version}.json"))
    }

    /// The TLS authorities that an image trusts.
    #[must_use]
    pub fn trusted_anchors(&self) -> PathBuf {
        self.trust().join("anchors.pem")
    }

    /// The signing root that an image trusts.
    #[must_use]
    pub fn trusted_root(&self) -> PathBuf {
        self.trust().join("root.json")
    }

    /// The agent's settings for this server.
    #[must_use]
    pub fn agent_settings(&self) -> PathBuf {
        self.trust().join("agent.toml")
    }
}
