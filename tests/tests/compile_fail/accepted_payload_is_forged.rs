//! Nobody but the judge makes a payload that may be installed.

use unbox_common::payload::{AcceptedPayload, Payload};

fn forge(payload: Payload) -> AcceptedPayload {
    AcceptedPayload(payload) //~ E0423
}

fn main() {}
