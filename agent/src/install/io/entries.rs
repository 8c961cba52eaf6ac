//! Entries of tar archives, treated as hostile: an archive that other programs could read differently, as
//! dpkg and GNU tar do, is refused.

use super::archive::ArchiveError;
use std::{
    io::{self, Read},
    ops::Range,
};
use tar::{Archive, Entry, EntryType, Header, PaxExtensions};

/// The largest extension header, in bytes.
const MAX_HEADER_BYTES: u64 = 64 * 1024;
/// Allowance per entry apart from its contents: header, padding, and perhaps extension headers.
pub(super) const HEADERS_BYTES: u64 = 4096;

/// The places of a header's fields (tar(5)).
const MODE: Range<usize> = 100..108;
const SIZE: Range<usize> = 124..136;
const CHECKSUM: Range<usize> = 148..156;
const MAGIC: Range<usize> = 257..265;

/// The limits of an archive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The most files, directories and links.
    pub(crate) entries: u64,
    /// The most bytes of all files together.
    pub(crate) bytes: u64,
}

/// More than any DPC needs; the free room is checked as well.
pub(crate) const LIMITS: Limits = Limits { entries: 200_000, bytes: 16 * 1024 * 1024 * 1024 };

/// One entry, with the names from its extension headers.
pub(super) struct Item<'e> {
    pub(super) name: String,
    pub(super) kind: EntryType,
    pub(super) mode: u32,
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    /// True if it has an extended header of POSIX (pax), which GNU tar reads and dpkg does not.
    pub(super) is_extended: bool,
    pub(super) contents: &'e mut dyn Read,
}

/// A visitor of one entry after the other.
pub(super) trait Visitor {
    fn visit(&mut self, item: Item<'_>) -> Result<(), ArchiveError>;
}

/// Reads a whole tar archive, and returns the number of entries and the bytes of files.
pub(super) fn walk_tar(
    stream: &mut dyn Read,
    limits: Limits,
    visitor: &mut dyn Visitor,
) -> Result<(u64, u64), ArchiveError> {
    // Padding counts, too: a few compressed bytes can unpack to endless zeros.
    let most = limits.bytes.saturating_add(limits.entries.saturating_mul(HEADERS_BYTES));
    let mut capped = stream.take(most.saturating_add(1));
    let counted = walk_capped(&mut capped, limits, visitor);
    if capped.limit() == 0 {
        return Err(ArchiveError::TooLarge { what: "bytes", limit: most });
    }
    counted
}

fn walk_capped(
    stream: &mut impl Read,
    limits: Limits,
    visitor: &mut dyn Visitor,
) -> Result<(u64, u64), ArchiveError> {
    let mut archive = Archive::new(&mut *stream);
    let (mut entries, mut bytes) = (0, 0);
    let mut extended = Extended::default();
    // Raw, because the crate would read headers of any length into memory.
    for entry in archive.entries().map_err(ArchiveError::Unreadable)?.raw(true) {
        let mut entry = entry.map_err(ArchiveError::Unreadable)?;
        entries += 1;
        bytes = entry.size().saturating_add(bytes);
        if entries > limits.entries {
            return Err(ArchiveError::TooLarge { what: "entries", limit: limits.entries });
        }
        if bytes > limits.bytes {
            return Err(ArchiveError::TooLarge { what: "bytes", limit: limits.bytes });
        }
        check_header(entry.header(), entry.size())?;
        if extended.read_extension(&mut entry)? {
            continue;
        }
        let Extended { path, link, is_posix } = std::mem::take(&mut extended);
        let name = path.unwrap_or_else(|| entry.path_bytes().into_owned());
        let name = String::from_utf8(name).map_err(|_| ArchiveError::NotText)?;
        let (kind, size) = (entry.header().entry_type(), entry.size());
        if kind.is_dir() && matches!(name.as_str(), "." | "./") {
            continue;
        }
        let mode = entry.header().mode().map_err(ArchiveError::Unreadable)?;
        let link = link.unwrap_or_else(|| entry.link_name_bytes().unwrap_or_default().into_owned());
        visitor.visit(Item { name, kind, mode, link, size, is_extended: is_posix, contents: &mut entry })?;
    }
    if extended.is_any() {
        return Err(ArchiveError::Ambiguous { why: "an extended header is about no entry" });
    }
    // The digest is known only at the end of the stream, after the padding.
    read_to_end(stream)?;
    Ok((entries, bytes))
}

/// Refuses a header that other readers would take for something else: dpkg reads no contents but of files and
/// of long names, and takes the prefix of a name by another rule (deb(5), POSIX ustar); GNU tar knows other
/// forms of numbers.
fn check_header(header: &Header, size: u64) -> Result<(), ArchiveError> {
    let kind = header.entry_type();
    let has_contents = kind.is_file()
        || kind.is_gnu_longname()
        || kind.is_gnu_longlink()
        || kind.is_pax_local_extensions()
        || kind.is_pax_global_extensions();
    if size != 0 && !has_contents {
        return Err(ArchiveError::Ambiguous { why: "an entry that is no file has contents" });
    }
    let field = |range: Range<usize>| header.as_bytes().get(range).unwrap_or_default();
    if ![&b"ustar\x0000"[..], b"ustar  \0", &[0; 8]].contains(&field(MAGIC)) {
        return Err(ArchiveError::Ambiguous { why: "the format of a header is unknown" });
    }
    let is_extension = has_contents && !kind.is_file();
    // Some programs leave out the mode of a header that only extends another one.
    let mode = (!is_extension).then_some(MODE);
    if ![SIZE, CHECKSUM].into_iter().chain(mode).all(|range| is_plain_number(field(range))) {
        return Err(ArchiveError::Ambiguous { why: "a number in a header has an unusual form" });
    }
    Ok(())
}

/// Returns true if a field holds one octal number, with blanks before it and blanks or NULs behind it.
fn is_plain_number(field: &[u8]) -> bool {
    let number = field.trim_ascii_start();
    let digits = number.iter().take_while(|byte| matches!(byte, b'0'..=b'7')).count();
    let (digits, rest) = number.split_at(digits);
    let blanks = field.len() - number.len();
    !digits.is_empty()
        && field.iter().take(blanks).all(|byte| *byte == b' ')
        && rest.iter().all(|byte| matches!(byte, b' ' | 0))
}

pub(super) fn read_to_end(stream: &mut (impl Read + ?Sized)) -> Result<(), ArchiveError> {
    io::copy(stream, &mut io::sink()).map(drop).map_err(ArchiveError::Unreadable)
}

/// Long names from extension headers, for the entry that follows them.
#[derive(Default)]
struct Extended {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    is_posix: bool,
}

impl Extended {
    const fn is_any(&self) -> bool {
        self.path.is_some() || self.link.is_some() || self.is_posix
    }

