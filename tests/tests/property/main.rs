//! Properties: whatever the order of events, the invariants hold. A failure prints what replays it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod api;
mod claims_file;
mod matching;
