//! Decodes the message of a request: JSON of a known form, or a [`Status`] that says where it is wrong.
//! Errors never repeat the request's text, because it may hold a token.

use super::{
    detail::{Detail, FieldViolation},
    field_mask::FieldMask,
    form::Read,
    message::Message,
    status::{Code, Status},
};
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_path_to_error::{Path, Segment};

/// Decodes a message of at most `limit` bytes, and checks it against its table. An empty body counts as
/// `{}`. The depth of JSON is limited by its parser, to 128.
///
/// # Errors
/// [`Code::InvalidArgument`] with every field that is missing, or the first that cannot be read.
pub fn decode<T: Message>(body: &[u8], limit: usize) -> Result<T, Status> {
    let mut message: T = read(body, limit)?;
    message.check().map_err(Status::invalid)?;
    Ok(message)
}

/// Decodes the message of a PATCH: of missing fields, only those of its mask are an error.
///
/// # Errors
/// As [`decode`].
pub fn decode_patch<T: Message>(body: &[u8], limit: usize, mask: &FieldMask) -> Result<T, Status> {
    let mut message: T = read(body, limit)?;
    let mut violations = message.check().err().unwrap_or_default();
    violations.retain(|one| one.field.split(['.', '[']).next().is_some_and(|field| mask.contains(field)));
    if violations.is_empty() { Ok(message) } else { Err(Status::invalid(violations)) }
}

/// Makes the refusal of a request that is too large.
pub(super) fn too_large(limit: usize) -> Status {
    let message = format!("Request payload size exceeds the limit: {limit} bytes.");
    Status::new(Code::InvalidArgument, message).with_http(413)
}

fn read<T: Message>(body: &[u8], limit: usize) -> Result<T, Status> {
    if body.len() > limit {
        return Err(too_large(limit));
    }
    let text = std::str::from_utf8(body)
        .map_err(|_| Status::new(Code::InvalidArgument, "The request's body is not UTF-8."))?;
    if text.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    from_json(text, "").map(|Read(message)| message)
}

/// Reads the JSON at this path of the request; if it is wrong, a second time: only then the place of the
/// mistake matters.
pub(super) fn from_json<T: DeserializeOwned>(text: &str, at: &str) -> Result<T, Status> {
    serde_json::from_str(text).map_err(|plain| {
        let mut json = serde_json::Deserializer::from_str(text);
        match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Err(error) => {
                let below = path(error.path());
                let path = match (at, below.as_str()) {
                    (_, "") => at.to_owned(),
                    ("", _) => below,
                    _ => format!("{at}.{below}"),
                };
                decode_error(&path, error.inner())
            }
            // The value itself is good, so the mistake is in the text behind it.
            Ok(_) => decode_error(at, &plain),
        }
    })
}

/// Writes the path of a mistake. The keys of a map are the client's own, and may be of any length.
fn path(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        if !(text.is_empty() || matches!(segment, Segment::Seq { .. })) {
            text.push('.');
        }
        text.push_str(&printable(&segment.to_string()));
    }
    text
}

/// Makes the refusal of wrong JSON, with the place; an empty path is the whole.
pub(super) fn decode_error(path: &str, error: &serde_json::Error) -> Status {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let place = format!(" at line {line} column {column}");
    let text = text.strip_suffix(&place).unwrap_or(&text);
    if error.classify() != Category::Data {
        let message = format!("Invalid JSON payload received. Cannot parse it{place}: {text}.");
        return Status::new(Code::InvalidArgument, message);
    }
    if let Some(name) = name_after(text, "unknown field `") {
        let name = printable(name);
        let outer = parent(path, &name);
        let at = if outer.is_empty() { String::new() } else { format!(" at '{outer}'") };
        let rule = format!("Invalid JSON payload received. Unknown name \"{name}\"{at}: Cannot find field.");
        let violation = FieldViolation::new(outer, rule.clone());
        return Status::new(Code::InvalidArgument, rule)
            .with_detail(Detail::BadRequest { field_violations: vec![violation] });
    }
    for (prefix, rule) in
        [("duplicate field `", "The field is given twice."), ("missing field `", "A value is required.")]
    {
        if let Some(name) = name_after(text, prefix) {
            let name = printable(name);
            let outer = parent(path, &name);
            let mut violation = FieldViolation::new(name.as_str(), rule);
            violation.nest(outer);
            return Status::invalid(vec![violation]);
        }
    }
    Status::invalid_field(path, rule(text))
}

/// Returns the rule in serde's words, without the offending value.
fn rule(text: &str) -> String {
    match text.rsplit_once(", expected ") {
        Some((_, expected)) if text.starts_with("invalid ") => format!("Expected {expected}."),
        _ => text.to_owned(),
    }
}

/// Returns the field that serde's words are about.
fn name_after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.split_once('`').map(|(name, _)| name)
}

/// Returns the path of the object that a field is in; the parser may have added the field's name already.
fn parent<'a>(path: &'a str, name: &str) -> &'a str {
    path.strip_suffix(name).map_or(path, |outer| outer.strip_suffix('.').unwrap_or(outer))
}

