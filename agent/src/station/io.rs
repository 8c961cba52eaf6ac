//! The files of a test station: captured machines, their labels, and the order.

use super::{
    check::Looked,
    order::{OrderIndex, Ordered},
};
use crate::{
    boot::Layout,
    files::{self, FilesError},
    identity,
};
use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};
use unbox_common::{claims_file::UnusableFile, identity::HardwareIdentity, label::MAX_SCAN_BYTES};

/// The file beside a captured machine that holds its labels, one scan a line.
pub const LABELS_FILE: &str = "labels.txt";
/// The most labels of one unit.
pub const MAX_LABELS: usize = 32;

/// A file of a test station that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// A directory of units could not be listed.
    #[error("the units below {} could not be listed", path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// There is no unit in it.
    #[error("{} holds no directory of a unit", .0.display())]
    NoUnits(PathBuf),
    /// The order could not be opened.
    #[error("the order {} could not be opened", path.display())]
    OpenOrder {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The order cannot be used.
    #[error("the order {} cannot be used", path.display())]
    Order {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: UnusableFile,
    },
    /// More labels than a unit has, or a longer one.
    #[error("expected at most {MAX_LABELS} lines of labels, each of at most {MAX_SCAN_BYTES} bytes")]
    TooManyLabels,
    /// Labels could not be read.
    #[error("the labels could not be read")]
    Labels(#[source] io::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// A machine that is to be tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// What people call it.
    pub name: String,
    /// Where it is; `/` for the machine that runs this.
    pub root: PathBuf,
    /// What was scanned of it already.
    pub labels: Vec<Vec<u8>>,
}

/// An order file that was read once, and is read again row by row.
#[derive(Debug)]
pub struct OrderFile {
    file: File,
    index: OrderIndex,
}

impl OrderFile {
    /// Reads an order.
    ///
    /// # Errors
    /// [`StationError::OpenOrder`] and [`StationError::Order`].
    pub fn open(path: &Path) -> Result<Self, StationError> {
        let opened = File::open(path).and_then(|file| Ok((file.try_clone()?, file)));
        let (file, from_start) =
            opened.map_err(|source| StationError::OpenOrder { path: path.to_owned(), source })?;
        let index = OrderIndex::read(from_start)
            .map_err(|source| StationError::Order { path: path.to_owned(), source })?;
        Ok(Self { file, index })
    }

    /// Where its rows are.
    #[must_use]
    pub const fn index(&self) -> &OrderIndex {
        &self.index
    }

    /// The row of a unit.
    ///
    /// # Errors
    /// [`UnusableFile`] if the file is not any more what was read.
    pub fn find(&self, identity: &HardwareIdentity) -> Result<Ordered, UnusableFile> {
        self.index.find(identity, |from| From { file: &self.file, from })
    }
}

/// A file from some byte on, for any number of readers at the same time.
struct From<'f> {
    file: &'f File,
    from: u64,
}

impl Read for From<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(to, self.from)?;
        self.from += u64::try_from(read).unwrap_or_default();
        Ok(read)
    }
}

/// The units below a directory, one in each of its directories, by name.
///
/// # Errors
/// [`StationError::List`] and [`StationError::NoUnits`].
pub fn units_below(folder: &Path) -> Result<Vec<Unit>, StationError> {
    let failed = |source| StationError::List { path: folder.to_owned(), source };
    let mut units = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let root = entry.map_err(failed)?.path();
        if root.is_dir() {
            let name = root.file_name().unwrap_or_default().to_string_lossy().into_owned();
            units.push(Unit { name, root, labels: Vec::new() });
        }
    }
    units.sort_by(|one, other| one.root.cmp(&other.root));
    if units.is_empty() { Err(StationError::NoUnits(folder.to_owned())) } else { Ok(units) }
}

