//! The layout of the server's directory.

use std::path::{Path, PathBuf};

/// The server's directory, and the name of each file in it.
///
/// ```text
/// server.toml         settings
/// unbox.db            the embedded database
/// artifacts/          the files that devices download
/// disk.json           the fill level of the disks, day by day
/// keys/               private, 0700
///   tls-ca.pem        the authority that devices' images trust for TLS: key and certificate
///   tls-ca-next.pem   the one that follows, until `key rotate-anchors` is through
///   server.pem        the server's own TLS key and certificate
///   device-ca.pem     the authority of device certificates: key and certificate
///   payload-N.pem     the key that signs payloads since root version N
///   root-N.pem        the key that signs signing roots since root version N; better kept offline
///   acme.pem          the server's TLS key and certificate by an ACME authority; acme-next.pem as long
///                     as devices do not accept that authority yet
///   acme-account.json the account with that authority
///   ticket.key        seals the server's notes between two messages of a handshake
/// former-device-cas.pem  certificates of replaced device authorities that are still accepted
/// roots/N.json        every signing root, each signed by the keys of the one before
/// trust/              public: the files that an image needs to trust this server
/// ```
#[derive(Debug, Clone)]
pub struct Layout {
    dir: PathBuf,
}

impl Layout {
    /// Returns the layout below `dir`.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Returns the directory itself.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Returns the path of the settings.
    #[must_use]
    pub fn settings(&self) -> PathBuf {
        self.dir.join("server.toml")
    }

    /// Returns the path of the embedded database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.dir.join("unbox.db")
    }

    /// Returns the directory of the artifacts.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.dir.join("artifacts")
    }

    /// Returns the path of the disks' fill level, day by day.
    #[must_use]
    pub fn disk_history(&self) -> PathBuf {
        self.dir.join("disk.json")
    }

    /// Returns the directory of the private keys.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.dir.join("keys")
    }

    /// Returns the directory of the signing roots.
    #[must_use]
    pub fn roots(&self) -> PathBuf {
        self.dir.join("roots")
    }

    /// Returns the directory of the files for images.
    #[must_use]
    pub fn trust(&self) -> PathBuf {
        self.dir.join("trust")
    }

    /// Returns the path of the authority of the server's TLS certificate.
    #[must_use]
    pub fn tls_ca(&self) -> PathBuf {
        self.keys().join("tls-ca.pem")
    }

    /// Returns the path of the authority that follows it, during `key rotate-anchors`.
    #[must_use]
    pub fn next_tls_ca(&self) -> PathBuf {
        self.keys().join("tls-ca-next.pem")
    }

    /// Returns the path of the lock of the commands that change keys, which exists as long as one of them
    /// runs.
    #[must_use]
    pub fn key_lock(&self) -> PathBuf {
        self.keys().join(".lock")
    }

    /// Returns the paths of the private files with a fixed name, which need not exist.
    #[must_use]
    pub fn private_files(&self) -> [PathBuf; 8] {
        [
            self.tls_ca(),
            self.next_tls_ca(),
            self.server_certificate(),
            self.acme_certificate(),
            self.next_acme_certificate(),
            self.acme_account(),
            self.device_ca(),
            self.ticket_key(),
        ]
    }

    /// Returns the path of the server's TLS key and certificate.
    #[must_use]
    pub fn server_certificate(&self) -> PathBuf {
        self.keys().join("server.pem")
    }

    /// Returns the path of the server's TLS key and certificate by an ACME authority.
    #[must_use]
    pub fn acme_certificate(&self) -> PathBuf {
        self.keys().join("acme.pem")
    }

    /// Returns the path of an ACME authority's certificate that devices do not accept yet.
    #[must_use]
    pub fn next_acme_certificate(&self) -> PathBuf {
        self.keys().join("acme-next.pem")
    }

    /// Returns the path of the account with the ACME authority.
    #[must_use]
    pub fn acme_account(&self) -> PathBuf {
        self.keys().join("acme-account.json")
    }

    /// Returns the path of the authority of device certificates.
    #[must_use]
    pub fn device_ca(&self) -> PathBuf {
        self.keys().join("device-ca.pem")
    }

    /// Returns the path of the replaced device authorities whose certificates are still accepted.
    #[must_use]
    pub fn former_device_cas(&self) -> PathBuf {
        self.dir.join("former-device-cas.pem")
    }

    /// Returns the path of the key that signs payloads since a root version.
    #[must_use]
    pub fn payload_key(&self, version: u64) -> PathBuf {
        self.keys().join(format!("payload-{version}.pem"))
    }

    /// Returns the path of the key that signs roots since a root version.
    #[must_use]
    pub fn root_key(&self, version: u64) -> PathBuf {
        self.keys().join(format!("root-{version}.pem"))
    }

    /// Returns the path of the key that seals tickets.
    #[must_use]
    pub fn ticket_key(&self) -> PathBuf {
        self.keys().join("ticket.key")
    }

    /// Returns the path of one signing root.
    #[must_use]
    pub fn root(&self, version: u64) -> PathBuf {
        self.roots().join(format!("{version}.json"))
    }

    /// Returns the path of the TLS authorities that an image trusts.
    #[must_use]
    pub fn trusted_anchors(&self) -> PathBuf {
        self.trust().join("anchors.pem")
    }

    /// Returns the path of the signing root that an image trusts.
    #[must_use]
    pub fn trusted_root(&self) -> PathBuf {
        self.trust().join("root.json")
    }

    /// Returns the path of the agent's settings for this server.
    #[must_use]
    pub fn agent_settings(&self) -> PathBuf {
        self.trust().join("agent.toml")
    }
}
