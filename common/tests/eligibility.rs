//! Every row of the table of models, held against what its columns say: good units, bad ones, and units
//! made before, on and after the day.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use proptest::prelude::*;
use unbox_common::{
    date::Date,
    eligibility::{Eligibility, Part, Reason, Unit, judge},
    identity::{Identifier, IdentifierKind, Rule},
    models::{CertifiedId, Footnote, Model, Models},
};

const SERIAL: &str = "0A2D91ZN500126J";
const TAG: &str = "7XK9Q13";
const TOKEN: &str = "QX-7Y3K9M2W";
const LENOVO_SERIAL: &str = "PF0ABCDE";
const LENOVO_STRING: &str = "1S82W0CTO1WWPF0ABCDE";
const MAC: &str = "00:16:3e:00:00:01";

/// Serial number and certified ID of a unit of this model.
fn good(model: &Model) -> (&'static str, &'static str) {
    match (model.certified_id, model.footnote) {
        (_, Some(Footnote::SerialIsWholeString)) => (LENOVO_STRING, LENOVO_STRING),
        (CertifiedId::Serial, _) => (SERIAL, SERIAL),
        (CertifiedId::DellServiceTag, _) => (TAG, TAG),
        (CertifiedId::LenovoMtmSerial, _) => (LENOVO_SERIAL, LENOVO_STRING),
        (CertifiedId::LenovoOriginMac, _) => (LENOVO_SERIAL, "1SC1VM00163E000001"),
        (CertifiedId::AsusToken, _) => (SERIAL, TOKEN),
    }
}

/// Certified IDs that no unit of this model has, each of another maker or of another unit.
fn bad(model: &Model) -> Vec<&'static str> {
    let other_unit = "1S82W0CTO1WWPF0ABCDF";
    match (model.certified_id, model.footnote) {
        (_, Some(Footnote::SerialIsWholeString)) => vec![LENOVO_SERIAL, other_unit, "1SC1KS00163E000001"],
        (CertifiedId::Serial, _) => vec![TOKEN, "0A2D91ZN500126K", "0A2D91ZN500126", LENOVO_STRING],
        (CertifiedId::DellServiceTag, _) => vec!["7XK9Q14", "7XK9Q1", "7XK9Q-3", "17266906119", TOKEN],
        (CertifiedId::LenovoMtmSerial, _) => {
            vec![LENOVO_SERIAL, other_unit, "1S82W0CTO1WW", "1SC1KS00163E000001", "82W0CTO1WWPF0ABCDE"]
        }
        (CertifiedId::LenovoOriginMac, _) => vec![
            "1SC1XX00163E000001",
            "1SC1KS00163E00000",
            "1SC1KS00163E000002",
            "1SC1KS02163E000001",
            "C1KS00163E000001",
            LENOVO_STRING,
        ],
        (CertifiedId::AsusToken, _) => vec!["A B", "A;B", "none", SERIAL],
    }
}

fn unit<'a>(name: &'a str, serial: &'a str, certified: &'a str, made: Option<Date>) -> Unit<'a> {
    Unit {
        model: name,
        serial_number: serial,
        certified_device_id: certified,
        machine_type_model: "82W0CTO1WW",
        mac_address: MAC,
        manufactured: made,
    }
}

fn registered(name: &str, serial: &str, certified: &str) -> Vec<Identifier> {
    use IdentifierKind::{CertifiedDeviceId, Model, SerialNumber};
    [(SerialNumber, serial), (Model, name), (CertifiedDeviceId, certified)]
        .map(|(kind, value)| Identifier::parse(kind, value).unwrap())
        .into()
}

fn day_before(date: Date) -> Date {
    let text = date.to_string();
    let number = |range: std::ops::Range<usize>| text[range].parse::<u16>().unwrap();
    let (year, month, day) = (number(0..4), u8::try_from(number(5..7)).unwrap(), number(8..10));
    match (month, u8::try_from(day).unwrap()) {
        (1, 1) => Date::new(year - 1, 12, 31).unwrap(),
        (month, 1) => (28..=31).rev().find_map(|day| Date::new(year, month - 1, day)).unwrap(),
        (month, day) => Date::new(year, month, day - 1).unwrap(),
    }
}

/// Each name of each model, with a day on which it is eligible.
fn names() -> impl Iterator<Item = (String, &'static Model, Date)> {
    let any_day = Date::new(2019, 1, 1).unwrap();
    Models::built_in().iter().flat_map(move |model| {
        model.names().map(move |name| (name, model, model.manufactured_from.unwrap_or(any_day)))
    })
}

