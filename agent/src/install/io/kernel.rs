//! Parameters of the running kernel, its host name among them, below `/proc/sys`.
//!
//! The installer's own unit keeps it from the network and from the kernel. There it sees another
//! network's parameters, and can set none: systemd then does it, outside, as it starts units.

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

/// The host name as the kernel calls it.
pub(super) const HOSTNAME: &str = "kernel.hostname";
/// Where a value is written that is read outside.
const OUTPUT_DIRECTORY: &str = "/run/unbox";
const OUTPUT: &str = "/run/unbox/kernel-parameter";
/// The longest value that is read, in bytes.
const MAX_VALUE_BYTES: u64 = 64 * 1024;
const LIMIT: Duration = Duration::from_mins(1);

/// The kernel that the device runs.
pub(super) struct Kernel {
    is_inside: bool,
    /// What was read outside, which takes a while.
    known: RefCell<BTreeMap<String, Option<String>>>,
}

impl Kernel {
    pub(super) fn new() -> Self {
        Self { is_inside: !sees_what_systemd_sees(), known: RefCell::default() }
    }

    /// The value of a parameter; `None` if this kernel does not have it.
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

/// Whether this process is in the network that the device starts with. Where that cannot be
/// told, it is not.
fn sees_what_systemd_sees() -> bool {
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
    let finished = outside()
        .arg(format!("--property=StandardOutput=file:{OUTPUT}"))
        .args(["--", "cat"])
        .arg(path_of(key))
        .run(LIMIT)?;
    let value = files::read(Path::new(OUTPUT), MAX_VALUE_BYTES)?.unwrap_or_default();
    files::remove(Path::new(OUTPUT))?;
    let value = String::from_utf8_lossy(&value).trim_end().to_owned();
    // What cannot be read is not there, as far as anybody could set it.
    Ok(finished.status.success().then_some(value))
}

fn write_outside(key: &str, value: &str) -> Result<(), SystemError> {
    let data = to_base64(format!("{value}\n").as_bytes());
    outside()
        .args(["--property=StandardInput=data", "--property=StandardOutput=null"])
        .arg(format!("--property=StandardInputData={data}"))
        .args(["--", "tee"])
        .arg(path_of(key))
        .succeed(LIMIT)?;
    Ok(())
}

/// A program that systemd runs to its end. Without `--wait` and `--pipe`, which need D-Bus: after
/// a power cut, the way to it is closed until the installer is done.
fn outside() -> Program {
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
