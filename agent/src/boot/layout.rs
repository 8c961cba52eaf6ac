//! The paths of every file of the agent, below any root directory.

use std::path::{Component, Path, PathBuf};
use unbox_common::digest::Sha256;

/// The paths of one device. With a root other than `/`, the device is a captured machine or a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The root directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether this is the running system, rather than a directory that looks like one.
    #[must_use]
    pub fn is_running_system(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Returns an absolute path below the root. As in a system's root, `..` leads no higher.
    #[must_use]
    pub fn below(&self, path: impl AsRef<Path>) -> PathBuf {
        let mut inside = PathBuf::new();
        for part in path.as_ref().components() {
            match part {
                Component::Normal(name) => inside.push(name),
                Component::ParentDir => {
                    inside.pop();
                }
                Component::Prefix(_) | Component::RootDir | Component::CurDir => {}
            }
        }
        self.root.join(inside)
    }

    /// The configuration file of this device's administrator.
    #[must_use]
    pub fn local_config(&self) -> PathBuf {
        self.below("/etc/unbox/agent.toml")
    }

    /// The configuration file of the image.
    #[must_use]
    pub fn image_config(&self) -> PathBuf {
        self.below("/usr/lib/unbox/agent.toml")
    }

    /// The folders for TLS anchors and signing root; the first one that holds anchors wins.
    #[must_use]
    pub fn trust(&self) -> [PathBuf; 2] {
        [self.below("/etc/unbox/trust"), self.below("/usr/lib/unbox/trust")]
    }

    /// The durable state of the privileged side.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.below("/var/lib/unbox")
    }

    /// The ledger. Written by the privileged side only.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.state().join("ledger.json")
    }

    /// The anti-rollback floor, stored separately so that it outlives a damaged ledger.
    #[must_use]
    pub fn floor(&self) -> PathBuf {
        self.state().join("floor.json")
    }

    /// Signing roots newer than the image's.
    #[must_use]
    pub fn signing_roots(&self) -> PathBuf {
        self.state().join("signing-roots.json")
    }

    /// Signing roots that the network side received; the privileged side keeps its own.
    #[must_use]
    pub fn fetched_roots(&self) -> PathBuf {
        self.exchange().join("signing-roots.json")
    }

    /// The lock held by the one active process of the network side.
    #[must_use]
    pub fn exchange_lock(&self) -> PathBuf {
        self.exchange().join("lock")
    }

    /// The result of the last installation, for the report.
    #[must_use]
    pub fn outcome(&self) -> PathBuf {
        self.state().join("outcome.json")
    }

    /// The marker that exists if the device is enrolled; conditions of systemd units check it.
    #[must_use]
    pub fn enrolled_marker(&self) -> PathBuf {
        self.state().join("enrolled")
    }

    /// The folder owned by the network side. The privileged side trusts nothing in it.
    #[must_use]
    pub fn exchange(&self) -> PathBuf {
        self.state().join("exchange")
    }

    /// The device's private key, or the salt that its TPM remakes the key from.
    #[must_use]
    pub fn device_key(&self) -> PathBuf {
        self.exchange().join("device.key")
    }

    /// The machine that the key was made on.
    #[must_use]
    pub fn machine(&self) -> PathBuf {
        self.exchange().join("machine.json")
    }

    /// The TPM behind the kernel's resource manager; on a simulated machine, the socket of a simulated
    /// TPM.
    #[must_use]
    pub fn tpm(&self) -> PathBuf {
        self.below("/dev/tpmrm0")
    }

    /// A grant that still lacks some of its artifacts.
    #[must_use]
    pub fn pending_grant(&self) -> PathBuf {
        self.exchange().join("grant.pending.json")
    }

    /// A grant with all its artifacts; the installer waits for this file.
    #[must_use]
    pub fn grant(&self) -> PathBuf {
        self.exchange().join("grant.json")
    }

    /// The current enrollment as the network side sees it: certificate chain, owner, next check-in.
    #[must_use]
    pub fn enrollment(&self) -> PathBuf {
        self.exchange().join("enrollment.json")
    }

    /// Progress and outcome not yet acknowledged by the server.
    #[must_use]
    pub fn queue(&self) -> PathBuf {
        self.exchange().join("queue.json")
    }

    /// A one-time ticket that allows a new key.
    #[must_use]
    pub fn reset_ticket(&self) -> PathBuf {
        self.exchange().join("reset-ticket")
    }

    /// The folder for fetched artifacts.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.exchange().join("artifacts/sha256")
    }

    /// One complete artifact.
    #[must_use]
    pub fn artifact(&self, digest: Sha256) -> PathBuf {
        self.artifacts().join(digest.to_string())
    }

    /// The folder for volatile state, gone after a reboot.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.below("/run/unbox")
    }

    /// Results from removable media, with a folder for each medium that is plugged in.
    #[must_use]
    pub fn media(&self) -> PathBuf {
        self.runtime().join("media")
    }

    /// The identity, as read by the privileged side.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.runtime().join("identity.json")
    }

    /// The marker that exists if this is not the enrolled machine; conditions of systemd units check it.
    #[must_use]
    pub fn other_machine_marker(&self) -> PathBuf {
        self.runtime().join("other-machine")
    }

    /// The last console message of the privileged side, for programs.
    #[must_use]
    pub fn status(&self) -> PathBuf {
        self.runtime().join("status.json")
    }

    /// The last console message of the network side, which can write only to the exchange.
    #[must_use]
    pub fn network_status(&self) -> PathBuf {
        self.exchange().join("status.json")
    }
}
