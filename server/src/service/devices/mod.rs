//! Devices: their handshakes, what managed ones say and get, approvals, and pre-provisioning tokens.

mod device;
mod handshake;
mod managed_devices;
mod tokens;

pub use device::{DeviceEvent, DeviceView, EventKind};
pub use handshake::{Guess, Heard, HelloRequest, Origin, Proof};
pub use managed_devices::DeviceIdentityCert;
pub use tokens::NewToken;

use super::{Catalogue, core::Core};

/// Devices.
#[derive(Clone)]
pub struct Devices {
    core: Core,
    catalogue: Catalogue,
}

impl Devices {
    pub(super) fn new(core: Core, catalogue: Catalogue) -> Self {
        Self { core, catalogue }
    }
}
