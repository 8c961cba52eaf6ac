//! Properties: whatever the order of events, the invariants hold. A failure prints what replays it. Beside them,
//! the document of threats is held to the tests that it names.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod api;
mod claims_file;
mod matching;
mod threats;
