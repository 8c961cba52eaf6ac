//! Scans as scanners send them, and their readings.

use super::*;
use crate::{
    date::Date,
    identity::{Identifier, IdentifierKind, Rule},
};
use proptest::prelude::*;

/// Returns each field as `name=value`, and each reading as its ways: `kind value+kind value|...`.
fn read(scan: &str) -> (Vec<String>, Vec<String>) {
    let scan = parse(scan.as_bytes()).unwrap_or_else(|error| panic!("{scan:?}: {error}"));
    let fields = scan.fields().iter().map(|field| format!("{}={}", field.name, field.value)).collect();
    let reading = |reading: &Reading| match &reading.refused {
        Some(refused) => format!("! {refused}"),
        None => ways(reading).join(" | "),
    };
    (fields, scan.identifiers().iter().map(reading).collect())
}

fn ways(reading: &Reading) -> Vec<String> {
    let way = |way: &Vec<Identifier>| way.iter().map(ToString::to_string).collect::<Vec<_>>().join(" + ");
    reading.ways.iter().map(way).collect()
}

#[track_caller]
fn assert_read(scan: &str, fields: &[&str], readings: &[&str]) {
    assert_eq!(read(scan), (strings(fields), strings(readings)), "{scan:?}");
}

fn strings(of: &[&str]) -> Vec<String> {
    of.iter().map(|text| (*text).to_owned()).collect()
}

const LENOVO_WAYS: &str = "serial_number PF0ABCDE + manufacturer LENOVO + model 20QES0XX00 \
     | serial_number PF0ABCDE + certified_device_id 1S20QES0XX00PF0ABCDE \
     | serial_number 1S20QES0XX00PF0ABCDE + certified_device_id 1S20QES0XX00PF0ABCDE";

#[test]
fn a_bare_value_is_a_serial_number_and_what_else_its_form_allows() {
    for (scan, ways) in [
        ("PF0ABCDE\r\n", "serial_number PF0ABCDE"),
        (" 5cd1234abc ", "serial_number 5CD1234ABC"),
        ("7XK9Q13", "serial_number 7XK9Q13 | service_tag 7XK9Q13"),
        ("17266906119", "serial_number 17266906119 | service_tag 7XK9Q13"),
        ("172 669 061 19", "serial_number 172 669 061 19 | service_tag 7XK9Q13"),
        ("172-669-061-19", "serial_number 172-669-061-19 | service_tag 7XK9Q13"),
        ("172 669 06119", "serial_number 172 669 06119"),
        ("00163EABCD01", "mac_address 00:16:3e:ab:cd:01 | serial_number 00163EABCD01"),
        ("00:16:3e:ab:cd:01", "mac_address 00:16:3e:ab:cd:01"),
        ("490154203237518", "imei 490154203237518 | serial_number 490154203237518"),
        ("490154203237517", "serial_number 490154203237517"),
        ("A1000000123456", "meid A1000000123456 | serial_number A1000000123456"),
        ("4C4C4544-0058-4B10-8039-B7C04F513133", "system_uuid 4c4c4544-0058-4b10-8039-b7c04f513133"),
        ("QX-7Y3K9M2W", "serial_number QX-7Y3K9M2W"),
        (
            "52:54:00:ab:cd:01",
            "! mac_address \"52:54:00:ab:cd:01\" is a locally administered address, which software can choose",
        ),
        (
            "Default string",
            "! serial_number \"Default string\" is a placeholder that the maker never replaced",
        ),
        ("000000000000", "! serial_number \"000000000000\" is a placeholder that the maker never replaced"),
    ] {
        assert_read(scan, &[&format!("value={}", scan.trim())], &[ways]);
    }
}