fn printable(name: &str) -> String {
    name.chars().filter(|char| !char.is_control()).take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::super::message::message;
    use super::*;
    use std::collections::BTreeMap;
    use unbox_common::{payload::PolicyItem, secret::Secret};

    message! {
        /// Inside of the other.
        struct Inner {
            /// A number.
            whole_number: i64 = "wholeNumber", REQUIRED;
            /// A map.
            entries: BTreeMap<String, String> = "entries";
        }
    }

    message! {
        /// For these tests.
        struct Outer {
            /// A text.
            name: String = "name", REQUIRED;
            /// Lists.
            inner_items: Vec<Inner> = "innerItems";
            /// One.
            one_inner: Option<Inner> = "oneInner";
            /// The server's.
            server_side: String = "serverSide", OUTPUT;
            /// The client's.
            pass_word: Secret = "passWord", INPUT;
            /// Judged one by one.
            each: Vec<Inner> = "each", ITEMWISE;
            /// Policy.
            policy: Vec<PolicyItem> = "policy";
        }
    }

    fn decode_outer(json: &str) -> Result<Outer, (String, String)> {
        decode::<Outer>(json.as_bytes(), 4096).map_err(|status| {
            let field = match status.details() {
                [Detail::BadRequest { field_violations }] => {
                    field_violations.iter().map(|one| one.field.as_str()).collect::<Vec<_>>().join(" ")
                }
                _ => "-".to_owned(),
            };
            (field, status.message().to_owned())
        })
    }

    #[test]
    fn both_names_of_a_field_are_read_and_maps_keep_their_keys() {
        let camel = decode_outer(
            r#"{"name":"a","innerItems":[{"wholeNumber":"7","entries":{"order_number":"1","orderNumber":"2"}}]}"#,
        )
        .unwrap();
        let snake = decode_outer(
            r#"{"name":"a","inner_items":[{"whole_number":7,"entries":{"order_number":"1","orderNumber":"2"}}]}"#,
        )
        .unwrap();
        assert_eq!(camel, snake);
        assert_eq!(
            serde_json::to_string(&camel).unwrap(),
            r#"{"name":"a","innerItems":[{"wholeNumber":"7","entries":{"orderNumber":"2","order_number":"1"}}]}"#
        );
    }

    #[test]
    fn null_is_absence_and_roles_hold() {
        let read = decode_outer(
            r#"{"name":"a","innerItems":null,"oneInner":null,"serverSide":"mine","passWord":"hunter2"}"#,
        )
        .unwrap();
        assert_eq!((read.server_side.as_str(), read.pass_word.expose()), ("", "hunter2"));
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"name":"a"}"#);
    }

    #[test]
    fn whatever_is_missing_is_named_and_items_are_left_to_their_judge() {
        for (json, fields) in [
            ("", "name"),
            (" \r\n", "name"),
            ("{}", "name"),
            (r#"{"name":null}"#, "name"),
            (r#"{"name":""}"#, "name"),
            (
                r#"{"innerItems":[{"wholeNumber":1},{}],"oneInner":{}}"#,
                "name innerItems[1].wholeNumber oneInner.wholeNumber",
            ),
        ] {
            assert_eq!(decode_outer(json).unwrap_err().0, fields, "{json}");
        }
        let each = decode_outer(r#"{"name":"a","each":[{},{"wholeNumber":1}]}"#).unwrap().each;
        assert_eq!(each.into_iter().map(|mut one| one.check().is_ok()).collect::<Vec<_>>(), [false, true]);
    }

    #[test]
    fn a_patch_needs_only_what_its_mask_names() {
        let patch = |json: &str, mask: &str| {
            let mask = FieldMask::parse::<Outer>(mask).unwrap();
            decode_patch::<Outer>(json.as_bytes(), 99, &mask).map_err(|status| status.message().to_owned())
        };
        assert!(patch(r#"{"oneInner":{"wholeNumber":1}}"#, "oneInner").is_ok());
        assert_eq!(patch("{}", "name,oneInner"), Err("name: A value is required.".to_owned()));
        assert_eq!(
            patch(r#"{"oneInner":{}}"#, "oneInner"),
            Err("oneInner.wholeNumber: A value is required.".to_owned())
        );
    }

    #[test]
    fn what_cannot_be_read_is_named_with_its_path() {
        for (json, field, message) in [
            (r#"{"nme":1}"#, "", "Invalid JSON payload received. Unknown name \"nme\": Cannot find field."),
            (
                r#"{"oneInner":{"x y":1}}"#,
                "oneInner",
                "Invalid JSON payload received. Unknown name \"x y\" at 'oneInner': Cannot find field.",
            ),
            (
                r#"{"inner_items":[{},{"x":1}]}"#,
                "inner_items[1]",
                "Invalid JSON payload received. Unknown name \"x\" at 'inner_items[1]': Cannot find field.",
            ),
            (r#"{"name":5}"#, "name", "name: Expected a string."),
            (
                r#"{"innerItems":[{"wholeNumber":1.5}]}"#,
                "innerItems[0].wholeNumber",
                "innerItems[0].wholeNumber: Expected an integer or its decimal text.",
            ),
            (
                r#"{"innerItems":[{"wholeNumber":"x"}]}"#,
                "innerItems[0].wholeNumber",
                "innerItems[0].wholeNumber: Expected a 64-bit integer in decimal digits.",
            ),
            (r#"{"innerItems":{}}"#, "innerItems", "innerItems: Expected a sequence."),
            (r#"{"innerItems":[null]}"#, "innerItems[0]", "innerItems[0]: Expected an object."),
            (r#"{"oneInner":[1,{}]}"#, "oneInner", "oneInner: Expected an object."),
            (
                r#"{"oneInner":{"entries":{"a":null}}}"#,
                "oneInner.entries.a",
                "oneInner.entries.a: Expected a string.",
            ),
            (r#"{"name":"a","name":"b"}"#, "name", "name: The field is given twice."),
            (r#"{"innerItems":[],"inner_items":[]}"#, "innerItems", "innerItems: The field is given twice."),
            (
                r#"{"oneInner":{"wholeNumber":1,"wholeNumber":1}}"#,
                "oneInner.wholeNumber",
                "oneInner.wholeNumber: The field is given twice.",
            ),
            (r#"{"policy":[{"type":"hostname"}]}"#, "policy[0].name", "policy[0].name: A value is required."),
            (
                r#"{"policy":[{"type":"hostname","name":"a","also":1}]}"#,
                "policy[0]",
                "Invalid JSON payload received. Unknown name \"also\" at 'policy[0]': Cannot find field.",
            ),
            (r#"{"name":"a\u0000"}"#, "name", "name: Expected a text without the character U+0000."),
            (
                r#"{"oneInner":{"wholeNumber":1,"entries":{"a":"\u0000"}}}"#,
                "oneInner.entries",
                "oneInner.entries: Expected a text without the character U+0000.",
            ),
            (r#"["a"]"#, "", "Expected an object."),
            ("5", "", "Expected an object."),
            ("null", "", "Expected an object."),
            (
                r#"{"policy":[{"type":"hostname","name":"a b"}]}"#,
                "policy[0]",
                "policy[0]: \"a b\" is not a host name: at most 64 of letters, digits and `-`, in labels apart by dots",
            ),
        ] {
            assert_eq!(decode_outer(json), Err((field.to_owned(), message.to_owned())), "{json}");
        }
    }

    #[test]
    fn a_long_key_is_named_by_its_beginning() {
        let long = "k".repeat(2000);
        for (json, field) in [
            (format!(r#"{{"oneInner":{{"entries":{{"{long}":5}}}}}}"#), "oneInner.entries."),
            (format!(r#"{{"oneInner":{{"{long}":5}}}}"#), "oneInner"),
            (format!(r#"{{"policy":[{{"type":"hostname","name":"a","{long}":1}}]}}"#), "policy[0]"),
        ] {
            let (found, message) = decode_outer(&json).unwrap_err();
            assert!(found.starts_with(field) && found.len() <= field.len() + 64, "{found}");
            assert!(message.len() < 300 && !message.contains(&long[..65]), "{message}");
        }
    }

    #[test]
    fn broken_json_is_refused_with_its_place() {
        let deep = format!("{{\"name\":{}", "[".repeat(2000));
        for (json, message) in [
            (
                "{",
                "Invalid JSON payload received. Cannot parse it at line 1 column 1: EOF while parsing an object.",
            ),
            (
                "{\"name\":\"a\"} x",
                "Invalid JSON payload received. Cannot parse it at line 1 column 14: trailing characters.",
            ),
            (
                "{\"name\":\"a\",}",
                "Invalid JSON payload received. Cannot parse it at line 1 column 13: trailing comma.",
            ),
        ] {
            assert_eq!(decode_outer(json).unwrap_err().1, message);
        }
        assert!(decode_outer(&deep).is_err());
        assert!(decode_outer(&format!("{{\"policy\":[{}", "{\"a\":".repeat(700))).is_err());
        assert_eq!(
            decode::<Outer>(b"{\"name\":\"\xff\"}", 99).unwrap_err().message(),
            "The request's body is not UTF-8."
        );
    }

    #[test]
    fn a_body_over_the_limit_is_not_looked_at() {
        let refused = decode::<Outer>(b"{\"name\":\"a\"}", 11).unwrap_err();
        assert_eq!((refused.http(), refused.code()), (413, Code::InvalidArgument));
        assert!(decode::<Outer>(b"{\"name\":\"a\"}", 12).is_ok());
    }

    #[test]
    fn a_refusal_repeats_no_token() {
        for json in [
            r#"{"name":{"a":"hunter2"}}"#,
            r#"{"oneInner":"hunter2"}"#,
            r#"{"innerItems":[{"wholeNumber":"hunter2"}]}"#,
        ] {
            let (_, message) = decode_outer(json).unwrap_err();
            assert!(!message.contains("hunter2"), "{message}");
        }
    }
}
