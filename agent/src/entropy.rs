//! The only source of randomness: nonces, keys and the jitter of pauses.

use crate::failure::{Diagnose, advice};
use ring::rand::{SecureRandom as _, SystemRandom};
use unbox_common::{
    bytes::{FixedBytes, Nonce},
    refusal::Disposition,
};

/// The kernel's random numbers.
#[derive(Debug, Clone)]
pub struct Entropy(SystemRandom);

/// The kernel gave no random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel gave no random numbers")]
pub struct NoEntropy;

impl Diagnose for NoEntropy {
    fn kind(&self) -> &'static str {
        "no_entropy"
    }

    fn disposition(&self) -> Disposition {
        Disposition::Retry
    }

    fn advice(&self) -> &'static str {
        advice::STATE
    }
}

impl Entropy {
    /// Uses the kernel's generator (getrandom(2)).
    #[must_use]
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that makes randomness")]
        let random = SystemRandom::new();
        Self(random)
    }

    /// Returns a fresh nonce.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn nonce(&self) -> Result<Nonce, NoEntropy> {
        self.bytes().map(FixedBytes)
    }

    /// Returns a uniformly distributed number between 0 and `u64::MAX`.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn number(&self) -> Result<u64, NoEntropy> {
        self.bytes().map(u64::from_ne_bytes)
    }

    fn bytes<const N: usize>(&self) -> Result<[u8; N], NoEntropy> {
        let mut bytes = [0; N];
        self.0.fill(&mut bytes).map_err(|_| NoEntropy)?;
        Ok(bytes)
    }

    /// Returns the generator itself, for keys and signatures.
    pub(crate) const fn ring(&self) -> &SystemRandom {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_nonces_are_equal() {
        let entropy = Entropy::system();
        assert_ne!(entropy.nonce(), entropy.nonce());
    }
}
