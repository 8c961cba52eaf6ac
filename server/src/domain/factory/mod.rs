//! The records of factories.

pub mod record;
