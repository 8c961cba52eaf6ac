//! Reproducible randomness for the harness: the printed seed replays the test.

use std::env;

/// A small generator (xorshift64*); good enough to be nasty, and the same everywhere.
#[derive(Debug, Clone)]
pub struct Seed(u64);

impl Seed {
    /// Reads the seed from `UNBOX_SEED`, or takes `default`, and prints it, so that a failure can be
    /// replayed.
    #[must_use]
    pub fn from_environment(default: u64) -> Self {
        let seed = env::var("UNBOX_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(default);
        eprintln!("seed {seed} (replay with UNBOX_SEED={seed})");
        Self::new(seed)
    }

    /// Makes a generator that starts at `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        // A zero would stay zero.
        Self((seed ^ 0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Draws a number below `bound`; zero if `bound` is zero.
    pub fn draw_below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound.max(1)
    }
    /// Draws this many bytes, each as likely as any other.
    pub fn bytes(&mut self, length: u64) -> Vec<u8> {
        (0..length).map(|_| u8::try_from(self.draw_below(256)).unwrap_or_default()).collect()
    }
}
