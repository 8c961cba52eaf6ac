//! Codes that name their fields in words: lines or pairs, a flat JSON object, or the query of a URL.
//!
//! A text is read like this only if each of its parts has a name, and at least one name is known; free
//! text is not searched for anything that resembles a number.

use super::{Field, FieldName};
use crate::identity::IdentifierKind;
use serde_json::{Map, Value};
use url::Url;

/// Labels' names of identifiers, letters and digits only, in lower case. The wire names of all
/// kinds are known beside them.
const KNOWN: [(&str, IdentifierKind); 29] = [
    ("sn", IdentifierKind::SerialNumber),
    ("ser", IdentifierKind::SerialNumber),
    ("serial", IdentifierKind::SerialNumber),
    ("serialno", IdentifierKind::SerialNumber),
    ("systemserial", IdentifierKind::SerialNumber),
    ("systemserialnumber", IdentifierKind::SerialNumber),
    ("svctag", IdentifierKind::ServiceTag),
    ("mbsn", IdentifierKind::BoardSerial),
    ("mlbsn", IdentifierKind::BoardSerial),
    ("mac", IdentifierKind::MacAddress),
    ("mac1", IdentifierKind::MacAddress),
    ("mac2", IdentifierKind::MacAddress),
    ("ethmac", IdentifierKind::MacAddress),
    ("lanmac", IdentifierKind::MacAddress),
    ("wifimac", IdentifierKind::MacAddress),
    ("wlanmac", IdentifierKind::MacAddress),
    ("imei1", IdentifierKind::Imei),
    ("imei2", IdentifierKind::Imei),
    ("meid1", IdentifierKind::Meid),
    ("meid2", IdentifierKind::Meid),
    ("uuid", IdentifierKind::SystemUuid),
    ("certifiedid", IdentifierKind::CertifiedDeviceId),
    ("attesteddeviceid", IdentifierKind::CertifiedDeviceId),
    ("maker", IdentifierKind::Manufacturer),
    ("brand", IdentifierKind::Manufacturer),
    ("mtm", IdentifierKind::Model),
    ("modelname", IdentifierKind::Model),
    ("modelnumber", IdentifierKind::Model),
    ("modelno", IdentifierKind::Model),
];

/// Labels' names for the day of manufacture, in the same form.
const MADE_ON: [&str; 5] = ["mfgdate", "mfd", "manufactured", "manufacturedate", "manufacturedon"];

/// Dell labels' names for the express service code, in the same form.
const EXPRESS_SERVICE_CODE: [&str; 3] = ["expressservicecode", "expresscode", "esc"];

/// Returns the kind that a word stands for.
pub(super) fn kind(word: &str) -> Option<IdentifierKind> {
    let word = fold(word);
    let of_wire_name = || IdentifierKind::ALL.into_iter().find(|kind| fold(kind.name()) == word);
    KNOWN.iter().find(|(known, _)| *known == word).map(|(_, kind)| *kind).or_else(of_wire_name)
}

/// Returns true if a word announces the day of manufacture.
pub(super) fn is_manufacture_date(word: &str) -> bool {
    MADE_ON.contains(&fold(word).as_str())
}

/// Returns true if a word announces an express service code, which is a service tag in other digits.
pub(super) fn is_express_service_code(word: &str) -> bool {
    EXPRESS_SERVICE_CODE.contains(&fold(word).as_str())
}

fn fold(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphanumeric).map(|char| char.to_ascii_lowercase()).collect()
}

/// Reads a code that names its fields. `None` if it does not.
pub(super) fn read(text: &str) -> Option<Vec<Field>> {
    let pairs = match text.chars().next()? {
        '{' => parse_json(text)?,
        _ if text.starts_with("http://") || text.starts_with("https://") => parse_url(text)?,
        _ => parse_pairs(text)?,
    };
    let fields = pairs.into_iter().map(|(word, value)| Field { name: FieldName::Word(word), value });
    let fields: Vec<Field> = fields.collect();
    let says = |word: &str| kind(word).is_some() || is_express_service_code(word);
    let known = |field: &Field| matches!(&field.name, FieldName::Word(word) if says(word));
    fields.iter().any(known).then_some(fields)
}

/// The separators between pairs.
pub(super) const BETWEEN: [char; 4] = ['\n', ';', ',', '|'];

type Pairs = Vec<(String, String)>;

/// Splits a text at the first of these separators that leaves nothing but pairs; or reads one pair.
fn parse_pairs(text: &str) -> Option<Pairs> {
    let apart = |between: char| -> Option<Pairs> {
        let parts = text.split(between).map(str::trim).filter(|part| !part.is_empty());
        parts.map(parse_pair).collect()
    };
    let separators = BETWEEN.into_iter().filter(|between| text.contains(*between));
    separators.into_iter().find_map(apart).or_else(|| {
        let one_line = !text.contains('\n');
        parse_pair(text).filter(|_| one_line).map(|pair| vec![pair])
    })
}

/// Reads `name: value` or `name=value`.
fn parse_pair(part: &str) -> Option<(String, String)> {
    let (word, value) = part.split_once([':', '='])?;
    let (word, value) = (word.trim(), value.trim());
    (!fold(word).is_empty() && !value.is_empty()).then(|| (word.to_owned(), value.to_owned()))
}

/// Reads a flat object; members that are not texts are ignored.
fn parse_json(text: &str) -> Option<Pairs> {
    let object: Map<String, Value> = serde_json::from_str(text).ok()?;
    let text = |(word, value): (String, Value)| value.as_str().map(|text| (word, text.trim().to_owned()));
    Some(object.into_iter().filter_map(text).filter(|(_, value)| !value.is_empty()).collect())
}

fn parse_url(text: &str) -> Option<Pairs> {
    let url = Url::parse(text).ok()?;
    let pairs = url.query_pairs().map(|(word, value)| (word.into_owned(), value.trim().to_owned()));
    Some(pairs.filter(|(_, value)| !value.is_empty()).collect())
}
