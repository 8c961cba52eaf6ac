//! `RULES.md` is what the code decides.

use std::{fs, path::Path};

#[expect(dead_code, unreachable_pub, reason = "its `main` writes the document, and is not this test")]
#[path = "../examples/rules.rs"]
mod rules;

#[test]
fn the_document_says_what_the_code_decides() {
    let written = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("RULES.md")).unwrap();
    let decided = rules::document().unwrap();
    for (line, (written, decided)) in written.lines().zip(decided.lines()).enumerate() {
        assert_eq!(written, decided, "line {}: write it anew with the example `rules`", line + 1);
    }
    assert_eq!(written, decided);
}
