//! The records of factories.

mod records;

pub use records::FactoryFilter;
