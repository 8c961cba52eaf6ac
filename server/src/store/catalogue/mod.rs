//! DPCs, artifacts and uploads, and configurations.

mod artifacts;
mod configurations;
mod dpcs;
mod uploads;

pub use artifacts::{ArtifactUse, ArtifactsOf};
pub use configurations::Use;
