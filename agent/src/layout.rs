//! The paths of every file of the agent, below any root directory.

use std::path::{Component, Path, PathBuf};
use unbox_common::digest::Sha256;

/// The paths of one device. With a root other than `/`, the device is a captured machine or a sandbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// Makes the layout below `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Returns the root directory itself.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns true if this is the running system, rather than a directory that looks like one.
    #[must_use]
    pub fn is_running_system(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Returns an absolute path below the root. As in a system's root, `..` leads no higher.
    #[must_use]
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
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

    /// Returns the configuration file of this device's administrator.
    #[must_use]
    pub fn local_config(&self) -> PathBuf {
        self.path("/etc/unbox/agent.toml")
    }

    /// Returns the configuration file of the image.
    #[must_use]
    pub fn image_config(&self) -> PathBuf {
        self.path("/usr/lib/unbox/agent.toml")
    }

    /// Returns the folders for TLS anchors and signing root; the first one that holds anchors wins.
    #[must_use]
    pub fn trust(&self) -> [PathBuf; 2] {
        [self.path("/etc/unbox/trust"), self.path("/usr/lib/unbox/trust")]
    }

    /// Returns the folder of the privileged side's durable state.
    #[must_use]
    pub fn state(&self) -> PathBuf {
        self.path("/var/lib/unbox")
    }

    /// Returns the lock file held by the one process that writes the privileged side's state.
    #[must_use]
    pub fn state_lock(&self) -> PathBuf {
        self.state().join("lock")
    }

    /// Returns the ledger's file, which only the privileged side writes.
    #[must_use]
    pub fn ledger(&self) -> PathBuf {
        self.state().join("ledger.json")
    }

    /// Returns the file of the anti-rollback floor, separate so that it outlives a damaged ledger.
    #[must_use]
    pub fn floor(&self) -> PathBuf {
        self.state().join("floor.json")
    }

    /// Returns the file of signing roots newer than the image's.
    #[must_use]
    pub fn signing_roots(&self) -> PathBuf {
        self.state().join("signing-roots.json")
    }

    /// Returns the file of signing roots that the network side received; the privileged side keeps its
    /// own.
    #[must_use]
    pub fn fetched_roots(&self) -> PathBuf {
        self.exchange().join("signing-roots.json")
    }

    /// Returns the lock file held by the one active process of the network side.
    #[must_use]
    pub fn exchange_lock(&self) -> PathBuf {
        self.exchange().join("lock")
    }

    /// Returns the file with the outcome of the last installation, for the report.
    #[must_use]
    pub fn outcome(&self) -> PathBuf {
        self.state().join("outcome.json")
    }

    /// Returns the marker that exists if the device is enrolled; conditions of systemd units check it.
    #[must_use]
    pub fn enrolled_marker(&self) -> PathBuf {
        self.state().join("enrolled")
    }

    /// Returns the folder owned by the network side. The privileged side trusts nothing in it.
    #[must_use]
    pub fn exchange(&self) -> PathBuf {
        self.state().join("exchange")
    }

    /// Returns the file of the device's private key, or of the salt that its TPM remakes the key from.
    #[must_use]
    pub fn device_key(&self) -> PathBuf {
        self.exchange().join("device.key")
    }

    /// Returns the file that names the machine on which the key was made.
    #[must_use]
    pub fn machine(&self) -> PathBuf {
        self.exchange().join("machine.json")
    }

    /// Returns the TPM behind the kernel's resource manager; on a simulated machine, the socket of a
    /// simulated TPM.
    #[must_use]
    pub fn tpm(&self) -> PathBuf {
        self.path("/dev/tpmrm0")
    }

    /// Returns the file of a grant that still lacks some of its artifacts.
    #[must_use]
    pub fn pending_grant(&self) -> PathBuf {
        self.exchange().join("grant.pending.json")
    }

    /// Returns the file of a grant with all its artifacts; the installer waits for it.
    #[must_use]
    pub fn grant(&self) -> PathBuf {
        self.exchange().join("grant.json")
    }

    /// Returns the file of the current enrollment: certificate chain, owner, next check-in.
    #[must_use]
    pub fn enrollment(&self) -> PathBuf {
        self.exchange().join("enrollment.json")
    }

    /// Returns the queue of progress and outcome not yet acknowledged by the server.
    #[must_use]
    pub fn queue(&self) -> PathBuf {
        self.exchange().join("queue.json")
    }

    /// Returns the file with the times of the last messages to the server.
    #[must_use]
    pub fn pace(&self) -> PathBuf {
        self.exchange().join("pace.json")
    }

    /// Returns the file of a one-time ticket that allows a new key.
    #[must_use]
    pub fn reset_ticket(&self) -> PathBuf {
        self.exchange().join("reset-ticket")
    }

    /// Returns the folder for fetched artifacts.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.exchange().join("artifacts/sha256")
    }

    /// Returns the file of one complete artifact.
    #[must_use]
    pub fn artifact(&self, digest: Sha256) -> PathBuf {
        self.artifacts().join(digest.to_string())
    }

    /// Returns the folder for volatile state, gone after a reboot.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.path("/run/unbox")
    }

    /// Returns the folder of results from removable media, with a folder for each that is plugged in.
    #[must_use]
    pub fn media(&self) -> PathBuf {
        self.runtime().join("media")
    }

    /// Returns the file of the identity, which the privileged side writes.
    #[must_use]
    pub fn identity(&self) -> PathBuf {
        self.runtime().join("identity.json")
    }

    /// Returns the marker that exists if this is not the enrolled machine; conditions of systemd units
    /// check it.
    #[must_use]
    pub fn other_machine_marker(&self) -> PathBuf {
        self.runtime().join("other-machine")
    }

    /// Returns the file with the last console message of the privileged side, for programs.
    #[must_use]
    pub fn status(&self) -> PathBuf {
        self.runtime().join("status.json")
    }

    /// Returns the file with the last console message of the network side, which can write only to the
    /// exchange.
    #[must_use]
    pub fn network_status(&self) -> PathBuf {
        self.exchange().join("status.json")
    }
}
