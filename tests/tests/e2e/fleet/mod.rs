//! Many devices at once.

mod power_on;
mod server_killed;
