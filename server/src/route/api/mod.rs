//! The management API: what resellers, customers, EMMs and the operator ask over HTTP.

pub(super) mod quota;
pub(super) mod token;
