//! Reads the token off a FAT volume (Microsoft's FAT specification 1.03, and ECMA-107) in this process
//! instead of mounting it: a stick may hold anything, and the kernel would parse it with full privileges.
//!
//! The parser is our own because the library that fits trusts the sizes that a volume claims for itself.

use super::token::{FILES, MAX_FILE_BYTES, NotUsed, parse_token_file};
use std::io::{self, Read, Seek, SeekFrom};
use unbox_common::secret::Secret;

/// The largest folder, in bytes: 65,536 entries. It also bounds a folder whose cluster chain is a loop.
const MAX_FOLDER_BYTES: u64 = 2 * 1024 * 1024;

/// The longest name, in UTF-16 units.
const MAX_NAME_UNITS: usize = 255;

const SECTOR_BYTES: usize = 512;
const ENTRY_BYTES: usize = 32;
/// The attribute of an entry that holds part of a long name; such entries precede the entry they name.
const LONG_NAME: u8 = 0x0f;
const VOLUME_LABEL: u8 = 0x08;
const FOLDER: u8 = 0x10;
const DELETED: u8 = 0xe5;

/// Reads the token off a FAT volume.
///
/// # Errors
/// [`NotUsed`], worded for the person who plugged it in.
pub fn read_token(volume: impl Read + Seek) -> Result<Secret, NotUsed> {
    let mut volume = Volume::open(volume)?;
    let folder = volume.read_first_folder().map_err(|error| NotUsed::from_read_error(&error))?;
    let places = |entry: &Entry| FILES.iter().position(|file| entry.name.eq_ignore_ascii_case(file));
    // If both files exist, the first in the list wins.
    let found = entries(&folder).into_iter().filter_map(|entry| Some((places(&entry)?, entry)));
    let (_, file) = found.min_by_key(|(place, _)| *place).ok_or(NotUsed::NoFile)?;
    if file.is_folder {
        return Err(NotUsed::NotAFile);
    }
    if file.size > MAX_FILE_BYTES {
        return Err(NotUsed::TooLarge);
    }
    parse_token_file(
        &volume.read_chain(file.cluster, file.size).map_err(|error| NotUsed::from_read_error(&error))?,
    )
}

/// A volume, with the geometry from its first sector, in bytes.
struct Volume<T> {
    disk: T,
    kind: Kind,
    fat_at: u64,
    /// Offset and size of the first folder, if it has a fixed place (FAT12 and FAT16).
    folder: (u64, u64),
    /// The first cluster of the first folder, if it has no fixed place (FAT32).
    folder_cluster: u64,
    data_at: u64,
    cluster_bytes: u64,
    clusters: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Fat12,
    Fat16,
    Fat32,
}

impl<T: Read + Seek> Volume<T> {
    fn open(mut disk: T) -> Result<Self, NotUsed> {
        let mut first = [0; SECTOR_BYTES];
        match disk.seek(SeekFrom::Start(0)).and_then(|_| disk.read_exact(&mut first)) {
            Ok(()) => Self::parse(disk, &first).ok_or(NotUsed::NotFat),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(NotUsed::NotFat),
            Err(error) => Err(NotUsed::from_read_error(&error)),
        }
    }

    /// Parses the first sector; `None` if it is not that of a FAT volume.
    fn parse(disk: T, first: &[u8; SECTOR_BYTES]) -> Option<Self> {
        let (word, long) = (|at| number(first, at, 2), |at| number(first, at, 4));
        let (sector, per_cluster, fats) = (word(11), number(first, 13, 1), number(first, 16, 1));
        let is_fat = word(510) == 0xaa55
            && (512..=4096).contains(&sector)
            && sector.is_power_of_two()
            && per_cluster.is_power_of_two()
            && word(14) > 0
            && fats > 0;
        if !is_fat {
            return None;
        }
        let either = |short: u64, wide: u64| if short == 0 { wide } else { short };
        // All of these fit in 32 bits, so neither sums nor products overflow 64.
        let fat_sectors = either(word(22), long(36));
        let folder_bytes = word(17) * ENTRY_BYTES as u64;
        let folder_at = word(14) + fats * fat_sectors;
        let data_at = folder_at + folder_bytes.div_ceil(sector);
        let clusters = either(word(19), long(32)).checked_sub(data_at)? / per_cluster;
        let kind = match clusters {
            0..4085 => Kind::Fat12,
            4085..65_525 => Kind::Fat16,
            _ => Kind::Fat32,
        };
        Some(Self {
            disk,
            kind,
            fat_at: word(14) * sector,
            folder: (folder_at * sector, folder_bytes),
            folder_cluster: long(44),
            data_at: data_at * sector,
            cluster_bytes: per_cluster * sector,
            clusters,
        })
    }

