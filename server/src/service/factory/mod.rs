//! The records of factories' test stations, and the keys that claims get from there.

mod records;
mod registration;

pub use registration::{Claimed, DeviceStanding, MAX_STATION_DEVICES, Registered, Registration};

use super::core::Core;

/// The records of factories.
#[derive(Clone)]
pub struct Factory {
    core: Core,
}

impl Factory {
    pub(super) fn new(core: Core) -> Self {
        Self { core }
    }
}
