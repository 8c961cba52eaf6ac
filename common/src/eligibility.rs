//! The check whether a unit can be registered by a certified device ID, and exactly what to register: one
//! pure function of a table of [`Models`] and of what is known about the unit.

use crate::{
    date::Date,
    identity::{Identifier, IdentifierKind, Rule, fold_name},
    maker::lenovo::{MachineString, OriginString},
    models::{CertifiedId, Footnote, Model, Models},
};

/// The known facts about one unit, as they were typed, scanned or read: none of them is trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unit<'a> {
    /// The name of the model, as in the table.
    pub model: &'a str,
    /// The serial number; empty if it is not known.
    pub serial_number: &'a str,
    /// The certified device ID; empty if it is not known, and then it is built from the other fields where
    /// the maker's form allows it.
    pub certified_device_id: &'a str,
    /// Lenovo's machine type and model, 7 or 10 characters; empty if it is not known.
    pub machine_type_model: &'a str,
    /// The MAC address of the unit, of several the one of [`certified_mac`]; empty if it is not known.
    pub mac_address: &'a str,
    /// The day of manufacture.
    pub manufactured: Option<Date>,
}

impl<'a> Unit<'a> {
    /// Returns the unit that these identifiers register as a ChromeOS device: a certified device ID beside a
    /// serial number or a model, and without a maker. A certified ID alone leaves nothing to check.
    #[must_use]
    pub fn of(identifiers: &'a [Identifier]) -> Option<Self> {
        use IdentifierKind::{CertifiedDeviceId, Manufacturer, Model, SerialNumber};
        let value = |kind| {
            identifiers.iter().find(|one| one.kind() == kind).map(Identifier::value).unwrap_or_default()
        };
        let certified_device_id = value(CertifiedDeviceId);
        let unit = Self {
            model: value(Model),
            serial_number: value(SerialNumber),
            certified_device_id,
            mac_address: certified_mac(certified_device_id, identifiers),
            ..Self::default()
        };
        let named = !(unit.model.is_empty() && unit.serial_number.is_empty());
        (named && !unit.certified_device_id.is_empty() && value(Manufacturer).is_empty()).then_some(unit)
    }
}

/// Returns the one of a unit's MAC addresses that its certified device ID contains; the first if it
/// contains another one or none; an empty text if the unit has none.
#[must_use]
pub fn certified_mac<'a>(
    certified_device_id: &str,
    identifiers: impl IntoIterator<Item = &'a Identifier>,
) -> &'a str {
    let certified = certified_device_id.trim().parse::<OriginString>().ok();
    let macs = identifiers.into_iter().filter(|one| one.kind() == IdentifierKind::MacAddress);
    let is_certified = |mac: &Identifier| certified.as_ref().is_some_and(|string| string.mac() == mac);
    let best = macs.reduce(|first, mac| if is_certified(mac) { mac } else { first });
    best.map(Identifier::value).unwrap_or_default()
}

/// The verdict about one unit.
///
/// `register` holds what to register (serial number, model, certified device ID), as far as it is known
/// to be right: all three if the unit is eligible; corrected, where a mistake can be corrected; nothing if
/// the unit cannot be registered at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Eligibility {
    /// The unit can be registered like this.
    Eligible {
        /// Serial number, model and certified device ID.
        register: Vec<Identifier>,
    },
    /// The unit cannot be registered, or not with these values.
    NotEligible {
        /// The cause.
        reason: Reason,
        /// The identifiers to register instead, if any.
        register: Vec<Identifier>,
    },
    /// Something that must be known is missing.
    Unknown {
        /// The missing fact.
        reason: Reason,
        /// The identifiers that are known to be right.
        register: Vec<Identifier>,
    },
}

