//! What people may see of a machine: small copies, made on demand.

use alloc::string::String;

use serde::{Deserialize, Serialize};

use crate::github::message::Statistics;
use crate::notice::{PoolId, Verdict};
use crate::short_text::ShortText;
use crate::time::Instant;

/// One pool as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolView {
    /// The pool.
    pub id: PoolId,
    /// Its Auto Scaling group's name.
    pub group: ShortText,
    /// The group's ARN.
    pub arn: String,
    /// The connection, by its name in the config; empty for a group that was refused before one was chosen.
    pub connection: String,
    /// Whom it serves: an organization, `owner/repository` or `enterprises/name`.
    pub scope: String,
    /// The scale set's runner group.
    pub runner_group: String,
    /// The scale set's name.
    pub scale_set: String,
    /// The scale set's id, once known.
    pub scale_set_id: Option<u64>,
    /// How the group is treated.
    pub verdict: Verdict,
    /// Whether its tags pause it.
    pub paused: bool,
    /// The message session.
    pub session: SessionView,
    /// The newest counts from GitHub.
    pub statistics: Option<Statistics>,
    /// `MinSize`.
    pub group_min: u32,
    /// `MaxSize`.
    pub group_max: u32,
    /// The least capacity wanted.
    pub size_min: u32,
    /// The most capacity wanted.
    pub size_max: u32,
    /// Desired capacity, our own writes included.
    pub desired: u32,
    /// How many instances should be able to serve.
    pub target: u32,
    /// How many runners GitHub is told there can be.
    pub capacity: u32,
    /// Whether its instances get their runners from us.
    pub managed: bool,
    /// The group's warm pool, if there is one, as it was last listed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warm: Option<WarmView>,
    /// Whether no instance is launched for a while, as too many in a row never came up.
    pub launches_held: bool,
    /// Instances in service.
    pub in_service: u32,
    /// Instances pending.
    pub pending: u32,
    /// When the group was last described.
    pub described_at: Option<Instant>,
    /// When the last poll ended well.
    pub polled_at: Option<Instant>,
    /// Polls that ended well.
    pub polls: u64,
    /// Messages absorbed.
    pub messages: u64,
    /// The last failure, until something succeeds.
    pub error: Option<String>,
}

/// How many instances stand by in a warm pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmView {
    /// `Warmed:Stopped`.
    pub stopped: u32,
    /// `Warmed:Running`.
    pub running: u32,
    /// `Warmed:Hibernated`.
    pub hibernated: u32,
    /// On their way in or out.
    pub moving: u32,
}

/// The state of a pool's message session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionView {
    /// None is wanted, or the scale set is not ready.
    None,
    /// One is being opened.
    Opening,
    /// Another session lives on the set: we wait for its end.
    Standby,
    /// It is open and listens.
    Open,
    /// It is being closed.
    Closing,
}

impl SessionView {
    /// The name in metrics and on the status page.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Opening => "opening",
            Self::Standby => "standby",
            Self::Open => "open",
            Self::Closing => "closing",
        }
    }
}

/// The whole machine at a glance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Whether the first complete listing of groups is in.
    pub listed: bool,
    /// All groups found.
    pub pools: u32,
    /// Of those, refused.
    pub refused: u32,
    /// Of those, with an open session.
    pub open: u32,
    /// Of those, in standby.
    pub standby: u32,
    /// Whether the machine is stopping.
    pub stopping: bool,
}
