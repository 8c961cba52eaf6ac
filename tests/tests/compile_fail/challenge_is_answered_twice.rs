//! Each state of the exchange is used up by the message that it waits for.

use unbox_agent::handshake::AwaitChallenge;

fn twice(state: AwaitChallenge, answer: &[u8]) {
    let _ = state.handle(answer);
    let _ = state.handle(answer); //~ E0382
}

fn main() {}
