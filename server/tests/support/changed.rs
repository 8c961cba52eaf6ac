//! Backups that were changed and still look whole.

use serde_json::{Value, json};
use std::{fs, io::Write as _, path::Path};
use unbox_common::digest::Sha256;

/// Changes the lines of a backup, and gives it a matching end.
pub(crate) fn change(backup: &Path, change: impl FnOnce(&mut Vec<String>)) {
    let text = fs::read_to_string(backup).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.pop();
    change(&mut lines);
    let rows = lines.iter().filter(|line| line.starts_with('[')).count();
    let body = lines.join("\n") + "\n";
    let end: Value = json!({"end": {"rows": rows, "sha256": Sha256::of(body.as_bytes())}});
    let mut file = fs::File::options().write(true).truncate(true).open(backup).unwrap();
    file.write_all(format!("{body}{end}\n").as_bytes()).unwrap();
}
