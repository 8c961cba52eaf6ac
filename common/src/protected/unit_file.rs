//! Unit files, as far as they concern units of Unbox: read as systemd reads them (systemd.syntax(7)).

use super::{Reach, may_be_own_unit, reach_of_unit};

/// The largest unit file that is searched, in bytes. A larger one is not installed.
pub const MAX_UNIT_FILE_BYTES: usize = 64 * 1024;

/// Settings by which a unit file takes the name of another unit, stops it, fails it, delays it, enters its
/// namespaces, or starts in its place (systemd.unit(5)). The other settings only start a unit beside this one
/// (`Wants=` and its kind), or wait for it.
const SETTINGS_ABOUT_OTHERS: &[&str] = &[
    "Alias",
    "Also",
    "Before",
    "Conflicts",
    "JoinsNamespaceOf",
    "OnFailure",
    "OnSuccess",
    "PropagatesStopTo",
    "RequiredBy",
    "StopPropagatedFrom",
    "UpheldBy",
    "WantedBy",
];

/// Characters that end a line, alone or one of each together.
const LINE_ENDS: [char; 3] = ['\n', '\r', '\0'];

/// Finds a unit of Unbox that a unit file would take the name of, stop, fail or delay. A name with
/// specifiers counts if it may turn out to be one.
#[must_use]
pub fn own_unit_in(unit_file: &str) -> Option<String> {
    find_unit(unit_file, SETTINGS_ABOUT_OTHERS, may_be_own_unit)
}

/// Finds a target that a unit file would take the name of, among those that a device does not come up
/// without.
#[must_use]
pub fn replaced_target_in(unit_file: &str) -> Option<String> {
    let decides = |unit: &str| unit.ends_with(".target") && reach_of_unit(unit) != Reach::Open;
    find_unit(unit_file, &["Alias"], decides)
}

fn find_unit(unit_file: &str, settings: &[&str], is_wanted: impl Fn(&str) -> bool) -> Option<String> {
    let lines = logical_lines(unit_file);
    let assignments = lines.iter().filter_map(|line| line.split_once('='));
    let mut values = assignments.filter(|(key, _)| settings.contains(&key.trim())).map(|(_, value)| value);
    values.find_map(|value| {
        // Quotes may stand anywhere in a word, and no unit's name contains one. Some settings take a
        // backslash away.
        let value = value.replace(['"', '\''], "");
        let is_wanted = |unit: &&str| is_wanted(unit) || is_wanted(&unit.replace('\\', ""));
        value.split_whitespace().find(is_wanted).map(str::to_owned)
    })
}

/// Splits a unit file into lines without comments, each with its continuations. A comment between them does
/// not end the line.
fn logical_lines(text: &str) -> Vec<String> {
    let (mut lines, mut open) = (Vec::new(), String::new());
    for line in physical_lines(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        if line.trim_start_matches([' ', '\t']).starts_with(['#', ';']) {
            continue;
        }
        let backslashes = line.chars().rev().take_while(|last| *last == '\\').count();
        if backslashes % 2 == 1 {
            open.push_str(line.strip_suffix('\\').unwrap_or(line));
            open.push(' ');
        } else {
            open.push_str(line);
            lines.push(std::mem::take(&mut open));
        }
    }
    lines.push(open);
    lines
}

fn physical_lines(text: &str) -> Vec<&str> {
    let (mut lines, mut rest) = (Vec::new(), text);
    while let Some((line, end)) = rest.find(LINE_ENDS).map(|at| rest.split_at(at)) {
        lines.push(line);
        rest = skip_line_end(end);
    }
    lines.push(rest);
    lines
}