#[test]
fn every_model_is_there_under_each_of_its_names() {
    assert_eq!((Models::built_in().iter().len(), names().count()), (187, 188));
}

#[test]
fn a_good_unit_of_every_model_is_registered_as_its_maker_certifies() {
    for (name, model, day) in names() {
        let (serial, certified) = good(model);
        let expected = Eligibility::Eligible { register: registered(&name, serial, certified) };
        assert_eq!(judge(Models::built_in(), &unit(&name, serial, certified, Some(day))), expected, "{name}");
        let typed = (name.to_uppercase(), serial.to_lowercase(), format!(" {} ", certified.to_lowercase()));
        let typed = unit(&typed.0, &typed.1, &typed.2, Some(day));
        assert_eq!(judge(Models::built_in(), &typed), expected, "{name}");
    }
}

#[test]
fn the_day_of_manufacture_decides_where_a_model_names_one() {
    let mut with_day = 0;
    for (name, model, day) in names() {
        let (serial, certified) = good(model);
        let at = |made| judge(Models::built_in(), &unit(&name, serial, certified, made));
        let register = registered(&name, serial, certified);
        let eligible = Eligibility::Eligible { register: register.clone() };
        let Some(first) = model.manufactured_from else {
            assert_eq!(at(None), eligible, "{name}: no day is asked for");
            continue;
        };
        with_day += 1;
        let made = day_before(first);
        let early =
            Eligibility::NotEligible { reason: Reason::MadeTooEarly { made, first }, register: vec![] };
        assert_eq!(at(Some(made)), early, "{name}");
        assert_eq!(at(Some(day)), eligible, "{name}");
        assert_eq!(at(Date::new(2026, 11, 21)), eligible, "{name}");
        let unknown = Eligibility::Unknown { reason: Reason::MadeWhen(first), register };
        assert_eq!(at(None), unknown, "{name}");
    }
    assert_eq!(with_day, 69);
}

#[test]
fn a_certified_id_that_no_unit_of_the_model_has_is_refused_and_put_right() {
    for (name, model, day) in names() {
        let (serial, certified) = good(model);
        for wrong in bad(model) {
            let found = judge(Models::built_in(), &unit(&name, serial, wrong, Some(day)));
            let Eligibility::NotEligible { reason, register } = &found else {
                panic!("{name} {wrong}: {found:?}")
            };
            assert_eq!(reason.part(), Part::CertifiedId, "{name} {wrong}");
            let follows =
                !matches!(model.certified_id, CertifiedId::AsusToken | CertifiedId::LenovoOriginMac);
            let expected = registered(&name, serial, certified);
            assert_eq!(register[..], expected[..if follows { 3 } else { 2 }], "{name} {wrong}");
        }
    }
}

#[test]
fn what_is_missing_is_made_of_the_rest_or_asked_for() {
    for (name, model, day) in names() {
        let (serial, certified) = good(model);
        let found = judge(Models::built_in(), &unit(&name, serial, "", Some(day)));
        let needs_scan = matches!(model.certified_id, CertifiedId::AsusToken | CertifiedId::LenovoOriginMac);
        let register = registered(&name, serial, certified);
        let expected = if needs_scan {
            let reason = Reason::NoCertifiedId(model.certified_id);
            Eligibility::Unknown { reason, register: register[..2].to_vec() }
        } else {
            Eligibility::Eligible { register }
        };
        assert_eq!(found, expected, "{name}");
        let found = judge(Models::built_in(), &unit(&name, "", certified, Some(day)));
        assert_eq!(found.reason(), Some(&Reason::NoSerial), "{name}");
        let found = judge(Models::built_in(), &unit(&name, "Default string", certified, Some(day)));
        let placeholder = Some(Reason::InvalidSerial(Rule::Placeholder));
        assert_eq!(found.reason(), placeholder.as_ref(), "{name}");
    }
}

