//! The management API: the Android Device Provisioning Partner API, and Unbox's own resources in
//! the same style.
//!
//! * [`wire`]: the forms that all of its requests and answers share; nothing in it knows a device;
//! * [`message`]: the requests and answers themselves, one file for each family;
//! * `token.rs`: where programs sign in; `quota.rs`: how often each may ask.

pub mod message;
pub(super) mod quota;
pub(super) mod token;
pub mod wire;
