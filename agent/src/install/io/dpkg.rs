//! Debian packages, through `dpkg`: never a dialogue, never a script of our own.

use super::{Packages, SystemError, choices, deb};
use crate::{
    files::{self, FilesError},
    install::{Choices, State, package::PackageFile},
    programs::{Program, ProgramError},
};
use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::{path::SafePath, payload::PackageName};

/// Time limit for one package; its maintainer scripts may do a lot on a slow disk.
const CHANGE_LIMIT: Duration = Duration::from_mins(15);
const QUERY_LIMIT: Duration = Duration::from_mins(1);
/// The most paths in one query: the answer has to fit into the stored part of a program's output.
const PATHS_AT_ONCE: usize = 64;
/// The files locked by every program that works on packages (dpkg's front ends, its database).
const LOCKS: [&str; 2] = ["lock-frontend", "lock"];

/// The package system of one root.
pub(super) struct Dpkg {
    /// The root, if it is not `/`.
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
            // An interrupted dpkg may have left other packages half configured. Whether they can be
            // repaired must not decide about this one.
            let _ = self.dpkg()?.args(["--configure", "--pending"]).run(CHANGE_LIMIT)?;
        }
        match (after, deb) {
            (State::Installed { .. }, Some(deb)) => finish(self.dpkg()?.arg("--install").arg(deb)),
            (State::Absent, _) => self.purge(name).and_then(|()| choices::forget(self, name.as_str())),
            _ => Err(SystemError::Unsupported {
                what: format!("package {name} as {after}"),
                why: "there is no package file for it".to_owned(),
            }),
        }
    }

    /// Restores diversions, overridden modes and alternatives.
    pub(super) fn set_choices(&self, after: &Choices) -> Result<(), SystemError> {
        choices::restore(self, after)
    }

    /// Removes a package with its configuration. If it resists, it is removed without its scripts: it
    /// must block neither the next configuration nor a reset.
    fn purge(&self, name: &PackageName) -> Result<(), SystemError> {
        let purge = |more: &[&str]| {
            let dpkg = self.dpkg()?.arg("--force-remove-reinstreq").args(more);
            finish(dpkg.args(["--purge", name.as_str()]))
        };
        let resisted = match purge(&[]) {
            Err(SystemError::Program(
                error @ (ProgramError::Failed { .. } | ProgramError::TooSlow { .. }),
            )) => error,
            done => return done,
        };
        tracing::warn!(package = %name, error = %resisted, "a package resists, and is removed by force");
        for script in ["prerm", "postrm"] {
            files::remove(&self.database().join("info").join(format!("{name}.{script}")))?;
        }
        purge(&["--force-remove-essential", "--force-remove-protected", "--force-depends"])
    }

    fn dpkg(&self) -> Result<Program, SystemError> {
        // Configuration files that were changed on the device stay as they are, so that going back to the
        // package's old version restores them.
        let dpkg = self.program("dpkg")?.args(["--force-confdef", "--force-confold"]);
        let has_to_be_root = self.root.is_none() || nix::unistd::geteuid().is_root();
        Ok(if has_to_be_root { dpkg } else { dpkg.arg("--force-not-root") })
    }

    /// Returns the directory of dpkg's database.
    pub(super) fn database(&self) -> PathBuf {
        self.path("var/lib/dpkg")
    }

    /// Returns the real path of a path below this root.
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.as_deref().unwrap_or(Path::new("/")).join(path)
    }

    /// Prepares one of dpkg's programs for this root.
    pub(super) fn program(&self, name: &str) -> Result<Program, SystemError> {
        let program = Program::new(name)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("DEBCONF_NONINTERACTIVE_SEEN", "true");
        let Some(root) = &self.root else { return Ok(program) };
        if !self.database().join("status").exists() {
            return Err(SystemError::Unsupported {
                what: "a Debian package".to_owned(),
                why: format!("{} has no package database", root.display()),
            });
        }
        if name == "update-alternatives" {
            // It accepts the option only as two separate arguments.
            return Ok(program.arg("--root").arg(root));
        }
        let mut option = OsString::from("--root=");
        option.push(root);
        Ok(program.arg(option))
    }
}

