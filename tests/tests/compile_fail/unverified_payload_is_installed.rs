//! A payload whose signature nobody has checked cannot be judged, and so never be installed.

use unbox_common::{
    payload::{AcceptedPayload, Expectation, Payload, judge},
    protocol::latest::Grant,
    trust::Signed,
};

fn accept(grant: Grant, expectation: &Expectation) -> AcceptedPayload {
    let payload: Signed<Payload> = grant.payload;
    judge(payload, expectation).unwrap() //~ E0308
}

fn main() {}
