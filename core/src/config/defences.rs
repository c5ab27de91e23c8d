//! Defences against known failures of peers, each of which tests can switch off.

use serde::{Deserialize, Serialize};

/// Defences against known failures of peers. TOML cannot set them: they are there for tests to switch off, and each is
/// shown to matter by a file in `simulator/incidents/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Defences {
    /// Keep the last target when all-zero statistics come beside `JobAssigned`.
    pub distrust_zero_statistics: bool,
    /// Delete remembered sessions before a new one is asked for.
    pub delete_remembered_sessions: bool,
    /// Close nothing when many groups vanish at once.
    pub brake_on_mass_disappearance: bool,
    /// Trust our own last write over an older describe.
    pub trust_own_writes: bool,
    /// Give a poll that does not return a deadline of its own.
    pub end_hung_polls: bool,
    /// Send nothing but polls for as long as GitHub asked us to wait.
    pub keep_waits: bool,
    /// Acquire jobs when they are offered.
    pub acquire_offers: bool,
    /// Acquire no more jobs than capacity leaves room for.
    pub acquire_within_capacity: bool,
    /// Acknowledge a message once its offers were dealt with.
    pub acknowledge_last: bool,
    /// List the jobs that wait to be acquired, as their offers may be gone.
    pub list_acquirable_jobs: bool,
    /// Take a session without a queue for none.
    pub refuse_sessions_without_queue: bool,
    /// Act on the statistics that a session comes with.
    pub act_on_first_statistics: bool,
    /// Read the statistics of a scale set again, from time to time and whenever they are in doubt.
    pub read_statistics_again: bool,
    /// Believe that a scale set is missing when GitHub said so repeatedly.
    pub prove_sets_missing: bool,
    /// Make a scale set again that GitHub deleted.
    pub make_missing_sets_again: bool,
    /// Write no capacity outside `MinSize` and `MaxSize`.
    pub keep_to_group_bounds: bool,
}

impl Default for Defences {
    fn default() -> Self {
        Self {
            distrust_zero_statistics: true,
            delete_remembered_sessions: true,
            brake_on_mass_disappearance: true,
            trust_own_writes: true,
            end_hung_polls: true,
            keep_waits: true,
            acquire_offers: true,
            acquire_within_capacity: true,
            acknowledge_last: true,
            list_acquirable_jobs: true,
            refuse_sessions_without_queue: true,
            act_on_first_statistics: true,
            read_statistics_again: true,
            prove_sets_missing: true,
            make_missing_sets_again: true,
            keep_to_group_bounds: true,
        }
    }
}

impl Defences {
    pub(crate) fn all_on(&self) -> bool {
        *self == Self::default()
    }
}
