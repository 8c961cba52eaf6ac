//! Tar archives of DPCs: treated as hostile, and read twice, once to inspect and once to unpack.
//!
//! A tree holds only regular files, directories and symbolic links that stay inside it. Everything
//! belongs to root, and nobody else can write to it, whatever the archive says.

use super::entries::{Item, Limits, Visitor, read_to_end, walk_tar};
use crate::files::NewTree;
use flate2::bufread::MultiGzDecoder;
use std::{
    collections::BTreeMap,
    io::{self, BufRead, BufReader, Read},
    path::Path,
};
use tar::EntryType;
use unbox_common::path::{RelativePath, UnsafePath};

/// The largest unit file, in bytes.
const MAX_TEXT_BYTES: u64 = 64 * 1024;
/// First bytes of a gzip stream (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The content of an archive, in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Inspected {
    /// The number of files, directories and links.
    pub(crate) entries: u64,
    /// The bytes of all files together.
    pub(crate) bytes: u64,
    /// The unit file, if the archive holds the requested one.
    pub(crate) unit: Option<Vec<u8>>,
}

/// The reason why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The archive ends too early, or is not in tar format.
    #[error("the archive cannot be read")]
    Unreadable(#[source] io::Error),
    /// A name leads out of the tree.
    #[error("an entry of the archive has a name that leads elsewhere")]
    Name(#[source] UnsafePath),
    /// A name is not UTF-8.
    #[error("an entry of the archive has a name that is not UTF-8")]
    NotText,
    /// A link leads out of the tree.
    #[error("link {path} in the archive points out of the tree")]
    Link {
        /// The link.
        path: RelativePath,
    },
    /// The entry is neither a file, a directory nor a symbolic link.
    #[error("{path} in the archive is {what}, which a payload must not bring")]
    Forbidden {
        /// The entry.
        path: RelativePath,
        /// The type of the entry.
        what: &'static str,
    },
    /// Two entries have one name, or one is below another that is no directory.
    #[error("{path} is in the archive twice, or below something that is no directory")]
    Twice {
        /// The later entry.
        path: RelativePath,
    },
    /// A package has something else as a configuration file than a file that it brings.
    #[error("{line:?} is no configuration file that a package may have: {why}")]
    Conffile {
        /// The line in its list of configuration files.
        line: String,
        /// The reason.
        why: &'static str,
    },
    /// Another program would find other entries in the archive.
    #[error("the archive can be read in two ways: {why}")]
    Ambiguous {
        /// The reason.
        why: &'static str,
    },
    /// The archive exceeds a limit.
    #[error("the archive holds more than {limit} {what}")]
    TooLarge {
        /// The unit of the limit: entries or bytes.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A file could not be written.
    #[error("{path} could not be unpacked")]
    Write {
        /// The entry.
        path: RelativePath,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
}

/// The receiver of entries. The paths are safe, the modes are plain, the links stay inside.
trait Sink {
    fn add_directory(&mut self, path: &RelativePath, mode: u32) -> io::Result<()>;
    fn add_file(&mut self, path: &RelativePath, mode: u32, contents: &mut dyn Read) -> io::Result<()>;
    fn add_symlink(&mut self, path: &RelativePath, target: &str) -> io::Result<()>;
}

/// Reads a whole archive without unpacking it.
///
/// `unit` is the file name of the unit to find, at the top or in `lib/systemd/system`.
pub(crate) fn inspect(
    stream: impl Read,
    limits: Limits,
    unit: Option<&str>,
) -> Result<Inspected, ArchiveError> {
    let mut found = Survey { unit, text: None, directories: BTreeMap::new(), twice: None };
    let walked = walk(stream, limits, &mut found);
    if let Some(path) = found.twice {
        return Err(ArchiveError::Twice { path });
    }
    let (entries, bytes) = walked?;
    Ok(Inspected { entries, bytes, unit: found.text })
}

/// Unpacks a whole archive.
pub(crate) fn unpack(stream: impl Read, limits: Limits, tree: &NewTree<'_>) -> Result<(), ArchiveError> {
    let mut sink = Unpacking(tree);
    walk(stream, limits, &mut sink).map(drop)
}

fn walk(stream: impl Read, limits: Limits, sink: &mut dyn Sink) -> Result<(u64, u64), ArchiveError> {
    let mut stream = BufReader::with_capacity(128 * 1024, stream);
    let mut visitor = Plain(sink);
    let head = stream.fill_buf().map_err(ArchiveError::Unreadable)?;
    if head.starts_with(&GZIP) {
        let mut gzip = MultiGzDecoder::new(stream);
        let counted = walk_tar(&mut gzip, limits, &mut visitor)?;
        let mut rest = gzip.into_inner();
        read_to_end(&mut rest)?;
        Ok(counted)
    } else {
        walk_tar(&mut stream, limits, &mut visitor)
    }
}

/// A visitor that passes on what the tree of a DPC may hold, and refuses the rest.
struct Plain<'a>(&'a mut dyn Sink);

impl Visitor for Plain<'_> {
    fn visit(&mut self, item: Item<'_>) -> Result<(), ArchiveError> {
        forward(item, self.0)
    }
}

fn forward(item: Item<'_>, sink: &mut dyn Sink) -> Result<(), ArchiveError> {
    let Item { name, kind, mode, link, size, contents, .. } = item;
    let path = RelativePath::parse(&name).map_err(ArchiveError::Name)?;
    let forbidden = |what| Err(ArchiveError::Forbidden { path: path.clone(), what });
    if mode & 0o7000 != 0 {
        return forbidden("set-id or sticky");
    }
    let failed = |source| ArchiveError::Write { path: path.clone(), source };
    match kind {
        EntryType::Directory => sink.add_directory(&path, mode & 0o755 | 0o700).map_err(failed),
        EntryType::Regular if name.ends_with('/') => forbidden("a file with the name of a directory"),
        EntryType::Regular => {
            let mut contents = Counted { inner: contents, read: 0 };
            sink.add_file(&path, mode & 0o755, &mut contents).map_err(failed)?;
            read_to_end(&mut contents)?;
            if contents.read == size {
                Ok(())
            } else {
                Err(ArchiveError::Unreadable(io::ErrorKind::UnexpectedEof.into()))
            }
        }
        EntryType::Symlink => {
            let target = String::from_utf8(link).map_err(|_| ArchiveError::NotText)?;
            if !is_inside(&path, &target) {
                return Err(ArchiveError::Link { path });
            }
            sink.add_symlink(&path, &target).map_err(failed)
        }
        EntryType::Link => forbidden("a hard link"),
        EntryType::Char | EntryType::Block => forbidden("a device"),
        EntryType::Fifo => forbidden("a FIFO"),
        EntryType::GNUSparse => forbidden("a sparse file"),
        _ => forbidden("of an unknown type"),
    }
}

/// Returns true if a link at `path` points into the tree: upwards only at its beginning, and not above the top.
/// `..` after a name could climb out of another link, so it is not allowed there.
fn is_inside(path: &RelativePath, target: &str) -> bool {
    let depth = path.as_str().split('/').count() - 1;
    let mut parts = target.split('/').filter(|part| !matches!(*part, "" | ".")).peekable();
    let mut up = 0;
    while parts.next_if_eq(&"..").is_some() {
        up += 1;
    }
    !target.is_empty()
        && !target.starts_with('/')
        && !target.chars().any(char::is_control)
        && up <= depth
        && parts.all(|part| part != "..")
}

/// A counting reader: an archive that is cut off inside a file must not look complete.
struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.read += read as u64;
        Ok(read)
    }
}