    fn read_first_folder(&mut self) -> io::Result<Vec<u8>> {
        match (self.kind, self.folder) {
            (Kind::Fat32, _) => self.read_chain(self.folder_cluster, MAX_FOLDER_BYTES),
            (_, (at, bytes)) => self.read(at, bytes),
        }
    }

    /// Reads a cluster and the clusters chained after it, up to `limit` bytes.
    fn read_chain(&mut self, mut cluster: u64, limit: u64) -> io::Result<Vec<u8>> {
        let (mut bytes, mut left) = (Vec::new(), limit);
        while left > 0 && (2..self.clusters.saturating_add(2)).contains(&cluster) {
            let wanted = left.min(self.cluster_bytes);
            bytes.extend(self.read(self.data_at + (cluster - 2) * self.cluster_bytes, wanted)?);
            left -= wanted;
            cluster = self.next_cluster(cluster)?;
        }
        Ok(bytes)
    }

    /// Returns the next cluster of the chain. An end mark is larger than any cluster's number.
    fn next_cluster(&mut self, cluster: u64) -> io::Result<u64> {
        let (at, bytes) = match self.kind {
            Kind::Fat12 => (cluster + cluster / 2, 2),
            Kind::Fat16 => (cluster * 2, 2),
            Kind::Fat32 => (cluster * 4, 4),
        };
        let entry = self.read(self.fat_at + at, bytes)?;
        let entry = number(&entry, 0, entry.len());
        Ok(match self.kind {
            Kind::Fat12 if cluster % 2 == 1 => entry >> 4,
            Kind::Fat12 => entry & 0xfff,
            Kind::Fat16 => entry,
            Kind::Fat32 => entry & 0x0fff_ffff,
        })
    }

    fn read(&mut self, at: u64, length: u64) -> io::Result<Vec<u8>> {
        self.disk.seek(SeekFrom::Start(at))?;
        let mut bytes = Vec::new();
        let read = self.disk.by_ref().take(length).read_to_end(&mut bytes)?;
        if read as u64 == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }
}

/// A file or a folder with a long name. Short names are skipped: no name we look for fits into one.
struct Entry {
    name: String,
    is_folder: bool,
    cluster: u64,
    size: u64,
}

fn entries(folder: &[u8]) -> Vec<Entry> {
    let (mut found, mut name) = (Vec::new(), Vec::new());
    for entry in folder.chunks_exact(ENTRY_BYTES) {
        let (order, attributes) = (number(entry, 0, 1), number(entry, 11, 1));
        if order == 0 {
            break;
        }
        let is = |flag: u8| attributes & u64::from(flag) == u64::from(flag);
        if order == u64::from(DELETED) {
            name.clear();
        } else if is(LONG_NAME) {
            // The last part of a name comes first, and is marked.
            if order & 0x40 != 0 || name.len() > MAX_NAME_UNITS {
                name.clear();
            }
            let characters = [1..11, 14..26, 28..32].into_iter().flatten().step_by(2);
            let part: Vec<u16> =
                characters.filter_map(|at| u16::try_from(number(entry, at, 2)).ok()).collect();
            name.splice(0..0, part.into_iter().take_while(|character| *character != 0));
        } else {
            let name = String::from_utf16_lossy(&std::mem::take(&mut name));
            if !is(VOLUME_LABEL) {
                let cluster = number(entry, 26, 2) | number(entry, 20, 2) << 16;
                found.push(Entry { name, is_folder: is(FOLDER), cluster, size: number(entry, 28, 4) });
            }
        }
    }
    found
}

