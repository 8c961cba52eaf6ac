//! DPCs, artifacts and their uploads, and configurations.

mod artifacts;
mod configurations;
mod dpcs;
mod quota;
mod uploads;

pub use artifacts::ArtifactUpload;
pub use configurations::ConfigurationChange;
pub(super) use configurations::check_configuration;
pub use uploads::{MAX_OPEN_UPLOADS, NewUpload, UPLOAD_KEPT, UploadPart, UploadProgress, UploadTurn};

use super::core::Core;
use std::sync::Arc;

/// DPCs, artifacts and configurations.
#[derive(Clone)]
pub struct Catalogue {
    core: Core,
    recent: Arc<configurations::Recent>,
    /// The turns of requests that work on uploads.
    turns: Arc<uploads::Turns>,
    /// The open streams of bytes, by customer.
    open_streams: Arc<quota::OpenStreams>,
}

impl Catalogue {
    pub(super) fn new(core: Core) -> Self {
        Self { core, recent: Arc::default(), turns: Arc::default(), open_streams: Arc::default() }
    }
}
