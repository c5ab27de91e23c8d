//! How long to wait before trying again.

use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::time::Duration;

/// Beyond this many doublings every cap is long reached.
const MOST_DOUBLINGS: u32 = 20;

/// Doubling waits with jitter, from `first` to `cap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, failures: 0 }
    }

    /// How often in a row it failed.
    pub(crate) const fn failures(self) -> u32 {
        self.failures
    }

    pub(crate) const fn reset(&mut self) {
        self.failures = 0;
    }

    /// One more failure: how long to wait. A wait that the peer asked for is never cut short.
    pub(crate) fn fail(&mut self, rng: &mut Rng, asked: Option<Duration>) -> Duration {
        let doubled = self.first.times(1 << self.failures.min(MOST_DOUBLINGS));
        self.failures = self.failures.saturating_add(1);
        rng.jitter(doubled.min(self.cap)).max(asked.unwrap_or(Duration::ZERO))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_honour_the_peer() {
        let mut rng = Rng::new(1);
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));
        for expected_s in [1, 2, 4, 8, 16, 30, 30] {
            let wait = backoff.fail(&mut rng, None).as_millis();
            assert!((expected_s * 500..=expected_s * 1000).contains(&wait), "{wait} ms for {expected_s} s");
        }
        assert_eq!(backoff.fail(&mut rng, Some(Duration::from_secs(90))), Duration::from_secs(90));
        backoff.reset();
        assert!(backoff.fail(&mut rng, None) <= Duration::from_secs(1));
    }
}
