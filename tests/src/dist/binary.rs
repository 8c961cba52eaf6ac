//! Builds the shipped programs, each in its profile, and finds out which libraries they need.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::{Build, Release, compiler};
use crate::binaries::workspace;
use crate::host::{self, Program};

/// The way in which a program gets its libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linkage {
    /// From the installed system.
    Dynamic,
    /// From itself. Names are then resolved without glibc, whose resolver would load shared modules.
    Static,
}

/// Builds the program `package` in its shipped form, and returns its path.
pub(super) fn build(release: Release, package: &str, linkage: Linkage) -> Result<PathBuf> {
    let target = release.machine.target();
    let profile = match release.build {
        Build::Quick => "quick",
        Build::Optimised if package == "unbox-agent" => "device",
        Build::Optimised => "release",
    };
    // A target of its own even on the same machine, so that its flags do not reach build scripts.
    let mut build = Program::cargo()
        .args([
            "build",
            "--profile",
            profile,
            "--locked",
            "--package",
            package,
            "--bin",
            package,
            "--target",
            &target,
        ])
        .current_dir(workspace())
        .env("SOURCE_DATE_EPOCH", release.epoch.to_string())
        .env("CARGO_TARGET_DIR", host::target_directory())
        .limit(Duration::from_hours(1));
    let mut flags = remapped_paths()?;
    if linkage == Linkage::Static {
        build = build.args(["--features", "hickory-dns"]);
        flags.push("-Ctarget-feature=+crt-static".to_owned());
    }
    for (name, value) in compiler::settings(release.machine)? {
        build = build.env(name, value);
    }
    build.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f")).show()?;
    Ok(host::target_directory().join(target).join(profile).join(package))
}

/// Removes the builder's directories from the names of source files, which panics contain.
fn remapped_paths() -> Result<Vec<String>> {
    let cargo_home = match std::env::var_os("CARGO_HOME") {
        Some(home) => PathBuf::from(home),
        None => std::env::home_dir().context("there is no home directory")?.join(".cargo"),
    };
    let remap = |from: &Path, to: &str| format!("--remap-path-prefix={}={to}", from.display());
    Ok(vec![remap(&cargo_home, "/cargo"), remap(workspace(), "/unbox")])
}

/// Returns the packages that a dynamic program needs, in the form of Debian's `Depends`.
pub(super) fn dependencies(release: Release, program: &Path) -> Result<String> {
    packages(&headers(release, program)?)
        .with_context(|| format!("cannot tell what {} depends on", program.display()))
}

/// Returns the program's headers for the loader, as `objdump -p` prints them.
pub(super) fn headers(release: Release, program: &Path) -> Result<String> {
    Program::new(format!("{}-objdump", release.machine.gnu())).arg("-p").arg(program).read()
}

/// Reads the output of `objdump -p`: the needed libraries, and the newest version of their symbols.
fn packages(headers: &str) -> Result<String> {
    let needed: Vec<&str> =
        headers.lines().filter_map(|line| line.trim().strip_prefix("NEEDED")).map(str::trim).collect();
    let mut packages = Vec::new();
    for library in &needed {
        let package = match *library {
            "libc.so.6" => format!("libc6 (>= {})", newest_version(headers, "GLIBC_")?),
            "libgcc_s.so.1" => format!("libgcc-s1 (>= {})", newest_version(headers, "GCC_")?),
            // Parts of glibc, in the package of libc.so.6.
            "libm.so.6"
            | "ld-linux-x86-64.so.2"
            | "ld-linux-aarch64.so.1"
            | "ld-linux-riscv64-lp64d.so.1" => {
                continue;
            }
            other => bail!("no package is known for {other}"),
        };
        packages.push(package);
    }
    packages.sort();
    Ok(packages.join(", "))
}

/// Returns the highest version among the symbols of one library: `GLIBC_2.34` gives `2.34`.
fn newest_version(headers: &str, prefix: &str) -> Result<String> {
    let numbers =
        |version: &str| -> Option<Vec<u32>> { version.split('.').map(|n| n.parse().ok()).collect() };
    let versions = headers.split_whitespace().filter_map(|word| numbers(word.strip_prefix(prefix)?));
    let newest = versions.max().with_context(|| format!("no version {prefix}*"))?;
    // The package libgcc-s1 (>= 4.2) provides GCC_4.2.0.
    let significant: Vec<String> = newest.iter().take(2).map(u32::to_string).collect();
    Ok(significant.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADERS: &str = "
Dynamic Section:
  NEEDED               libgcc_s.so.1
  NEEDED               libm.so.6
  NEEDED               libc.so.6

Version References:
  required from libm.so.6:
    0x0d696919 0x00 07 GLIBC_2.29
  required from libgcc_s.so.1:
    0x0b792650 0x00 06 GCC_3.0
    0x0b792655 0x00 03 GCC_4.2.0
  required from libc.so.6:
    0x06969189 0x00 10 GLIBC_2.9
    0x069691b4 0x00 02 GLIBC_2.34
";

    #[test]
    fn the_newest_symbol_decides_not_the_last() {
        assert_eq!(packages(HEADERS).unwrap(), "libc6 (>= 2.34), libgcc-s1 (>= 4.2)");
    }

    #[test]
    fn an_unknown_library_is_not_passed_over() {
        assert!(packages("  NEEDED               libssl.so.3\n").is_err());
    }
}