#[test]
fn what_begins_like_a_data_identifier_may_be_the_value_itself() {
    for (scan, field, ways) in [
        ("SPF0ABCDE", "(S)=PF0ABCDE", "serial_number PF0ABCDE | serial_number SPF0ABCDE"),
        ("]C0SPF0ABCDE", "(S)=PF0ABCDE", "serial_number PF0ABCDE | serial_number SPF0ABCDE"),
        ("SN/A", "(S)=N/A", "serial_number SN/A"),
        (
            "23S00163EABCD01",
            "(23S)=00163EABCD01",
            "mac_address 00:16:3e:ab:cd:01 | serial_number 23S00163EABCD01",
        ),
        (
            "22S490154203237518",
            "(22S)=490154203237518",
            "imei 490154203237518 | serial_number 22S490154203237518",
        ),
        (
            "18S1ABCDPF0ABCDE",
            "(18S)=1ABCDPF0ABCDE",
            "serial_number PF0ABCDE | serial_number 18S1ABCDPF0ABCDE",
        ),
        // A part number, or a serial number with the same beginning: it may say nothing about the device.
        ("1P20QES0XX00", "(1P)=20QES0XX00", " | serial_number 1P20QES0XX00"),
        (
            "25SUN043325711MH80312000",
            "(25S)=UN043325711MH80312000",
            " | serial_number 25SUN043325711MH80312000",
        ),
        // Serial numbers begin with P, Q and T.
        ("PF0ABCDE", "value=PF0ABCDE", "serial_number PF0ABCDE"),
        ("Q12", "value=Q12", "serial_number Q12"),
    ] {
        assert_read(scan, &[field], &[ways]);
    }
}

#[test]
fn a_string_that_begins_with_1s_is_lenovos() {
    assert_read("1S20QES0XX00PF0ABCDE", &["(1S)=20QES0XX00PF0ABCDE"], &[LENOVO_WAYS]);
    assert_read("]A01s20qes0xx00pf0abcde", &["value=1s20qes0xx00pf0abcde"], &[LENOVO_WAYS]);
    assert_read(
        "S1S20QES0XX00PF0ABCDE",
        &["(S)=1S20QES0XX00PF0ABCDE"],
        &[&format!("{LENOVO_WAYS} | serial_number S1S20QES0XX00PF0ABCDE")],
    );
    assert_read(
        "1SC1KS00163E000001",
        &["(1S)=C1KS00163E000001"],
        &["certified_device_id 1SC1KS00163E000001 + mac_address 00:16:3e:00:00:01"],
    );
    assert_read("1SX", &["(1S)=X"], &[" | serial_number 1SX"]);
}

#[test]
fn gs1_element_strings_are_read_as_scanners_send_them() {
    let fields = ["(01)=09506000134352", "(21)=PF0ABCDE"];
    for scan in [
        "]C1010950600013435221PF0ABCDE",
        "]C1\u{1d}010950600013435221PF0ABCDE\u{1d}",
        "]d2010950600013435221PF0ABCDE",
        "]Q3010950600013435221PF0ABCDE\n",
        "(01)09506000134352(21)PF0ABCDE",
        "(01) 09506000134352 (21) PF0ABCDE",
        "https://id.gs1.org/01/09506000134352/21/PF0ABCDE?linkType=x",
    ] {
        assert_read(scan, &fields, &["serial_number PF0ABCDE"]);
    }
    // Nothing marks this as one.
    assert_read(
        "010950600013435221PF0ABCDE",
        &fields,
        &["serial_number PF0ABCDE | serial_number 010950600013435221PF0ABCDE"],
    );
    assert_read(
        "]d2011234567890123121A(B)1\u{1d}11260131\u{1d}8002490154203237518\u{1d}240X\u{1d}8004AB1\u{1d}10LOT",
        &[
            "(01)=12345678901231",
            "(21)=A(B)1",
            "(11)=260131",
            "(8002)=490154203237518",
            "(240)=X",
            "(8004)=AB1",
            "(10)=LOT",
        ],
        &["serial_number A(B)1", "imei 490154203237518"],
    );
}