impl Packages for Dpkg {
    fn describe(&self, deb: &Path) -> Result<PackageFile, SystemError> {
        deb::describe(deb)
    }

    fn paths_of(&self, name: &PackageName) -> Result<Vec<String>, SystemError> {
        let (_, paths) = self.program("dpkg-query")?.args(["--listfiles", name.as_str()]).run_into(
            QUERY_LIMIT,
            |output| {
                let mut listed = Vec::new();
                output.take(MAX_LIST_BYTES).read_to_end(&mut listed).map(|_| {
                    let listed = String::from_utf8_lossy(&listed);
                    listed.lines().filter(|line| line.starts_with('/')).map(str::to_owned).collect()
                })
            },
        )?;
        let place = self.database().join("info");
        paths.map_err(|source| FilesError::Read { path: place, source }.into())
    }

    fn owners(&self, files: &[&SafePath]) -> Result<Vec<(String, String)>, SystemError> {
        let mut owners = Vec::new();
        for files in files.chunks(PATHS_AT_ONCE) {
            let names = files.iter().flat_map(|file| names_of(file.as_str()));
            let found = self.program("dpkg-query")?.arg("--search").args(names.map(|name| literal(&name)));
            // The program fails if a file belongs to no package; here, that is a valid answer.
            let found = found.run(QUERY_LIMIT)?;
            owners.extend(owners_of(&String::from_utf8_lossy(&found.stdout)));
        }
        Ok(owners)
    }

    fn rehearse(&self, debs: &[PathBuf]) -> Result<BTreeSet<String>, SystemError> {
        let finished = self.dpkg()?.args(["--simulate", "--install"]).args(debs).succeed(CHANGE_LIMIT)?;
        Ok(removed_by(&String::from_utf8_lossy(&finished.stderr)))
    }

    fn choices(&self) -> Result<Choices, SystemError> {
        choices::read(self)
    }

    fn holder(&self) -> Result<Option<String>, SystemError> {
        for lock in LOCKS {
            // If we cannot open it, we could not see its lock either; dpkg itself gives a better message.
            let Ok(file) = File::open(self.database().join(lock)) else { continue };
            let mut query = libc::flock {
                l_type: i16::try_from(libc::F_WRLCK).unwrap_or_default(),
                l_whence: i16::try_from(libc::SEEK_SET).unwrap_or_default(),
                l_start: 0,
                l_len: 0,
                l_pid: 0,
            };
            let asked = fcntl(&file, FcntlArg::F_GETLK(&mut query));
            if asked.is_ok() && i32::from(query.l_type) != libc::F_UNLCK {
                return Ok(Some(process_name(query.l_pid)));
            }
        }
        Ok(None)
    }
}

/// The longest list of an installed package's files, in bytes.
const MAX_LIST_BYTES: u64 = 16 * 1024 * 1024;

fn finish(dpkg: Program) -> Result<(), SystemError> {
    match dpkg.succeed(CHANGE_LIMIT) {
        Ok(_) => Ok(()),
        Err(ProgramError::Failed { complaint, .. }) if complaint.contains("locked by another process") => {
            let pid = complaint.split("with pid ").nth(1).unwrap_or_default();
            let digits = pid.split(|char: char| !char.is_ascii_digit()).next().unwrap_or_default();
            Err(SystemError::PackagesBusy(process_name(digits.parse().unwrap_or_default())))
        }
        Err(error) => Err(error.into()),
    }
}

/// Describes a process for people: its name, if readable, and its id.
fn process_name(pid: i32) -> String {
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name: String = name.trim().chars().filter(|char| !char.is_control()).take(32).collect();
    match (name.is_empty(), pid > 0) {
        (false, _) => format!("{name} (process {pid})"),
        (true, true) => format!("another program (process {pid})"),
        (true, false) => "another program".to_owned(),
    }
}