    /// Takes an entry that only extends the next one; `false` if it is an entry of its own.
    fn read_extension(&mut self, entry: &mut Entry<'_, impl Read>) -> Result<bool, ArchiveError> {
        let kind = entry.header().entry_type();
        let extends = kind.is_gnu_longname() || kind.is_gnu_longlink();
        if !extends && !kind.is_pax_local_extensions() && !kind.is_pax_global_extensions() {
            return Ok(false);
        }
        if entry.size() > MAX_HEADER_BYTES {
            return Err(ArchiveError::TooLarge { what: "bytes in a header", limit: MAX_HEADER_BYTES });
        }
        let mut header = Vec::new();
        entry.read_to_end(&mut header).map_err(ArchiveError::Unreadable)?;
        if kind.is_gnu_longname() || kind.is_gnu_longlink() {
            let Some(end) = header.iter().position(|byte| *byte == 0) else {
                return Err(ArchiveError::Ambiguous { why: "a long name does not end" });
            };
            header.truncate(end);
            let name = if kind.is_gnu_longname() { &mut self.path } else { &mut self.link };
            return set(name, header).map(|()| true);
        }
        self.is_posix = true;
        for extension in PaxExtensions::new(&header) {
            let extension = extension.map_err(ArchiveError::Unreadable)?;
            let value = extension.value_bytes().to_vec();
            match extension.key_bytes() {
                b"path" if kind.is_pax_local_extensions() => set(&mut self.path, value)?,
                b"linkpath" if kind.is_pax_local_extensions() => set(&mut self.link, value)?,
                // These change where the next entry ends or what it holds.
                key if matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse") => {
                    let odd =
                        io::Error::new(io::ErrorKind::InvalidData, "an extension that is not supported");
                    return Err(ArchiveError::Unreadable(odd));
                }
                // Times, owners and comments: a tree does not keep them.
                _ => (),
            }
        }
        Ok(true)
    }
}

