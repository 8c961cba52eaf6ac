//! What factories registered.

mod records;

pub use records::FactoryFilter;
