//! From a field to its meaning for a device, or to every possible one.

use super::{
    Field, FieldName,
    ansi::{self, Meaning},
    words,
};
use crate::{
    date::Date,
    identity::{Identifier, IdentifierKind, InvalidIdentifier},
    maker::{
        dell,
        lenovo::{MachineString, OriginString},
    },
};

/// Every possible meaning, the likeliest first.
type Alternatives = Vec<Vec<Identifier>>;

/// Returns what a field says about a device; `None` if it is about something else.
pub(super) fn interpret(field: &Field) -> Option<Result<Alternatives, InvalidIdentifier>> {
    let value = field.value.as_str();
    match &field.name {
        FieldName::Bare => Some(parse_bare(value)),
        FieldName::Word(word) if words::is_express_service_code(word) => {
            let tag = dell::service_tag(value);
            Some(parse_named(IdentifierKind::ServiceTag, tag.as_deref().unwrap_or(value)))
        }
        FieldName::Word(word) => words::kind(word).map(|kind| parse_named(kind, value)),
        FieldName::ApplicationIdentifier(identifier) => match identifier.as_str() {
            "21" => Some(parse_serial(value)),
            "8002" => Some(parse_modem(value)),
            _ => None,
        },
        FieldName::DataIdentifier(identifier) => interpret_data_identifier(ansi::meaning(identifier), value),
    }
}

/// Returns the meanings of a field that only resembles its form: the whole scan may also be a bare value.
pub(super) fn interpret_lookalike(
    field: &Field,
    whole: &str,
    alone: bool,
) -> Option<Result<Alternatives, InvalidIdentifier>> {
    match (interpret(field), parse_bare(whole)) {
        (None, Ok(ways)) if alone => Some(Ok([vec![vec![]], ways].concat())),
        (None, _) => None,
        (Some(Ok(ways)), Ok(also)) => Some(Ok(deduplicate([ways, also].concat()))),
        (Some(Ok(ways)), Err(_)) | (Some(Err(_)), Ok(ways)) => Some(Ok(ways)),
        (Some(Err(refused)), Err(_)) => Some(Err(refused)),
    }
}

/// Returns the day of manufacture, if the field holds it.
pub(super) fn day_of_manufacture(field: &Field) -> Option<Date> {
    let value = field.value.as_str();
    match &field.name {
        // YYMMDD; no device that runs Linux was made in the century before.
        FieldName::ApplicationIdentifier(identifier) if identifier == "11" => {
            parse_day(&format!("20{value}"))
        }
        FieldName::DataIdentifier(identifier) if ansi::meaning(identifier) == Meaning::MadeOn => {
            parse_day(value)
        }
        FieldName::Word(word) if words::is_manufacture_date(word) => {
            value.parse().ok().or_else(|| parse_day(value))
        }
        _ => None,
    }
}

/// Reads `YYYYMMDD`.
fn parse_day(value: &str) -> Option<Date> {
    let (year, rest) = value.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    format!("{year}-{month}-{day}").parse().ok()
}

fn interpret_data_identifier(
    meaning: Meaning,
    value: &str,
) -> Option<Result<Alternatives, InvalidIdentifier>> {
    match meaning {
        Meaning::Serial => Some(parse_serial(value)),
        Meaning::CageAndSerial => value.split_at_checked(5).map(|(_, end)| parse_serial(end)),
        Meaning::LenovoString => parse_lenovo(&format!("1S{value}")).map(Ok),
        Meaning::Modem => Some(parse_modem(value)),
        Meaning::MacAddress => Some(parse_named(IdentifierKind::MacAddress, value)),
        Meaning::MadeOn | Meaning::Nothing => None,
    }
}

fn parse_named(kind: IdentifierKind, value: &str) -> Result<Alternatives, InvalidIdentifier> {
    if kind == IdentifierKind::SerialNumber {
        return parse_serial(value);
    }
    Identifier::parse(kind, value).map(|identifier| vec![vec![identifier]])
}

/// Reads a serial number, or the string that Lenovo prints in its place.
fn parse_serial(value: &str) -> Result<Alternatives, InvalidIdentifier> {
    parse_lenovo(value).map_or_else(
        || Identifier::parse(IdentifierKind::SerialNumber, value).map(|serial| vec![vec![serial]]),
        Ok,
    )
}

