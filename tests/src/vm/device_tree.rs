//! The device tree of a virtual machine: the identity of a board without SMBIOS tables.

use std::path::Path;

use anyhow::Result;

use super::smbios::escape_commas;
use crate::host::{self, Program};

/// The properties of the root node (Devicetree Specification 0.4, section 2.3). Empty ones keep QEMU's own
/// values.
#[derive(Debug, Clone, Default)]
pub struct DeviceTree {
    /// `compatible`: the names of the board, `maker,board`, the most specific one first.
    pub compatible: Vec<String>,
    /// `model`.
    pub model: Vec<String>,
    /// `serial-number`.
    pub serial_number: Vec<String>,
}

impl DeviceTree {
    /// Makes a board of a maker, in the words of its label.
    #[must_use]
    pub fn from_label(compatible: &str, model: &str, serial_number: &str) -> Self {
        Self {
            compatible: vec![compatible.to_owned(), "linux,dummy-virt".to_owned()],
            model: vec![model.to_owned()],
            serial_number: vec![serial_number.to_owned()],
        }
    }

    /// Writes the tree of this hardware, a command line of QEMU, to `blob`: QEMU's own, with these properties
    /// at the root.
    pub(super) fn write(&self, hardware: &[String], blob: &Path) -> Result<()> {
        let dump = format!("dumpdtb={}", escape_commas(&blob.to_string_lossy()));
        host::remove(blob)?;
        Program::new("env").args(hardware).args(["-machine", &dump]).run()?;
        for (property, strings) in
            [("compatible", &self.compatible), ("model", &self.model), ("serial-number", &self.serial_number)]
        {
            if !strings.is_empty() {
                let put = Program::new("fdtput").args(["--type", "s"]).arg(blob).args(["/", property]);
                put.args(strings).run()?;
            }
        }
        Ok(())
    }
}
