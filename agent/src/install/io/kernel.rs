//! Parameters of the running kernel, including its host name, below `/proc/sys`.
//!
//! The installer's own unit is isolated from the network and the kernel. Inside, it sees the parameters
//! of another network namespace, and can set none; it then has systemd run a program outside.

use super::SystemError;
use crate::{files, programs::Program};
use std::{
    cell::RefCell,
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Duration,
};
use unbox_common::bytes::to_base64;

/// The kernel's name for the host name.
pub(super) const HOSTNAME: &str = "kernel.hostname";
/// The directory for values that are read outside.
const OUTPUT_DIRECTORY: &str = "/run/unbox";
const OUTPUT: &str = "/run/unbox/kernel-parameter";
/// The longest value that is read, in bytes.
const MAX_VALUE_BYTES: u64 = 64 * 1024;
const LIMIT: Duration = Duration::from_mins(1);

/// The kernel of the running device.
pub(super) struct Kernel {
    is_inside: bool,
    /// Values read outside, cached because that is slow.
    known: RefCell<BTreeMap<String, Option<String>>>,
}

impl Kernel {
    pub(super) fn new() -> Self {
        Self { is_inside: !is_in_init_namespace(), known: RefCell::default() }
    }

    /// Reads a parameter; `None` if this kernel does not have it.
    pub(super) fn read(&self, key: &str) -> Result<Option<String>, SystemError> {
        if !(self.is_inside && key.starts_with("net.")) {
            return read(key);
        }
        if let Some(known) = self.known.borrow().get(key) {
            return Ok(known.clone());
        }
        let value = read_outside(key)?;
        self.known.borrow_mut().insert(key.to_owned(), value.clone());
        Ok(value)
    }

    pub(super) fn write(&mut self, key: &str, value: &str) -> Result<(), SystemError> {
        self.known.borrow_mut().remove(key);
        if self.is_inside { write_outside(key, value) } else { write(key, value) }
    }
}

/// Returns true if this process is in the network namespace of PID 1. If that is unknown, the answer is no.
fn is_in_init_namespace() -> bool {
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net"));
    matches!((network("1"), network("self")), (Ok(one), Ok(own)) if one == own)
}

fn read(key: &str) -> Result<Option<String>, SystemError> {
    match fs::read_to_string(path_of(key)) {
        Ok(value) => Ok(Some(value.trim_end().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(SystemError::Kernel { what: format!("a question for {key}"), source }),
    }
}

fn write(key: &str, value: &str) -> Result<(), SystemError> {
    // The kernel takes a value in one write (proc_sys(5)).
    let written = OpenOptions::new()
        .write(true)
        .open(path_of(key))
        .and_then(|mut file| file.write_all(format!("{value}\n").as_bytes()));
    written.map_err(|source| SystemError::Kernel { what: format!("{key} = {value}"), source })
}

fn read_outside(key: &str) -> Result<Option<String>, SystemError> {
    files::make_directory(Path::new(OUTPUT_DIRECTORY), files::PUBLIC_DIRECTORY)?;
    files::remove(Path::new(OUTPUT))?;
    let finished = host_program()
        .arg(format!("--property=StandardOutput=file:{OUTPUT}"))
        .args(["--", "cat"])
        .arg(path_of(key))
        .run(LIMIT)?;
    let value = files::read(Path::new(OUTPUT), MAX_VALUE_BYTES)?.unwrap_or_default();
    files::remove(Path::new(OUTPUT))?;
    let value = String::from_utf8_lossy(&value).trim_end().to_owned();
    // A parameter that cannot be read counts as absent, because it could not be set either.
    Ok(finished.status.success().then_some(value))
}

fn write_outside(key: &str, value: &str) -> Result<(), SystemError> {
    let data = to_base64(format!("{value}\n").as_bytes());
    host_program()
        .args(["--property=StandardInput=data", "--property=StandardOutput=null"])
        .arg(format!("--property=StandardInputData={data}"))
        .args(["--", "tee"])
        .arg(path_of(key))
        .succeed(LIMIT)?;
    Ok(())
}

/// Prepares a program for systemd to run, without `--wait` and `--pipe`: they need D-Bus, which is not
/// available after a power cut until the installer is done.
fn host_program() -> Program {
    Program::new("systemd-run").args([
        "--quiet",
        "--collect",
        "--no-ask-password",
        "--property=Type=oneshot",
        "--property=DefaultDependencies=no",
    ])
}

fn path_of(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key.replace('.', "/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_read_by_its_dotted_name() {
        assert_eq!(read("kernel.ostype").unwrap().as_deref(), Some("Linux"));
        assert_eq!(read("kernel.no_such_parameter").unwrap(), None);
        assert!(read(HOSTNAME).unwrap().is_some());
    }

    #[test]
    fn what_only_the_kernel_sets_is_named() {
        let refused = write("kernel.ostype", "Other").unwrap_err();
        assert_eq!(refused.to_string(), "the kernel did not take kernel.ostype = Other");
    }
}