/// Reads the rest of a `1S` string: its end is the serial number, except on models whose serial number
/// is the whole of it.
fn parse_lenovo(value: &str) -> Option<Alternatives> {
    use IdentifierKind::{CertifiedDeviceId, Manufacturer, Model, SerialNumber};
    let value = value.trim();
    let of = |kinds: &[(IdentifierKind, &str)]| -> Option<Vec<Identifier>> {
        kinds.iter().map(|(kind, value)| Identifier::parse(*kind, value).ok()).collect()
    };
    if let Ok(string) = value.parse::<OriginString>() {
        let certified = of(&[(CertifiedDeviceId, value)])?;
        return Some(vec![[certified, vec![string.mac().clone()]].concat()]);
    }
    let string: MachineString = value.parse().ok()?;
    Some(vec![
        of(&[(SerialNumber, string.serial()), (Manufacturer, "LENOVO"), (Model, string.mtm())])?,
        of(&[(SerialNumber, string.serial()), (CertifiedDeviceId, value)])?,
        of(&[(SerialNumber, value), (CertifiedDeviceId, value)])?,
    ])
}

/// Reads the number of a modem: 14 digits and a check digit are an IMEI; letters make it a MEID.
fn parse_modem(value: &str) -> Result<Alternatives, InvalidIdentifier> {
    let imei = Identifier::parse(IdentifierKind::Imei, value);
    let meid = Identifier::parse(IdentifierKind::Meid, value);
    match (imei, meid) {
        (Err(refused), Err(_)) => Err(refused),
        (imei, meid) => Ok([imei, meid].into_iter().flatten().map(|one| vec![one]).collect()),
    }
}

/// Reads a value without a name. Its form shows what it may be other than a serial number.
fn parse_bare(value: &str) -> Result<Alternatives, InvalidIdentifier> {
    use IdentifierKind::{Imei, MacAddress, Meid, SerialNumber, ServiceTag, SystemUuid};
    if let Some(ways) = parse_lenovo(value) {
        return Ok(ways);
    }
    let hexadecimal = value.bytes().all(|byte| byte.is_ascii_hexdigit());
    let decimal = value.bytes().all(|byte| byte.is_ascii_digit());
    // A value with the separators of one kind is of that kind.
    match group_lengths(value).as_slice() {
        [2, 2, 2, 2, 2, 2] => return parse_named(MacAddress, value),
        [8, 4, 4, 4, 12] => return parse_named(SystemUuid, value),
        _ => {}
    }
    let serial = Identifier::parse(SerialNumber, value)?;
    let (before, behind): (&[IdentifierKind], &[IdentifierKind]) = match value.len() {
        7 => (&[], &[ServiceTag]),
        12 if hexadecimal => (&[MacAddress], &[]),
        14 if hexadecimal && value.starts_with(|first: char| first.is_ascii_alphabetic()) => (&[Meid], &[]),
        15 if decimal => (&[Imei, Meid], &[]),
        18 if decimal => (&[Meid], &[]),
        _ => (&[], &[]),
    };
    let read = |kinds: &[IdentifierKind]| -> Vec<Identifier> {
        kinds.iter().filter_map(|kind| Identifier::parse(*kind, value).ok()).collect()
    };
    // Dell prints the express service code beside the tag, in groups that are easy to read out.
    let groups: Vec<usize> = value.split([' ', '-']).map(str::len).collect();
    let is_code = matches!(groups.as_slice(), [10 | 11] | [3, 3, 3, 1 | 2]);
    let tag = dell::service_tag(value).filter(|_| is_code);
    let tag = tag.and_then(|tag| Identifier::parse(ServiceTag, &tag).ok());
    let ways = read(before).into_iter().chain([serial]).chain(read(behind)).chain(tag);
    Ok(ways.map(|one| vec![one]).collect())
}

/// Returns the lengths of the groups of hexadecimal digits, if the value consists of those alone.
fn group_lengths(value: &str) -> Vec<usize> {
    let separator = if value.contains(':') { ':' } else { '-' };
    let group = |group: &str| {
        let digits = group.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then_some(group.len())
    };
    value.split(separator).map(group).collect::<Option<_>>().unwrap_or_default()
}

fn deduplicate(ways: Alternatives) -> Alternatives {
    let mut kept: Alternatives = Vec::with_capacity(ways.len());
    for way in ways {
        if !kept.contains(&way) {
            kept.push(way);
        }
    }
    kept
}
