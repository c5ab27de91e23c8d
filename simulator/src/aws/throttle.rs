//! The account's throttle.

use poolkeeper_core::time::Instant;

use super::Rate;

/// Tokens are counted in thousandths, so that a bucket that fills once a second fills by one each millisecond.
const WHOLE: u64 = 1000;

/// A token bucket in whole numbers.
#[derive(Clone, Debug)]
pub(crate) struct Bucket {
    rate: Rate,
    tokens: u64,
    filled: Instant,
}

impl Bucket {
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, tokens: u64::from(rate.burst) * WHOLE, filled: Instant::default() }
    }

    /// Takes one token, when there is one.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let gained = now.since(self.filled).as_millis().saturating_mul(u64::from(self.rate.per_second));
        self.tokens = self.tokens.saturating_add(gained).min(u64::from(self.rate.burst) * WHOLE);
        self.filled = self.filled.max(now);
        let enough = self.tokens >= WHOLE;
        if enough {
            self.tokens -= WHOLE;
        }
        enough
    }
}
