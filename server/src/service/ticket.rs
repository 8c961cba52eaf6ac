//! The sealed ticket: everything that the server must remember between hello and prove.
