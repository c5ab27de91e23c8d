//! The two clocks of the daemon.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use poolkeeper_core::time::{Instant as Mono, Now};

/// Tells the time since the daemon started, and the wall clock's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// What the clocks say.
    #[must_use]
    pub fn now(&self) -> Now {
        let mono = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        Now { mono: Mono::from_millis(mono), unix_ms: unix_ms() }
    }

    /// The moment at which [`Self::now`] reaches `mono`.
    #[must_use]
    pub fn at(&self, mono: Mono) -> Instant {
        let span = std::time::Duration::from_millis(mono.as_millis());
        self.started.checked_add(span).unwrap_or(self.started)
    }
}

/// Milliseconds since 1970, or 0 when the wall clock says earlier.
#[must_use]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Seconds since 1970, or 0 when the wall clock says earlier.
#[must_use]
pub fn unix_s() -> u64 {
    unix_ms() / 1000
}
