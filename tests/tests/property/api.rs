//! The forms of the management API: whatever arrives, there is an answer, and never a panic.

use proptest::{collection::vec, prelude::*};
use serde_json::Value;
use std::time::Duration;
use unbox_common::timestamp::Timestamp;
use unbox_server::route::api::{
    message::{claim::ClaimDevicesRequest, configuration::Configuration},
    wire::{
        batch, body, duration, field_mask::FieldMask, name, page_token::PageTokens, partial::Selector,
        query::Query, timestamp,
    },
};

/// Texts that are made of the pieces of good ones.
fn pieces(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    vec(proptest::sample::select(of), 0..24).prop_map(|pieces| pieces.concat())
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~]{0,8}".prop_map(Value::from),
    ];
    let name = proptest::sample::select(vec![
        "a",
        "b",
        "claims",
        "deviceIdentifier",
        "imei",
        "customer_id",
        "policy",
        "setup",
    ]);
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec((name.clone(), inner), 0..6).prop_map(|fields| fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect()),
        ]
    })
}

/// Whether `part` is `whole` with some fields left out.
fn is_part_of(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|whole| is_part_of(value, whole)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_part_of(part, whole))
        }
        (part, whole) => part == whole,
    }
}

proptest! {
    #[test]
    fn a_plain_path_stays_as_it_is(path in pieces(&["/", "v1", "customers", "%2F", "%3a", ":", "..", "%2e", "%25", "%", "7", "\u{e9}", "%ff", "%00"])) {
        if let Ok(plain) = name::normalised_path(&path) {
            prop_assert!(!plain.contains('%') && !plain.contains("//"));
            prop_assert!(plain.split('/').all(|segment| segment != ".." && segment != "."));
            prop_assert_eq!(name::normalised_path(&plain).unwrap(), plain.as_ref());
        }
    }

    #[test]
    fn a_query_is_read_or_refused(query in pieces(&["&", "=", "$", "fields", "key", "alt", "json", "pageSize", "%20", "%", "+", "a(b", ")", "1"])) {
        if let Err(status) = Query::parse(Some(&query)).and_then(|query| query.own.finish()) {
            prop_assert_eq!(status.http(), 400);
        }
    }

    #[test]
    fn a_selector_only_leaves_out(selector in pieces(&["a", "b", "claims", "*", "/", ".", ",", "(", ")"]), whole in json()) {
        if let Ok(selector) = Selector::parse(&selector) {
            let mut part = whole.clone();
            selector.apply(&mut part);
            prop_assert!(is_part_of(&part, &whole), "{part} of {whole}");
        }
    }

    #[test]
    fn a_body_is_read_or_refused(value in json()) {
        let bytes = value.to_string().into_bytes();
        for refused in [
            body::decode::<ClaimDevicesRequest>(&bytes, 4096).err(),
            body::decode::<Configuration>(&bytes, 4096).err(),
        ].into_iter().flatten() {
            prop_assert!([400, 413].contains(&refused.http()));
        }
    }

    #[test]
    fn bytes_are_no_body(bytes in vec(any::<u8>(), 1..200)) {
        let read = body::decode::<ClaimDevicesRequest>(&bytes, 4096);
        prop_assert!(read.is_err());
    }

    #[test]
    fn a_batch_is_read_or_refused(text in pieces(&["--b", "--", "\n", "\r\n", "Content-Type: application/http", "Content-ID: <1>", "GET / HTTP/1.1", "POST /v1 HTTP/1.1", "Content-Length: 2", "{}", " "])) {
        if let Ok(requests) = batch::parse("multipart/mixed; boundary=b", &text.into()) {
            prop_assert!(!requests.is_empty());
            prop_assert!(requests.iter().all(|one| one.request.uri().path().starts_with('/')));
        }
    }

    #[test]
    fn nobody_makes_up_a_page_token(token in "[A-Za-z0-9_=-]{1,300}") {
        prop_assert!(PageTokens::new(&[7; 32]).open(&"list", &token).is_err());
    }

    #[test]
    fn a_mask_is_read_or_refused(mask in pieces(&["name", "isDefault", "is_default", "policy", ",", "*", ".", " "])) {
        if let Ok(mask) = FieldMask::parse::<Configuration>(&mask) {
            prop_assert!(mask.iter().count() > 0 && !mask.contains("name"));
        }
    }

    #[test]
    fn spans_and_points_of_time_read_as_they_are_written(seconds in 0..=duration::MAX_DURATION_S, nanos in 0..1_000_000_000_u32, millis in 0..=timestamp::MAX_TIMESTAMP.0) {
        let span = Duration::new(seconds, nanos);
        if seconds < duration::MAX_DURATION_S || nanos == 0 {
            prop_assert_eq!(duration::parse(&duration::format(span)), Ok(span));
        }
        let moment = Timestamp(millis);
        prop_assert_eq!(timestamp::parse(&timestamp::format(moment)), Some(moment));
    }
}
