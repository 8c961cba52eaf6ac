//! The forms of a JSON API in Google's style: pure functions between bytes and types.
//!
//! The way of a request: [`name::normalised_path`] decodes its path, [`query`] splits its parameters
//! ([`query::Standard::check_fields`] before anything is done), [`body`] decodes its message, [`page_token`]
//! and [`field_mask`] two of its fields. The way back: [`answer`] writes a message, from which [`partial`]
//! leaves out the parts that nobody asked for, or a [`status`]. Lists that may be long are read by [`items`]
//! and written by [`long_list`], an item at a time. [`batch`] does both for many requests at once. Anything
//! that cannot be read becomes a [`status::Status`] that names the field and the rule.
//!
//! To add a type that a field of a message can hold: its [`form::Form`], in a file of its own.

pub mod answer;
pub mod batch;
pub mod body;
pub mod content_range;
pub mod detail;
pub mod duration;
pub mod enums;
pub mod field_mask;
pub mod form;
pub mod int64;
pub mod items;
pub mod long_list;
pub mod message;
pub mod name;
pub mod page_token;
pub mod partial;
pub mod query;
pub mod status;
pub mod timestamp;
