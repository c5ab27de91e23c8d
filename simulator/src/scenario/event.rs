//! What happens in a scenario, and when.

use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Duration;
use serde::{Deserialize, Serialize};

use super::PoolPlan;
use crate::github::SetKey;
use crate::workload::WorkloadConfig;
use crate::world::Weather;

/// Something that happens at a moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timed {
    /// When, in milliseconds from the start.
    pub at_ms: u64,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// Something that happens. What names a group or a daemon that is not there does nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Jobs come for the scale set of a group.
    Jobs(Demand),
    /// Calls fail by chance.
    Weather {
        /// For how long.
        for_ms: u64,
        /// Which calls, how many of them, and how.
        #[serde(flatten)]
        weather: Weather,
    },
    /// GitHub evicts the session of a group's scale set.
    EndSession {
        /// The group.
        group: ShortText,
    },
    /// Every token of GitHub ends early.
    ExpireTokens {},
    /// GitHub deletes the scale set of a group.
    RetireSet {
        /// The group.
        group: ShortText,
    },
    /// Messages and sessions carry the statistics of the one before.
    LaggingStatistics {
        /// For how long.
        for_ms: u64,
    },
    /// Unacknowledged messages are delivered again although they were named as seen.
    Redeliver {
        /// For how long.
        for_ms: u64,
    },
    /// A human sets a group's desired capacity.
    SetDesired {
        /// The group.
        group: ShortText,
        /// To this, within the bounds.
        to: u32,
    },
    /// A human sets a group's bounds.
    SetBounds {
        /// The group.
        group: ShortText,
        /// `MinSize`.
        min: u32,
        /// `MaxSize`.
        max: u32,
    },
    /// A human changes a group's protection from scale-in.
    SetProtection {
        /// The group.
        group: ShortText,
        /// Whether new instances are protected.
        new: bool,
        /// Whether those in service are.
        all: bool,
    },
    /// A human sets a tag of a group.
    SetTag {
        /// The group.
        group: ShortText,
        /// The key.
        key: ShortText,
        /// The value; empty: the tag is removed.
        value: ShortText,
    },
    /// A human suspends a process of a group.
    Suspend {
        /// The group.
        group: ShortText,
        /// The process, for example `Launch`.
        process: ShortText,
        /// For how long.
        for_ms: u64,
    },
    /// A group is made.
    AddGroup(PoolPlan),
    /// A group is deleted with all its instances.
    DeleteGroup {
        /// The group.
        group: ShortText,
    },
    /// Describes leave groups out that exist.
    Hide {
        /// The groups; none: all of them.
        #[serde(default)]
        groups: Vec<ShortText>,
        /// For how long.
        for_ms: u64,
    },
    /// AWS has room for no more than this many instances of a group.
    Room {
        /// The group.
        group: ShortText,
        /// So many.
        instances: u32,
        /// For how long.
        for_ms: u64,
    },
    /// AWS allows fewer calls.
    Throttle {
        /// The most calls at once.
        burst: u32,
        /// Calls a second in the long run.
        per_second: u32,
        /// For how long.
        for_ms: u64,
    },
    /// AWS takes Spot instances back.
    Reclaim {
        /// The group.
        group: ShortText,
        /// How many.
        instances: u32,
    },
    /// Instances die on their own: a health check finds and replaces them.
    Fail {
        /// The group.
        group: ShortText,
        /// How many.
        instances: u32,
    },
    /// Instances fail while they boot.
    FailBoots {
        /// So many of a hundred.
        percent: u64,
        /// For how long.
        for_ms: u64,
    },
    /// A daemon is killed, and started again later.
    Crash {
        /// Which daemon: 0 is the first.
        #[serde(default)]
        daemon: usize,
        /// How long it is down.
        down_ms: u64,
        /// Whether its state directory is lost.
        #[serde(default)]
        forget: bool,
        /// It dies in its next step, when so many of its effects have been carried out.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        in_step: Option<usize>,
    },
    /// A daemon is told to stop, and started again later.
    Stop {
        /// Which daemon: 0 is the first.
        #[serde(default)]
        daemon: usize,
        /// How long it is down at least.
        down_ms: u64,
    },
    /// The state directory cannot be written.
    Unwritable {
        /// For how long.
        for_ms: u64,
    },
    /// Every connection of a daemon breaks.
    Disconnect {
        /// Which daemon: 0 is the first.
        #[serde(default)]
        daemon: usize,
    },
    /// A second daemon runs by mistake, on a machine of its own.
    SecondDaemon {
        /// For how long; beyond the scenario's span it stays to the end.
        for_ms: u64,
    },
    /// The wall clock of the daemons' machines jumps.
    JumpClock {
        /// By so much.
        by_ms: i64,
    },
    /// The operator reloads the config with another grace.
    Reload {
        /// The new `idle_grace`.
        idle_grace_ms: u64,
    },
}

/// Jobs for one scale set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Demand {
    /// The group whose scale set they ask for.
    pub group: ShortText,
    /// How many.
    pub jobs: u64,
    /// The mean time between two; each gap is between none and twice that.
    #[serde(default)]
    pub gap_ms: u64,
    /// The shortest and the longest a job runs.
    pub runs_ms: (u64, u64),
    /// How many of a hundred are called off.
    #[serde(default)]
    pub canceled_percent: u64,
}

impl Demand {
    /// The demand on a scale set.
    #[must_use]
    pub fn workload(&self, key: SetKey) -> WorkloadConfig {
        let (shortest, longest) = self.runs_ms;
        WorkloadConfig {
            sets: vec![key],
            jobs: Some(self.jobs),
            gap: Duration::from_millis(self.gap_ms),
            duration: (Duration::from_millis(shortest), Duration::from_millis(longest.max(shortest))),
            canceled_percent: self.canceled_percent,
            ..WorkloadConfig::default()
        }
    }
}

impl What {
    /// How long it lasts, when it ends by itself.
    #[must_use]
    pub const fn lasts_ms(&self) -> Option<u64> {
        match self {
            Self::LaggingStatistics { for_ms }
            | Self::Redeliver { for_ms }
            | Self::Suspend { for_ms, .. }
            | Self::Hide { for_ms, .. }
            | Self::Room { for_ms, .. }
            | Self::Throttle { for_ms, .. }
            | Self::FailBoots { for_ms, .. }
            | Self::Unwritable { for_ms }
            | Self::SecondDaemon { for_ms } => Some(*for_ms),
            Self::Crash { down_ms, .. } | Self::Stop { down_ms, .. } => Some(*down_ms),
            Self::Jobs(_)
            | Self::Weather { .. }
            | Self::EndSession { .. }
            | Self::ExpireTokens {}
            | Self::RetireSet { .. }
            | Self::SetDesired { .. }
            | Self::SetBounds { .. }
            | Self::SetProtection { .. }
            | Self::SetTag { .. }
            | Self::AddGroup(_)
            | Self::DeleteGroup { .. }
            | Self::Reclaim { .. }
            | Self::Fail { .. }
            | Self::Disconnect { .. }
            | Self::JumpClock { .. }
            | Self::Reload { .. } => None,
        }
    }
}
