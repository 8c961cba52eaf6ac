//! Packs the demo's DPC as a customer's build would: a tar with a program and a unit.

use anyhow::{Context as _, Result};
use std::{io::Write, path::Path};
use tar::{Builder, Header};

/// The unit of the demo's DPC.
pub const UNIT: &str = "demo-dpc.service";

const UNIT_FILE: &str = "\
[Unit]
Description=Demo device policy controller

[Service]
ExecStart=/opt/unbox/dpc/demo-dpc/current/bin/demo-dpc
StateDirectory=demo-dpc
Restart=on-failure

[Install]
WantedBy=multi-user.target
";

/// Writes the archive: `bin/demo-dpc` and [`UNIT`], plus `padding_bytes` of ballast.
///
/// # Errors
/// If the program cannot be read or the archive cannot be written.
pub fn write_tar(program: &Path, out: impl Write, padding_bytes: usize) -> Result<()> {
    let mut tar = Builder::new(out);
    let mut add = |name: &str, mode, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        tar.append_data(&mut header, name, bytes).with_context(|| format!("add {name}"))
    };
    add("bin/demo-dpc", 0o755, &std::fs::read(program).context("read the demo's DPC")?)?;
    add(UNIT, 0o644, UNIT_FILE.as_bytes())?;
    if padding_bytes > 0 {
        add("share/ballast.bin", 0o644, &ballast(padding_bytes))?;
    }
    tar.finish().context("finish the archive")
}

/// Returns incompressible bytes, the same every time.
fn ballast(bytes: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..bytes).map(next).collect()
}