/// Returns the text behind one end of a line: `\r\n` is one, `\n\n` are two.
fn skip_line_end(text: &str) -> &str {
    let mut seen = String::new();
    for (at, character) in text.char_indices() {
        if !LINE_ENDS.contains(&character) || seen.contains(character) || seen == "\0" {
            return text.split_at(at).1;
        }
        seen.push(character);
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_file_that_concerns_one_of_unboxs_units_is_found() {
        for (text, found) in [
            ("[Install]\nAlias=unbox-install.service\n", Some("unbox-install.service")),
            ("[Install]\nAlso = a.service unbox.target\n", Some("unbox.target")),
            ("[Unit]\nConflicts=unbox-report.timer\n", Some("unbox-report.timer")),
            ("[Install]\nAlso=unbo\\x.target\n", Some("unbo\\x.target")),
            ("[Unit]\nAfter=unbox.target\nWants=unbox.target\n", None),
            ("[Install]\nAlias=acme.service\n", None),
        ] {
            assert_eq!(own_unit_in(text).as_deref(), found, "{text}");
        }
    }

    #[test]
    fn every_setting_that_stops_replaces_or_holds_up_another_unit_is_known() {
        for setting in [
            "Alias=",
            "Also=",
            "Before=",
            "Conflicts=",
            "JoinsNamespaceOf=",
            "OnFailure=",
            "OnSuccess=",
            "PropagatesStopTo=",
            "RequiredBy=",
            "StopPropagatedFrom=",
            "UpheldBy=",
            "WantedBy=",
        ] {
            let text = format!("[Unit]\nDescription=unbox.target\n{setting}unbox-resume.service\n");
            assert_eq!(own_unit_in(&text).as_deref(), Some("unbox-resume.service"), "{setting}");
            assert_eq!(own_unit_in(&text.replace("unbox-", "acme-")), None, "{setting}");
        }
    }

    #[test]
    fn lines_go_on_and_comments_and_quotes_are_read_as_systemd_reads_them() {
        for (text, is_found) in [
            ("Conflicts=\\\nunbox.target", true),
            ("Conflicts=a.service\\\n  b.service\\\n  unbox.target", true),
            ("Conflicts=\\\n# a comment\n  ; another\nunbox.target", true),
            ("Con\\\nflicts=unbox.target", false),
            ("Conflicts\\\n=unbox.target", true),
            ("Conflicts=a.service \\\r\nunbox.target", true),
            ("Conflicts=a.service \\\n\nunbox.target", false),
            ("Description=x\\\n\nConflicts=unbox.target", true),
            ("Description=x\\\n\u{a0}#\nConflicts=unbox.target", true),
            ("Description=x\0Conflicts=unbox.target", true),
            ("Description=x\\\\\nConflicts=unbox.target", true),
            ("Description=x\\\nConflicts=unbox.target", false),
            ("\u{feff}Conflicts=unbox.target", true),
            ("Description=x\rConflicts=unbox.target", true),
            ("  Conflicts  =  unbox.target  ", true),
            ("# Conflicts=unbox.target", false),
            ("; Conflicts=unbox.target \\\nunbox.target", false),
            ("Conflicts=\"unbox.target\"", true),
            ("Conflicts='unbox'.target", true),
            ("Conflicts=acme.service\\", false),
        ] {
            assert_eq!(own_unit_in(text).is_some(), is_found, "{text:?}");
        }
    }

    #[test]
    fn a_name_with_specifiers_may_be_that_of_a_unit_of_unbox() {
        for (name, may_be) in [
            ("%j.target", true),
            ("unbox%i", true),
            ("un%i", true),
            ("unbox-%i.service", true),
            ("%p-install.service", true),
            ("getty@%i.service", false),
            ("acme-%i.service", false),
            ("unboxed-%i.service", false),
        ] {
            assert_eq!(own_unit_in(&format!("Conflicts={name}")).is_some(), may_be, "{name}");
        }
    }

    #[test]
    fn a_target_that_a_unit_file_takes_the_name_of_is_found() {
        for (text, found) in [
            ("[Install]\nAlias=acme.target \\\n default.target", Some("default.target")),
            ("[Install]\nAlias=multi-user.target", Some("multi-user.target")),
            ("[Install]\nAlias=dbus-org.acme.service\nWantedBy=multi-user.target", None),
            ("[Unit]\nConflicts=shutdown.target", None),
        ] {
            assert_eq!(replaced_target_in(text).as_deref(), found, "{text}");
        }
    }
}
