//! Where everything lies on a device, below any root directory.

use std::path::{Component, Path, PathBuf};
use unbox_common::digest::Sha256;

/// The paths of one device. With a root other than `/`, a captured machine or a sandbox is one.
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

    /// Whether this is the running system, and not a directory that looks like one.
    #[must_use]
    pub fn is_running_system(&self) -> bool {
        self.root == Path::new("/")
    }

    /// An absolute path, below the root. As in the root of a system, `..` leads no higher.
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

    /// What the administrator of this device configured.
    #[must_use]
    pub fn local_config(&self) -> PathBuf {
        self.below("/etc/unbox/agent.toml")
    }

    /// What the image brought.
    #[must_use]
    pub fn image_config(&self) -> PathBuf {
        self.below("/usr/lib/unbox/agent.toml")
    }

    /// Where TLS anchors and signing root may lie, the first that holds anchors counting.
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

    /// What anti-rollback needs, once more: it outlives a damaged ledger.
    #[must_use]
    pub fn floor(&self) -> PathBuf {
        self.state().join("floor.json")
    }

    /// Signing roots that are newer than the image's.
    #[must_use]
    pub fn signing_roots(&self) -> PathBuf {
        self.state().join("signing-roots.json")
    }

    /// Signing roots that the network side has heard of; the privileged side keeps its own.
    #[must_use]
    pub fn fetched_roots(&self) -> PathBuf {
        self.exchange().join("signing-roots.json")
    }

    /// Held by the one process of the network side that is at work.
    #[must_use]
    pub fn exchange_lock(&self) -> PathBuf {
        self.exchange().join("lock")
    }

    /// How the last installation ended, for the report.
    #[must_use]
    pub fn outcome(&self) -> PathBuf {
        self.state().join("outcome.json")
    }

    /// There if the device is enrolled: what systemd's conditions look at.
    #[must_use]
    pub fn enrolled_marker(&self) -> PathBuf {
        self.state().join("enrolled")
    }

    /// What the network side owns. The privileged side believes nothing in it.
    #[must_use]
    pub fn exchange(&self) -> PathBuf {
        self.state().join("exchange")
    }

    /// The device's private key, or what its TPM makes it of.
    #[must_use]
    pub fn device_key(&self) -> PathBuf {
        self.exchange().join("device.key")
    }

    /// The machine that the key was made on.
    #[must_use]
    pub fn machine(&self) -> PathBuf {
        self.exchange().join("machine.json")
    }

    /// The TPM, with the kernel's resource manager in front of it; or, for a machine that is simulated,
    /// the socket of a simulated TPM.
    #[must_use]
    pub fn tpm(&self) -> PathBuf {
        self.below("/dev/tpmrm0")
    }

    /// A grant whose artifacts are not all there yet.
    #[must_use]
    pub fn pending_grant(&self) -> PathBuf {
        self.exchange().join("grant.pending.json")
    }

    /// A grant with everything that it needs: what the installer waits for.
    #[must_use]
    pub fn grant(&self) -> PathBuf {
        self.exchange().join("grant.json")
    }

    /// The enrollment that the network side speaks for: certificate chain, owner, next check-in.
    #[must_use]
    pub fn enrollment(&self) -> PathBuf {
        self.exchange().join("enrollment.json")
    }

    /// Progress and outcome that the server has not acknowledged.
    #[must_use]
    pub fn queue(&self) -> PathBuf {
        self.exchange().join("queue.json")
    }

    /// A one-time ticket that allows a new key.
    #[must_use]
    pub fn reset_ticket(&self) -> PathBuf {
        self.exchange().join("reset-ticket")
    }

    /// Where artifacts are fetched to.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.exchange().join("artifacts/sha256")
    }

    /// One complete artifact.
    #[must_use]
    pub fn artifact(&self, digest: Sha256) -> PathBuf {
        self.artifacts().join(digest.to_string())
    }

    /// What is volatile: gone after a reboot.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.below("/run/unbox")
    }

    /// What was found on removable media, a folder for each that is plugged in.
    #[must_use]
    pub fn media(&self) -> PathBuf {
        self.runtime().join("media")
    }

    /// The identity that the privileged side read.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.runtime().join("identity.json")
    }

    /// There if this is another machine than the enrolled one: what systemd's conditions look at.
    #[must_use]
    pub fn other_machine_marker(&self) -> PathBuf {
        self.runtime().join("other-machine")
    }

    /// What the privileged side last said on the console, for programs.
    #[must_use]
    pub fn status(&self) -> PathBuf {
        self.runtime().join("status.json")
    }

    /// What the network side last said: it writes nowhere but into the exchange.
    #[must_use]
    pub fn network_status(&self) -> PathBuf {
        self.exchange().join("status.json")
    }
}
