//! Debian packages, through `dpkg`: never a dialogue, never a script of our own.

use super::{
    Packages, SystemError, choices,
    database::{self, Database, straighten},
    deb, paths,
    settings::{self, Settings},
};
use crate::{
    files::{self, FilesError},
    install::{
        Choices, Resource, State,
        package::{PackageFile, Relations},
    },
    programs::{Finished, Program, ProgramError},
};
use nix::{
    fcntl::{FcntlArg, fcntl},
    libc,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::File,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::{path::SafePath, payload::PackageName};

/// Time limit for one package; its maintainer scripts may do a lot on a slow disk.
const CHANGE_LIMIT: Duration = Duration::from_mins(15);
const QUERY_LIMIT: Duration = Duration::from_mins(1);
/// dpkg's exit code if it could not begin or go on at all; a package that fails has another (dpkg(1)).
pub(super) const FATAL: i32 = 2;
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

    pub(super) const fn with_root(root: PathBuf) -> Self {
        Self { root: Some(root) }
    }

    pub(super) fn look(&self, name: &PackageName) -> Result<State, SystemError> {
        let format = "${db:Status-Abbrev}\t${Version}\n";
        parse_state(name, &self.show(format, Some(name))?)
    }

    /// Queries one package, or all of them. There is no answer about a package that dpkg does not know.
    fn show(&self, format: &str, name: Option<&PackageName>) -> Result<String, SystemError> {
        let ask = || {
            let query = self.program("dpkg-query")?.arg(format!("--showformat={format}")).arg("--show");
            self.ask(query.args(name.map(PackageName::as_str)))
        };
        // It also fails if there is no such package; here, that is a valid answer.
        let is_broken = |finished: &Finished| finished.status.code() == Some(FATAL);
        let (mut finished, mut answer) = ask()?;
        if is_broken(&finished) && Database::read(self)?.mend(self, &[])? {
            (finished, answer) = ask()?;
        }
        if is_broken(&finished) { Err(failed("dpkg-query", &finished)) } else { Ok(answer) }
    }

    /// Runs a query, and returns its whole answer.
    fn ask(&self, query: Program) -> Result<(Finished, String), SystemError> {
        let (finished, answer) = query.run_into(QUERY_LIMIT, |output| {
            let mut answer = Vec::new();
            output.take(MAX_ANSWER_BYTES + 1).read_to_end(&mut answer).map(|_| answer)
        })?;
        let path = self.database();
        let answer = answer.map_err(|source| FilesError::Read { path: path.clone(), source })?;
        if answer.len() as u64 > MAX_ANSWER_BYTES {
            return Err(FilesError::TooLarge { path, limit: MAX_ANSWER_BYTES }.into());
        }
        Ok((finished, String::from_utf8_lossy(&answer).into_owned()))
    }

    pub(super) fn change(
        &self,
        name: &PackageName,
        after: &State,
        debs: &[PathBuf],
    ) -> Result<(), SystemError> {
        Database::read(self)?.mend(self, &[])?;
        self.complete()?;
        match (after, debs) {
            (State::Installed { .. }, [_, ..]) => self.install(name, debs),
            (State::Absent, _) => {
                if let [deb] = debs
                    && let Ok(file) = deb::describe(deb)
                {
                    database::correct_list(self, name, &file)?;
                }
                let settings = Settings::read(self)?;
                let database = Database::read(self)?;
                let purged = self.purge(name, &database);
                settings.restore(self)?;
                database.mend(self, &[])?;
                purged.and_then(|()| choices::remove_diversions(self, name.as_str()))
            }
            _ => Err(SystemError::Unsupported {
                what: format!("package {name} as {after}"),
                why: "there is no package file for it".to_owned(),
            }),
        }
    }

    /// Restores diversions, overridden modes and alternatives.
    pub(super) fn set_choices(&self, after: &State) -> Result<(), SystemError> {
        match after {
            State::Choices(choices) => choices::restore(self, choices),
            State::ChoicesWithout(made) => choices::restore(self, &made.revert(&choices::read(self)?)),
            _ => Err(paths::mismatch(&Resource::Choices, after)),
        }
    }

    /// Installs a package, together with those that need it and that it needs.
    fn install(&self, name: &PackageName, debs: &[PathBuf]) -> Result<(), SystemError> {
        let is_held = self.show("${db:Status-Abbrev}", Some(name))?.starts_with('h');
        let (settings, database) = (Settings::read(self)?, Database::read(self)?);
        let installed = finish(self.dpkg()?.arg("--install").args(debs));
        let changed = settings.restore(self)?;
        let was_broken = database.mend(self, debs)?;
        let why = if changed {
            Some("its scripts changed the settings of dpkg, which were put back")
        } else {
            was_broken.then_some("its scripts broke the database of dpkg, which was put back")
        };
        if let Some(why) = why {
            return Err(SystemError::Unsupported { what: format!("package {name}"), why: why.to_owned() });
        }
        match &installed {
            // dpkg installs a package on hold if it is asked to, and forgets that it was on hold.
            Ok(()) if is_held => self.hold(name)?,
            Err(SystemError::Program(_)) if self.look(name)? == State::Absent => {
                // dpkg still notes that it was to be installed. That note does no harm if it stays.
                let _ = self.purge(name, &database);
            }
            _ => (),
        }
        installed
    }

    fn hold(&self, name: &PackageName) -> Result<(), SystemError> {
        let failed = |source| FilesError::Write { path: self.database(), source };
        let (selections, mut writer) = io::pipe().map_err(failed)?;
        writeln!(writer, "{name} hold").map_err(failed)?;
        drop(writer);
        finish(self.dpkg()?.arg("--set-selections").input(selections))
    }

    /// Removes a package with its configuration. If it resists, it is removed without its scripts: it
    /// must block neither the next configuration nor a reset.
    fn purge(&self, name: &PackageName, database: &Database) -> Result<(), SystemError> {
        let purge = |more: &[&str]| loop {
            database.mend(self, &[])?;
            let dpkg = self.dpkg()?.arg("--force-remove-reinstreq").args(more);
            match finish(dpkg.args(["--purge", name.as_str()])) {
                Err(SystemError::Program(ProgramError::Failed { complaint, .. }))
                    if let Some(path) = settings::unreadable_file(&complaint) =>
                {
                    let aside = files::set_aside(&path, files::DAMAGED)?;
                    tracing::error!(moved_to = %aside.display(), complaint, "dpkg cannot read its settings");
                }
                done => return done,
            }
        };
        // dpkg leaves what it may not remove, and succeeds.
        self.unlock(name)?;
        let mut purged = purge(&[]);
        if let Err(SystemError::Program(ProgramError::Failed { complaint, .. })) = &purged
            && complaint.contains("dependency problems")
        {
            // Packages that need each other, or one that somebody else has installed and that needs this one.
            purged = purge(&["--force-depends"]);
        }
        let resisted = match purged {
            Err(SystemError::Program(
                error @ (ProgramError::Failed { .. } | ProgramError::TooSlow { .. }),
            )) => error,
            done => return done,
        };
        tracing::warn!(package = %name, error = %resisted, "a package resists, and is removed by force");
        self.unlock(name)?;
        self.remove_scripts(name)?;
        purge(&["--force-remove-essential", "--force-remove-protected", "--force-depends"])
    }

    /// Takes the attributes from a package's files that not even root can change or remove (chattr(1)).
    fn unlock(&self, name: &PackageName) -> Result<(), SystemError> {
        let listed = self.paths_of(name)?;
        let listed = listed.iter().filter_map(|path| SafePath::parse(path).ok());
        let listed = listed.map(|path| self.path(path.as_str().trim_start_matches('/')));
        let info = self.database().join("info");
        let entries = info.read_dir().into_iter().flatten().flatten();
        let is_of_package = |entry: &std::fs::DirEntry| {
            let file = entry.file_name();
            file.to_str().and_then(|file| file.split(['.', ':']).next()) == name.as_str().split('.').next()
        };
        let scripts = entries.filter(is_of_package).map(|entry| entry.path());
        let all: Vec<PathBuf> = listed.chain(scripts).chain([info.clone(), self.database()]).collect();
        paths::unlock(&all);
        Ok(())
    }

    /// Removes the scripts that run when a package goes. Those of a `Multi-Arch: same` package are named after
    /// its architecture as well.
    fn remove_scripts(&self, name: &PackageName) -> Result<(), SystemError> {
        let info = self.database().join("info");
        let failed = |source| FilesError::Read { path: info.clone(), source };
        for entry in info.read_dir().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let file = entry.file_name();
            let (package, script) = file.to_str().and_then(|file| file.rsplit_once('.')).unwrap_or_default();
            if matches!(script, "prerm" | "postrm") && package.split(':').next() == Some(name.as_str()) {
                files::discard(&entry.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn dpkg(&self) -> Result<Program, SystemError> {
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
        straighten(&self.database())?;
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

    fn complete(&self) -> Result<(), SystemError> {
        let listed = self.show("${db:Status-Abbrev}\n", None)?;
        if listed.lines().any(is_unfinished) {
            // Whether they can be completed must not decide about another package.
            let _ = self.dpkg()?.args(["--configure", "--pending"]).run(CHANGE_LIMIT)?;
        }
        Ok(())
    }

    fn relations_of(&self, name: &PackageName) -> Result<Relations, SystemError> {
        let fields = self.show("${Depends}, ${Pre-Depends}\n${Provides}\n", Some(name))?;
        let (needs, provides) = fields.split_once('\n').unwrap_or_default();
        Ok(Relations::parse(needs, provides))
    }

    fn paths_of(&self, name: &PackageName) -> Result<Vec<String>, SystemError> {
        let query = self.program("dpkg-query")?.args(["--listfiles", name.as_str()]);
        let (_, listed) = self.ask(query)?;
        Ok(listed.lines().filter(|line| line.starts_with('/')).map(str::to_owned).collect())
    }

    fn conffiles_of(&self, name: &PackageName) -> Result<Vec<String>, SystemError> {
        Ok(parse_conffiles(&self.show("${Conffiles}\n", Some(name))?))
    }

    fn lists(&self) -> Result<BTreeMap<String, Vec<String>>, SystemError> {
        Ok(parse_lists(&self.show("${Package}\n${db-fsys:Files}", None)?))
    }

    fn installed(&self) -> Result<BTreeSet<String>, SystemError> {
        let listed = self.show("${db:Status-Abbrev}\t${Package}:${Architecture}\n", None)?;
        let lines = listed.lines().filter_map(|line| line.split_once('\t'));
        Ok(lines.filter(|(status, _)| is_unpacked(status)).map(|(_, name)| name.to_owned()).collect())
    }

    fn rehearse(&self, debs: &[PathBuf], after_removals: bool) -> Result<BTreeSet<String>, SystemError> {
        let simulate = |more: &[&str]| -> Result<(Finished, String), SystemError> {
            let dpkg = self.dpkg()?.args(more).args(["--simulate", "--install"]);
            let finished = dpkg.args(debs).run(CHANGE_LIMIT)?;
            if finished.is_cut() {
                let why = "dpkg says more about it than can be read".to_owned();
                return Err(SystemError::Unsupported { what: "a rehearsal".to_owned(), why });
            }
            let words = String::from_utf8_lossy(&finished.stderr).into_owned();
            Ok((finished, words))
        };
        let (mut finished, words) = simulate(&[])?;
        let mut removed = parse_removals(&words);
        let forced: &[&str] = if after_removals {
            &["--force-conflicts", "--force-breaks", "--force-depends"]
        } else if debs.len() > 1 && words.contains("pre-dependency problem") {
            // A rehearsal installs nothing, so it does not find what another of these packages brings.
            &["--force-depends"]
        } else {
            &[]
        };
        if !finished.status.success() && !forced.is_empty() {
            let (again, words) = simulate(forced)?;
            removed.extend(parse_removals(&words));
            finished = again;
        }
        if finished.status.success() { Ok(removed) } else { Err(failed("dpkg", &finished)) }
    }

    fn choices(&self) -> Result<Choices, SystemError> {
        straighten(&self.database())?;
        choices::read(self)
    }

    fn holder(&self) -> Result<Option<String>, SystemError> {
        straighten(&self.database())?;
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

/// The longest answer to a query, in bytes: more than the longest paths of the largest package.
const MAX_ANSWER_BYTES: u64 = 128 * 1024 * 1024;

fn finish(dpkg: Program) -> Result<(), SystemError> {
    let finished = dpkg.run(CHANGE_LIMIT)?;
    if finished.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&finished.stderr);
    if let Some(pid) = parse_holder(finished.status.code(), &stderr) {
        return Err(SystemError::PackagesBusy(process_name(pid)));
    }
    Err(failed("dpkg", &finished))
}

fn failed(program: &str, finished: &Finished) -> SystemError {
    let complaint = finished.complaint();
    ProgramError::Failed { program: program.to_owned(), status: finished.status, complaint }.into()
}

/// Returns the process that dpkg says it gave way to, 0 if it does not name it. Only dpkg's own last word
/// counts: the scripts of packages write to the same output.
fn parse_holder(code: Option<i32>, stderr: &str) -> Option<i32> {
    let last = stderr.lines().filter_map(|line| line.strip_prefix("dpkg: error: ")).next_back();
    let last = last.filter(|_| code == Some(FATAL))?;
    let (_, pid) = last.split_once("locked by another process")?;
    let pid = pid.trim().strip_prefix("with pid ").unwrap_or_default();
    Some(pid.trim_end_matches(':').parse().unwrap_or_default())
}

/// Returns true if `${db:Status-Abbrev}` is that of a package that only has to be configured or whose triggers
/// have to run.
fn is_unfinished(status: &str) -> bool {
    matches!(status.chars().nth(1), Some('U' | 'F' | 'W' | 't'))
}

/// Returns true if `${db:Status-Abbrev}` is that of a package that is installed, perhaps without being configured.
fn is_unpacked(status: &str) -> bool {
    status.chars().nth(1) == Some('i') || is_unfinished(status)
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

/// Parses the packages with their paths, which are indented (dpkg-query(1), `db-fsys:Files`).
fn parse_lists(answer: &str) -> BTreeMap<String, Vec<String>> {
    let mut lists: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut package = "";
    for line in answer.lines() {
        match line.strip_prefix(' ') {
            Some(path) => lists.entry(package.to_owned()).or_default().push(path.to_owned()),
            None => package = line,
        }
    }
    lists
}

/// Parses configuration files, each with its digest and perhaps flags.
fn parse_conffiles(listed: &str) -> Vec<String> {
    let paths = listed.lines().filter_map(|line| {
        let line = [" remove-on-upgrade", " obsolete"]
            .iter()
            .fold(line.trim(), |line, flag| line.strip_suffix(flag).unwrap_or(line));
        line.rsplit_once(' ')
    });
    paths.map(|(path, _)| path.to_owned()).collect()
}

/// Parses the packages that dpkg would remove to make room for others.
fn parse_removals(simulation: &str) -> BTreeSet<String> {
    let words = simulation.lines().filter_map(|line| line.strip_prefix("dpkg: yes, will remove "));
    words.filter_map(|rest| rest.split([' ', ':']).next()).map(str::to_owned).collect()
}

/// Parses `${db:Status-Abbrev}` (dpkg-query(1)): wanted, status, error.
fn parse_state(name: &PackageName, listed: &str) -> Result<State, SystemError> {
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
            assert_eq!(parse_state(&name, listed).ok(), expected, "{listed:?}");
        }
    }

    #[test]
    fn whose_a_file_is_and_what_would_go_is_read_from_dpkgs_words() {
        let found = parse_lists("one\n /.\n /usr/share/a: b\ntwo\nthree\n /srv\n");
        let list = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect::<Vec<_>>();
        assert_eq!(found.get("one"), Some(&list(&["/.", "/usr/share/a: b"])));
        assert_eq!((found.get("two"), found.get("three")), (None, Some(&list(&["/srv"]))));
        let conffiles = parse_conffiles(" /etc/a b 0123\n /etc/c 4567 obsolete\n /etc/d newconffile\n");
        assert_eq!(conffiles, ["/etc/a b", "/etc/c", "/etc/d"]);
        let words = "dpkg: considering removing unbox-agent in favour of evil ...\n\
                     dpkg: yes, will remove unbox-agent in favour of evil\ndpkg: warning: x\n";
        assert_eq!(parse_removals(words), BTreeSet::from(["unbox-agent".to_owned()]));
    }

    #[test]
    fn only_dpkgs_own_last_word_is_about_its_lock() {
        let own = "dpkg: error: dpkg frontend lock was locked by another process with pid 7\n";
        let note = format!("{own}Note: removing the lock file is always wrong\n");
        let older = "dpkg: error: dpkg status database is locked by another process\n";
        let script = format!("{own}dpkg: error processing package tool (--install):\n");
        let other = format!("{own}dpkg: error: unable to write: No space left on device\n");
        for (code, stderr, expected) in [
            (2, own, Some(7)),
            (2, &note, Some(7)),
            (2, older, Some(0)),
            (1, own, None),
            (1, &script, None),
            (2, &other, None),
            (2, "tool: locked by another process with pid 7\n", None),
        ] {
            assert_eq!(parse_holder(Some(code), stderr), expected, "{code} {stderr}");
        }
        let unfinished = ["iU ", "iF ", "iW ", "it ", "ii ", "iH ", "rc ", "un "].map(is_unfinished);
        assert_eq!(unfinished, [true, true, true, true, false, false, false, false]);
    }

    #[test]
    fn an_answer_of_any_length_is_read_whole() {
        let root = tempfile::tempdir().unwrap();
        let dpkg = Dpkg::with_root(root.path().to_owned());
        let info = dpkg.database().join("info");
        files::make_directory(&info, files::PUBLIC_DIRECTORY).unwrap();
        let long: Vec<String> = (10..100).map(|n| format!("/srv{}/{n}", "/y".repeat(500))).collect();
        let second = format!("second{}", "x".repeat(60));
        let lists =
            BTreeMap::from([("first".to_owned(), vec!["/srv/first".to_owned()]), (second.clone(), long)]);
        let mut status = String::new();
        for (name, list) in &lists {
            let list = format!("{}\n", list.join("\n"));
            files::replace(&info.join(format!("{name}.list")), list.as_bytes(), files::PUBLIC_FILE).unwrap();
            let fields = "Status: install ok installed\nMaintainer: n <n@example.org>\nArchitecture: all\n\
                          Version: 1\nDescription: test\n";
            status.extend(["Package: ", name.as_str(), "\n", fields, "\n"]);
        }
        files::replace(&dpkg.database().join("status"), status.as_bytes(), files::PUBLIC_FILE).unwrap();
        assert_eq!(dpkg.lists().unwrap(), lists);
        let all = BTreeSet::from(["first:all".to_owned(), format!("{second}:all")]);
        assert_eq!(dpkg.installed().unwrap(), all);
        // A database that cannot be read is no answer.
        files::replace(&dpkg.database().join("status"), b"Package\n", files::PUBLIC_FILE).unwrap();
        assert!(matches!(dpkg.lists(), Err(SystemError::Program(_))));
    }

    #[test]
    fn whoever_holds_the_lock_of_the_packages_is_named() {
        let root = tempfile::tempdir().unwrap();
        let dpkg = Dpkg::with_root(root.path().to_owned());
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
