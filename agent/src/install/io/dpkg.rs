//! Debian packages, through `dpkg`: never a dialogue, never a script of ours.

use super::{PackageFile, SystemError};
use crate::{
    install::State,
    programs::{Program, ProgramError},
};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::payload::PackageName;

/// How long one package may take; its maintainer scripts may do a lot on a slow disk.
const CHANGE_LIMIT: Duration = Duration::from_mins(15);
const QUERY_LIMIT: Duration = Duration::from_mins(1);

/// The package system of one root.
pub(super) struct Dpkg {
    /// A root other than `/`.
    root: Option<PathBuf>,
}

impl Dpkg {
    pub(super) const fn live() -> Self {
        Self { root: None }
    }

    pub(super) const fn below(root: PathBuf) -> Self {
        Self { root: Some(root) }
    }

    pub(super) fn look(&self, name: &PackageName) -> Result<State, SystemError> {
        let finished = self
            .program("dpkg-query")?
            .arg("--showformat=${db:Status-Abbrev}\t${Version}\n")
            .args(["--show", name.as_str()])
            .run(QUERY_LIMIT)?;
        let text = String::from_utf8_lossy(&finished.stdout);
        state_of(name, &text)
    }

    pub(super) fn change(
        &self,
        name: &PackageName,
        after: &State,
        deb: Option<&Path>,
    ) -> Result<(), SystemError> {
        if let State::Partial(_) = self.look(name)? {
            // An interrupted dpkg left others half done as well. Whether that can be repaired is
            // not for this package to decide.
            let _ = self.dpkg()?.args(["--configure", "--pending"]).run(CHANGE_LIMIT)?;
        }
        let dpkg = self.dpkg()?;
        let dpkg = match (after, deb) {
            (State::Installed { .. }, Some(deb)) => dpkg.arg("--install").arg(deb),
            (State::Absent, _) => dpkg.args(["--force-remove-reinstreq", "--purge", name.as_str()]),
            _ => {
                return Err(SystemError::Unsupported {
                    what: format!("package {name} as {after}"),
                    why: "there is no package file for it".to_owned(),
                });
            }
        };
        match dpkg.succeed(CHANGE_LIMIT) {
            Ok(_) => Ok(()),
            Err(ProgramError::Failed { complaint, .. })
                if complaint.contains("locked by another process") =>
            {
                Err(SystemError::PackagesBusy)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn dpkg(&self) -> Result<Program, SystemError> {
        // Configuration files that were changed on the device stay as they are: only then can
        // going back to the package's old version bring back what was there.
        let dpkg = self.program("dpkg")?.args(["--force-confdef", "--force-confold"]);
        let has_to_be_root = self.root.is_none() || nix::unistd::geteuid().is_root();
        Ok(if has_to_be_root { dpkg } else { dpkg.arg("--force-not-root") })
    }

    fn program(&self, name: &str) -> Result<Program, SystemError> {
        let program = Program::new(name)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("DEBCONF_NONINTERACTIVE_SEEN", "true");
        let Some(root) = &self.root else { return Ok(program) };
        let database = root.join("var/lib/dpkg");
        if !database.join("status").exists() {
            return Err(SystemError::Unsupported {
                what: "a Debian package".to_owned(),
                why: format!("{} has no package database", root.display()),
            });
        }
        let mut option = std::ffi::OsString::from("--root=");
        option.push(root);
        Ok(program.arg(option))
    }
}

/// Reads the control file of a package.
pub(super) fn describe(deb: &Path) -> Result<PackageFile, SystemError> {
    let finished = Program::new("dpkg-deb")
        .arg("--field")
        .arg(deb)
        .args(["Package", "Version", "Installed-Size"])
        .succeed(QUERY_LIMIT)?;
    Ok(package_file(&String::from_utf8_lossy(&finished.stdout)))
}

fn package_file(control: &str) -> PackageFile {
    let field = |name: &str| {
        let value = control.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.unwrap_or_default().trim().to_owned()
    };
    // In KiB (Debian Policy, section 5.6.20).
    let kib: u64 = field("Installed-Size").parse().unwrap_or(0);
    PackageFile {
        name: field("Package"),
        version: field("Version"),
        installed_bytes: kib.saturating_mul(1024),
    }
}

/// Reads `${db:Status-Abbrev}` (dpkg-query(1)): wanted, status, error.
fn state_of(name: &PackageName, listed: &str) -> Result<State, SystemError> {
    let unsupported =
        |why: &str| SystemError::Unsupported { what: format!("package {name}"), why: why.to_owned() };
    let mut lines = listed.lines();
    let Some(line) = lines.next() else { return Ok(State::Absent) };
    if lines.next().is_some() {
        return Err(unsupported("it is installed for more than one architecture"));
    }
    let (status, version) = line.split_once('\t').unwrap_or((line, ""));
    let mut letters = status.chars().skip(1);
    match (letters.next(), letters.next().unwrap_or(' ')) {
        (Some('n'), ' ') => Ok(State::Absent),
        (Some('i'), ' ') => {
            let version = version.trim().parse();
            let version = version.map_err(|_| unsupported("its version is not of the usual form"))?;
            Ok(State::Installed { version, deb: None })
        }
        (Some('c'), ' ') => Ok(State::Partial("removed, but not its configuration".to_owned())),
        _ => Ok(State::Partial(format!("half installed, status {:?}", status.trim()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_told_apart() {
        let name: PackageName = "dpc".parse().unwrap();
        let installed = State::Installed { version: "1:2.0-1".parse().unwrap(), deb: None };
        for (listed, expected) in [
            ("", Some(State::Absent)),
            ("un \t\n", Some(State::Absent)),
            ("ii \t1:2.0-1\n", Some(installed.clone())),
            ("hi \t1:2.0-1\n", Some(installed)),
            ("rc \t1\n", Some(State::Partial("removed, but not its configuration".to_owned()))),
            ("iU \t1\n", Some(State::Partial("half installed, status \"iU\"".to_owned()))),
            ("iiR\t1\n", Some(State::Partial("half installed, status \"iiR\"".to_owned()))),
            ("ii \t1\nii \t1\n", None),
            ("ii \t!\n", None),
        ] {
            assert_eq!(state_of(&name, listed).ok(), expected, "{listed:?}");
        }
    }

    #[test]
    fn a_control_file_is_read_field_by_field() {
        let file = package_file("Package: dpc\nVersion: 1.0\nInstalled-Size: 3\n");
        assert_eq!(
            file,
            PackageFile { name: "dpc".to_owned(), version: "1.0".to_owned(), installed_bytes: 3072 }
        );
        assert_eq!(package_file("").installed_bytes, 0);
    }
}
