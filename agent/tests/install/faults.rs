//! Ways in which a device fails: power that goes, a disk that fills up, a disk that turns
//! read-only.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use unbox_agent::files::{Faults, Operation};

/// The failure at the chosen operation.
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

/// Fails at one operation, counted from the first, or does something else just before it.
pub(crate) struct FailAt {
    failure: Failure,
    at: usize,
    count: AtomicUsize,
    freed: AtomicBool,
    meanwhile: Option<Box<dyn Fn() + Send + Sync>>,
}

impl FailAt {
    pub(crate) fn new(failure: Failure, at: usize) -> Arc<Self> {
        let (count, freed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { failure, at, count, freed, meanwhile: None })
    }

    /// Nothing fails, but somebody else does this just before one operation.
    pub(crate) fn meanwhile(at: usize, act: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        let (count, freed) = (AtomicUsize::new(0), AtomicBool::new(false));
        Arc::new(Self { failure: Failure::None, at, count, freed, meanwhile: Some(Box::new(act)) })
    }

    pub(crate) fn never() -> Arc<Self> {
        Self::new(Failure::None, 0)
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }

    /// Returns true if the failure has struck.
    pub(crate) fn struck(&self) -> bool {
        self.failure != Failure::None && self.count() > self.at
    }
}

impl fmt::Debug for FailAt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FailAt({:?}, {} of {})", self.failure, self.count(), self.at)
    }
}

impl Faults for FailAt {
    fn check(&self, operation: Operation) -> io::Result<()> {
        let count = self.count.fetch_add(1, Ordering::SeqCst);
        if let Some(act) = self.meanwhile.as_ref().filter(|_| count == self.at) {
            act();
        }
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