/// The reason why a unit is not eligible, or not known to be, in one sentence. [`Reason::advice`] returns
/// the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The model has no name.
    #[error("The model is not known.")]
    NoModel,
    /// The table has no such model.
    #[error("No model of this name is in the table of supported models.")]
    UnknownModel,
    /// The unit was made too early.
    #[error("It was made on {made}, and units of this model can be registered from {first} on.")]
    MadeTooEarly {
        /// The day of manufacture.
        made: Date,
        /// The first day that is eligible.
        first: Date,
    },
    /// Units made before a day are not eligible, and the day of manufacture of this one is not known.
    #[error("Only units made on {0} or later can be registered, and when this one was made is not known.")]
    MadeWhen(Date),
    /// There is no serial number.
    #[error("The serial number is not known.")]
    NoSerial,
    /// The serial number breaks a rule of all serial numbers.
    #[error("The serial number {0}.")]
    InvalidSerial(Rule),
    /// The serial number came from a label that leaves out its last character.
    #[error(
        "The serial number of this model has 15 characters; the labels of early units, which cannot be \
         registered, leave out the last."
    )]
    ShortLabel,
    /// The serial number does not have the model's form.
    #[error("The serial number of this model is {0}.")]
    SerialForm(&'static str),
    /// The certified device ID is not known, and cannot be built from the other fields.
    #[error("The certified device ID is not known; of this model it is {}.", .0.words())]
    NoCertifiedId(CertifiedId),
    /// The certified device ID does not have the model's form, or belongs to another unit.
    #[error("The certified device ID of this model is {}.", .0.words())]
    CertifiedIdForm(CertifiedId),
    /// The serial number was given as the certified device ID, but this maker's differ.
    #[error("The certified device ID of this model is not its serial number.")]
    IsSerial,
    /// The certified device ID contains another serial number, machine type or MAC address.
    #[error("The certified device ID is that of another unit: its {0} is not the one of this unit.")]
    OtherUnit(&'static str),
}

/// The part of a registration that a [`Reason`] is about.
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

const WHOLE_STRING: &str =
    "1S, its machine type and model (7 or 10 characters), and 7 or 8 characters: the whole string";
const ONLY_THE_END: &str = "what follows its machine type and model, without 1S and those";
const FIFTEEN: &str = "15 letters and digits";
const SERVICE_TAG: &str = "its service tag, 7 letters and digits";

impl Reason {
    /// Returns the part that the reason is about.
    #[must_use]
    pub const fn part(&self) -> Part {
        match self {
            Self::NoModel | Self::UnknownModel => Part::Model,
            Self::MadeTooEarly { .. } | Self::MadeWhen(_) => Part::Manufactured,
            Self::NoSerial | Self::InvalidSerial(_) | Self::ShortLabel | Self::SerialForm(_) => {
                Part::SerialNumber
            }
            Self::NoCertifiedId(_) | Self::CertifiedIdForm(_) | Self::IsSerial | Self::OtherUnit(_) => {
                Part::CertifiedId
            }
        }
    }

    /// Returns the remedy, in one sentence.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::NoModel | Self::UnknownModel => {
                "Write the model as the list of supported models does, or load a newer table."
            }
            Self::MadeTooEarly { .. } | Self::ShortLabel => "Set the unit aside and take a newer one.",
            Self::MadeWhen(_) => "Read the day of manufacture off the label.",
            Self::NoSerial | Self::InvalidSerial(_) | Self::SerialForm(_) => {
                "Scan the serial number off the unit itself."
            }
            Self::NoCertifiedId(_) | Self::CertifiedIdForm(_) | Self::IsSerial => {
                "Scan the certified device ID off the unit itself."
            }
            Self::OtherUnit(_) => "Scan both labels of this unit again, and check that they are of one unit.",
        }
    }

    /// Returns true if something is missing, rather than wrong.
    const fn is_missing(&self) -> bool {
        matches!(
            self,
            Self::NoModel | Self::UnknownModel | Self::NoSerial | Self::NoCertifiedId(_) | Self::MadeWhen(_)
        )
    }
}

impl Eligibility {
    /// Returns the reason, unless the unit is eligible.
    #[must_use]
    pub const fn reason(&self) -> Option<&Reason> {
        match self {
            Self::Eligible { .. } => None,
            Self::NotEligible { reason, .. } | Self::Unknown { reason, .. } => Some(reason),
        }
    }

    /// Returns the identifiers to register.
    #[must_use]
    pub fn register(&self) -> &[Identifier] {
        let (Self::Eligible { register }
        | Self::NotEligible { register, .. }
        | Self::Unknown { register, .. }) = self;
        register
    }