/// Looks at a unit: its hardware, its labels, and its row of the order.
pub async fn look(unit: &Unit, order: Option<&OrderFile>) -> Looked {
    const CAPTURE: &str = "Name a directory that `unbox-agent identity --capture` made.";
    let layout = Layout::new(&unit.root);
    let holds_machine = ["sys", "proc", "unbox"].iter().any(|name| unit.root.join(name).is_dir());
    if !holds_machine {
        return Looked::unusable(format!("{} holds no machine.", unit.root.display()), CAPTURE);
    }
    let mut labels = unit.labels.clone();
    if !layout.is_running_system() {
        match labels_in(&unit.root.join(LABELS_FILE)) {
            Ok(more) => labels.extend(more),
            Err(error) => {
                let problem = format!("{LABELS_FILE} beside the machine cannot be used: {error}.");
                return Looked::unusable(problem, "Scan its labels again.");
            }
        }
    }
    let mut looked = Looked::new(identity::io::survey(&layout).await, &labels);
    if let (Some(order), Some(identity)) = (order, looked.identity()) {
        looked.ordered(order.find(&identity));
    }
    looked
}

fn labels_in(path: &Path) -> Result<Vec<Vec<u8>>, StationError> {
    let limit = (MAX_LABELS * (MAX_SCAN_BYTES + 2)) as u64;
    match files::read(path, limit)? {
        Some(bytes) => read_labels(bytes.as_slice()),
        None => Ok(Vec::new()),
    }
}

/// Labels as a scanner types them: one a line, to an empty line or the end.
///
/// # Errors
/// [`StationError::Labels`] and [`StationError::TooManyLabels`].
pub fn read_labels(from: impl Read) -> Result<Vec<Vec<u8>>, StationError> {
    let mut from = BufReader::new(from);
    let mut labels = Vec::new();
    loop {
        let line = match read_line(&mut from).map_err(StationError::Labels)? {
            Some(line) if !line.is_empty() => line,
            _ => return Ok(labels),
        };
        if labels.len() >= MAX_LABELS || line.len() > MAX_SCAN_BYTES {
            return Err(StationError::TooManyLabels);
        }
        labels.push(line);
    }
}

/// The next line of a scanner; `None` at the end.
///
/// # Errors
/// [`StationError::Labels`].
pub fn next_scan(from: &mut impl BufRead) -> Result<Option<Vec<u8>>, StationError> {
    read_line(from).map_err(StationError::Labels)
}

/// One line without its end; `None` at the end. Of a line that is longer than any scan, the rest is
/// passed over: it is no scan of its own.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let read = from.take(MAX_SCAN_BYTES as u64 + 2).read_until(b'\n', &mut line)?;
    if !line.ends_with(b"\n") {
        from.skip_until(b'\n')?;
    }
    while line.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        line.pop();
    }
    Ok((read > 0).then_some(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_end_with_an_empty_line_and_have_a_limit() {
        let lines = read_labels(b"SPF0ABCDE\r\n1P20QE\n\nnext unit\n".as_slice()).unwrap();
        assert_eq!(lines, [b"SPF0ABCDE".to_vec(), b"1P20QE".to_vec()]);
        assert_eq!(read_labels(b"".as_slice()).unwrap(), Vec::<Vec<u8>>::new());
        let long = vec![b'A'; MAX_SCAN_BYTES + 1];
        assert!(matches!(read_labels(long.as_slice()), Err(StationError::TooManyLabels)));
        let mut scanner = &[&long[..], &long, b"\nB\n"].concat()[..];
        assert!(next_scan(&mut scanner).unwrap().unwrap().len() > MAX_SCAN_BYTES);
        assert_eq!(next_scan(&mut scanner).unwrap(), Some(b"B".to_vec()), "its rest is no scan");
        let many = "A\n".repeat(MAX_LABELS + 1);
        assert!(matches!(read_labels(many.as_bytes()), Err(StationError::TooManyLabels)));
    }

    #[test]
    fn units_are_the_directories_by_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(units_below(folder.path()), Err(StationError::NoUnits(_))));
        for name in ["b", "a"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        files::replace(&folder.path().join("orders.csv"), b"", files::PUBLIC_FILE).unwrap();
        let names: Vec<_> = units_below(folder.path()).unwrap().into_iter().map(|unit| unit.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(matches!(units_below(&folder.path().join("c")), Err(StationError::List { .. })));
    }

    #[tokio::test]
    async fn a_directory_without_a_machine_is_not_called_a_bad_machine() {
        let folder = tempfile::tempdir().unwrap();
        let unit = Unit { name: "a".to_owned(), root: folder.path().to_owned(), labels: Vec::new() };
        let tested = look(&unit, None).await.judged(unit.name.clone());
        assert_eq!(tested.judged.verdict, super::super::Verdict::CouldNotCheck);
    }
}
