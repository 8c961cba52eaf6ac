//! A secret has no text form that a message could hold.

use unbox_common::secret::Secret;

fn message(token: &Secret) -> String {
    format!("the token {token} was refused") //~ E0277
}

fn main() {}
