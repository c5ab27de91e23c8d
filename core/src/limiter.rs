//! How many calls one API may get from us: in flight, and by the second. The rate is halved when the peer says that
//! it is too much, and raised slowly while it does not.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::time::{Duration, Instant};

const MILLI: u64 = 1000;
/// A call in the bucket's own unit: what a thousandth of a call a second earns in a millisecond, so that nothing is rounded.
const CALL: u64 = 1_000_000;
/// How long the rate stays before it is raised.
const RAISE_EVERY: Duration = Duration::from_secs(10);
/// Throttled replies to calls that were in flight together count once.
const HALVE_AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// The bounds of a [`Limiter`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// The most calls in flight.
    pub in_flight: u32,
    /// The most calls at once after a rest.
    pub burst: u32,
    /// Calls a second at first and at the most.
    pub rate: u32,
}

/// Calls to Auto Scaling, whose limit nobody knows: generous at first, and adaptive.
pub const AWS: Limits = Limits { in_flight: 32, burst: 400, rate: 50 };
/// Configs that are stored: up to 40 a second where the account's higher throughput is on, 3 where it is not.
pub const SSM: Limits = Limits { in_flight: 16, burst: 40, rate: 40 };
/// Configs that are deleted, which has a quota of its own that nobody can have raised.
///
/// See <https://github.com/github-aws-runners/terraform-aws-github-runner/issues/5243>.
pub const SSM_DELETES: Limits = Limits { in_flight: 5, burst: 5, rate: 5 };
/// Calls to GitHub, polls aside: bounded by what is in flight until GitHub objects.
pub const GITHUB: Limits = Limits { in_flight: 8, burst: 20_000, rate: 2000 };

/// A token bucket whose rate adapts, and a bound on calls in flight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limiter {
    limits: Limits,
    in_flight: u32,
    tokens_micro: u64,
    rate_milli: u64,
    filled_at: Instant,
    changed_at: Instant,
    blocked_until: Instant,
}

impl Limiter {
    /// A limiter with a full bucket.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_flight: 0,
            tokens_micro: u64::from(limits.burst) * CALL,
            rate_milli: u64::from(limits.rate) * MILLI,
            filled_at: Instant::default(),
            changed_at: Instant::default(),
            blocked_until: Instant::default(),
        }
    }

    /// Takes the place of one call.
    ///
    /// # Errors
    /// When there is none: the moment to ask again, or `None` when a call has to end first.
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Option<Instant>> {
        if self.in_flight >= self.limits.in_flight {
            return Err(None);
        }
        if now < self.blocked_until {
            return Err(Some(self.blocked_until));
        }
        self.fill(now);
        if self.tokens_micro < CALL {
            let missing = CALL - self.tokens_micro;
            return Err(Some(now + Duration::from_millis(missing.div_ceil(self.rate_milli))));
        }
        self.tokens_micro -= CALL;
        self.in_flight += 1;
        Ok(())
    }

    /// Whether another call may be in flight.
    pub(crate) const fn has_room(&self) -> bool {
        self.in_flight < self.limits.in_flight
    }

    /// A call ended.
    pub(crate) fn release(&mut self) {
        assert!(self.in_flight > 0, "a call ends once");
        self.in_flight -= 1;
    }

    /// The place was not needed after all.
    pub(crate) fn give_back(&mut self) {
        self.release();
        self.tokens_micro += CALL;
    }

    /// The peer says that it is too much, and perhaps for how long nothing is to be sent.
    pub(crate) fn throttled(&mut self, now: Instant, wait: Option<Duration>) {
        if now.since(self.changed_at) >= HALVE_AT_MOST_EVERY || self.changed_at == Instant::default() {
            self.fill(now);
            let floor = (u64::from(self.limits.rate) * MILLI / 256).max(1);
            self.rate_milli = (self.rate_milli / 2).max(floor);
            self.tokens_micro = 0;
            self.changed_at = now;
        }
        if let Some(wait) = wait {
            self.blocked_until = self.blocked_until.max(now + wait);
        }
    }

    /// Calls a minute that the rate allows.
    pub(crate) fn calls_per_min(&self) -> u32 {
        u32::try_from(self.rate_milli * 60 / MILLI).unwrap_or(u32::MAX)
    }

    #[cfg(test)]
    pub(crate) const fn in_flight(&self) -> u32 {
        self.in_flight
    }

    fn fill(&mut self, now: Instant) {
        let ceiling = u64::from(self.limits.rate) * MILLI;
        if self.rate_milli < ceiling && now.since(self.changed_at) >= RAISE_EVERY {
            self.rate_milli = (self.rate_milli + ceiling / 10).min(ceiling);
            self.changed_at = now;
        }
        let span = now.since(self.filled_at).as_millis().min(60 * MILLI);
        let earned = span.saturating_mul(self.rate_milli);
        self.tokens_micro = self.tokens_micro.saturating_add(earned).min(u64::from(self.limits.burst) * CALL);
        self.filled_at = now;
    }
}

/// The limiters that connections of one name share, each found by its place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SharedLimits(Vec<(String, Limiter)>);

/// A place in [`SharedLimits`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct LimitsId(usize);

impl SharedLimits {
    /// The place of a name's limiter, which is made when it is first asked for.
    pub(crate) fn of(&mut self, name: &str) -> LimitsId {
        let place = self.0.iter().position(|(known, _)| known == name).unwrap_or_else(|| {
            self.0.push((name.into(), Limiter::new(GITHUB)));
            self.0.len() - 1
        });
        LimitsId(place)
    }

    pub(crate) fn get(&self, LimitsId(place): LimitsId) -> Option<&Limiter> {
        self.0.get(place).map(|(_, limiter)| limiter)
    }

    pub(crate) fn get_mut(&mut self, LimitsId(place): LimitsId) -> Option<&mut Limiter> {
        self.0.get_mut(place).map(|(_, limiter)| limiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Limits = Limits { in_flight: 2, burst: 2, rate: 1 };

    fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn calls_in_flight_are_bounded() {
        let mut limiter = Limiter::new(SMALL);
        assert_eq!(limiter.take(at(0)), Ok(()));
        assert_eq!(limiter.take(at(0)), Ok(()));
        assert_eq!(limiter.take(at(9000)), Err(None));
        limiter.release();
        assert_eq!(limiter.take(at(9000)), Ok(()));
        assert_eq!(limiter.in_flight(), 2);
    }

    #[test]
    fn an_empty_bucket_says_when_to_come_back() {
        let mut limiter = Limiter::new(Limits { in_flight: 9, ..SMALL });
        assert_eq!((limiter.take(at(0)), limiter.take(at(0))), (Ok(()), Ok(())));
        assert_eq!(limiter.take(at(100)), Err(Some(at(1000))));
        assert_eq!(limiter.take(at(1000)), Ok(()));
    }

    #[test]
    fn throttling_halves_the_rate_once_a_second_and_time_raises_it() {
        let mut limiter = Limiter::new(Limits { in_flight: 9, burst: 10, rate: 8 });
        limiter.throttled(at(5000), None);
        limiter.throttled(at(5001), None);
        assert_eq!(limiter.calls_per_min(), 240);
        limiter.fill(at(16_000));
        assert_eq!(limiter.calls_per_min(), 288);
    }

    #[test]
    fn a_wait_the_peer_asked_for_is_kept() {
        let mut limiter = Limiter::new(SMALL);
        limiter.throttled(at(0), Some(Duration::from_secs(60)));
        assert_eq!(limiter.take(at(59_999)), Err(Some(at(60_000))));
        assert_eq!(limiter.take(at(60_000)), Ok(()));
    }
}
