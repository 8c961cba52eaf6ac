//! What an envelope holds cannot be read before it is verified.

use unbox_common::{payload::Payload, trust::Signed};

fn version(signed: &Signed<Payload>) -> u64 {
    signed.version //~ E0609
}

fn main() {}
