//! Stage 6, `report`: telling the server what happened, and asking whether there is news.
//!
//! In: how an installation ended. Out: a server that knows it, however often the power was cut
//! in between: what is to be said lies in a durable [`Queue`], numbered within its generation,
//! and stays there until the server has acknowledged it. Then, when it is due, a check-in: it may
//! bring a newer payload, a newer certificate, or the request to enroll again.
//!
//! Everything here is over mutual TLS, with the certificate of [`Enrolled`].

mod check_in;
mod enrolled;
pub mod io;
mod outcome;
mod queue;

pub use check_in::{Standing, WhatNext, check_in, what_next};
pub use enrolled::Enrolled;
pub use outcome::{Noted, OutcomeFile};
pub use queue::Queue;
