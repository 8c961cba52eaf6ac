//! Ways in which a device fails: power that goes, a disk that fills up, a disk that turns
//! read-only.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use unbox_agent::files::{Faults, Operation};

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Nothing, ever: counts the operations.
    None,
    /// The power goes: nothing happens from then on.
    PowerCut,
    /// The disk is full until something is removed.
    FullDisk,
    /// The disk turns read-only.
    ReadOnly,
}

/// Fails at one operation, counted from the first.
#[derive(Debug)]
pub(crate) struct FailAt {
    failure: Failure,
    at: usize,
    count: AtomicUsize,
    freed: AtomicBool,
}

impl FailAt {
    pub(crate) fn new(failure: Failure, at: usize) -> Arc<Self> {
        Arc::new(Self { failure, at, count: AtomicUsize::new(0), freed: AtomicBool::new(false) })
    }

    pub(crate) fn never() -> Arc<Self> {
        Self::new(Failure::None, 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Whether the failure has struck.
    pub(crate) fn struck(&self) -> bool {
        self.failure != Failure::None && self.count() > self.at
    }
}

impl Faults for FailAt {
    fn before(&self, operation: Operation) -> io::Result<()> {
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        if count < self.at {
            return Ok(());
        }
        match self.failure {
            Failure::None => Ok(()),
            Failure::PowerCut => Err(io::Error::other("the power is gone")),
            Failure::ReadOnly => Err(io::ErrorKind::ReadOnlyFilesystem.into()),
            Failure::FullDisk => {
                if operation == Operation::Remove {
                    self.freed.store(true, Ordering::SeqCst);
                }
                let needs_room = !matches!(
                    operation,
                    Operation::Remove | Operation::SyncDirectory | Operation::Attributes | Operation::Rename
                );
                if needs_room && !self.freed.load(Ordering::SeqCst) {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                Ok(())
            }
        }
    }
}
