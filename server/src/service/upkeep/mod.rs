//! The server itself: its readiness, what it forgets, and what its doctor finds.

mod doctor;
mod readiness;
mod retention;

pub use doctor::{Finding, Severity};

use super::{Catalogue, core::Core};
use std::sync::Arc;

/// The server itself.
#[derive(Clone)]
pub struct Upkeep {
    core: Core,
    catalogue: Catalogue,
    readiness: Arc<readiness::Readiness>,
}

impl Upkeep {
    pub(super) fn new(core: Core, catalogue: Catalogue) -> Self {
        Self { core, catalogue, readiness: Arc::default() }
    }
}
