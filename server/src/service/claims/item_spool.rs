//! The items of an operation that is not yet created: a few in memory, many in an unnamed file.

use crate::{
    domain::claims::operation::Item,
    files::{self, FilesError, PUBLIC_DIRECTORY},
    service::{Claims, ServiceError},
    store::QueuedItem,
};
use std::{
    io::{self, BufRead as _, BufReader, Seek as _, Write as _},
    path::PathBuf,
};
use tempfile::SpooledTempFile;

/// The maximum size in memory, in bytes.
const MAX_MEMORY_BYTES: usize = 256 * 1024;

/// Items in order, two lines each: the request and the work to do.
pub struct ItemSpool {
    lines: BufReader<SpooledTempFile>,
    directory: PathBuf,
    items: u32,
    bytes: u64,
}

impl Claims {
    /// Creates a spool on the disk of the artifacts.
    pub fn item_spool(&self) -> Result<ItemSpool, ServiceError> {
        let directory = self.core.settings.artifact_directory.clone();
        files::make_directory(&directory, PUBLIC_DIRECTORY)?;
        Ok(ItemSpool::new(directory))
    }
}

impl ItemSpool {
    fn new(directory: PathBuf) -> Self {
        let lines = BufReader::new(files::spooled_file(&directory, MAX_MEMORY_BYTES));
        Self { lines, directory, items: 0, bytes: 0 }
    }

    /// Appends an item.
    ///
    /// # Errors
    /// [`ServiceError::NoRoom`] if the disk is full.
    pub fn push(&mut self, item: &Item) -> Result<(), ServiceError> {
        let work = serde_json::to_string(&item.work).map_err(|error| self.write_error(error.into()))?;
        let lines = format!("{}\n{work}\n", item.echo);
        let written = self.lines.get_mut().write_all(lines.as_bytes());
        written.map_err(|error| self.write_error(error))?;
        self.items += 1;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    /// Returns the number of items.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.items
    }

    /// Returns true if it is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items == 0
    }

    /// Returns the number of bytes of all items.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Goes back to the first item.
    pub(super) fn rewind(&mut self) -> Result<(), ServiceError> {
        self.lines.rewind().map_err(|error| self.write_error(error))
    }

    /// Returns the next items, at most this many and not many more than this many bytes; an empty list at
    /// the end.
    pub(super) fn next(&mut self, items: usize, bytes: usize) -> Result<Vec<QueuedItem>, ServiceError> {
        let (mut part, mut size) = (Vec::new(), 0);
        while part.len() < items && size < bytes {
            let (Some(echo), Some(work)) = (self.read_line()?, self.read_line()?) else { break };
            size += echo.len() + work.len();
            part.push(QueuedItem { echo, work });
        }
        Ok(part)
    }

    fn read_line(&mut self) -> Result<Option<String>, ServiceError> {
        let mut line = String::new();
        self.lines.read_line(&mut line).map_err(|error| self.write_error(error))?;
        Ok(line.strip_suffix('\n').map(str::to_owned))
    }

    fn write_error(&self, source: io::Error) -> ServiceError {
        FilesError::Write { path: self.directory.clone(), source }.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::claims::operation::{ItemResult, ItemStatus, Work};

    #[test]
    fn items_come_back_in_order_as_often_as_asked_and_leave_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = ItemSpool::new(directory.path().to_owned());
        let work = |at| Work::Refused(ItemResult::failure(ItemStatus::OtherError, "NO", format!("{at}\n")));
        for at in 0..6000_u32 {
            spool.push(&Item { echo: format!("{{\"at\":{at}}}"), work: work(at) }).unwrap();
        }
        assert!(spool.bytes() > MAX_MEMORY_BYTES as u64, "some of it is in a file");
        for _ in 0..2 {
            spool.rewind().unwrap();
            let mut read = 0;
            loop {
                let part = spool.next(500, 8192).unwrap();
                if part.is_empty() {
                    break;
                }
                for item in part {
                    assert_eq!(item.echo, format!("{{\"at\":{read}}}"));
                    assert_eq!(serde_json::from_str::<Work>(&item.work).unwrap(), work(read));
                    read += 1;
                }
            }
            assert_eq!(read, spool.len());
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
