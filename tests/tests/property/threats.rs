//! The promises of THREATS.md have the tests that are named beside them.

use std::{collections::BTreeSet, fs, path::Path};
use unbox_tests::binaries::workspace;

#[test]
fn every_test_that_a_promise_names_exists() {
    let document = fs::read_to_string(workspace().join("common/THREATS.md")).unwrap();
    let named: BTreeSet<&str> = document.split('`').skip(1).step_by(2).filter(|text| is_test(text)).collect();
    assert!(named.len() > 250, "only {} tests are named", named.len());
    let mut sources = String::new();
    for package in ["common", "agent", "server", "tests"] {
        read_sources(&workspace().join(package), &mut sources);
    }
    let missing: Vec<&&str> = named.iter().filter(|name| !sources.contains(&format!("fn {name}("))).collect();
    assert!(missing.is_empty(), "THREATS.md names tests that do not exist: {missing:?}");
}

/// Whether a piece of code in the document is the name of a test: a sentence of four words or more.
fn is_test(text: &str) -> bool {
    let is_name = text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    is_name && text.split('_').count() > 3
}

/// Appends every Rust source below a folder.
fn read_sources(folder: &Path, to: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            read_sources(&path, to);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            to.push_str(&fs::read_to_string(&path).unwrap());
        }
    }
}
