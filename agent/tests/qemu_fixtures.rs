//! SMBIOS tables that QEMU made, for many settings: what the survey of each says, word by word.
//!
//! A fixture is a folder below `fixtures/qemu`: the arguments that QEMU was given, the tables that it made of them
//! (`cargo run -p unbox-tests --bin smbios-fixtures` makes them again), and what is `expected` of them.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::{fmt::Write as _, fs, path::Path};
use unbox_agent::{
    boot::Layout,
    files,
    identity::{SurveyReport, io::survey, registration_row},
};
use unbox_common::models::Models;

/// Returns a survey's findings, one a line, with special characters escaped.
async fn said_of(machine: &Path) -> String {
    let survey = survey(&Layout::new(machine)).await;
    let shown = SurveyReport::new(&survey, Models::built_in());
    let mut said = String::new();
    let mut line = |what: &str, text: &str| {
        let visible = text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'");
        writeln!(said, "{what} {visible}").unwrap();
    };
    for one in &shown.identifiers {
        line(one.kind.name(), &one.value);
    }
    for one in &shown.refused {
        line("refused", &format!("{} \"{}\" {}", one.kind, one.value, one.because));
    }
    for one in &shown.unreadable {
        line("unreadable", &format!("{} {}", one.from, one.reason));
    }
    for one in &shown.facts.oem_strings {
        line("oem_string", one);
    }
    for one in &shown.warnings {
        line("warning", one);
    }
    match survey.identity().ok().and_then(|identity| registration_row(&identity)) {
        Some((header, row)) => line("register", &format!("{header}: {row}")),
        None => line("register", "nothing"),
    }
    said
}

#[tokio::test]
async fn every_table_that_qemu_makes_says_what_is_expected() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qemu");
    let accept = std::env::var_os("UNBOX_ACCEPT").is_some();
    let mut seen = 0;
    for entry in fixtures.read_dir().unwrap() {
        let fixture = entry.unwrap().path();
        let expected = fixture.join("expected");
        let said = said_of(&fixture).await;
        if accept {
            files::replace(&expected, said.as_bytes(), files::PUBLIC_FILE).unwrap();
        }
        assert_eq!(said, fs::read_to_string(&expected).unwrap(), "{}", fixture.display());
        seen += 1;
    }
    assert!(seen > 20, "{seen}");
}

#[tokio::test]
async fn both_generations_of_tables_say_the_same() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/qemu");
    for (second, third) in [
        ("q35-defaults", "q35-defaults-smbios-3"),
        ("dell", "dell-smbios-3"),
        ("uuid-smbios-2", "uuid-smbios-3"),
    ] {
        let entry = |name: &str| {
            fs::read(fixtures.join(name).join("sys/firmware/dmi/tables/smbios_entry_point")).unwrap()
        };
        assert!(entry(second).starts_with(b"_SM_") && entry(third).starts_with(b"_SM3_"));
        // The machine's own version of QEMU's name is the only other difference.
        let said = said_of(&fixtures.join(third)).await.replace("i440FX + PIIX, 1996", "Q35 + ICH9, 2009");
        assert_eq!(said_of(&fixtures.join(second)).await, said);
    }
}
