//! Stage 6, `report`: reports the outcome to the server, and asks for news.
//!
//! In: the outcome of an installation. Out: a server that knows it, despite any number of power cuts:
//! reports are in a durable [`Queue`], numbered within their generation, and stay there until the server
//! has acknowledged them. Then, when it is due, a check-in: it may bring a newer payload, a newer
//! certificate, or the request to enroll again.
//!
//! Everything here is over mutual TLS, with the certificate of [`Enrolled`].

mod check_in;
mod enrolled;
pub mod io;
mod outcome;
mod queue;

pub use check_in::{NextAction, Standing, check_in, next_action};
pub use enrolled::Enrolled;
pub use outcome::{Noted, OutcomeFile};
pub use queue::Queue;
