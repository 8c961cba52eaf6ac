//! The TPM of this device: the key that never leaves it, and the evidence that it signs.
//!
//! `transport.rs` moves bytes, `call.rs` encodes commands and decodes answers, and `keys.rs`,
//! `endorsement.rs` and `evidence.rs` are the agent's uses of a TPM:
//!
//! * [`TpmKey`]: the device's key, made again from the TPM's own seed and a salt on the disk;
//! * [`endorsement`]: the key and certificate by which the manufacturer knows the TPM;
//! * [`introduce`] and [`TpmKey::answer`]: both halves of the proof `tpm`.
//!
//! All keys are in the endorsement hierarchy, whose seed outlives a cleared TPM. Every object is flushed
//! after use: the agent leaves nothing in a TPM.
//!
//! To add a command: a method in `call.rs` beside the others, with its own name for errors.

mod call;
mod endorsement;
mod evidence;
mod keys;
mod transport;

pub use call::Tpm;
pub use endorsement::{Endorsement, endorsement};
pub use evidence::introduce;
pub use keys::TpmKey;
pub use transport::Transport;

use crate::failure::Diagnose;
use std::{io, path::PathBuf};
use tpm2_protocol::data::TpmCc;
use unbox_common::{attestation::NotATpmKey, refusal::Disposition};

/// The agent's use of a TPM: the setting `tpm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TpmUse {
    /// The device's key is made in the TPM if there is one, otherwise in software.
    #[default]
    Auto,
    /// The TPM is not used.
    Never,
    /// The device's key must be in a TPM.
    Required,
}

/// A failed operation with a TPM.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// The TPM could not be opened.
    #[error("{} could not be opened", path.display())]
    Open {
        /// The device file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// A command could not be sent, or its answer could not be read.
    #[error("the TPM did not take {0:?}")]
    Transport(TpmCc, #[source] io::Error),
    /// The TPM refused a command.
    #[error("the TPM refused {command:?} with code {code:#x}")]
    Refused {
        /// The command.
        command: TpmCc,
        /// `TPM_RC`, part 2, section 6.6.
        code: u32,
    },
    /// The TPM's answer violates the specification.
    #[error("the TPM's answer to {0:?} cannot be read")]
    Unreadable(TpmCc),
    /// A command could not be encoded, because a part is too long.
    #[error("the command {0:?} cannot be written")]
    Unwritable(TpmCc),
    /// The TPM made another kind of key than requested.
    #[error("the TPM made another kind of key than it was asked for")]
    Key(#[from] NotATpmKey),
    /// The TPM is not the one that the device's key was made in.
    #[error("the device's key is in another TPM: this disk is a copy, or the board was replaced")]
    OtherTpm,
    /// There is no TPM, although the device's key is in one; its driver may not be loaded yet.
    #[error("the device's key is in a TPM, and there is none")]
    Absent,
    /// The TPM has no bank of SHA-256 measurements.
    #[error("the TPM keeps no SHA-256 measurements")]
    NoMeasurements,
}

impl Diagnose for TpmError {
    fn kind(&self) -> &'static str {
        match self {
            Self::OtherTpm => "other_tpm",
            _ => "tpm_failed",
        }
    }

    fn disposition(&self) -> Disposition {
        match self {
            Self::OtherTpm => Disposition::WaitForAdministrator,
            _ => Disposition::Retry,
        }
    }

    fn advice(&self) -> &'static str {
        match self {
            Self::OtherTpm => {
                "This disk belongs to another device, or this device's board was replaced. If it is to be enrolled as \
                 it is, reset it with `unbox-agent reset`."
            }
            Self::Absent => {
                "The TPM that holds the key of this device is not there. The device tries again by itself. If the TPM is \
                 gone for good, have a new key made with `unbox-agent reset`."
            }
            _ => UNUSABLE,
        }
    }

    fn needs_a_new_process(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// The advice about a TPM that is needed and does not work.
pub(crate) const UNUSABLE: &str = "The TPM of this device does not work as it should. Look at the firmware's settings, \
                                   or tell your IT department what is written here.";
