//! The files of a test station: captured machines, their labels, and the order.

use super::{
    check::SurveyedUnit,
    order::{OrderIndex, Ordered},
};
use nix::fcntl::OFlag;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use unbox_agent::{
    files::{self, FilesError},
    identity,
    layout::Layout,
};
use unbox_common::{
    claims_file::UnusableFile, identity::HardwareIdentity, label::MAX_SCAN_BYTES, models::Models,
};

/// The file of labels beside a captured machine, one scan a line.
pub const LABELS_FILE: &str = "labels.txt";
/// The most labels of one unit.
pub const MAX_LABELS: usize = 32;

/// The reason why a file of a test station is unusable.
#[derive(Debug, thiserror::Error)]
pub enum StationError {
    /// A directory of units could not be listed.
    #[error("the units below {} could not be listed", path.display())]
    List {
        /// The directory.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The directory has no unit in it.
    #[error("{} holds no directory of a unit", .0.display())]
    NoUnits(PathBuf),
    /// The order could not be opened.
    #[error("the order {} could not be opened", path.display())]
    OpenOrder {
        /// The order file.
        path: PathBuf,
        /// The operating system's error.
        #[source]
        source: io::Error,
    },
    /// The order is unusable.
    #[error("the order {} cannot be used", path.display())]
    Order {
        /// The order file.
        path: PathBuf,
        /// The fault in the file.
        #[source]
        source: UnusableFile,
    },
    /// The order was changed after it was read.
    #[error("the order {} was changed: start again", .0.display())]
    OrderChanged(PathBuf),
    /// There are too many labels, or one is too long.
    #[error("expected at most {MAX_LABELS} lines of labels, each of at most {MAX_SCAN_BYTES} bytes")]
    TooManyLabels,
    /// Labels could not be read.
    #[error("the labels could not be read")]
    Labels(#[source] io::Error),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FilesError),
}

/// The size of one read from an order, in bytes, for the single row of a unit.
const MAX_READ_BYTES: usize = 4096;

/// A machine to be tested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Its name for people.
    pub name: String,
    /// Its root directory; `/` for the machine that runs this.
    pub root: PathBuf,
    /// Its labels scanned so far.
    pub labels: Vec<Vec<u8>>,
}

/// The reference that units are checked against.
#[derive(Debug)]
pub struct Reference {
    /// The order.
    pub order: Option<OrderFile>,
    /// The models that can be registered by a certified device ID.
    pub models: Models,
}

impl Default for Reference {
    fn default() -> Self {
        Self { order: None, models: Models::built_in().clone() }
    }
}

/// An order file that was read once, and is read again row by row.
#[derive(Debug)]
pub struct OrderFile {
    path: PathBuf,
    file: File,
    /// Its length and modification time when it was read.
    state: (u64, i64, i64),
    index: OrderIndex,
}

impl OrderFile {
    /// Reads an order.
    ///
    /// # Errors
    /// [`StationError::OpenOrder`] and [`StationError::Order`].
    pub fn open(path: &Path) -> Result<Self, StationError> {
        let path = path.to_owned();
        // Rows are read again by their offset, so a FIFO is of no use; without O_NONBLOCK, it would block.
        let options = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
        let opened = options.and_then(|file| Ok((file.try_clone()?, state(&file)?, file)));
        let (from_start, state, file) =
            opened.map_err(|source| StationError::OpenOrder { path: path.clone(), source })?;
        match OrderIndex::read(from_start) {
            Ok(index) => Ok(Self { path, file, state, index }),
            Err(source) => Err(StationError::Order { path, source }),
        }
    }

    /// Returns the index of its rows.
    #[must_use]
    pub const fn index(&self) -> &OrderIndex {
        &self.index
    }

    /// Returns the row of a unit.
    ///
    /// # Errors
    /// [`StationError::OrderChanged`] if the file was changed since it was read, otherwise
    /// [`StationError::Order`].
    pub fn find(&self, identity: &HardwareIdentity) -> Result<Ordered, StationError> {
        if state(&self.file).ok() != Some(self.state) {
            return Err(StationError::OrderChanged(self.path.clone()));
        }
        let found = self.index.find(identity, |from| From { file: &self.file, from });
        found.map_err(|source| StationError::Order { path: self.path.clone(), source })
    }
}

fn state(file: &File) -> io::Result<(u64, i64, i64)> {
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok((found.len(), found.mtime(), found.mtime_nsec()))
}

/// A file from some byte on, for any number of readers at the same time.
struct From<'f> {
    file: &'f File,
    from: u64,
}

impl Read for From<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let most = to.len().min(MAX_READ_BYTES);
        let read = self.file.read_at(to.get_mut(..most).unwrap_or_default(), self.from)?;
        self.from += u64::try_from(read).unwrap_or_default();
        Ok(read)
    }
}