/// Sets a name that must not be set yet: other readers disagree about which of two counts.
fn set(name: &mut Option<Vec<u8>>, value: Vec<u8>) -> Result<(), ArchiveError> {
    match name.replace(value) {
        Some(_) => Err(ArchiveError::Ambiguous { why: "an entry has two long names" }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names of the entries, with the targets of links.
    #[derive(Default)]
    struct Names(Vec<String>);

    impl Visitor for Names {
        fn visit(&mut self, item: Item<'_>) -> Result<(), ArchiveError> {
            let link = String::from_utf8_lossy(&item.link).into_owned();
            self.0.push(if link.is_empty() { item.name } else { format!("{} -> {link}", item.name) });
            Ok(())
        }
    }

    fn read(archive: &[u8]) -> Result<String, ArchiveError> {
        let mut names = Names::default();
        walk_tar(&mut &archive[..], LIMITS, &mut names).map(|_| names.0.join(" "))
    }

    fn header(kind: EntryType, name: &str, size: usize) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(size as u64);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        header
    }

    fn entry(kind: EntryType, name: &str, bytes: &[u8]) -> Vec<u8> {
        let mut entry = header(kind, name, bytes.len()).as_bytes().to_vec();
        entry.extend(bytes);
        entry.resize(entry.len().next_multiple_of(512), 0);
        entry
    }

    fn file(name: &str) -> Vec<u8> {
        entry(EntryType::Regular, name, b"")
    }

    /// A file whose header has these bytes at a place.
    fn with(at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut header = header(EntryType::Regular, "file", 0);
        header.as_mut_bytes()[at..at + bytes.len()].copy_from_slice(bytes);
        if at != CHECKSUM.start {
            header.set_cksum();
        }
        header.as_bytes().to_vec()
    }

    #[test]
    fn what_another_program_would_read_differently_is_refused() {
        let is_ambiguous = |archive: &[u8], what: &str| {
            let refused = read(archive);
            assert!(matches!(refused, Err(ArchiveError::Ambiguous { .. })), "{what}: {refused:?}");
        };
        for (kind, name) in [
            (EntryType::Directory, "./"),
            (EntryType::Directory, "folder"),
            (EntryType::Symlink, "link"),
            (EntryType::Link, "hard"),
            (EntryType::Fifo, "pipe"),
            (EntryType::GNUSparse, "holes"),
        ] {
            is_ambiguous(&entry(kind, name, &file("hidden")), name);
        }
        for format in [b"ustar\x0001", b"ustar\0\0\0", b"other\x0000"] {
            is_ambiguous(&with(MAGIC.start, format), "format");
        }
        for number in [
            &b"+0000000010\0"[..],
            b"-0000000010\0",
            b"\t0000000010\0",
            b"0000000010\t\0",
            b"0000000\x00000\0",
            b"\x80\0\0\0\0\0\0\0\0\0\0\x08",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
        ] {
            let mut archive = with(SIZE.start, number);
            archive.resize(2048, 0);
            assert!(read(&archive).is_err(), "{number:?}");
        }
        let long = |kind, text: &[u8]| entry(kind, "long", text);
        let posix = |record: &[u8]| entry(EntryType::XHeader, "pax", record);
        let (name, link) = (EntryType::GNULongName, EntryType::GNULongLink);
        for (what, headers) in [
            ("no end", [long(name, b"name"), file("a")]),
            ("no link's end", [long(link, b"target"), file("a")]),
            ("empty", [long(name, b""), file("a")]),
            ("about nothing", [file("a"), long(name, b"name\0")]),
            ("of POSIX about nothing", [file("a"), posix(b"12 path=one\n")]),
            ("two names", [long(name, b"one\0"), [long(name, b"two\0"), file("a")].concat()]),
            ("two targets", [long(link, b"one\0"), [long(link, b"two\0"), file("a")].concat()]),
            ("of two kinds", [posix(b"12 path=one\n"), [long(name, b"two\0"), file("a")].concat()]),
            ("the other way", [long(name, b"two\0"), [posix(b"12 path=one\n"), file("a")].concat()]),
            ("twice in one", [posix(b"12 path=one\n12 path=two\n"), file("a")]),
        ] {
            is_ambiguous(&headers.concat(), what);
        }
    }

    #[test]
    fn the_usual_forms_of_every_program_are_read() {
        for format in [&b"ustar\x0000"[..], b"ustar  \0", &[0; 8]] {
            assert_eq!(read(&with(MAGIC.start, format)).unwrap(), "file");
        }
        for number in [&b"00000000000\0"[..], b"          0 ", b"0\0\0\0\0\0\0\0\0\0\0\0", b"000000000000"] {
            assert_eq!(read(&with(SIZE.start, number)).unwrap(), "file", "{number:?}");
        }
        let long = [entry(EntryType::GNULongName, "long", b"name\0\0"), file("a")].concat();
        assert_eq!(read(&long).unwrap(), "name");
        let top = [entry(EntryType::Directory, "./", b""), file("a")].concat();
        assert_eq!(read(&top).unwrap(), "a");
        // Nothing but a directory is at the top.
        assert_eq!(read(&entry(EntryType::Symlink, ".", b"")).unwrap(), ".");
    }
}
