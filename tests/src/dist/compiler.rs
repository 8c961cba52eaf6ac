//! The compiler for foreign machines: Debian's, because its standard library exists for every kind. It lies
//! below the target directory; nothing is installed.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::architecture::Architecture;
use crate::debian::{self, Bootstrap};
use crate::host::{self, Program};

/// Downloads the compiler with the libraries that it needs here, and the standard library for `$TARGET`. It
/// is the compiler that Debian keeps recent in a stable release, for browsers.
const DOWNLOAD: &str = r#"
libraries=$(apt-cache depends --recurse --important libstd-rust-web-dev | grep '^[a-z]' | sort -u)
apt-get -q download rustc-web $libraries "libstd-rust-web-dev:$TARGET"
"#;

/// Starts the compiler with its own libraries, which must stay hidden from the linker that it starts.
const RUSTC: &str = r#"#!/bin/sh
here=$(dirname "$0")
exec @LOADER@ --library-path "$here/usr/lib/@GNU@" "$here/usr/bin/rustc" --sysroot "$here/usr" "$@"
"#;

/// Returns cargo's settings for a build for `target` from here; none if this machine is of that kind.
pub(super) fn settings(target: Architecture) -> Result<Vec<(String, OsString)>> {
    if target == Architecture::HERE {
        return Ok(Vec::new());
    }
    let rustc =
        find_or_fetch(target).with_context(|| format!("cannot get a compiler for {}", target.debian()))?;
    let name = target.target().to_uppercase().replace('-', "_");
    Ok(vec![
        ("RUSTC".to_owned(), rustc.into()),
        (format!("CARGO_TARGET_{name}_LINKER"), format!("{}-gcc", target.gnu()).into()),
    ])
}

/// Finds the compiler in the cache, or fetches it: some seconds, 150 MB, and 650 MB of room.
fn find_or_fetch(target: Architecture) -> Result<PathBuf> {
    let here = host::target_directory().join("compilers").join(target.debian());
    let _one_at_a_time = host::lock(&here.with_extension("lock"))?;
    let rustc = here.join("rustc");
    if !rustc.exists() {
        fetch(target, &here)?;
    }
    Ok(rustc)
}

fn fetch(target: Architecture, into: &Path) -> Result<()> {
    let new = into.with_extension("new");
    let packages = new.join("packages");
    host::remove(&new)?;
    std::fs::create_dir_all(&packages)?;
    let both = format!("{},{}", Architecture::HERE.debian(), target.debian());
    Bootstrap::new("extract", &both, &packages)
        .download("extract", &format!("TARGET={}\n{DOWNLOAD}", target.debian()))
        .make(debian::NOTHING.as_ref())?;
    debian::unpack(&packages, &new)?;
    host::remove(&packages)?;
    let loader = match Architecture::HERE {
        Architecture::Amd64 => "/lib64/ld-linux-x86-64.so.2",
        Architecture::Arm64 => "/lib/ld-linux-aarch64.so.1",
    };
    let start = RUSTC.replace("@LOADER@", loader).replace("@GNU@", &Architecture::HERE.gnu());
    host::write(&new.join("rustc"), start.as_bytes(), 0o755)?;
    Program::new(new.join("rustc")).arg("--version").run()?;
    host::remove(into)?;
    host::rename(&new, into)
}
