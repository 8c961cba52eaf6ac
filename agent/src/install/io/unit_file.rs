//! A parser for unit files that a sandbox can run: one plain command, its environment, its directories
//! and credentials. Pure.

use std::{collections::BTreeMap, path::PathBuf};
use unbox_common::path::SafePath;

/// A service that a sandbox can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    pub(super) program: SafePath,
    pub(super) arguments: Vec<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// Name below `/var/lib`.
    pub(super) state_directory: Option<String>,
    /// Credential names and the files that hold them.
    pub(super) credentials: Vec<(String, PathBuf)>,
    /// True if the service counts as running after it exited successfully.
    pub(super) remains: bool,
}

/// The reason why a sandbox cannot run a unit.
pub(super) type Unsupported = String;

/// Parses a unit file and its drop-ins, in this order.
pub(super) fn parse(texts: &[String]) -> Result<Service, Unsupported> {
    let mut settings: Vec<(&str, &str)> = Vec::new();
    for text in texts {
        let mut in_service = false;
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with(['#', ';']) {
                continue;
            }
            if line.ends_with('\\') {
                return Err("it has a line that goes on in the next".to_owned());
            }
            if line.starts_with('[') {
                in_service = line == "[Service]";
            } else if let (true, Some((key, value))) = (in_service, line.split_once('=')) {
                settings.push((key.trim(), value.trim()));
            }
        }
    }
    let all = |wanted: &'static str| {
        settings.iter().filter(move |(key, _)| *key == wanted).map(|(_, value)| *value)
    };
    let mut commands = all("ExecStart");
    let (program, arguments) = match (commands.next(), commands.next()) {
        (Some(command), None) => parse_command(command)?,
        (None, _) => return Err("it has no ExecStart".to_owned()),
        (Some(_), Some(_)) => return Err("it has more than one ExecStart".to_owned()),
    };
    let mut environment = BTreeMap::new();
    for assignment in all("Environment").flat_map(str::split_whitespace) {
        let (name, value) = check_plain(assignment)?.split_once('=').unwrap_or((assignment, ""));
        environment.insert(name.to_owned(), value.to_owned());
    }
    let mut credentials = Vec::new();
    for credential in all("LoadCredential") {
        let (name, path) =
            check_plain(credential)?.split_once(':').ok_or("it loads a credential without a file")?;
        credentials.push((name.to_owned(), PathBuf::from(path)));
    }
    let state_directory = all("StateDirectory").next_back().map(check_plain).transpose()?;
    Ok(Service {
        program,
        arguments,
        environment,
        state_directory: state_directory.map(str::to_owned),
        credentials,
        remains: matches!(all("RemainAfterExit").next_back(), Some("yes" | "true" | "1" | "on")),
    })
}

fn parse_command(command: &str) -> Result<(SafePath, Vec<String>), Unsupported> {
    // `-`: a failure is ignored (systemd.service(5)). Other prefixes change the way the command is run.
    let mut words = check_plain(command.strip_prefix('-').unwrap_or(command))?.split_whitespace();
    let program = words.next().unwrap_or_default();
    let program = SafePath::parse(program).map_err(|error| format!("its command is not plain: {error}"))?;
    Ok((program, words.map(str::to_owned).collect()))
}

/// Returns the text, unless it has specifiers, quotes or variables, which only systemd can interpret.
fn check_plain(text: &str) -> Result<&str, Unsupported> {
    if text.contains(['%', '"', '\'', '\\', '$', ';']) {
        Err(format!("{text:?} is more than plain words"))
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_one(service: &str) -> Result<Service, Unsupported> {
        parse(&[format!("[Unit]\nExecStart=/no\n[Service]\n{service}\n[Install]\nExecStart=/no\n")])
    }

    #[test]
    fn a_plain_service_is_read_with_its_drop_in() {
        let unit = "# what it is\n[Service]\nType=simple\nExecStart=/opt/dpc/bin/dpc --now\nEnvironment=A=1 B=2\n\
                    StateDirectory=dpc\n";
        let drop_in = "[Service]\nLoadCredential=unbox.extras:/var/lib/unbox/install/blobs/x\n";
        let service = parse(&[unit.to_owned(), drop_in.to_owned()]).unwrap();
        assert_eq!(service.program.as_str(), "/opt/dpc/bin/dpc");
        assert_eq!(service.arguments, ["--now"]);
        assert_eq!(service.environment.len(), 2);
        assert_eq!(service.state_directory.as_deref(), Some("dpc"));
        assert_eq!(service.credentials[0].0, "unbox.extras");
        assert!(!service.remains);
    }

    #[test]
    fn what_only_systemd_can_run_is_refused() {
        for unit in [
            "",
            "ExecStart=/a\nExecStart=/b",
            "ExecStart=relative",
            "ExecStart=+/bin/a",
            "ExecStart=/bin/a %i",
            "ExecStart=/bin/a \"b c\"",
            "ExecStart=/bin/a $B",
            "ExecStart=/bin/a \\\n  b",
            "ExecStart=/bin/../a",
            "ExecStart=/a\nLoadCredential=x",
        ] {
            assert!(parse_one(unit).is_err(), "{unit:?}");
        }
    }
}
