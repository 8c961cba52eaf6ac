//! The server's randomness: the one place that draws it. Everything else gets it as an argument.

use ring::rand::{SecureRandom as _, SystemRandom};
use std::sync::atomic::{AtomicU64, Ordering};
use unbox_common::{
    bytes::{FixedBytes, Nonce},
    digest::Hasher,
    secret::Secret,
};

/// Bytes of randomness in a token; 160 bits cannot be guessed.
const TOKEN_BYTES: usize = 20;
/// Bytes of randomness in a credential of the API.
const CREDENTIAL_BYTES: usize = 32;

/// The error if the operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct EntropyError;

/// Draws random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `to` with unpredictable bytes.
    ///
    /// # Errors
    /// [`EntropyError`]; the content of `to` must not be used then.
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError>;
}

/// Draws 32 bytes that are used once.
pub fn nonce(entropy: &dyn Entropy) -> Result<Nonce, EntropyError> {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes)?;
    Ok(FixedBytes(bytes))
}

/// Draws a new token or reset ticket: `prefix`, an underscore, and 40 hexadecimal digits.
pub fn token_text(entropy: &dyn Entropy, prefix: &str) -> Result<Secret, EntropyError> {
    secret_text::<TOKEN_BYTES>(entropy, prefix)
}

/// Draws a new API key or access token: `prefix`, an underscore, and 64 hexadecimal digits.
pub fn credential_text(entropy: &dyn Entropy, prefix: &str) -> Result<Secret, EntropyError> {
    secret_text::<CREDENTIAL_BYTES>(entropy, prefix)
}

fn secret_text<const BYTES: usize>(entropy: &dyn Entropy, prefix: &str) -> Result<Secret, EntropyError> {
    let mut bytes = [0; BYTES];
    entropy.fill(&mut bytes)?;
    let digits = bytes.map(|byte| format!("{byte:02x}")).concat();
    Ok(Secret::new(format!("{prefix}_{digits}")))
}

/// Returns the generator for key agreement, which draws its one-time keys itself.
#[must_use]
pub fn ring_random() -> SystemRandom {
    #[expect(clippy::disallowed_methods, reason = "this is the entropy module")]
    SystemRandom::new()
}

/// The randomness of the operating system.
#[derive(Debug, Clone)]
pub struct SystemEntropy(SystemRandom);

impl SystemEntropy {
    /// Makes a handle; nothing is read yet.
    #[must_use]
    pub fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the entropy module")]
        Self(SystemRandom::new())
    }
}

impl Default for SystemEntropy {
    fn default() -> Self {
        Self::new()
    }
}

impl Entropy for SystemEntropy {
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        self.0.fill(to).map_err(|_| EntropyError)
    }
}

/// Bytes that are derived from a seed and are the same in every run, for tests.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    drawn: AtomicU64,
}

impl SeededEntropy {
    /// Starts the sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { seed, drawn: AtomicU64::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, to: &mut [u8]) -> Result<(), EntropyError> {
        for chunk in to.chunks_mut(32) {
            let mut block = Hasher::new();
            block.update(&self.seed.to_be_bytes());
            block.update(&self.drawn.fetch_add(1, Ordering::SeqCst).to_be_bytes());
            for (to, from) in chunk.iter_mut().zip(block.finish().0) {
                *to = from;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_differ_and_a_seed_repeats() {
        let (one, two) = (SeededEntropy::new(1), SeededEntropy::new(1));
        let first = token_text(&one, "ppt").unwrap();
        assert_eq!(first, token_text(&two, "ppt").unwrap());
        assert_ne!(first, token_text(&one, "ppt").unwrap());
        assert_eq!(first.expose().len(), "ppt_".len() + 40);
        assert_eq!(credential_text(&one, "uak").unwrap().expose().len(), "uak_".len() + 64);
        assert_ne!(nonce(&one).unwrap(), nonce(&SystemEntropy::new()).unwrap());
    }
}
