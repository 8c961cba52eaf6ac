//! End to end: the real server and the real agent, or a server that a test holds in its hand.

#![expect(clippy::panic_in_result_fn, reason = "a test asserts, and passes errors on with `?`")]

mod faults;
mod fleet;
mod hostile;
mod life;
mod refuse;
mod tpm;
