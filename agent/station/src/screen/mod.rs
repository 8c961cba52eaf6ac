//! The full-screen form of the station, for its worker and scanner.
//!
//! * [`keys`]: decodes keys from the bytes of a scanner or a keyboard;
//! * [`state`]: the state of the screen, and its reaction to keys, results and the clock;
//! * [`draw`]: the state as cells of a terminal, a pure function; [`letters`]: its large words; `rows`:
//!   layout and fitting of text;
//! * [`io`]: the terminal, the thread that tests, and the signals.

pub mod draw;
pub mod io;
pub mod keys;
pub mod letters;
mod rows;
pub mod state;
