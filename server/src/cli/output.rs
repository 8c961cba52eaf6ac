//! The answers of commands: tables for people, one JSON document for programs.

use crate::files::{self, FilesError, PRIVATE_FILE};
use anyhow::Context as _;
use serde::Serialize;
use std::{
    io::{self, IsTerminal as _, Write},
    path::Path,
};
use unbox_common::{secret::Secret, text::is_invisible};

/// Standard output, and the form to write to it.
pub(super) struct Output {
    json: bool,
    to: io::Stdout,
}

/// An item of a list.
pub(super) trait Row: Serialize {
    /// The name of the list in JSON.
    const LIST: &'static str;
    /// The heads of the columns.
    const HEADS: &'static [&'static str];

    /// Returns the cells, as many as there are heads.
    fn cells(&self) -> Vec<String>;
}

/// A list that is shown part by part.
pub(super) struct Listing<'a> {
    output: &'a mut Output,
    empty: bool,
}

impl Listing<'_> {
    /// Shows the next part. Columns line up within a part.
    pub(super) fn rows<R: Row>(&mut self, rows: &[R]) -> anyhow::Result<()> {
        let first = std::mem::take(&mut self.empty);
        if !self.output.json {
            let cells: Vec<Vec<String>> = rows.iter().map(Row::cells).collect();
            let text = match cells.as_slice() {
                [] if first => "There is nothing yet.\n".to_owned(),
                cells => table(R::HEADS, cells, first),
            };
            return Ok(self.output.to.write_all(text.as_bytes())?);
        }
        let mut text = String::new();
        if first {
            text = format!("{{\"{}\":[", R::LIST);
        }
        for (number, row) in rows.iter().enumerate() {
            text.push_str(if first && number == 0 { "\n" } else { ",\n" });
            text.push_str(&json(row)?);
        }
        Ok(self.output.to.write_all(text.as_bytes())?)
    }

    /// Ends the list; after at least one part, even an empty one.
    pub(super) fn end(self) -> anyhow::Result<()> {
        if self.output.json { Ok(writeln!(self.output.to, "]}}")?) } else { Ok(()) }
    }
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json, to: io::stdout() }
    }

    /// Returns true if the answer is for a program.
    pub(super) const fn is_json(&self) -> bool {
        self.json
    }

    /// Shows a sentence about something that was done, where there is nothing else to show.
    pub(super) fn say(&mut self, text: &str) -> anyhow::Result<()> {
        self.show(&serde_json::json!({ "message": text }), text)
    }

    /// Shows one thing: `text` to people, the whole to programs.
    pub(super) fn show(&mut self, thing: &impl Serialize, text: &str) -> anyhow::Result<()> {
        if self.json { Ok(writeln!(self.to, "{}", json(thing)?)?) } else { Ok(writeln!(self.to, "{text}")?) }
    }

    /// Writes text for a shell, unchanged.
    pub(super) fn script(&mut self, text: &[u8]) -> anyhow::Result<()> {
        Ok(self.to.write_all(text)?)
    }

    /// Starts a list.
    pub(super) const fn list(&mut self) -> Listing<'_> {
        Listing { output: self, empty: true }
    }

    /// Shows a whole list.
    pub(super) fn rows<R: Row>(&mut self, rows: &[R]) -> anyhow::Result<()> {
        let mut list = self.list();
        list.rows(rows)?;
        list.end()
    }

    /// Hands out a secret that is never shown again: to a new private file, or to standard output.
    pub(super) fn secret(
        &mut self,
        thing: &impl Serialize,
        (name, secret): (&str, &Secret),
        file: Option<&Path>,
    ) -> anyhow::Result<()> {
        if let Some(path) = file {
            let text = format!("{}\n", secret.expose());
            files::write_new(path, text.as_bytes(), PRIVATE_FILE)?;
            return self.show(thing, &format!("The {name} was written to {}.", path.display()));
        }
        if self.json {
            let mut document = serde_json::to_value(thing).context("the answer could not be written")?;
            if let Some(fields) = document.as_object_mut() {
                fields.insert(name.to_ascii_lowercase().replace(' ', "_"), secret.expose().into());
            }
            return self.show(&document, "");
        }
        if self.to.is_terminal() {
            writeln!(self.to, "This {name} is shown once. Keep it where only its users read it:")?;
        }
        Ok(writeln!(self.to, "{}", secret.expose())?)
    }
}

/// Writes a warning to standard error, so that programs that read the answer need not skip it.
pub(super) fn warn(text: &str) -> anyhow::Result<()> {
    Ok(writeln!(io::stderr(), "Warning: {}", printable(text))?)
}

/// Refuses an existing file for a secret; called before the secret is made, because it could not be shown
/// again.
pub(super) fn check_is_new(file: Option<&Path>) -> Result<(), FilesError> {
    match file.filter(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(FilesError::Exists(path.to_owned())),
        None => Ok(()),
    }
}

fn json(thing: &impl Serialize) -> anyhow::Result<String> {
    serde_json::to_string(thing).context("the answer could not be written")
}

/// Sets columns side by side. Text by a device or a customer cannot control the terminal.
fn table(heads: &[&str], rows: &[Vec<String>], with_heads: bool) -> String {
    let heads: Vec<String> = heads.iter().map(|head| head.to_uppercase()).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let widths: Vec<usize> = (0..heads.len())
        .map(|column| {
            let cells = rows.iter().chain([&heads]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        })
        .collect();
    let mut text = String::new();
    for row in with_heads.then_some(&heads).into_iter().chain(&rows) {
        let padded: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        text.push_str(padded.join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Returns lines of `name: value`.
pub(super) fn sheet(lines: &[(&str, String)]) -> String {
    let width = lines.iter().map(|(name, _)| name.chars().count() + 1).max().unwrap_or_default();
    let line = |(name, value): &(&str, String)| format!("{:width$} {}", format!("{name}:"), printable(value));
    lines.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// Returns `text` without anything that a terminal would act on.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|char| if is_invisible(char) { '\u{fffd}' } else { char }).collect()
}

/// Returns a value, or a dash.
pub(super) fn or_dash(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_steers_the_terminal() {
        let rows = [
            vec!["1".to_owned(), "Acme\u{1b}[2J\u{202e}".to_owned()],
            vec!["12345".to_owned(), String::new()],
        ];
        assert_eq!(
            table(&["id", "name"], &rows, true),
            "ID     NAME\n1      Acme\u{fffd}[2J\u{fffd}\n12345\n"
        );
        assert_eq!(
            sheet(&[("id", "1".to_owned()), ("state", "x\ny".to_owned())]),
            "id:    1\nstate: x\u{fffd}y"
        );
    }
}
