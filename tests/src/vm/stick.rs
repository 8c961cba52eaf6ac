//! Removable disks for virtual machines: made here, plugged in and pulled out while the machine runs.
//!
//! To the guest, such a disk is like a USB stick, a removable SCSI disk with one partition. (Debian's kernel
//! for virtual machines has no USB at all.)

use std::io::{Cursor, Write as _};
use std::path::Path;

use anyhow::Result;
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions};
use serde_json::json;

use super::machine::Machine;
use super::running::Vm;
use crate::host;

/// The first sector of the one partition: the usual one.
const FIRST_SECTOR: u32 = 2048;
const SECTORS: u32 = 8192;
const SECTOR: usize = 512;

/// Writes the image of a stick whose only partition is FAT, with this label and these files.
pub fn make_stick(path: &Path, label: &str, files: &[(&str, &[u8])]) -> Result<()> {
    let mut partition = Cursor::new(vec![0; SECTORS as usize * SECTOR]);
    let mut name = [b' '; 11];
    name.iter_mut().zip(label.bytes()).for_each(|(to, from)| *to = from);
    fatfs::format_volume(&mut partition, FormatVolumeOptions::new().volume_label(name))?;
    {
        let volume = FileSystem::new(&mut partition, FsOptions::new())?;
        for (name, content) in files {
            volume.root_dir().create_file(name)?.write_all(content)?;
        }
    }
    let mut disk = table();
    disk.resize(FIRST_SECTOR as usize * SECTOR, 0);
    disk.extend(partition.into_inner());
    host::write(path, &disk, 0o600)
}

/// Returns a master boot record with one partition, of the type "FAT16, by its sectors".
fn table() -> Vec<u8> {
    let mut sector = vec![0; 446];
    sector.extend([0, 0xfe, 0xff, 0xff, 0x0e, 0xfe, 0xff, 0xff]);
    sector.extend(FIRST_SECTOR.to_le_bytes());
    sector.extend(SECTORS.to_le_bytes());
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector
}

impl Machine {
    /// Gives the machine a port for removable disks.
    #[must_use]
    pub fn stick_port(self) -> Self {
        self.qemu_arguments(&["-device", "virtio-scsi-pci,id=port"])
    }
}

impl Vm {
    /// Plugs a stick into the port, under a name by which it is pulled out again.
    pub fn plug_in(&mut self, name: &str, image: &Path) -> Result<()> {
        let file = json!({"driver": "file", "filename": image});
        self.qmp("blockdev-add", &json!({"node-name": name, "driver": "raw", "file": file}))?;
        let device =
            json!({"driver": "scsi-hd", "bus": "port.0", "id": name, "drive": name, "removable": true});
        self.qmp("device_add", &device).map(drop)
    }

    /// Pulls a stick out.
    pub fn pull_out(&mut self, name: &str) -> Result<()> {
        self.qmp("device_del", &json!({"id": name})).map(drop)
    }
}