#[test]
fn footnote_1_the_serial_number_is_the_whole_string() {
    for (name, model, day) in
        names().filter(|(_, model, _)| model.footnote == Some(Footnote::SerialIsWholeString))
    {
        let register = registered(&name, LENOVO_STRING, LENOVO_STRING);
        for (serial, certified) in
            [(LENOVO_SERIAL, LENOVO_STRING), (LENOVO_SERIAL, ""), (LENOVO_SERIAL, LENOVO_SERIAL)]
        {
            let found = judge(Models::built_in(), &unit(&name, serial, certified, Some(day)));
            assert!(
                matches!(found, Eligibility::NotEligible { reason: Reason::SerialForm(_), .. }),
                "{found:?}"
            );
            assert_eq!(found.register(), register, "{} {certified}", model.name);
        }
    }
}

#[test]
fn of_other_lenovo_models_the_whole_string_is_no_serial_number() {
    let usual = |model: &Model| {
        model.certified_id == CertifiedId::LenovoMtmSerial
            && model.footnote != Some(Footnote::SerialIsWholeString)
    };
    for (name, model, day) in names().filter(|(_, model, _)| usual(model)) {
        for certified in [LENOVO_STRING, ""] {
            let found = judge(Models::built_in(), &unit(&name, LENOVO_STRING, certified, Some(day)));
            assert!(
                matches!(found, Eligibility::NotEligible { reason: Reason::SerialForm(_), .. }),
                "{found:?}"
            );
            assert_eq!(found.register(), registered(&name, LENOVO_SERIAL, LENOVO_STRING), "{}", model.name);
        }
    }
}

#[test]
fn footnote_2_a_label_of_14_characters_is_refused_with_the_reason() {
    let of_14 = &SERIAL[..14];
    for (name, model, day) in names().filter(|(_, model, _)| model.footnote == Some(Footnote::ShortLabels)) {
        let at = |serial, made| judge(Models::built_in(), &unit(&name, serial, serial, made));
        let short = Eligibility::NotEligible { reason: Reason::ShortLabel, register: vec![] };
        assert_eq!(at(of_14, Some(day)), short, "{}", model.name);
        assert_eq!(at(of_14, None), short, "what is wrong is told before what is missing");
        for serial in [&SERIAL[..13], "0A2D91ZN500126JK", "0A2D91ZN500-26J"] {
            let found = at(serial, Some(day));
            assert!(matches!(found.reason(), Some(Reason::SerialForm(_))), "{name} {serial}: {found:?}");
        }
    }
    let without_footnote = "Chromebook Samsung Galaxy 2 360";
    let found = judge(Models::built_in(), &unit(without_footnote, of_14, of_14, None));
    assert!(matches!(found, Eligibility::Eligible { .. }), "{found:?}");
}

#[test]
fn footnote_3_the_certified_id_says_where_it_was_made_and_ends_in_the_mac_address() {
    let name = "Chromebox Lenovo ThinkCentre M60q";
    for (certified, reason) in [
        ("1SC1KS00163E000001", None),
        ("1SC1VM00163E000001", None),
        ("1SC1KS00163E000002", Some(Reason::OtherUnit("MAC address"))),
        ("1SC1US00163E000001", Some(Reason::CertifiedIdForm(CertifiedId::LenovoOriginMac))),
    ] {
        let found = judge(Models::built_in(), &unit(name, LENOVO_SERIAL, certified, None));
        assert_eq!(found.reason(), reason.as_ref(), "{certified}");
    }
    let several = |macs: &[&str]| {
        let id = |kind, value: &str| Identifier::parse(kind, value).unwrap();
        let macs = macs.iter().map(|mac| id(IdentifierKind::MacAddress, mac));
        registered(name, LENOVO_SERIAL, "1SC1KS00163E000001").into_iter().chain(macs).collect::<Vec<_>>()
    };
    for (macs, right) in [
        (&["00:16:3e:00:00:02", MAC, "00:16:3e:00:00:03"][..], true),
        (&["00:16:3e:00:00:02", "00:16:3e:00:00:03"], false),
        (&[], true),
    ] {
        let identifiers = several(macs);
        let unit = Unit::of(&identifiers).unwrap();
        assert_eq!(judge(Models::built_in(), &unit).reason().is_none(), right, "{macs:?}");
    }
    let elsewhere = Unit { mac_address: "", ..unit(name, LENOVO_SERIAL, "1SC1KS00163E000002", None) };
    assert_eq!(judge(Models::built_in(), &elsewhere).reason(), None, "no MAC address to hold it against");
}

