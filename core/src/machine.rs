//! The machine: routes events to pools and connections.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::event::{Effect, Event};
use crate::notice::PoolId;
use crate::time::{Instant, Now};
use crate::view::{PoolView, Summary};

/// The state machine of a whole daemon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    config: Config,
}

/// Which timer wants the next [`Event::Tick`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// The listing of groups.
    Listing,
}

impl Machine {
    /// A machine that has observed nothing yet.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        let _ = seed;
        Self { config }
    }

    /// Takes one event and appends its effects, in the order in which they are to be carried out.
    pub fn handle(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        let _ = (now, event, effects);
    }

    /// When the next [`Event::Tick`] is wanted, and which timer wants it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, TimerKind)> {
        None
    }

    /// One pool.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> Option<PoolView> {
        let _ = id;
        None
    }

    /// Up to `n` pools, in order of their ids, after the given one.
    #[must_use]
    pub fn pools(&self, after: Option<PoolId>, n: usize) -> Vec<PoolView> {
        let _ = (after, n);
        Vec::new()
    }

    /// The whole at a glance.
    #[must_use]
    pub fn summary(&self) -> Summary {
        Summary::default()
    }

    /// The config in force.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }
}
