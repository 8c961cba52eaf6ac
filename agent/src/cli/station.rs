//! The commands of a factory's test station: they are those of `unbox-station`, a program of its own, which
//! lies beside this one where a station is installed.

use std::{env, ffi::OsString, io, os::unix::process::CommandExt as _, process::Command};

/// The name of the program.
const PROGRAM: &str = "unbox-station";
/// Its commands.
const COMMANDS: [&str; 4] = ["verify", "factory", "label", "station"];
/// The options that stand before a command, and have a value.
const WITH_VALUE: [&str; 2] = ["--root", "--config"];

/// Returns true if this command line, whose first word is the program's, names a command of the station.
#[must_use]
pub fn is_asked(arguments: &[OsString]) -> bool {
    let mut words = arguments.iter().skip(1);
    while let Some(word) = words.next() {
        let word = word.to_string_lossy();
        if WITH_VALUE.contains(&&*word) {
            words.next();
        } else if !word.starts_with('-') {
            return COMMANDS.contains(&&*word);
        }
    }
    false
}

/// Becomes the station's program, with the same command line. Returns only if it cannot be started.
#[must_use]
pub fn start(arguments: &[OsString]) -> io::Error {
    let program = match env::current_exe() {
        Ok(own) => own.with_file_name(PROGRAM),
        Err(error) => return error,
    };
    #[expect(clippy::disallowed_methods, reason = "this process ends here: nothing has to bound the other")]
    let mut station = Command::new(program);
    station.args(arguments.iter().skip(1)).exec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_of_the_station_is_told_from_the_values_of_options() {
        for (line, expected) in [
            ("verify --scan", true),
            ("--root units/1 label --svg label.svg", true),
            ("--root=units/1 factory register", true),
            ("--root station status", false),
            ("--config verify run", false),
            ("--help", false),
            ("identity --models label", false),
            ("", false),
        ] {
            let words = format!("unbox-agent {line}");
            let words: Vec<OsString> = words.split_whitespace().map(OsString::from).collect();
            assert_eq!(is_asked(&words), expected, "{line}");
        }
    }
}
