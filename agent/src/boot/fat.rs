//! The token on a FAT volume, read by this process and not by the kernel: a stick may hold anything, and the
//! kernel would look at it with all its rights.

use super::token::{FILES, MAX_FILE_BYTES, NotUsed, token_in};
use fatfs::{FileSystem, FsOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use unbox_common::secret::Secret;

/// The most bytes that are read of a volume: far more than its first folder has, and an end to folders that
/// lead back into themselves.
const MAX_VOLUME_BYTES: u64 = 8 * 1024 * 1024;

/// Reads the token off a FAT volume. Nothing is written to it.
///
/// # Errors
/// [`NotUsed`], in words for whoever plugged it in.
pub fn token_on(volume: impl Read + Seek) -> Result<Secret, NotUsed> {
    let opened = FileSystem::new(Volume { inner: volume, left: MAX_VOLUME_BYTES }, FsOptions::new());
    let volume = opened.map_err(|error| match error.kind() {
        // What does not look like FAT, in the library's words; the rest is the medium's fault.
        io::ErrorKind::Other | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => NotUsed::NotFat,
        _ => NotUsed::unreadable(&error),
    })?;
    let mut found = None;
    for entry in volume.root_dir().iter() {
        let entry = entry.map_err(|error| NotUsed::unreadable(&error))?;
        let name = entry.file_name();
        let place = FILES.iter().position(|file| name.eq_ignore_ascii_case(file));
        // Of two, the first of the list counts.
        if let Some(place) = place
            && found.as_ref().is_none_or(|(before, _)| place < *before)
        {
            found = Some((place, entry));
        }
    }
    let (_, entry) = found.ok_or(NotUsed::NoFile)?;
    if !entry.is_file() {
        return Err(NotUsed::NotAFile);
    }
    let mut bytes = Vec::new();
    // One more than there may be is enough to know that it is too large.
    entry
        .to_file()
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| NotUsed::unreadable(&error))?;
    token_in(&bytes)
}

/// A volume that is never written to, and of which no more than so many bytes are read.
struct Volume<T> {
    inner: T,
    left: u64,
}

impl<T: Read> Read for Volume<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len() as u64;
        self.left = self.left.checked_sub(wanted).ok_or(io::ErrorKind::FileTooLarge)?;
        self.inner.read(buffer)
    }
}

impl<T: Seek> Seek for Volume<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// The library asks for it, also where nothing is written.
impl<T> Write for Volume<T> {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fatfs::{FatType, FormatVolumeOptions};
    use std::io::Cursor;
    use unbox_common::protocol::limits::MAX_TOKEN_BYTES;

    /// A volume of this many MiB with these files; a name that ends in a slash is a folder.
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
        token_on(Cursor::new(bytes)).map(|token| token.expose().to_owned())
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
    fn a_folder_that_leads_back_into_itself_comes_to_an_end() {
        let mut bytes = volume(FatType::Fat32, 40, &[("notes", b"x")]);
        let word = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        let fat = usize::from(word(14)) * usize::from(word(11));
        let cluster = usize::from(bytes[13]) * usize::from(word(11));
        let fats = usize::from(bytes[16]) * usize::from(word(36)) * usize::from(word(11));
        // The first folder is full of deleted names, and its next cluster is itself.
        bytes[fat + 8..fat + 12].copy_from_slice(&2u32.to_le_bytes());
        bytes[fat + fats..fat + fats + cluster].fill(0xe5);
        assert!(matches!(read(&bytes), Err(NotUsed::Unreadable(_))));
    }
}