struct Unpacking<'a>(&'a NewTree<'a>);

impl Sink for Unpacking<'_> {
    fn add_directory(&mut self, path: &RelativePath, mode: u32) -> io::Result<()> {
        self.0.make_directory(path, mode)
    }

    fn add_file(&mut self, path: &RelativePath, mode: u32, mut contents: &mut dyn Read) -> io::Result<()> {
        self.0.write_file(path, mode, &mut contents)
    }

    fn add_symlink(&mut self, path: &RelativePath, target: &str) -> io::Result<()> {
        self.0.make_symlink(path, target)
    }
}

/// A sink that unpacks nothing, but keeps the unit file, and finds entries that could not be unpacked.
struct Survey<'a> {
    unit: Option<&'a str>,
    text: Option<Vec<u8>>,
    /// Every path so far, with whether it is a directory.
    directories: BTreeMap<String, bool>,
    /// The first entry that another one is in the way of.
    twice: Option<RelativePath>,
}

impl Survey<'_> {
    fn record_path(&mut self, path: &RelativePath, is_directory: bool) -> io::Result<()> {
        let parents = path.as_str().match_indices('/').filter_map(|(at, _)| path.as_str().get(..at));
        for parent in parents {
            if !*self.directories.entry(parent.to_owned()).or_insert(true) {
                return self.refuse(path);
            }
        }
        match self.directories.insert(path.as_str().to_owned(), is_directory) {
            None => Ok(()),
            Some(true) if is_directory => Ok(()),
            Some(_) => self.refuse(path),
        }
    }

    fn refuse(&mut self, path: &RelativePath) -> io::Result<()> {
        self.twice = Some(path.clone());
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

impl Sink for Survey<'_> {
    fn add_directory(&mut self, path: &RelativePath, _mode: u32) -> io::Result<()> {
        self.record_path(path, true)
    }

    fn add_file(&mut self, path: &RelativePath, _mode: u32, contents: &mut dyn Read) -> io::Result<()> {
        self.record_path(path, false)?;
        let path = Path::new(path.as_str());
        let places = [Path::new(""), Path::new("lib/systemd/system"), Path::new("usr/lib/systemd/system")];
        let wanted = |unit: &str| places.iter().any(|place| path == place.join(unit));
        if self.unit.is_some_and(wanted) && self.text.is_none() {
            let mut text = Vec::new();
            contents.take(MAX_TEXT_BYTES + 1).read_to_end(&mut text)?;
            if text.len() as u64 > MAX_TEXT_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "the unit file is too large"));
            }
            self.text = Some(text);
        }
        Ok(())
    }

    fn add_symlink(&mut self, path: &RelativePath, _target: &str) -> io::Result<()> {
        self.record_path(path, false)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::entries::{HEADERS_BYTES, LIMITS},
        *,
    };
    use tar::{Builder, Header};

    const SMALL: Limits = Limits { entries: 4, bytes: 1000 };

    fn with(build: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
        let mut tar = Builder::new(Vec::new());
        build(&mut tar);
        tar.into_inner().unwrap()
    }

    fn add(tar: &mut Builder<Vec<u8>>, kind: EntryType, name: &str, bytes: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, name, bytes).unwrap();
    }

    #[test]
    fn a_bomb_stops_at_its_limit() {
        let many = with(|tar| (0..5).for_each(|n| add(tar, EntryType::Regular, &n.to_string(), b"")));
        let refused = inspect(&many[..], SMALL, None).unwrap_err();
        assert_eq!(refused.to_string(), "the archive holds more than 4 entries");
        let large = with(|tar| add(tar, EntryType::Regular, "zeros", &[0; 1001]));
        let refused = inspect(&large[..], SMALL, None).unwrap_err();
        assert_eq!(refused.to_string(), "the archive holds more than 1000 bytes");
        // An impossibly large size, with no data after it.
        let mut header = Header::new_gnu();
        header.set_path("x").unwrap();
        header.set_size(u64::MAX / 2);
        header.set_cksum();
        assert!(inspect(&header.as_bytes()[..], SMALL, None).is_err());
    }

    #[test]
    fn zeros_without_end_behind_an_archive_are_not_read() {
        let most = SMALL.bytes + SMALL.entries * HEADERS_BYTES;
        let mut zeros = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        io::copy(&mut io::repeat(0).take(most + 1), &mut zeros).unwrap();
        let refused = inspect(&zeros.finish().unwrap()[..], SMALL, None).unwrap_err();
        assert_eq!(refused.to_string(), format!("the archive holds more than {most} bytes"));
    }

    #[test]
    fn a_header_that_only_names_is_bounded_as_well() {
        for kind in
            [EntryType::GNULongName, EntryType::GNULongLink, EntryType::XHeader, EntryType::XGlobalHeader]
        {
            let name = vec![b'a'; usize::try_from(MAX_TEXT_BYTES).unwrap() + 1];
            let archive = with(|tar| add(tar, kind, "long", &name));
            let refused = inspect(&archive[..], LIMITS, None).unwrap_err();
            assert!(matches!(refused, ArchiveError::TooLarge { what: "bytes in a header", .. }), "{kind:?}");
        }
    }

    #[test]
    fn long_names_of_both_kinds_are_read() {
        let long = format!("{}/acme.service", vec!["directory"; 20].join("/"));
        let gnu = with(|tar| add(tar, EntryType::Regular, &long, b"unit"));
        assert_eq!(inspect(&gnu[..], LIMITS, None).unwrap().entries, 2);
        let pax = with(|tar| {
            tar.append_pax_extensions([("path", &b"lib/systemd/system/acme.service"[..]), ("mtime", b"1.5")])
                .unwrap();
            add(tar, EntryType::Regular, "short", b"unit");
        });
        let inspected = inspect(&pax[..], LIMITS, Some("acme.service")).unwrap();
        assert_eq!(inspected.unit.as_deref(), Some(&b"unit"[..]));
        let escape = with(|tar| {
            tar.append_pax_extensions([("path", &b"../../etc/passwd"[..])]).unwrap();
            add(tar, EntryType::Regular, "short", b"x");
        });
        assert!(matches!(inspect(&escape[..], LIMITS, None), Err(ArchiveError::Name(_))));
    }

    #[test]
    fn extensions_that_change_what_follows_are_refused() {
        for (key, value) in [("size", "0"), ("GNU.sparse.major", "1")] {
            let archive = with(|tar| {
                tar.append_pax_extensions([(key, value.as_bytes())]).unwrap();
                add(tar, EntryType::Regular, "short", b"x");
            });
            assert!(matches!(inspect(&archive[..], LIMITS, None), Err(ArchiveError::Unreadable(_))), "{key}");
        }
        let sparse = with(|tar| add(tar, EntryType::GNUSparse, "holes", b""));
        assert!(matches!(inspect(&sparse[..], LIMITS, None), Err(ArchiveError::Forbidden { .. })));
    }

    #[test]
    fn what_is_unpacked_belongs_to_nobody_else() {
        use std::os::unix::fs::PermissionsExt as _;
        let archive = with(|tar| {
            let mut header = Header::new_gnu();
            header.set_mode(0o777);
            header.set_uid(1234);
            header.set_size(1);
            tar.append_data(&mut header, "./bin/dpc", &b"x"[..]).unwrap();
        });
        let directory = tempfile::tempdir().unwrap();
        let entry = crate::files::Entry::from_path(&directory.path().join("tree")).unwrap();
        let tree = NewTree::begin(&entry, None).unwrap();
        unpack(&archive[..], LIMITS, &tree).unwrap();
        tree.publish().unwrap();
        let program = directory.path().join("tree/bin/dpc").metadata().unwrap();
        assert_eq!(program.permissions().mode() & 0o7777, 0o755);
        assert_ne!(std::os::unix::fs::MetadataExt::uid(&program), 1234);
    }

    #[test]
    fn links_stay_inside_by_their_words_alone() {
        let path = |path: &str| RelativePath::parse(path).unwrap();
        for (link, target, inside) in [
            ("a", "b", true),
            ("a", "./b//c", true),
            ("x/a", "../b", true),
            ("x/y/a", "../../b", true),
            ("a", ".", true),
            ("a", "..", false),
            ("x/a", "../../b", false),
            ("a", "b/../c", false),
            ("a", "/b", false),
            ("a", "", false),
            ("a", "b\nc", false),
        ] {
            assert_eq!(is_inside(&path(link), target), inside, "{link} -> {target:?}");
        }
    }
}