#[test]
fn footnote_4_each_name_is_registered_as_it_is() {
    let plain = "Chromebook Lenovo 14e 3e génération";
    for name in [plain.to_owned(), format!("{plain} (15w)")] {
        let found = judge(Models::built_in(), &unit(&name, LENOVO_SERIAL, LENOVO_STRING, None));
        assert_eq!(found.register(), registered(&name, LENOVO_SERIAL, LENOVO_STRING));
    }
    let not_15w = judge(Models::built_in(), &unit("Chromebook Dell 3110 (15w)", TAG, TAG, None));
    assert_eq!(not_15w.reason(), Some(&Reason::UnknownModel));
}

#[test]
fn a_certified_id_of_another_machine_is_told_by_its_machine_type() {
    let name = "Chromebook Lenovo 100e 4e génération";
    for (mtm, reason) in [
        ("82W0CTO1WW", None),
        ("82W0S00100", None),
        ("82W0", None),
        ("", None),
        ("82W1CTO1WW", Some(Reason::OtherUnit("machine type"))),
    ] {
        let unit = Unit { machine_type_model: mtm, ..unit(name, LENOVO_SERIAL, LENOVO_STRING, None) };
        assert_eq!(judge(Models::built_in(), &unit).reason(), reason.as_ref(), "{mtm}");
    }
    let unknown = Unit { machine_type_model: "", ..unit(name, LENOVO_SERIAL, "", None) };
    let reason = Reason::NoCertifiedId(CertifiedId::LenovoMtmSerial);
    assert_eq!(judge(Models::built_in(), &unknown).reason(), Some(&reason));
}

#[test]
fn a_model_that_no_table_has_is_unknown_until_a_table_has_it() {
    let found = |models: &Models, name| judge(models, &unit(name, SERIAL, SERIAL, None));
    let built_in = Models::built_in();
    assert_eq!(found(built_in, " ").reason(), Some(&Reason::NoModel));
    assert_eq!(
        found(built_in, "Chromebook Acme 1"),
        Eligibility::Unknown { reason: Reason::UnknownModel, register: vec![] }
    );
    let csv = "model,brand,manufactured_from,certified_id,footnote\nChromebook Acme 1,Acme,,serial,\n";
    let more = built_in.merge(&Models::parse(csv.as_bytes()).unwrap());
    assert_eq!(
        found(&more, "Chromebook Acme 1"),
        Eligibility::Eligible { register: registered("Chromebook Acme 1", SERIAL, SERIAL) }
    );
}

#[test]
fn every_reason_says_what_is_wrong_and_what_to_do() {
    for (name, model, day) in names() {
        let (serial, certified) = good(model);
        let early = Some(day_before(day));
        let cases = [
            unit("", serial, certified, None),
            unit("Acme", serial, certified, None),
            unit(&name, "", certified, None),
            unit(&name, "12345678901234", certified, Some(day)),
            unit(&name, serial, "%", Some(day)),
            unit(&name, serial, certified, early),
            unit(&name, serial, certified, None),
        ];
        for reason in cases.iter().filter_map(|unit| judge(Models::built_in(), unit).reason().cloned()) {
            for sentence in [reason.to_string(), reason.advice().to_owned()] {
                assert!(sentence.ends_with('.') && sentence.starts_with(char::is_uppercase), "{sentence}");
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_to_be_registered_is_eligible(
        row in 0..187_usize,
        serial in "[0-9A-Za-z]{7,8}|[0-9A-Z]{14,15}|1S[0-9A-Z]{14,18}|\\PC{0,20}",
        certified in "|[0-9A-Z-]{1,20}|1S(C1KS|C1VM)?[0-9A-F]{12,18}|\\PC{0,20}",
        mtm in "|[0-9A-Z]{7}|[0-9A-Z]{10}|\\PC{0,12}",
        mac in "|00163E[0-9a-f]{6}|\\PC{0,17}",
    ) {
        let model = Models::built_in().iter().nth(row).unwrap();
        let made = Date::new(2026, 1, 1);
        let unit = Unit {
            model: &model.name,
            serial_number: &serial,
            certified_device_id: &certified,
            machine_type_model: &mtm,
            mac_address: &mac,
            manufactured: made,
        };
        let found = judge(Models::built_in(), &unit);
        if let [serial, name, certified] = found.register() {
            let again = Unit {
                model: name.value(),
                serial_number: serial.value(),
                certified_device_id: certified.value(),
                machine_type_model: "",
                mac_address: "",
                manufactured: made,
            };
            let expected = Eligibility::Eligible { register: found.register().to_vec() };
            prop_assert_eq!(judge(Models::built_in(), &again), expected);
        }
    }
}
