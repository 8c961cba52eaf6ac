//! The full-screen form of the station: what a worker sees all shift, and how keys reach it.
//!
//! * [`keys`]: bytes of a scanner or a keyboard to keys;
//! * [`desk`]: what the screen knows, and what follows from a key, a result or the clock;
//! * [`draw`]: the desk as cells of a terminal, a pure function; [`letters`]: its large words; `rows`: where
//!   they go, and how they are made to fit;
//! * [`io`]: the terminal, the thread that tests, and the signals.

pub mod desk;
pub mod draw;
pub mod io;
pub mod keys;
pub mod letters;
mod rows;