#[test]
fn a_gs1_code_that_does_not_hold_together_is_refused() {
    for scan in [
        "]C1010950600013435321PF0ABCDE",
        "]C10109506000134352",
        "]C101095060001343",
        "]C121",
        "]C121ABCDEFGHIJKLMNOPQRSTU",
        "]C1PF0ABCDE",
        "]d205PF0ABCDE",
        "]C111AB0131",
    ] {
        let refused = parse(scan.as_bytes());
        let whole = scan == "]C10109506000134352";
        assert_eq!(refused.as_ref().err(), (!whole).then_some(&InvalidScan::Gs1), "{scan}");
    }
    // In parentheses, or without a marker, it is then a text like any other.
    for scan in ["(01)09506000134353(21)PF0ABCDE", "010950600013435321PF0ABCDE", "(21"] {
        let (fields, readings) = read(scan);
        assert_eq!(
            (fields, readings),
            (vec![format!("value={scan}")], vec![format!("serial_number {scan}")])
        );
    }
}

#[test]
fn the_number_of_a_product_names_no_device() {
    for (scan, gtin) in [("]E09506000134352", "09506000134352"), ("]E495050003", "00000095050003")] {
        assert_read(scan, &[&format!("(01)={gtin}")], &[]);
    }
    for scan in ["]E09506000134353", "]E01", "]E0PF0ABCDE"] {
        assert_eq!(parse(scan.as_bytes()), Err(InvalidScan::Gs1), "{scan}");
    }
}

#[test]
fn an_envelope_holds_elements_of_each_form() {
    assert_read(
        "[)>\u{1e}06\u{1d}SPF0ABCDE\u{1d}1P20QES0XX00\u{1d}23S00163EABCD01\u{1d}16D20260131\u{1e}\u{4}",
        &["(S)=PF0ABCDE", "(1P)=20QES0XX00", "(23S)=00163EABCD01", "(16D)=20260131"],
        &["serial_number PF0ABCDE", "mac_address 00:16:3e:ab:cd:01"],
    );
    assert_read(
        "]d1[)>\u{1e}05\u{1d}010950600013435221PF0ABCDE\u{1e}\u{4}",
        &["(01)=09506000134352", "(21)=PF0ABCDE"],
        &["serial_number PF0ABCDE"],
    );
    assert_read(
        "[)>\u{1e}12\u{1d}MFR 1ABCD\u{1d}SER PF0ABCDE\u{1e}\u{4}",
        &["MFR=1ABCD", "SER=PF0ABCDE"],
        &["serial_number PF0ABCDE"],
    );
    assert_read(
        "[)>\u{1e}06\u{1d}S00000000",
        &["(S)=00000000"],
        &["! serial_number \"00000000\" is a placeholder that the maker never replaced"],
    );
    for (scan, refused) in [
        ("[)>\u{1e}", InvalidScan::Envelope),
        ("[)>\u{1e}06", InvalidScan::Envelope),
        ("[)>\u{1e}06\u{1d}\u{1e}\u{4}", InvalidScan::Envelope),
        ("[)>\u{1e}07\u{1d}X\u{1e}\u{4}", InvalidScan::Envelope),
        ("[)>\u{1e}06\u{1d}spf\u{1e}\u{4}", InvalidScan::Envelope),
        ("[)>\u{1e}06\u{1d}1234SPF\u{1e}\u{4}", InvalidScan::Envelope),
        ("[)>\u{1e}05\u{1d}0109506000134353\u{1e}\u{4}", InvalidScan::Gs1),
        ("[)>\u{1e}12\u{1d}SERIAL PF0\u{1e}\u{4}", InvalidScan::Envelope),
    ] {
        assert_eq!(parse(scan.as_bytes()), Err(refused), "{scan:?}");
    }
}

