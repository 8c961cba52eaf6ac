//! Bytes that wait for a client which does not read yet: a little in memory, the rest in a nameless file,
//! so that neither the writer waits nor the memory grows.

use crate::files;
use axum::body::Bytes;
use std::{
    collections::VecDeque,
    io::{self, SeekFrom},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::{
    fs::File,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _},
    sync::{Mutex, Notify},
};

/// The most bytes that wait in memory.
const MAX_MEMORY_BYTES: usize = 512 * 1024;
/// The bytes that are read from the file at once.
const PART_BYTES: u64 = 64 * 1024;

/// The writing end of a spool.
pub(super) struct SpoolWriter(Arc<Shared>);

/// The reading end of a spool.
pub(super) struct SpoolReader(Arc<Shared>);

/// Makes a spool; its file, if it needs one, is on the disk of this directory.
pub(super) fn spool(directory: PathBuf) -> (SpoolWriter, SpoolReader) {
    let shared = Arc::new(Shared {
        directory,
        waiting: Mutex::default(),
        more: Notify::new(),
        ended: AtomicBool::new(false),
        unread: AtomicBool::new(false),
    });
    (SpoolWriter(Arc::clone(&shared)), SpoolReader(shared))
}

struct Shared {
    directory: PathBuf,
    waiting: Mutex<Waiting>,
    more: Notify,
    /// True if the writer is gone.
    ended: AtomicBool,
    /// True if the reader is gone.
    unread: AtomicBool,
}

/// Bytes that are written and not read yet: first those in memory, then those in the file.
#[derive(Default)]
struct Waiting {
    memory: VecDeque<Bytes>,
    memory_bytes: usize,
    file: Option<File>,
    read: u64,
    written: u64,
}

impl SpoolWriter {
    /// Appends bytes. It never waits for the reader.
    ///
    /// # Errors
    /// [`io::ErrorKind::BrokenPipe`] if the reader is gone, or the file could not be written.
    pub(super) async fn write(&self, bytes: Vec<u8>) -> io::Result<()> {
        if self.0.unread.load(Ordering::Acquire) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let mut waiting = self.0.waiting.lock().await;
        let in_memory = waiting.memory_bytes + bytes.len();
        if waiting.written == 0 && in_memory <= MAX_MEMORY_BYTES {
            waiting.memory.push_back(bytes.into());
            waiting.memory_bytes = in_memory;
        } else {
            if waiting.file.is_none() {
                let file = files::unnamed_file(&self.0.directory).map_err(io::Error::other)?;
                waiting.file = Some(File::from_std(file));
            }
            let at = waiting.written;
            if let Some(file) = &mut waiting.file {
                file.seek(SeekFrom::Start(at)).await?;
                file.write_all(&bytes).await?;
                file.flush().await?;
            }
            waiting.written += bytes.len() as u64;
        }
        drop(waiting);
        self.0.more.notify_one();
        Ok(())
    }
}

impl Drop for SpoolWriter {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::Release);
        self.0.more.notify_one();
    }
}

impl SpoolReader {
    /// Returns the next bytes; `None` once all were read and the writer is gone.
    pub(super) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            // Loaded first: anything written before the end is then found below.
            let ended = self.0.ended.load(Ordering::Acquire);
            if let Some(bytes) = self.0.waiting.lock().await.take().await? {
                return Ok(Some(bytes));
            }
            if ended {
                return Ok(None);
            }
            self.0.more.notified().await;
        }
    }
}

impl Drop for SpoolReader {
    fn drop(&mut self) {
        self.0.unread.store(true, Ordering::Release);
    }
}

impl Waiting {
    async fn take(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(bytes) = self.memory.pop_front() {
            self.memory_bytes -= bytes.len();
            return Ok(Some(bytes));
        }
        let (Some(file), true) = (&mut self.file, self.read < self.written) else {
            return Ok(None);
        };
        file.seek(SeekFrom::Start(self.read)).await?;
        let mut part = Vec::new();
        let read = file.take((self.written - self.read).min(PART_BYTES)).read_to_end(&mut part).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.read += read as u64;
        if self.read == self.written {
            // Everything was read: the file's space is released, and memory is used again.
            file.set_len(0).await?;
            (self.read, self.written) = (0, 0);
        }
        Ok(Some(part.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(number: usize) -> Vec<u8> {
        format!("{number:08}").into_bytes().repeat(4096)
    }

    #[tokio::test]
    async fn what_is_written_is_read_in_its_order_however_much_waits() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, mut reader) = spool(dir.path().to_owned());
        let mut expected = Vec::new();
        let mut found = Vec::new();
        for number in 0..200 {
            writer.write(part(number)).await.unwrap();
            expected.extend(part(number));
            // Now and then it catches up with a part, and half-way with everything.
            let reads = if number == 100 { usize::MAX } else { usize::from(number % 3 == 0) };
            for _ in 0..reads {
                found.extend(reader.next().await.unwrap().unwrap());
                if found.len() == expected.len() {
                    break;
                }
            }
        }
        assert!(reader.0.waiting.lock().await.memory_bytes <= MAX_MEMORY_BYTES);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "the file has no name");
        drop(writer);
        while let Some(bytes) = reader.next().await.unwrap() {
            found.extend(bytes);
        }
        assert!(found == expected);
    }

    #[tokio::test]
    async fn whoever_writes_learns_that_nobody_reads() {
        let dir = tempfile::tempdir().unwrap();
        let (writer, reader) = spool(dir.path().to_owned());
        writer.write(part(1)).await.unwrap();
        drop(reader);
        assert_eq!(writer.write(part(2)).await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
