//! Whether a unit can be registered by a certified device ID, and exactly what to register: one pure
//! function of a table of [`Models`] and of what is known about the unit.

use crate::{
    date::Date,
    identity::Identifier,
    models::{CertifiedId, Models},
};

/// What is known about one unit, as it was typed, scanned or read: none of it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unit<'a> {
    /// The name of the model, as the table has it.
    pub model: &'a str,
    /// The serial number; empty if it is not known.
    pub serial_number: &'a str,
    /// The certified device ID; empty if it is not known, and then it is made of the others where
    /// the maker's form allows it.
    pub certified_device_id: &'a str,
    /// Lenovo's machine type and model, 7 or 10 characters; empty if it is not known.
    pub machine_type_model: &'a str,
    /// The MAC address that the maker certifies with; empty if it is not known.
    pub mac_address: &'a str,
    /// The day on which it was made.
    pub manufactured: Option<Date>,
}

/// The verdict about one unit.
///
/// `register` holds what to register (serial number, model, certified device ID) as far as it is known
/// to be right: all three if the unit is eligible; put right, where what is wrong can be put right; none
/// if the unit cannot be registered whatever one writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// Register it so.
    Eligible {
        /// Serial number, model and certified device ID.
        register: Vec<Identifier>,
    },
    /// It cannot be registered, or not with these values.
    NotEligible {
        /// Why not.
        reason: Reason,
        /// What to register instead, if anything.
        register: Vec<Identifier>,
    },
    /// Something must be known that is not.
    Unknown {
        /// What is missing.
        reason: Reason,
        /// What is known to be right.
        register: Vec<Identifier>,
    },
}

/// Why a unit is not eligible, or not known to be: what is wrong, in one sentence.
/// [`Reason::advice`] says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The model has no name.
    #[error("The model is not known.")]
    NoModel,
    /// The table has no such model.
    #[error("No model of this name is in the table.")]
    UnknownModel,
    /// There is no serial number.
    #[error("The serial number is not known.")]
    NoSerial,
    /// The certified device ID is not known, and cannot be made of what is.
    #[error("The certified device ID is not known.")]
    NoCertifiedId(CertifiedId),
    /// Units made before a day are not eligible, and when this one was made is not known.
    #[error("Only units made on {0} or later can be registered, and when this one was made is not known.")]
    MadeWhen(Date),
    /// It was made too early.
    #[error("It was made on {made}; units of this model can be registered from {first} on.")]
    MadeTooEarly {
        /// When it was made.
        made: Date,
        /// The first day that is eligible.
        first: Date,
    },
}

/// Which of what a unit is registered by a [`Reason`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The serial number.
    SerialNumber,
    /// The model.
    Model,
    /// The certified device ID.
    CertifiedId,
    /// The day of manufacture.
    Manufactured,
}

impl Reason {
    /// What this is about.
    #[must_use]
    pub const fn part(&self) -> Part {
        match self {
            Self::NoModel | Self::UnknownModel => Part::Model,
            Self::NoSerial => Part::SerialNumber,
            Self::NoCertifiedId(_) => Part::CertifiedId,
            Self::MadeWhen(_) | Self::MadeTooEarly { .. } => Part::Manufactured,
        }
    }

    /// What to do, in one sentence.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self.part() {
            Part::Model => "Write the model as the list of supported models has it, or load a newer table.",
            Part::SerialNumber => "Scan the serial number of the unit itself.",
            Part::CertifiedId => "Scan the certified device ID of the unit itself.",
            Part::Manufactured => "Register a unit that was made later.",
        }
    }
}

/// Judges one unit.
#[must_use]
pub fn judge(models: &Models, unit: &Unit<'_>) -> Eligibility {
    let unknown = |reason| Eligibility::Unknown { reason, register: Vec::new() };
    match models.find(unit.model) {
        _ if unit.model.trim().is_empty() => unknown(Reason::NoModel),
        None => unknown(Reason::UnknownModel),
        Some(_) if unit.serial_number.trim().is_empty() => unknown(Reason::NoSerial),
        Some(model) => unknown(Reason::NoCertifiedId(model.certified_id)),
    }
}