#[test]
fn words_say_what_they_name_and_nothing_else_is_searched() {
    let two = ["serial_number PF0ABCDE", "mac_address 00:16:3e:ab:cd:01"];
    for scan in [
        "S/N: PF0ABCDE\nMAC: 00:16:3E:AB:CD:01",
        "S/N: PF0ABCDE\r\nMAC: 00:16:3E:AB:CD:01\r\n",
        "]Q1sn=PF0ABCDE;mac=00163EABCD01",
        "Serial No. = PF0ABCDE, WiFi MAC = 00-16-3E-AB-CD-01",
        r#"{"serial_number": "PF0ABCDE", "ports": 2, "mac": "00163eabcd01"}"#,
        "https://example.com/setup?sn=PF0ABCDE&lang=en&mac=00%3A16%3A3e%3Aab%3Acd%3A01",
    ] {
        let (_, mut readings) = read(scan);
        readings.sort_by_key(|reading| reading.starts_with("mac"));
        assert_eq!(readings, two, "{scan:?}");
    }
    assert_read("Model: Gate A, B", &["Model=Gate A, B"], &["model Gate A, B"]);
    assert_read(
        "IMEI: 490154203237517",
        &["IMEI=490154203237517"],
        &[
            "! imei \"490154203237517\" is not in its form: expected an IMEI whose last digit is its check digit",
        ],
    );
    assert_read("SN: 1S20QES0XX00PF0ABCDE", &["SN=1S20QES0XX00PF0ABCDE"], &[LENOVO_WAYS]);
    assert_read(
        "Express Service Code: 172 669 061 19",
        &["Express Service Code=172 669 061 19"],
        &["service_tag 7XK9Q13"],
    );
    let (_, refused) = read("Service Tag: 7XK9Q13\nExpress Service Code: 99999999999");
    assert_eq!(refused.first().map(String::as_str), Some("service_tag 7XK9Q13"));
    assert!(refused.iter().any(|one| one.starts_with("! service_tag")), "{refused:?}");
    // Text without names, or with unknown ones only, is not searched.
    for scan in ["Rev: A1", "https://example.com/PF0ABCDE", "{\"a\": 1}", "Made in X"] {
        let (fields, readings) = read(scan);
        assert_eq!(fields, [format!("value={scan}")]);
        assert_eq!(readings, [format!("serial_number {}", scan.to_ascii_uppercase())], "{scan:?}");
    }
    let (_, readings) = read("SN: PF0\nmade in a factory");
    assert!(readings[0].starts_with("! serial_number"), "{readings:?}");
}

#[test]
fn the_day_of_manufacture_is_read_where_a_code_says_it() {
    for (scan, day) in [
        ("]C111260131", Date::new(2026, 1, 31)),
        ("]C111260100", None),
        ("[)>\u{1e}06\u{1d}16D20260131\u{1e}\u{4}", Date::new(2026, 1, 31)),
        ("SN: PF0ABCDE; Mfg Date: 2026-01-31", Date::new(2026, 1, 31)),
        ("SN: PF0ABCDE; MFD: 31/01/2026", None),
        ("16D20260131", Date::new(2026, 1, 31)),
        ("PF0ABCDE", None),
    ] {
        assert_eq!(parse(scan.as_bytes()).unwrap().manufacture_date(), day, "{scan:?}");
    }
}

#[test]
fn a_scan_that_no_label_carries_is_refused() {
    for (scan, refused) in [
        (&b""[..], InvalidScan::Empty),
        (b" \r\n", InvalidScan::Empty),
        (b"]C0\r\n", InvalidScan::Empty),
        (b"\xff\xfe", InvalidScan::NotPrintable),
        (b"PF0\x1b[2JABC", InvalidScan::NotPrintable),
        ("PF0\u{202e}ABC".as_bytes(), InvalidScan::NotPrintable),
        (&[b'A'; MAX_SCAN_BYTES + 1], InvalidScan::TooLong),
    ] {
        assert_eq!(parse(scan), Err(refused), "{scan:?}");
    }
    let long = parse(&[b'A'; MAX_SCAN_BYTES]).unwrap();
    assert_eq!(long.identifiers()[0].refused.as_ref().map(|refused| &refused.rule), Some(&Rule::TooLong));
}

