//! The one place that makes randomness: nonces, keys and the jitter of pauses.

use ring::rand::{SecureRandom as _, SystemRandom};
use unbox_common::bytes::{FixedBytes, Nonce};

/// The kernel's random numbers.
#[derive(Debug, Clone)]
pub struct Entropy(SystemRandom);

/// The kernel has no random numbers to give.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the kernel gave no random numbers")]
pub struct NoEntropy;

impl Entropy {
    /// The kernel's generator (getrandom(2)).
    #[must_use]
    pub fn system() -> Self {
        #[expect(clippy::disallowed_methods, reason = "this is the one place that makes randomness")]
        let random = SystemRandom::new();
        Self(random)
    }

    /// A nonce that was never used before.
    ///
    /// # Errors
    /// [`NoEntropy`].
    pub fn nonce(&self) -> Result<Nonce, NoEntropy> {
        self.bytes().map(FixedBytes)
    }

    /// A number between 0 and `u64::MAX`, each as likely as any other.
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

    /// For keys and signatures, which take the generator itself.
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
