//! What factories registered.

pub mod record;
