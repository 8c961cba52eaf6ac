//! A device is taken in by the exchange, and by nothing else.

use unbox_agent::handshake::{AwaitGrant, Granted};
use unbox_common::protocol::latest::Grant;

fn forge(grant: Grant) -> Granted {
    Granted { grant } //~ error
}

fn skip_the_proof() -> AwaitGrant {
    AwaitGrant {} //~ error
}

fn main() {}
