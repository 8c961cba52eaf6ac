//! Disk space for uploads: a share for each company, and a reserve that nobody gets.

use crate::{
    files::{self, FilesError},
    service::{Catalogue, ServiceError},
    store::Tx,
};
use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use unbox_common::ids::CompanyId;

/// The number of bytes written between two checks of the disk.
const LOOK_EVERY_BYTES: u64 = 4 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// The open streams of each customer.
pub(super) type OpenStreams = Arc<Mutex<HashMap<CompanyId, Streams>>>;

/// The open streams of one customer.
#[derive(Debug, Default)]
pub(super) struct Streams {
    open: usize,
    /// The bytes that no database row accounts for yet.
    arriving: u64,
    /// The bytes of finished streams that the database accounts for.
    settled: u64,
}

/// The disk space for one stream of bytes.
pub(super) struct DiskSpace {
    arriving: OpenStreams,
    customer: Option<CompanyId>,
    /// The bytes in the database when the stream began.
    stored: u64,
    /// The bytes that had been settled by then.
    settled: u64,
    quota: u64,
    reserve: u64,
    directory: PathBuf,
    free_bytes: fn(&Path) -> io::Result<u64>,
    taken: u64,
    unseen: u64,
}

impl Catalogue {
    /// Returns the disk space for bytes of a customer, or of the operator, who has no quota.
    pub(super) async fn disk_space(&self, customer: Option<CompanyId>) -> Result<DiskSpace, ServiceError> {
        let settings = &self.core.settings;
        let (quota, reserve) = (settings.company_bytes, settings.reserved_bytes);
        let directory = settings.artifact_directory.clone();
        // Opened before the database is read, so that bytes that others settle meanwhile may count twice,
        // but are never missed.
        let mut space = DiskSpace::open(Arc::clone(&self.open_streams), customer, quota, reserve, directory);
        if let Some(customer) = customer {
            space.stored = self.core.read(move |reader| reader.stored_bytes(customer)).await?;
        }
        Ok(space)
    }

    /// Checks that a customer may have this many bytes more, in the transaction that registers them,
    /// because other servers of the database accept bytes, too.
    pub(super) fn check_quota(
        &self,
        tx: &mut Tx,
        customer: CompanyId,
        more: u64,
    ) -> Result<(), ServiceError> {
        let quota = self.core.settings.company_bytes;
        let stored = tx.stored_bytes(customer)?;
        if stored.saturating_add(more) > quota { Err(quota_exceeded(quota)) } else { Ok(()) }
    }
}

impl DiskSpace {
    fn open(
        arriving: OpenStreams,
        customer: Option<CompanyId>,
        quota: u64,
        reserve: u64,
        directory: PathBuf,
    ) -> Self {
        let mut space = Self {
            arriving,
            customer,
            stored: 0,
            settled: 0,
            quota,
            reserve,
            directory,
            free_bytes: files::free_bytes,
            taken: 0,
            unseen: LOOK_EVERY_BYTES,
        };
        space.settled = space.change_streams(|streams| {
            streams.open += 1;
            streams.settled
        });
        space
    }

    /// Reserves space for bytes that are about to be written.
    pub(super) fn reserve(&mut self, bytes: u64) -> Result<(), ServiceError> {
        let (stored, settled, quota) = (self.stored, self.settled, self.quota);
        let has_space = self.customer.is_none()
            || self.change_streams(|streams| {
                let others = streams.arriving.saturating_add(streams.settled.saturating_sub(settled));
                let fits = stored.saturating_add(others).saturating_add(bytes) <= quota;
                streams.arriving += if fits { bytes } else { 0 };
                fits
            });
        if !has_space {
            return Err(quota_exceeded(quota));
        }
        self.taken += bytes;
        self.unseen += bytes;
        if self.unseen >= LOOK_EVERY_BYTES {
            self.unseen = 0;
            self.leave_reserve(bytes)?;
        }
        Ok(())
    }

    /// Ends a stream whose bytes are now in the database.
    pub(super) fn commit(self) {
        let taken = self.taken;
        self.change_streams(|streams| streams.settled += taken);
    }

    /// Checks that this many bytes would fit if they came now.
    pub(super) fn check(&self, bytes: u64) -> Result<(), ServiceError> {
        if self.customer.is_some() && self.stored.saturating_add(bytes) > self.quota {
            return Err(quota_exceeded(self.quota));
        }
        self.leave_reserve(bytes)
    }

    /// Changes the count of the customer's streams; the operator's are not counted.
    fn change_streams<T: Default>(&self, change: impl FnOnce(&mut Streams) -> T) -> T {
        let Some(customer) = self.customer else { return T::default() };
        change(self.all_streams().entry(customer).or_default())
    }

