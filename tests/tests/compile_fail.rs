//! What the types forbid: each file of `compile_fail/` is a mistake, and marks the line that the compiler
//! refuses with the error's code, as in `judge(payload) //~ E0308`.
//!
//! They are compiled against the libraries as they are built already: a second build of every dependency
//! would take minutes. Codes are compared and texts are not, because texts change with the compiler.

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
};
use unbox_tests::{
    binaries::workspace,
    process::{command, forget_cargo, run},
};

/// Line and code of an error.
type Refused = BTreeSet<(u64, String)>;

#[test]
fn mistakes_that_the_types_forbid_do_not_compile() -> Result<()> {
    let libraries = libraries()?;
    let mut cases = 0;
    for entry in fs::read_dir(workspace().join("tests/tests/compile_fail"))? {
        let file = entry?.path();
        let (expected, found) = (marked(&file)?, refused(&file, &libraries)?);
        // One file makes no mistake: it shows that the others fail for the reason that they name.
        let makes_a_mistake = !file.ends_with("no_mistake.rs");
        ensure!(makes_a_mistake != expected.is_empty(), "{} marks no error", file.display());
        ensure!(found == expected, "{}: expected {expected:?}, found {found:?}", file.display());
        cases += usize::from(makes_a_mistake);
    }
    ensure!(cases >= 6, "only {cases} cases were found");
    Ok(())
}

/// What the compiler says, one on each line (rustc book, "JSON output").
#[derive(Deserialize)]
struct Diagnosis {
    level: String,
    code: Option<Code>,
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    is_primary: bool,
    line_start: u64,
}

/// What cargo says, one on each line (cargo book, "External tools"); only artifacts have a target.
#[derive(Deserialize)]
struct Built {
    #[serde(default)]
    target: Target,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// What the file says that the compiler refuses.
fn marked(file: &Path) -> Result<Refused> {
    let text = fs::read_to_string(file)?;
    let marks = (1..).zip(text.lines()).filter_map(|(line, text)| Some((line, text.split_once("//~ ")?.1)));
    Ok(marks.flat_map(|(line, codes)| codes.split(' ').map(move |code| (line, code.to_owned()))).collect())
}

/// What the compiler refuses.
fn refused(file: &Path, libraries: &Libraries) -> Result<Refused> {
    let out = tempfile::tempdir()?;
    let compiler = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut rustc =
        command(compiler, &["--edition=2024", "--emit=metadata", "--error-format=json", "-Awarnings"]);
    rustc.arg(file).arg("--out-dir").arg(out.path());
    for (name, path) in &libraries.named {
        rustc.arg("--extern").arg(format!("{name}={}", path.display()));
    }
    rustc.arg("-L").arg(format!("dependency={}", libraries.folder.display()));
    let ended = run(rustc)?;
    let mut found = Refused::new();
    for line in ended.stderr.lines() {
        let said: Diagnosis =
            serde_json::from_str(line).with_context(|| format!("not a diagnosis: {line}"))?;
        // The last word, which sums up, has no place.
        let place = said.spans.iter().find(|span| span.is_primary && said.level == "error");
        if let Some(place) = place {
            found.insert((place.line_start, said.code.map_or_else(|| "error".to_owned(), |code| code.code)));
        }
    }
    ensure!(ended.status.success() == found.is_empty(), "{}: {}", file.display(), ended.stderr);
    Ok(found)
}

/// The libraries under test, and where what they need lies.
struct Libraries {
    named: Vec<(&'static str, PathBuf)>,
    folder: PathBuf,
}

/// Asks cargo for them; they have been built for this very test.
fn libraries() -> Result<Libraries> {
    let own = env::current_exe()?;
    let folder = own.parent().context("the folder of the test")?;
    let target = folder.ancestors().nth(2).context("the target directory")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // As this test was built: with other features, they would be built once more.
    let mut asked =
        command(cargo, &["test", "--quiet", "--message-format=json", "--workspace", "--tests", "--no-run"]);
    if folder.parent().is_some_and(|profile| profile.ends_with("release")) {
        asked.arg("--release");
    }
    forget_cargo(&mut asked);
    asked.current_dir(workspace()).env("CARGO_TARGET_DIR", target);
    let said = run(asked)?.success()?;
    let built: Vec<Built> =
        said.lines().map(serde_json::from_str).collect::<Result<_, _>>().context("read what cargo said")?;
    let named = ["unbox_common", "unbox_agent"].map(|name| {
        // Its own unit tests are of the same kind, but no library.
        let of_it = built.iter().filter(|it| it.target.name == name && it.target.kind == ["lib"]);
        let mut files = of_it.flat_map(|it| &it.filenames);
        let library = files.find(|file| file.extension().is_some_and(|ending| ending == "rlib"));
        Ok((name, library.with_context(|| format!("cargo did not build {name}"))?.clone()))
    });
    Ok(Libraries { named: named.into_iter().collect::<Result<_>>()?, folder: folder.to_owned() })
}
