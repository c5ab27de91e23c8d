//! What every machine may use during a step.

use serde::{Deserialize, Serialize};

use crate::github::request::RequestId;
use crate::limiter::Limiter;
use crate::rng::Rng;
use crate::time::Instant;

/// Counts requests up: an id is never used again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestIds(u64);

impl RequestIds {
    /// The next id.
    pub(crate) const fn next(&mut self) -> RequestId {
        self.0 += 1;
        RequestId(self.0)
    }
}

/// What a machine that makes no requests of its own may use during a step.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The monotonic clock.
    pub now: Instant,
    /// Random numbers, for jitter.
    pub rng: &'a mut Rng,
    /// Whether the parameter store is behind with deletes: no more are asked for.
    pub discards_wait: bool,
    /// Whether it is behind with configs: no more are made.
    pub configs_wait: bool,
}

/// What a machine that makes requests may use during a step: the time, random numbers, fresh ids, and the rate of the API it calls.
#[derive(Debug)]
pub struct Context<'a> {
    /// The monotonic clock.
    pub now: Instant,
    /// Random numbers, for jitter.
    pub rng: &'a mut Rng,
    /// Fresh request ids.
    pub ids: &'a mut RequestIds,
    /// What the API allows.
    pub limiter: &'a mut Limiter,
}