    fn from_reason(reason: Reason, register: Vec<Identifier>) -> Self {
        if reason.is_missing() {
            Self::Unknown { reason, register }
        } else {
            Self::NotEligible { reason, register }
        }
    }
}

/// Judges one unit. Mistakes are reported before gaps.
#[must_use]
pub fn judge(models: &Models, unit: &Unit<'_>) -> Eligibility {
    if unit.model.trim().is_empty() {
        return Eligibility::from_reason(Reason::NoModel, Vec::new());
    }
    let Some(model) = models.find(unit.model) else {
        return Eligibility::from_reason(Reason::UnknownModel, Vec::new());
    };
    let made_when = match (model.manufactured_from, unit.manufactured) {
        (Some(first), Some(made)) if made < first => {
            return Eligibility::from_reason(Reason::MadeTooEarly { made, first }, Vec::new());
        }
        (Some(first), None) => Some(Reason::MadeWhen(first)),
        _ => None,
    };
    let mut found = Found { register: vec![], wrong: None };
    let serial = found.record(judge_serial(model, unit));
    let certified = found.record(judge_certified_id(model, unit, serial.as_deref()));
    found.register(IdentifierKind::SerialNumber, serial.as_deref());
    found.register(IdentifierKind::Model, Some(&name(model, unit)));
    found.register(IdentifierKind::CertifiedDeviceId, certified.as_deref());
    match found.wrong.or(made_when) {
        // A unit that cannot be registered at all is not corrected.
        Some(Reason::ShortLabel) => Eligibility::from_reason(Reason::ShortLabel, Vec::new()),
        Some(reason) => Eligibility::from_reason(reason, found.register),
        None => Eligibility::Eligible { register: found.register },
    }
}

/// A correct or corrected value, and the rule that the given one broke.
struct Judged {
    value: Option<String>,
    wrong: Option<Reason>,
}

impl Judged {
    const fn right(value: String) -> Self {
        Self { value: Some(value), wrong: None }
    }

    const fn wrong(reason: Reason, instead: Option<String>) -> Self {
        Self { value: instead, wrong: Some(reason) }
    }
}

/// The findings so far.
struct Found {
    register: Vec<Identifier>,
    wrong: Option<Reason>,
}

impl Found {
    fn record(&mut self, judged: Judged) -> Option<String> {
        let before = self.wrong.as_ref();
        if let Some(reason) = judged.wrong
            && before.is_none_or(|before| before.is_missing() && !reason.is_missing())
        {
            self.wrong = Some(reason);
        }
        judged.value
    }

    fn register(&mut self, kind: IdentifierKind, value: Option<&str>) {
        self.register.extend(value.and_then(|value| Identifier::parse(kind, value).ok()));
    }
}

/// Returns the unit's name for this model, spelt as in the table.
fn name(model: &Model, unit: &Unit<'_>) -> String {
    let asked = fold_name(unit.model);
    model.names().find(|name| fold_name(name) == asked).unwrap_or_else(|| model.name.clone())
}

fn judge_serial(model: &Model, unit: &Unit<'_>) -> Judged {
    if unit.serial_number.trim().is_empty() {
        return Judged::wrong(Reason::NoSerial, None);
    }
    let serial = match Identifier::parse(IdentifierKind::SerialNumber, unit.serial_number) {
        Ok(serial) => serial.value().to_owned(),
        Err(invalid) => return Judged::wrong(Reason::InvalidSerial(invalid.rule), None),
    };
    let alphanumeric = serial.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let string = serial.parse::<MachineString>();
    match (model.footnote, model.certified_id, string) {
        (Some(Footnote::ShortLabels), ..) if serial.len() == 14 => Judged::wrong(Reason::ShortLabel, None),
        (Some(Footnote::ShortLabels), ..) if serial.len() != 15 || !alphanumeric => {
            Judged::wrong(Reason::SerialForm(FIFTEEN), None)
        }
        (Some(Footnote::SerialIsWholeString), _, Err(_)) => {
            Judged::wrong(Reason::SerialForm(WHOLE_STRING), whole_string(unit, &serial))
        }
        (Some(Footnote::SerialIsWholeString), ..) => Judged::right(serial),
        (_, CertifiedId::LenovoMtmSerial, Ok(string)) => {
            Judged::wrong(Reason::SerialForm(ONLY_THE_END), Some(string.serial().to_owned()))
        }
        (_, CertifiedId::DellServiceTag, _) if serial.len() != 7 || !alphanumeric => {
            Judged::wrong(Reason::SerialForm(SERVICE_TAG), None)
        }
        _ => Judged::right(serial),
    }
}

