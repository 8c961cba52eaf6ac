//! systemd's units, through `systemctl`: their settings for the next boot, and their current activity.

use super::{SystemError, UnitPhase, UnitReport, paths::mismatch};
use crate::{
    install::{Resource, State},
    programs::Program,
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::payload::UnitName;

/// Time limit for starting or stopping a unit; systemd's own limit is 90 s.
const CHANGE_LIMIT: Duration = Duration::from_mins(5);
const QUERY_LIMIT: Duration = Duration::from_secs(30);

/// The units of one root.
pub(super) struct Systemctl {
    /// The root directory of the unit files.
    root: PathBuf,
    /// True if systemd runs there.
    is_live: bool,
}

impl Systemctl {
    pub(super) fn live() -> Self {
        Self { root: PathBuf::from("/"), is_live: true }
    }

    pub(super) const fn with_root(root: PathBuf) -> Self {
        Self { root, is_live: false }
    }

    /// Returns a unit's setting for the next boot.
    pub(super) fn setting(&self, unit: &UnitName) -> Result<State, SystemError> {
        let finished = self.program().args(["is-enabled", "--", unit.as_str()]).run(QUERY_LIMIT)?;
        let word = String::from_utf8_lossy(&finished.stdout);
        Ok(match word.trim() {
            "masked" => State::Setting { enabled: self.is_wanted(unit), masked: true },
            word => State::Setting { enabled: word == "enabled", masked: false },
        })
    }

    /// Changes a unit's setting for the next boot.
    pub(super) fn set(&self, unit: &UnitName, before: &State, after: &State) -> Result<(), SystemError> {
        let (State::Setting { enabled: was_enabled, masked: was_masked }, State::Setting { enabled, masked }) =
            (before, after)
        else {
            return Err(mismatch(&Resource::UnitSetting(unit.clone()), after));
        };
        let change = |verb: &str| self.program().args([verb, "--", unit.as_str()]).succeed(CHANGE_LIMIT);
        // A masked unit can be neither enabled nor disabled.
        if *was_masked && (!masked || enabled != was_enabled) {
            change("unmask")?;
        }
        if enabled != was_enabled {
            // The setting is about the next boot, so systemd need not be told now.
            let verb = if *enabled { "enable" } else { "disable" };
            self.program().args([verb, "--no-reload", "--", unit.as_str()]).succeed(CHANGE_LIMIT)?;
        }
        if *masked {
            change("mask")?;
        }
        Ok(())
    }

    /// Returns the current status of a unit.
    pub(super) fn report(&self, unit: &UnitName) -> Result<UnitReport, SystemError> {
        let finished = self
            .program()
            .args(["show", "--property=ActiveState,NRestarts,InvocationID", "--", unit.as_str()])
            .succeed(QUERY_LIMIT)?;
        Ok(parse_report(&String::from_utf8_lossy(&finished.stdout)))
    }

    /// Starts a unit, or restarts a running one.
    pub(super) fn restart(&self, unit: &UnitName) -> Result<(), SystemError> {
        // systemd refuses to start a unit that failed too often. Nothing may need a reset, so errors are
        // ignored.
        let _ = self.program().args(["reset-failed", "--", unit.as_str()]).run(QUERY_LIMIT)?;
        self.program().args(["restart", "--", unit.as_str()]).succeed(CHANGE_LIMIT)?;
        Ok(())
    }

    /// Stops a unit.
    pub(super) fn stop(&self, unit: &UnitName) -> Result<(), SystemError> {
        self.program().args(["stop", "--", unit.as_str()]).succeed(CHANGE_LIMIT)?;
        let _ = self.program().args(["reset-failed", "--", unit.as_str()]).run(QUERY_LIMIT)?;
        Ok(())
    }

    /// Makes systemd read its unit files again.
    pub(super) fn reload(&self) -> Result<(), SystemError> {
        self.program().arg("daemon-reload").succeed(CHANGE_LIMIT)?;
        Ok(())
    }

    fn program(&self) -> Program {
        // Not `--quiet`: it would suppress the output of `is-enabled`, too.
        let program = Program::new("systemctl").args(["--no-ask-password", "--no-pager"]);
        if self.is_live {
            return program;
        }
        let mut option = OsString::from("--root=");
        option.push(&self.root);
        program.arg(option)
    }

    /// Returns true if a unit is enabled below its mask, which systemd does not report.
    fn is_wanted(&self, unit: &UnitName) -> bool {
        let Ok(entries) = self.root.join("etc/systemd/system").read_dir() else {
            return false;
        };
        let is_wanted_by = |directory: &Path| {
            let extension = directory.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("wants" | "requires"))
                && directory.join(unit.as_str()).symlink_metadata().is_ok()
        };
        entries.flatten().any(|entry| is_wanted_by(&entry.path()))
    }
}

/// Returns true if the host has a `systemctl` that can work on another root.
pub(super) fn is_available() -> bool {
    ["/usr/bin/systemctl", "/bin/systemctl"].iter().any(|path| Path::new(path).exists())
}

/// Parses the output of `systemctl show`.
fn parse_report(shown: &str) -> UnitReport {
    let property = |name: &str| {
        let value = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.unwrap_or_default()
    };
    let phase = match property("ActiveState") {
        "active" | "reloading" | "refreshing" => UnitPhase::Active,
        "activating" | "deactivating" | "maintenance" => UnitPhase::Changing,
        "failed" => UnitPhase::Failed,
        _ => UnitPhase::Inactive,
    };
    UnitReport {
        phase,
        restarts: property("NRestarts").parse().unwrap_or(0),
        invocation: property("InvocationID").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemd_shows_is_read_in_any_order() {
        let report = parse_report("NRestarts=3\nInvocationID=abc\nActiveState=active\n");
        let expected = UnitReport { phase: UnitPhase::Active, restarts: 3, invocation: "abc".to_owned() };
        assert_eq!(report, expected);
        for (shown, phase) in [
            ("ActiveState=activating", UnitPhase::Changing),
            ("ActiveState=failed", UnitPhase::Failed),
            ("ActiveState=inactive", UnitPhase::Inactive),
            ("", UnitPhase::Inactive),
        ] {
            assert_eq!(parse_report(shown).phase, phase, "{shown}");
        }
    }

    #[test]
    fn a_mask_does_not_hide_whether_a_unit_is_wanted() {
        let root = tempfile::tempdir().unwrap();
        let wants = root.path().join("etc/systemd/system/multi-user.target.wants");
        crate::files::make_directory(&wants, 0o755).unwrap();
        let systemctl = Systemctl::with_root(root.path().to_owned());
        let unit: UnitName = "a.service".parse().unwrap();
        assert!(!systemctl.is_wanted(&unit));
        std::os::unix::fs::symlink("/nowhere", wants.join("a.service")).unwrap();
        assert!(systemctl.is_wanted(&unit));
    }
}
