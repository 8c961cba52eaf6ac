//! Files of devices: the columns of resellers, customers and factories, and their rows.
//!
//! The server imports such files, and a test station checks units against one: both read them here.
//! To add a column: its name and meaning in `columns.rs`; its rule in `records.rs` if it identifies a
//! device, otherwise in the server's import.

mod columns;
mod records;

pub use columns::{
    Column, Header, IDENTIFIER_COLUMNS, InvalidHeader, NOTE_COLUMNS, PORTAL_COLUMNS, Purpose, known_columns,
    known_names, own_columns, plain_cell, plain_value,
};
pub use records::{BadCell, Cells, Records, UnusableFile};