/// Builds the whole string of a unit whose serial number holds only the end of it.
fn whole_string(unit: &Unit<'_>, end: &str) -> Option<String> {
    let certified = unit.certified_device_id.trim().parse::<MachineString>().ok();
    let string = certified.filter(|string| string.serial() == end);
    let string = string.or_else(|| MachineString::new(unit.machine_type_model.trim(), end).ok());
    string.map(|string| string.to_string())
}

/// Judges the certified device ID; `serial` is correct or corrected.
fn judge_certified_id(model: &Model, unit: &Unit<'_>, serial: Option<&str>) -> Judged {
    let form = model.certified_id;
    let given = unit.certified_device_id.trim();
    let made = match form {
        _ if model.has_whole_string_serial() => serial.map(str::to_owned),
        CertifiedId::Serial | CertifiedId::DellServiceTag => serial.map(str::to_owned),
        CertifiedId::LenovoMtmSerial => serial
            .and_then(|serial| MachineString::new(unit.machine_type_model.trim(), serial).ok())
            .or_else(|| unit.serial_number.trim().parse().ok())
            .map(|string: MachineString| string.to_string()),
        CertifiedId::LenovoOriginMac | CertifiedId::AsusToken => None,
    };
    if given.is_empty() {
        return made.map_or_else(|| Judged::wrong(Reason::NoCertifiedId(form), None), Judged::right);
    }
    let Ok(given) = Identifier::parse(IdentifierKind::CertifiedDeviceId, given) else {
        return Judged::wrong(Reason::CertifiedIdForm(form), made);
    };
    match broken_rule(model, unit, serial, given.value()) {
        Some(reason) => Judged::wrong(reason, made),
        None => Judged::right(given.value().to_owned()),
    }
}

/// Returns the rule that a certified device ID, given in capitals, breaks.
fn broken_rule(model: &Model, unit: &Unit<'_>, serial: Option<&str>, id: &str) -> Option<Reason> {
    let form = model.certified_id;
    let other_form = Some(Reason::CertifiedIdForm(form));
    let is_serial = serial.is_none_or(|serial| serial == id);
    match form {
        _ if model.has_whole_string_serial() => match id.parse::<MachineString>() {
            Ok(_) if is_serial => None,
            Ok(_) => Some(Reason::OtherUnit("serial number")),
            Err(_) => other_form,
        },
        CertifiedId::Serial | CertifiedId::DellServiceTag => other_form.filter(|_| !is_serial),
        CertifiedId::LenovoMtmSerial => match id.parse::<MachineString>() {
            Ok(string) if serial.is_some_and(|serial| serial != string.serial()) => {
                Some(Reason::OtherUnit("serial number"))
            }
            Ok(string) if !is_machine(&string, unit.machine_type_model.trim()) => {
                Some(Reason::OtherUnit("machine type"))
            }
            Ok(_) => None,
            Err(_) => other_form,
        },
        CertifiedId::LenovoOriginMac => match id.parse::<OriginString>() {
            Ok(string) if !is_mac(&string, unit.mac_address) => Some(Reason::OtherUnit("MAC address")),
            Ok(_) => None,
            Err(_) => other_form,
        },
        // Only its letters are published, and `Identifier` has checked them.
        CertifiedId::AsusToken => (serial == Some(id)).then_some(Reason::IsSerial),
    }
}

/// Returns true if a machine type and model is that of this machine: the first four characters name it; the
/// rest says how it was ordered.
fn is_machine(string: &MachineString, mtm: &str) -> bool {
    mtm.get(..4).is_none_or(|machine| machine.eq_ignore_ascii_case(string.machine_type()))
}

fn is_mac(string: &OriginString, mac: &str) -> bool {
    Identifier::parse(IdentifierKind::MacAddress, mac).map_or(true, |mac| mac == *string.mac())
}