/// Reads a little-endian number of `length` bytes at `at`; missing bytes count as zero.
fn number(bytes: &[u8], at: usize, length: usize) -> u64 {
    let digits = bytes.iter().skip(at).take(length);
    digits.rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use fatfs::{FatType, FileSystem, FormatVolumeOptions, FsOptions};
    use proptest::prelude::*;
    use std::io::{Cursor, Write as _};
    use unbox_common::protocol::limits::MAX_TOKEN_BYTES;

    /// Makes a volume of this many MiB with these files; a name that ends in a slash is a folder.
    fn volume(kind: FatType, mebibytes: usize, files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Cursor::new(vec![0; mebibytes << 20]);
        let options = FormatVolumeOptions::new().fat_type(kind).volume_label(*b"UNBOX      ");
        fatfs::format_volume(&mut bytes, options).unwrap();
        {
            let made = FileSystem::new(&mut bytes, FsOptions::new()).unwrap();
            for (name, content) in files {
                match name.strip_suffix('/') {
                    Some(folder) => drop(made.root_dir().create_dir(folder).unwrap()),
                    None => made.root_dir().create_file(name).unwrap().write_all(content).unwrap(),
                }
            }
        }
        bytes.into_inner()
    }

    fn read(bytes: &[u8]) -> Result<String, NotUsed> {
        read_token(Cursor::new(bytes)).map(|token| token.expose().to_owned())
    }

    #[test]
    fn a_token_is_found_on_every_kind_of_fat() {
        for (kind, mebibytes) in [(FatType::Fat12, 1), (FatType::Fat16, 16), (FatType::Fat32, 40)] {
            let bytes = volume(kind, mebibytes, &[("notes", b"x"), ("unbox-token", b"ppt_1\r\n")]);
            assert_eq!(read(&bytes), Ok("ppt_1".to_owned()), "{kind:?}");
        }
    }

    #[test]
    fn what_a_stick_may_hold_is_told_apart() {
        let long = [b'x'; MAX_TOKEN_BYTES + 3];
        for (files, expected) in [
            (&[("UNBOX-TOKEN.TXT", &b"ppt_1"[..])][..], Ok("ppt_1")),
            (&[("unbox-token.txt", b"second"), ("unbox-token", b"first")], Ok("first")),
            (&[("token", b"ppt_1")], Err(NotUsed::NoFile)),
            (&[("unbox-token/", b"")], Err(NotUsed::NotAFile)),
            (&[("unbox-token", &long)], Err(NotUsed::TooLarge)),
            (&[("unbox-token", b"")], Err(NotUsed::NotAToken)),
            (&[("unbox-token", b"one\ntwo")], Err(NotUsed::NotAToken)),
            (&[("unbox-token", b"\xff\xfep\0p\0t\0")], Err(NotUsed::NotAToken)),
            (&[("unbox-token", b"\x7fELF\x01\x02")], Err(NotUsed::NotAToken)),
        ] {
            let bytes = volume(FatType::Fat12, 1, files);
            let before = bytes.clone();
            assert_eq!(read(&bytes), expected.map(str::to_owned), "{files:?}");
            assert_eq!(bytes, before, "nothing is written");
        }
    }

    #[test]
    fn what_is_no_fat_volume_is_not_read() {
        for bytes in [&[][..], &[0; 4096], &[0xff; 4096], b"no volume at all"] {
            assert_eq!(read(bytes), Err(NotUsed::NotFat));
        }
    }

    #[test]
    fn a_long_file_is_read_over_its_clusters_and_no_further() {
        let token = "x".repeat(MAX_TOKEN_BYTES);
        for (kind, mebibytes) in [(FatType::Fat12, 1), (FatType::Fat16, 16), (FatType::Fat32, 40)] {
            // Enough names for the folder itself to need several clusters.
            let names: Vec<String> =
                (0..60).map(|number| format!("a photograph with a long name {number}")).collect();
            let mut files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), &b"x"[..])).collect();
            files.push(("unbox-token", token.as_bytes()));
            assert_eq!(read(&volume(kind, mebibytes, &files)), Ok(token.clone()), "{kind:?}");
        }
    }

    #[test]
    fn a_folder_that_leads_back_into_itself_comes_to_an_end() {
        let mut bytes = volume(FatType::Fat32, 40, &[("notes", b"x")]);
        let (fat_at, data_at) = {
            let volume = Volume::open(Cursor::new(&bytes)).unwrap_or_else(|why| panic!("{why}"));
            (usize::try_from(volume.fat_at).unwrap(), usize::try_from(volume.data_at).unwrap())
        };
        // The first folder is full of deleted names, and its next cluster is itself.
        bytes[fat_at + 8..fat_at + 12].copy_from_slice(&2u32.to_le_bytes());
        bytes[data_at..data_at + SECTOR_BYTES].fill(DELETED);
        assert_eq!(read(&bytes), Err(NotUsed::NoFile));
    }

    #[test]
    fn a_volume_that_is_cut_off_is_not_readable() {
        let bytes = volume(FatType::Fat12, 1, &[("unbox-token", b"ppt_1")]);
        assert!(matches!(read(&bytes[..2048]), Err(NotUsed::Unreadable(_))));
        assert_eq!(read(&bytes[..511]), Err(NotUsed::NotFat));
    }

    proptest! {
        #[test]
        fn no_first_sector_breaks_the_reader(bytes in proptest::collection::vec(any::<u8>(), 512..700)) {
            let mut bytes = bytes;
            bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
            bytes[11..13].copy_from_slice(&512u16.to_le_bytes());
            bytes[13] = 1 << (bytes[13] % 8);
            let _ = read(&bytes);
        }
    }
}