#[test]
fn the_kind_of_code_is_what_the_scanner_says() {
    for (scan, symbology) in [
        ("]C0PF0ABCDE", Some(Symbology::Code128)),
        ("]A0PF0ABCDE", Some(Symbology::Code39)),
        ("]Q1PF0ABCDE", Some(Symbology::QrCode)),
        ("]d1PF0ABCDE", Some(Symbology::DataMatrix)),
        ("]X0PF0ABCDE", Some(Symbology::Other)),
        ("PF0ABCDE", None),
        ("]]", None),
    ] {
        assert_eq!(parse(scan.as_bytes()).unwrap().symbology(), symbology, "{scan}");
    }
}

fn identifier() -> impl Strategy<Value = Identifier> {
    let of = |kind: IdentifierKind, pattern: &'static str| {
        pattern.prop_filter_map("a valid identifier", move |raw| Identifier::parse(kind, &raw).ok())
    };
    prop_oneof![
        of(IdentifierKind::SerialNumber, "[A-Z0-9]{1,20}"),
        of(IdentifierKind::MacAddress, "00163[0-9a-f]{7}"),
        of(IdentifierKind::Imei, "[0-9]{14}"),
        of(IdentifierKind::Meid, "A[0-9A-F]{13}"),
        of(IdentifierKind::ServiceTag, "[1-9A-Z][0-9A-Z]{6}"),
        of(IdentifierKind::CertifiedDeviceId, "[A-Z0-9-]{1,20}"),
        of(IdentifierKind::SystemUuid, "[0-9a-f]{32}"),
        of(IdentifierKind::Model, "[a-zé,;|() 0-9]{1,30}"),
        of(IdentifierKind::Manufacturer, "[A-Za-z,.]{1,30}"),
    ]
}

proptest! {
    #[test]
    fn no_bytes_break_the_reader(scan: Vec<u8>) {
        let _ = parse(&scan);
    }

    #[test]
    fn no_text_breaks_it_either(scan in "(\\][A-Za-z][0-9])?(\\[\\)>\u{1e})?(0[56]|12)?[ -~\u{1c}-\u{1f}\u{4}é]{0,60}") {
        if let Ok(scan) = parse(scan.as_bytes()) {
            for reading in scan.identifiers() {
                prop_assert!(scan.fields().get(reading.field).is_some());
                prop_assert_eq!(reading.ways.is_empty(), reading.refused.is_some());
            }
        }
    }

    #[test]
    fn a_printed_bar_code_reads_back(identifier in identifier()) {
        if let Some(text) = code_128(&identifier) {
            let scan = parse(text.as_bytes()).unwrap();
            let ways = scan.identifiers().iter().flat_map(|reading| &reading.ways);
            // The bar code of a certified ID holds it as it is: only the machine knows what it is.
            let value = |one: &Identifier| *one == identifier || one.kind() == IdentifierKind::SerialNumber && one.value() == identifier.value();
            prop_assert!(ways.flatten().any(value), "{text}: {scan:?}");
        }
    }

    #[test]
    fn a_printed_qr_code_reads_back_whole(identifiers in prop::collection::vec(identifier(), 2..8)) {
        let text = qr_code(&identifiers);
        let scan = parse(text.as_bytes()).unwrap();
        let read: Vec<bool> = scan.identifiers().iter().zip(&identifiers).map(|(reading, identifier)| {
            reading.ways.iter().flatten().any(|one| one == identifier)
        }).collect();
        prop_assert_eq!(read, vec![true; identifiers.len()], "{}: {:?}", text, scan);
    }

    #[test]
    fn an_element_string_reads_back(serial in "[!-~]{1,20}", lot in "[!-~]{1,20}", lot_first: bool) {
        let (one, other) = if lot_first { (format!("10{lot}"), format!("21{serial}")) } else { (format!("21{serial}"), format!("10{lot}")) };
        let scan = parse(format!("]C10109506000134352{one}\u{1d}{other}").as_bytes()).unwrap();
        let values: Vec<&str> = scan.fields().iter().skip(1).map(|field| field.value.as_str()).collect();
        prop_assert_eq!(values, if lot_first { [lot.as_str(), serial.as_str()] } else { [serial.as_str(), lot.as_str()] });
    }
}
