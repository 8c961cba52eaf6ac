//! Room on the disk for what companies send: a share for each of them, and a rest that nobody gets.

use super::{ServiceError, Services};
use crate::files::{self, FilesError};
use std::{
    collections::HashMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use unbox_common::ids::CompanyId;

/// How many bytes are written before the disk is looked at again.
const LOOK_EVERY_BYTES: u64 = 4 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// Bytes that arrive at this time, by customer: they stand in no database yet.
pub(super) type Arriving = Arc<Mutex<HashMap<CompanyId, u64>>>;

/// The room for one stream of bytes.
pub(super) struct Room {
    arriving: Arriving,
    customer: Option<CompanyId>,
    stored: u64,
    quota: u64,
    reserve: u64,
    directory: PathBuf,
    taken: u64,
    unseen: u64,
}

impl Services {
    /// Room for bytes of a customer, or of the operator, who has no quota.
    pub(super) async fn room(&self, customer: Option<CompanyId>) -> Result<Room, ServiceError> {
        let stored = match customer {
            Some(customer) => self.0.store.reader().await?.stored_bytes(customer).await?,
            None => 0,
        };
        let settings = self.settings();
        Ok(Room {
            arriving: Arc::clone(&self.0.arriving),
            customer,
            stored,
            quota: settings.company_bytes,
            reserve: settings.reserved_bytes,
            directory: settings.artifact_directory.clone(),
            taken: 0,
            unseen: LOOK_EVERY_BYTES,
        })
    }
}

impl Room {
    /// Takes room for bytes that are about to be written.
    pub(super) fn take(&mut self, bytes: u64) -> Result<(), ServiceError> {
        if let Some(customer) = self.customer {
            let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
            let all = arriving.entry(customer).or_default();
            if self.stored.saturating_add(*all).saturating_add(bytes) > self.quota {
                return Err(self.over_quota());
            }
            *all += bytes;
        }
        self.taken += bytes;
        self.unseen += bytes;
        if self.unseen >= LOOK_EVERY_BYTES {
            self.unseen = 0;
            self.leave_reserve(bytes)?;
        }
        Ok(())
    }

    /// Whether this many bytes would fit if they came now.
    pub(super) fn check(&self, bytes: u64) -> Result<(), ServiceError> {
        if self.customer.is_some() && self.stored.saturating_add(bytes) > self.quota {
            return Err(self.over_quota());
        }
        self.leave_reserve(bytes)
    }

    fn over_quota(&self) -> ServiceError {
        ServiceError::QuotaExceeded(format!(
            "A customer may have {} MiB of artifacts and uploads. Delete some that nothing uses.",
            self.quota / MIB
        ))
    }

    fn leave_reserve(&self, bytes: u64) -> Result<(), ServiceError> {
        match files::free_bytes(&self.directory) {
            Ok(free) if free < self.reserve.saturating_add(bytes) => {
                let source = io::ErrorKind::StorageFull.into();
                Err(FilesError::Write { path: self.directory.clone(), source }.into())
            }
            // A disk that cannot be looked at says so itself when it is written to.
            _ => Ok(()),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let Some(customer) = self.customer else { return };
        let mut arriving = self.arriving.lock().unwrap_or_else(PoisonError::into_inner);
        match arriving.get_mut(&customer) {
            Some(all) if *all > self.taken => *all -= self.taken,
            _ => drop(arriving.remove(&customer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(arriving: &Arriving, id: i64, quota: u64, reserve: u64) -> Room {
        Room {
            arriving: Arc::clone(arriving),
            customer: Some(CompanyId::new(id).unwrap()),
            stored: 10,
            quota,
            reserve,
            directory: std::env::temp_dir(),
            taken: 0,
            unseen: LOOK_EVERY_BYTES,
        }
    }

    #[test]
    fn streams_of_one_company_share_its_quota() {
        let arriving = Arriving::default();
        let (mut one, mut two) = (room(&arriving, 7, 100, 0), room(&arriving, 7, 100, 0));
        assert!(one.take(60).is_ok() && two.take(30).is_ok());
        assert!(matches!(two.take(1), Err(ServiceError::QuotaExceeded(_))));
        assert!(room(&arriving, 8, 100, 0).take(90).is_ok(), "another company has its own");
        drop(one);
        assert!(two.take(60).is_ok());
        drop(two);
        assert!(arriving.lock().unwrap().is_empty());
    }

    #[test]
    fn the_reserve_is_nobody_s() {
        let arriving = Arriving::default();
        let refused = room(&arriving, 7, u64::MAX, u64::MAX / 2).take(1);
        assert!(matches!(refused, Err(ServiceError::NoRoom(_))), "{refused:?}");
    }
}