/// Returns the names by which packages may know a file: on a merged `/usr`, some list `/bin`, others
/// `/usr/bin`.
fn names_of(path: &str) -> Vec<String> {
    let unmerged = path.strip_prefix("/usr").filter(|rest| {
        ["/bin/", "/sbin/", "/lib/", "/lib32/", "/lib64/", "/libx32/"].iter().any(|top| rest.starts_with(top))
    });
    unmerged.map(str::to_owned).into_iter().chain([path.to_owned()]).collect()
}

/// Escapes a path, so that the search takes it literally.
fn literal(path: &str) -> String {
    let is_special = |char: char| matches!(char, '*' | '?' | '[' | ']' | '\\');
    path.chars().flat_map(|char| is_special(char).then_some('\\').into_iter().chain([char])).collect()
}

/// Parses the search's output: `package, package:arch: /path`.
fn owners_of(found: &str) -> Vec<(String, String)> {
    let lines = found.lines().filter(|line| !line.starts_with("diversion by "));
    lines
        .filter_map(|line| line.split_once(": "))
        .flat_map(|(packages, path)| {
            packages.split(", ").map(move |package| {
                (package.split(':').next().unwrap_or_default().to_owned(), path.to_owned())
            })
        })
        .collect()
}

/// Parses the packages that dpkg would remove to make room for others.
fn removed_by(simulation: &str) -> BTreeSet<String> {
    let words = simulation.lines().filter_map(|line| line.strip_prefix("dpkg: yes, will remove "));
    words.filter_map(|rest| rest.split([' ', ':']).next()).map(str::to_owned).collect()
}

/// Parses `${db:Status-Abbrev}` (dpkg-query(1)): wanted, status, error.
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
    fn whose_a_file_is_and_what_would_go_is_read_from_dpkgs_words() {
        let found = "coreutils: /bin/ls\nlibc6:amd64, libc6:i386: /usr/share/doc/a: b\ndiversion by dash from: /bin/sh\n";
        let owner = |package: &str, path: &str| (package.to_owned(), path.to_owned());
        assert_eq!(
            owners_of(found),
            [
                owner("coreutils", "/bin/ls"),
                owner("libc6", "/usr/share/doc/a: b"),
                owner("libc6", "/usr/share/doc/a: b"),
            ]
        );
        let words = "dpkg: considering removing unbox-agent in favour of evil ...\n\
                     dpkg: yes, will remove unbox-agent in favour of evil\ndpkg: warning: x\n";
        assert_eq!(removed_by(words), BTreeSet::from(["unbox-agent".to_owned()]));
        assert_eq!(names_of("/usr/bin/ls"), ["/bin/ls", "/usr/bin/ls"]);
        assert_eq!(names_of("/usr/binary"), ["/usr/binary"]);
        assert_eq!(literal("/usr/bin/[a*"), "/usr/bin/\\[a\\*");
    }

    #[test]
    fn whoever_holds_the_lock_of_the_packages_is_named() {
        let root = tempfile::tempdir().unwrap();
        let dpkg = Dpkg::below(root.path().to_owned());
        assert_eq!(dpkg.holder().unwrap(), None);
        files::make_directory(&dpkg.database(), files::PUBLIC_DIRECTORY).unwrap();
        let lock = dpkg.database().join("lock-frontend");
        files::replace(&lock, b"", files::PUBLIC_FILE).unwrap();
        assert_eq!(dpkg.holder().unwrap(), None);
        // Another process has to hold it: a process never conflicts with its own lock.
        let script = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); time.sleep(60)";
        let output = tempfile::tempfile().unwrap();
        let _holds = Program::new("python3").args(["-c", script]).arg(&lock).start(&output).unwrap();
        let holder = (0..100).find_map(|_| {
            std::thread::sleep(Duration::from_millis(50));
            dpkg.holder().unwrap()
        });
        assert!(holder.unwrap().starts_with("python3"));
    }
}
