//! The management API: the Android Device Provisioning Partner API, and Unbox's own resources in
//! the same style.
//!
//! * [`wire`]: the forms that all of its requests and answers share; nothing in it knows a device;
//! * [`message`]: the requests and answers themselves, one file for each family.

pub mod message;
pub mod wire;