    fn all_streams(&self) -> MutexGuard<'_, HashMap<CompanyId, Streams>> {
        self.arriving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn leave_reserve(&self, bytes: u64) -> Result<(), ServiceError> {
        match (self.free_bytes)(&self.directory) {
            Ok(free) if free < self.reserve.saturating_add(bytes) => {
                let source = io::ErrorKind::StorageFull.into();
                Err(FilesError::Write { path: self.directory.clone(), source }.into())
            }
            // If the disk cannot be inspected, the write itself will report the fault.
            _ => Ok(()),
        }
    }
}

impl Drop for DiskSpace {
    fn drop(&mut self) {
        let taken = self.taken;
        let open = self.change_streams(|streams| {
            streams.arriving = streams.arriving.saturating_sub(taken);
            streams.open = streams.open.saturating_sub(1);
            streams.open
        });
        if let (Some(customer), 0) = (self.customer, open) {
            let mut all = self.all_streams();
            // Another stream may have been opened since.
            if all.get(&customer).is_some_and(|streams| streams.open == 0) {
                all.remove(&customer);
            }
        }
    }
}

fn quota_exceeded(quota: u64) -> ServiceError {
    ServiceError::QuotaExceeded(format!(
        "A customer may have {} MiB of artifacts and uploads. Delete some that nothing uses.",
        quota / MIB
    ))
}

#[cfg(test)]
mod tests {
    use super::{
        super::artifacts::{End, receive},
        *,
    };
    use std::sync::atomic::{AtomicU64, Ordering};

    fn disk_space(arriving: &OpenStreams, id: i64, quota: u64, reserve: u64) -> DiskSpace {
        let customer = Some(CompanyId::new(id).unwrap());
        with_stored(DiskSpace::open(Arc::clone(arriving), customer, quota, reserve, std::env::temp_dir()), 10)
    }

    fn with_stored(mut space: DiskSpace, stored: u64) -> DiskSpace {
        space.stored = stored;
        space
    }

    #[test]
    fn streams_of_one_company_share_its_quota() {
        let arriving = OpenStreams::default();
        let (mut one, mut two) = (disk_space(&arriving, 7, 100, 0), disk_space(&arriving, 7, 100, 0));
        assert!(one.reserve(60).is_ok() && two.reserve(30).is_ok());
        assert!(matches!(two.reserve(1), Err(ServiceError::QuotaExceeded(_))));
        assert!(disk_space(&arriving, 8, 100, 0).reserve(90).is_ok(), "another company has its own");
        drop(one);
        assert!(two.reserve(60).is_ok());
        drop(two);
        assert!(arriving.lock().unwrap().is_empty());
    }

    #[test]
    fn a_stream_that_ended_counts_for_those_that_began_before_and_once_for_others() {
        let arriving = OpenStreams::default();
        let (mut one, mut two) = (disk_space(&arriving, 7, 100, 0), disk_space(&arriving, 7, 100, 0));
        assert!(one.reserve(60).is_ok());
        one.commit();
        assert!(matches!(two.reserve(31), Err(ServiceError::QuotaExceeded(_))));
        assert!(two.reserve(20).is_ok());
        // It finds the bytes of the first in the database.
        let mut later = with_stored(disk_space(&arriving, 7, 100, 0), 70);
        assert!(later.reserve(10).is_ok());
        assert!(later.reserve(1).is_err() && two.reserve(1).is_err());
        drop((two, later));
        assert!(arriving.lock().unwrap().is_empty());
    }

    #[test]
    fn the_reserve_is_nobody_s() {
        let arriving = OpenStreams::default();
        let refused = disk_space(&arriving, 7, u64::MAX, u64::MAX / 2).reserve(1);
        assert!(matches!(refused, Err(ServiceError::NoRoom(_))), "{refused:?}");
    }

    #[test]
    fn a_stream_ends_at_the_next_look_when_the_disk_fills_up_meanwhile() {
        static FREE: AtomicU64 = AtomicU64::new(100 * MIB);
        let directory = tempfile::tempdir().unwrap();
        let mut space = disk_space(&OpenStreams::default(), 7, u64::MAX, MIB);
        // Somebody else fills it right after the first look.
        space.free_bytes = |_| Ok(FREE.swap(0, Ordering::SeqCst));
        let received =
            receive(&directory.path().join("part"), 0, u64::MAX, io::repeat(0), &mut space).unwrap();
        assert!(matches!(&received.end, End::NoRoom(why) if matches!(**why, ServiceError::NoRoom(_))));
        assert!((1..=LOOK_EVERY_BYTES).contains(&received.length), "{}", received.length);
    }
}
