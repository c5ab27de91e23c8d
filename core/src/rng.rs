//! The core's own random numbers: a seed that the recording holds, so that a replay draws the same ones.

use serde::{Deserialize, Serialize};

use crate::time::Duration;

/// A SplitMix64 generator: small, fast, and enough for jitter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rng(u64);

impl Rng {
    /// A generator that draws the same numbers for the same seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`, or 0 when `bound` is 0.
    pub const fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// A span between half of `span` and the whole of it.
    pub const fn jitter(&mut self, span: Duration) -> Duration {
        let half = span.as_millis() / 2;
        Duration::from_millis(span.as_millis() - half + self.below(half.saturating_add(1)))
    }
}