/// Returns the units below a directory, one per subdirectory, sorted by name.
///
/// # Errors
/// [`StationError::List`] and [`StationError::NoUnits`].
pub fn list_units(folder: &Path) -> Result<Vec<Unit>, StationError> {
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

/// Surveys a unit: its hardware, its labels, and its row of the order.
pub async fn survey_unit(unit: &Unit, reference: &Reference) -> SurveyedUnit {
    const CAPTURE: &str = "Name a directory that `unbox-agent identity --capture` made.";
    let layout = Layout::new(&unit.root);
    let holds_machine = ["sys", "proc", "unbox"].iter().any(|name| unit.root.join(name).is_dir());
    if !holds_machine {
        return SurveyedUnit::new_unusable(&format!("{} holds no machine.", unit.root.display()), CAPTURE);
    }
    let mut labels = unit.labels.clone();
    if !layout.is_running_system() {
        match read_labels_file(&unit.root.join(LABELS_FILE)) {
            Ok(more) => labels.extend(more),
            Err(error) => {
                let problem = format!("{LABELS_FILE} beside the machine cannot be used: {error}.");
                return SurveyedUnit::new_unusable(&problem, "Scan its labels again.");
            }
        }
    }
    let mut looked = SurveyedUnit::new(&identity::io::survey(&layout).await, &labels);
    if let (Some(order), Some(identity)) = (&reference.order, looked.identity()) {
        let answer = order.find(identity);
        looked.add_order(answer, &reference.models);
    }
    looked
}

fn read_labels_file(path: &Path) -> Result<Vec<Vec<u8>>, StationError> {
    let limit = (MAX_LABELS * (MAX_SCAN_BYTES + 2)) as u64;
    match files::read(path, limit)? {
        Some(bytes) => read_labels(bytes.as_slice()),
        None => Ok(Vec::new()),
    }
}

/// Reads labels from a scanner: one a line, up to an empty line or the end.
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

/// Reads the next line of a scanner; `None` at the end.
///
/// # Errors
/// [`StationError::Labels`].
pub fn read_scan(from: &mut impl BufRead) -> Result<Option<Vec<u8>>, StationError> {
    read_line(from).map_err(StationError::Labels)
}

/// Reads one line without its ending; `None` at the end. The excess of an overlong line is skipped, so
/// that it does not count as another scan.
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
        assert!(read_scan(&mut scanner).unwrap().unwrap().len() > MAX_SCAN_BYTES);
        assert_eq!(read_scan(&mut scanner).unwrap(), Some(b"B".to_vec()), "its rest is no scan");
        let many = "A\n".repeat(MAX_LABELS + 1);
        assert!(matches!(read_labels(many.as_bytes()), Err(StationError::TooManyLabels)));
    }

    #[test]
    fn nobody_waits_at_a_fifo_for_an_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.csv");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for path in [path.as_path(), folder.path()] {
            assert!(matches!(OrderFile::open(path), Err(StationError::OpenOrder { .. })), "{path:?}");
        }
    }

    #[test]
    fn an_order_that_somebody_changed_finds_no_unit_wrongly() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("orders.csv");
        let file = "serial_number,manufacturer,model\nS1,Acme,G3\nS2,Acme,G3\n";
        files::replace(&path, file.as_bytes(), files::PUBLIC_FILE).unwrap();
        let order = OrderFile::open(&path).unwrap();
        let unit = crate::fixture::gateway("S2").identity().unwrap();
        assert!(matches!(order.find(&unit), Ok(Ordered::Row(row)) if row.line == 3));
        OpenOptions::new().write(true).open(&path).unwrap().set_len(40).unwrap();
        assert!(matches!(order.find(&unit), Err(StationError::OrderChanged(_))));
        // A new file in its place is another order, which a new run would use.
        let order = OrderFile::open(&path).unwrap();
        files::replace(&path, b"serial_number\n", files::PUBLIC_FILE).unwrap();
        assert!(order.find(&unit).is_ok());
    }

    #[test]
    fn units_are_the_directories_by_name() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(list_units(folder.path()), Err(StationError::NoUnits(_))));
        for name in ["b", "a"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        files::replace(&folder.path().join("orders.csv"), b"", files::PUBLIC_FILE).unwrap();
        let names: Vec<_> = list_units(folder.path()).unwrap().into_iter().map(|unit| unit.name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(matches!(list_units(&folder.path().join("c")), Err(StationError::List { .. })));
    }

    #[tokio::test]
    async fn a_directory_without_a_machine_is_not_called_a_bad_machine() {
        let folder = tempfile::tempdir().unwrap();
        let unit = Unit { name: "a".to_owned(), root: folder.path().to_owned(), labels: Vec::new() };
        let tested = survey_unit(&unit, &Reference::default()).await.judge(unit.name.clone());
        assert_eq!(tested.judged.verdict, crate::Verdict::CouldNotCheck);
    }
}
