//! The TPM of this device: the key that never leaves it, and what it vouches for.
//!
//! `transport.rs` moves bytes, `call.rs` makes commands of them and answers into results, and
//! `keys.rs`, `endorsement.rs` and `evidence.rs` are what the agent asks a TPM for:
//!
//! * [`TpmKey`]: the device's key, made again from the TPM's own seed and a salt on the disk;
//! * [`endorsement`]: by which key and certificate the maker knows the TPM;
//! * [`introduce`] and [`TpmKey::answer`]: both halves of the proof `tpm`.
//!
//! All keys stand in the endorsement hierarchy, whose seed outlives a cleared TPM. Everything is
//! opened, asked and flushed again: nothing of the agent's stays in a TPM.
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

use std::{io, path::PathBuf};
use tpm2_protocol::data::TpmCc;
use unbox_common::attestation::NotATpmKey;

/// How the agent uses a TPM: the setting `tpm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TpmUse {
    /// The device's key is made in the TPM if there is one, and in software if not.
    #[default]
    Auto,
    /// The TPM is left alone.
    Never,
    /// Without a TPM there is no key.
    Required,
}

/// What went wrong with a TPM.
#[derive(Debug, thiserror::Error)]
pub enum TpmError {
    /// It could not be opened.
    #[error("{} could not be opened", path.display())]
    Open {
        /// The device file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A command could not be sent, or its answer not be read.
    #[error("the TPM did not take {0:?}")]
    Transport(TpmCc, #[source] io::Error),
    /// It refused a command.
    #[error("the TPM refused {command:?} with code {code:#x}")]
    Refused {
        /// The command.
        command: TpmCc,
        /// `TPM_RC`, part 2, section 6.6.
        code: u32,
    },
    /// Its answer is not what the specification says.
    #[error("the TPM's answer to {0:?} cannot be read")]
    Unreadable(TpmCc),
    /// A command cannot be written: something in it is too long.
    #[error("the command {0:?} cannot be written")]
    Unwritable(TpmCc),
    /// It made another key than it was asked for.
    #[error("the TPM made another kind of key than it was asked for")]
    Key(#[from] NotATpmKey),
    /// It is not the TPM that the device's key was made in.
    #[error("the device's key is in another TPM: this disk is a copy, or the board was replaced")]
    OtherTpm,
    /// It has no bank of SHA-256 measurements.
    #[error("the TPM keeps no SHA-256 measurements")]
    NoMeasurements,
}
