//! Makes the SMBIOS tables of the fixtures in `agent/tests/fixtures/qemu` anew: each folder holds the
//! arguments of a machine, and beside them QEMU's tables for it.
//!
//! To add one: a folder with a file `arguments`, one argument of QEMU a line; this program; and
//! `UNBOX_ACCEPT=1 cargo test -p unbox-agent --test qemu_fixtures`, whose `expected` you then have to read.

use std::fs;

use anyhow::{Context as _, Result};
use unbox_tests::binaries::workspace;
use unbox_tests::host;
use unbox_tests::vm::{SmbiosTables, parse_arguments};

#[expect(clippy::print_stdout, reason = "a program for people")]
fn main() -> Result<()> {
    let fixtures = workspace().join("agent/tests/fixtures/qemu");
    for entry in fs::read_dir(&fixtures).with_context(|| format!("cannot read {}", fixtures.display()))? {
        let fixture = entry?.path();
        let arguments = parse_arguments(&fs::read(fixture.join("arguments"))?);
        let tables = SmbiosTables::of(&arguments).with_context(|| fixture.display().to_string())?;
        let folder = fixture.join("sys/firmware/dmi/tables");
        host::write(&folder.join("smbios_entry_point"), &tables.entry_point, 0o644)?;
        host::write(&folder.join("DMI"), &tables.table, 0o644)?;
        println!("{:>6} bytes  {}", tables.table.len(), fixture.display());
    }
    Ok(())
}
