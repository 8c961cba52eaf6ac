//! The SMBIOS tables that QEMU hands to a machine's firmware, without switching the machine on: read from its
//! `fw_cfg` device over the protocol of QEMU's own device tests.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::host::{self, Deadline};

/// The time limit for QEMU's start, and for its answers.
const LIMIT: Duration = Duration::from_secs(30);

/// The ports of `fw_cfg` on a PC (QEMU's `docs/specs/fw_cfg`), and the key of its list of files.
const SELECTOR: u16 = 0x510;
const NEXT_BYTE: u16 = 0x511;
const FILES: u16 = 0x19;

/// The tables of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmbiosTables {
    /// The entry point, before the firmware writes the table's address into it.
    pub entry_point: Vec<u8>,
    /// The table.
    pub table: Vec<u8>,
}

impl SmbiosTables {
    /// Returns the tables that QEMU makes for these arguments.
    pub fn of(arguments: &[OsString]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("unbox-fw-").tempdir()?;
        let socket = folder.path().join("qtest");
        let words =
            "qemu-system-x86_64 -S -nodefaults -no-user-config -display none -accel tcg -qtest-log /dev/null";
        let mut argv: Vec<OsString> = words.split(' ').map(OsString::from).collect();
        argv.extend(["-qtest".into(), format!("unix:{},server=on,wait=off", socket.display()).into()]);
        argv.extend(arguments.iter().cloned());
        let log = folder.path().join("log");
        let mut qemu = host::spawn_tied(&argv, &log)?;
        let read = Self::read(&socket);
        qemu.kill();
        read.with_context(|| qemu.output())
    }

    fn read(socket: &Path) -> Result<Self> {
        let mut machine = FwCfg::connect(socket)?;
        let count = machine.bytes(FILES, 4)?;
        let count = u32::from_be_bytes(count.as_slice().try_into()?) as usize;
        let list = machine.bytes(FILES, 4 + 64 * count)?;
        let mut file = |name: &str| {
            let is_it = |entry: &&[u8]| entry.get(8..).is_some_and(|rest| rest.starts_with(name.as_bytes()));
            let entry = list.get(4..).unwrap_or_default().chunks_exact(64).find(is_it);
            match entry.context("QEMU made no SMBIOS tables")? {
                [a, b, c, d, high, low, ..] => machine
                    .bytes(u16::from_be_bytes([*high, *low]), u32::from_be_bytes([*a, *b, *c, *d]) as usize),
                _ => bail!("QEMU's list of files is cut short"),
            }
        };
        Ok(Self {
            entry_point: file("etc/smbios/smbios-anchor\0")?,
            table: file("etc/smbios/smbios-tables\0")?,
        })
    }
}

/// A machine that stands still, and its `fw_cfg`.
struct FwCfg {
    stream: UnixStream,
    answers: BufReader<UnixStream>,
}

impl FwCfg {
    fn connect(socket: &Path) -> Result<Self> {
        let deadline = Deadline::after(LIMIT);
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if !deadline.pause() => return Err(error).context("QEMU did not start"),
                Err(_) => {}
            }
        };
        stream.set_read_timeout(Some(LIMIT))?;
        let answers = BufReader::new(stream.try_clone()?);
        Ok(Self { stream, answers })
    }

    /// Reads the first bytes of an item.
    fn bytes(&mut self, key: u16, length: usize) -> Result<Vec<u8>> {
        let select = format!("outw {SELECTOR:#x} {key:#x}\n");
        let commands = select + &format!("inb {NEXT_BYTE:#x}\n").repeat(length);
        // Asking and reading go on at the same time: neither side buffers everything.
        let mut asking = self.stream.try_clone()?;
        thread::scope(|scope| {
            let asked = scope.spawn(move || asking.write_all(commands.as_bytes()));
            self.answer()?;
            let bytes = (0..length).map(|_| self.answer()).collect::<Result<Vec<u8>>>()?;
            asked.join().ok().context("asking failed")??;
            Ok(bytes)
        })
    }

    /// Reads an answer: `OK`, or `OK 0x002a`.
    fn answer(&mut self) -> Result<u8> {
        let mut line = String::new();
        self.answers.read_line(&mut line).context("QEMU did not answer")?;
        let rest = line.trim_end().strip_prefix("OK").with_context(|| format!("QEMU answered {line:?}"))?;
        let digits = rest.trim().trim_start_matches("0x");
        if digits.is_empty() { Ok(0) } else { Ok(u8::try_from(u64::from_str_radix(digits, 16)?)?) }
    }
}

/// Returns the arguments in a file, one a line. They need not be text.
#[must_use]
pub fn parse_arguments(file: &[u8]) -> Vec<OsString> {
    let lines = file.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(|line| OsString::from_vec(line.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    #[test]
    fn arguments_need_be_no_text() {
        let arguments = parse_arguments(b"-smbios\ntype=1,serial=caf\xe9\n\n");
        assert_eq!(arguments, [OsStr::new("-smbios"), OsStr::from_bytes(b"type=1,serial=caf\xe9")]);
    }
}
