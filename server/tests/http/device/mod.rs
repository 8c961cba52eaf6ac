//! `/device`

mod v1;
