//! Vital product data for a virtual machine: a table of coreboot in its memory, where Linux finds
//! it and makes `/sys/firmware/vpd` of it.

use std::path::Path;

use anyhow::{Context as _, Result};

use super::machine::Machine;
use super::smbios::escape_commas;
use crate::host;

/// The ACPI table that tells Linux where the table is (`guest/coreboot-table.asl`).
const ACPI_TABLE: &[u8] = include_bytes!("guest/coreboot-table.aml");

/// The address of the table in the machine's memory, as in [`ACPI_TABLE`].
const BASE: u64 = 0x1e00_0000;

/// The size of its memory, which the guest must leave alone.
const ROOM: usize = 0x1_0000;

/// The offset of the partitions behind it.
const PARTITIONS_AT: usize = 0x1000;

/// `LB_TAG_VPD`, the entry of coreboot's table that points at them.
const TAG_VPD: u32 = 0x2c;

/// `CBMEM_MAGIC` of the partitions' header ("CROS").
const MAGIC: u32 = 0x4352_4f53;

impl Machine {
    /// Gives the machine vital product data, read-only and read-write. The files that QEMU loads
    /// are put into `folder`; the guest loads the driver at boot.
    pub fn vital_product_data(
        self,
        read_only: &[(&str, &str)],
        read_write: &[(&str, &str)],
        folder: &Path,
    ) -> Result<Self> {
        let (acpi, memory) = (folder.join("coreboot-table.aml"), folder.join("coreboot.bin"));
        host::write(&acpi, ACPI_TABLE, 0o600)?;
        host::write(&memory, &image(&partition(read_only)?, &partition(read_write)?)?, 0o600)?;
        let path = |path: &Path| escape_commas(&path.to_string_lossy());
        let (acpi, memory) = (path(&acpi), path(&memory));
        Ok(self
            .qemu_arguments(&["-acpitable", &format!("file={acpi}")])
            .qemu_arguments(&["-device", &format!("loader,file={memory},addr={BASE:#x},force-raw=on")])
            .kernel_word(&format!("memmap={}K${BASE:#x}", ROOM / 1024))
            .file("/etc/modules-load.d/vpd.conf", "vpd-sysfs\n", 0o644))
    }
}

/// Returns a partition in version 2.0 of the format: its entries, and the end mark.
fn partition(entries: &[(&str, &str)]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    for (key, value) in entries {
        bytes.push(1);
        for part in [key, value] {
            // A longer one has a length of more than one byte.
            bytes.push(u8::try_from(part.len()).ok().filter(|length| *length < 128).context("a long value")?);
            bytes.extend(part.bytes());
        }
    }
    bytes.push(0);
    Ok(bytes)
}

/// Returns the memory at [`BASE`]: coreboot's header with its one entry, and the partitions.
fn image(read_only: &[u8], read_write: &[u8]) -> Result<Vec<u8>> {
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let mut entry = words(&[TAG_VPD, 16]);
    entry.extend((BASE + PARTITIONS_AT as u64).to_le_bytes());
    let mut memory = b"LBIO".to_vec();
    memory.extend(words(&[24, 0, u32::try_from(entry.len())?, u32::from(checksum(&entry)), 1]));
    memory.extend(entry);
    memory.resize(PARTITIONS_AT, 0);
    memory.extend(words(&[MAGIC, 1, u32::try_from(read_only.len())?, u32::try_from(read_write.len())?]));
    memory.extend(read_only);
    memory.extend(read_write);
    anyhow::ensure!(memory.len() <= ROOM, "more vital product data than there is room for");
    memory.resize(ROOM, 0);
    Ok(memory)
}

/// Computes the checksum of the Internet (RFC 1071), which coreboot uses.
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes
        .chunks(2)
        .map(|pair| match pair {
            [low, high] => u32::from(u16::from_le_bytes([*low, *high])),
            rest => rest.iter().map(|byte| u32::from(*byte)).sum(),
        })
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_holds_the_partitions_where_the_entry_says() {
        let read_only = partition(&[("serial_number", "5CD1")]).unwrap();
        let memory = image(&read_only, &partition(&[]).unwrap()).unwrap();
        assert_eq!(memory.len(), ROOM);
        assert_eq!(&memory[..4], b"LBIO");
        assert_eq!(&memory[PARTITIONS_AT..PARTITIONS_AT + 4], b"SORC");
        assert_eq!(&memory[PARTITIONS_AT + 16..PARTITIONS_AT + 16 + read_only.len()], read_only);
        assert!(partition(&[("key", &"x".repeat(200))]).is_err());
    }
}
