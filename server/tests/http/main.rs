//! Requests to a real server over real TLS, laid out like the paths: status, exact body, and
//! that nothing else changed.

mod artifacts;
mod connections;
mod device;
mod health;
mod log;
mod support;
