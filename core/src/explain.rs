//! What a pool's capacity hangs on: for people who ask why it is what it is.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::github::message::Statistics;
use crate::notice::PoolId;
use crate::scaler::{Counts, Wanted};
use crate::short_text::ShortText;
use crate::time::Instant;

/// All that a capacity decision of one pool looks at, as it is after a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grounds {
    /// The pool.
    pub pool: PoolId,
    /// Its Auto Scaling group's name.
    pub group: ShortText,
    /// The scale set's name; empty for a group that is refused.
    pub scale_set: String,
    /// Whether the message session is open: nothing is written while it is not.
    pub listening: bool,
    /// The newest counts from GitHub.
    pub statistics: Option<Statistics>,
    /// Until when an earlier count of jobs is held, because the newest counts are not believed.
    pub held_until: Option<Instant>,
    /// What GitHub and the operator want.
    pub wanted: Wanted,
    /// What the last describe showed.
    pub counts: Counts,
    /// `MinSize`.
    pub group_min: u32,
    /// `MaxSize`.
    pub group_max: u32,
    /// Desired capacity, our own writes included.
    pub desired: u32,
    /// How many instances should be able to serve.
    pub target: u32,
    /// Where OUT goes to and LOWER stops: the target and what cannot serve, within the group's bounds.
    pub goal: u32,
    /// When the describe was asked for that showed these counts.
    pub described_at: Option<Instant>,
    /// Since when desired capacity is above the goal.
    pub surplus_since: Option<Instant>,
    /// The last failure, until something succeeds.
    pub error: Option<String>,
}
