//! The main board of a virtual machine: the simulation by QEMU, and the firmware's tables for the guest.

use std::path::Path;

use super::device_tree::DeviceTree;
use super::smbios::{Smbios, escape_commas, oem_string};
use crate::architecture::Architecture;

/// A board, with its firmware's tables.
#[derive(Debug, Clone)]
pub(super) enum Board {
    /// A PC, with SMBIOS tables.
    Pc(Box<Smbios>),
    /// A board of ARM, with a device tree and no SMBIOS tables.
    Arm(DeviceTree),
}

/// The differences between the two kinds of boards.
#[derive(Debug)]
pub(super) struct Kind {
    /// QEMU's program, the machine and its processor.
    pub(super) qemu: &'static str,
    /// The kernel's name of the serial port that it writes to.
    pub(super) console: &'static str,
    /// The guest's name of the shell's serial port.
    pub(super) shell: &'static str,
    /// The arguments that connect that port to the character device `shell`.
    pub(super) shell_device: [&'static str; 2],
    /// The TPM that can be soldered on.
    pub(super) tpm: &'static str,
}

const PC: Kind = Kind {
    qemu: "qemu-system-x86_64 -machine q35,accel=tcg -cpu max",
    console: "ttyS0",
    shell: "/dev/ttyS1",
    shell_device: ["-serial", "chardev:shell"],
    tpm: "tpm-tis",
};

const ARM: Kind = Kind {
    // A newer processor signs its pointers, which makes everything in QEMU take twice the time.
    qemu: "qemu-system-aarch64 -machine virt,accel=tcg -cpu cortex-a72",
    console: "ttyAMA0",
    shell: "/dev/ttyS0",
    // The board itself has one port only.
    shell_device: ["-device", "pci-serial,chardev=shell"],
    tpm: "tpm-tis-device",
};

impl Board {
    /// Makes a board for this kind of machine, without a maker's data.
    pub(super) fn of(machine: Architecture) -> Self {
        match machine {
            Architecture::Amd64 => Self::Pc(Box::default()),
            Architecture::Arm64 => Self::Arm(DeviceTree::default()),
        }
    }

    pub(super) fn kind(&self) -> &'static Kind {
        match self {
            Self::Pc(_) => &PC,
            Self::Arm(_) => &ARM,
        }
    }

    /// Returns the arguments that give QEMU's board its identity; that of [`Board::Arm`] is in a file.
    pub(super) fn identity(&self, device_tree: &Path) -> Vec<String> {
        match self {
            Self::Pc(smbios) => smbios.arguments(),
            Self::Arm(_) => vec!["-dtb".to_owned(), device_tree.to_string_lossy().into_owned()],
        }
    }

    /// Returns the arguments that hand a credential to systemd, in the place for such a board.
    pub(super) fn credential(&self, name: &str, value: &str) -> [String; 2] {
        match self {
            Self::Pc(_) => oem_string(&format!("io.systemd.credential:{name}={value}")),
            Self::Arm(_) => {
                let value = escape_commas(value);
                ["-fw_cfg".to_owned(), format!("name=opt/io.systemd.credentials/{name},string={value}")]
            }
        }
    }
}
