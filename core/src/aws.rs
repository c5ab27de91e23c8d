//! The Auto Scaling calls the core asks for, as types: each shell speaks to AWS with the client that fits it.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::github::request::Slot;
use crate::short_text::ShortText;

/// The most groups one page of `DescribeAutoScalingGroups` holds, and the most names it may be asked for.
pub const GROUPS_A_PAGE: usize = 100;
/// The most instances one page of `DescribeWarmPool` holds.
pub const WARM_MEMBERS_A_PAGE: usize = 50;

/// One call to AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AwsCall {
    /// `DescribeAutoScalingGroups` with `MaxRecords` = [`GROUPS_A_PAGE`].
    DescribeGroups {
        /// Which groups.
        query: GroupQuery,
        /// The `NextToken` of the page before.
        next_token: Option<String>,
    },
    /// `SetDesiredCapacity` with `HonorCooldown=false`.
    SetDesiredCapacity {
        /// The group's name.
        group: ShortText,
        /// The new desired capacity.
        desired: u32,
    },
    /// About instances of a group.
    Instances {
        /// The group's name.
        group: ShortText,
        /// What is asked for.
        call: InstanceCall,
    },
}

impl AwsCall {
    /// The name of the API's action.
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::DescribeGroups { .. } => "DescribeAutoScalingGroups",
            Self::SetDesiredCapacity { .. } => "SetDesiredCapacity",
            Self::Instances { call, .. } => match call {
                InstanceCall::Protect { .. } => "SetInstanceProtection",
                InstanceCall::Terminate { .. } => "TerminateInstanceInAutoScalingGroup",
                InstanceCall::PutConfig { .. } => "PutParameter",
                InstanceCall::DeleteConfig { .. } => "DeleteParameter",
                InstanceCall::CompleteHook { .. } => "CompleteLifecycleAction",
                InstanceCall::WarmMembers { .. } => "DescribeWarmPool",
            },
        }
    }
}

/// A call about instances of one group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum InstanceCall {
    /// `SetInstanceProtection` with `ProtectedFromScaleIn=true`, at most 50 instances.
    Protect {
        /// The instances.
        instances: Vec<ShortText>,
    },
    /// `TerminateInstanceInAutoScalingGroup`.
    Terminate {
        /// The instance.
        instance: ShortText,
        /// `ShouldDecrementDesiredCapacity`.
        decrement: bool,
    },
    /// Stores a runner's config where its instance finds it.
    PutConfig {
        /// The instance.
        instance: ShortText,
        /// Where the shell keeps the config.
        config: Slot,
    },
    /// Deletes a stored config; that there is none is as good.
    DeleteConfig {
        /// The instance.
        instance: ShortText,
    },
    /// `CompleteLifecycleAction` with `CONTINUE`: what a launch hook waits for is done.
    CompleteHook {
        /// The instance.
        instance: ShortText,
        /// The hook's name.
        hook: ShortText,
    },
    /// `DescribeWarmPool` with `MaxRecords` = [`WARM_MEMBERS_A_PAGE`].
    WarmMembers {
        /// The `NextToken` of the page before.
        next_token: Option<String>,
    },
}

/// Which groups a describe asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupQuery {
    /// Those whose tag `key` has the value `value` (filter `tag:KEY`).
    Tagged {
        /// The tag's key.
        key: ShortText,
        /// The tag's value.
        value: ShortText,
    },
    /// Those of these names, at most [`GROUPS_A_PAGE`].
    Named(Vec<ShortText>),
}

/// A successful answer from AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AwsReply {
    /// One page of groups.
    Groups {
        /// The groups.
        groups: Vec<Group>,
        /// Present when more pages follow.
        next_token: Option<String>,
    },
    /// One page of the members of a warm pool.
    WarmMembers {
        /// The members.
        members: Vec<WarmMember>,
        /// Present when more pages follow.
        next_token: Option<String>,
    },
    /// The write was accepted.
    Done,
}

/// Why AWS gave no answer, or refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum AwsError {
    /// `Throttling` and its kin: the account's rate is used up.
    Throttled,
    /// `AccessDenied` and its kin, or no credentials.
    Denied {
        /// AWS's own words.
        message: String,
    },
    /// `ResourceContention` or `ScalingActivityInProgress`: try again soon.
    Contention,
    /// `ValidationError`: the call itself is wrong, or names what does not exist.
    Validation {
        /// AWS's own words.
        message: String,
    },
    /// AWS answered what nobody could make sense of, or with a server error.
    Misbehaved {
        /// What was seen.
        message: String,
    },
    /// No answer came: whether the call was carried out is unknown.
    Transport {
        /// What was seen.
        message: String,
    },
}

/// An Auto Scaling group as a describe shows it: the parts poolkeeper uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The group's ARN, which no other group ever has.
    pub arn: String,
    /// The group's name.
    pub name: ShortText,
    /// `MinSize`.
    pub min_size: u32,
    /// `MaxSize`.
    pub max_size: u32,
    /// `DesiredCapacity`.
    pub desired: u32,
    /// `NewInstancesProtectedFromScaleIn`.
    pub new_instances_protected: bool,
    /// The instances, warm-pool members aside.
    pub instances: Vec<Instance>,
    /// The tags, in the order AWS gave them.
    pub tags: Vec<Tag>,
    /// Names of the suspended processes.
    pub suspended_processes: Vec<ShortText>,
    /// Whether capacity may differ from the number of instances: weights in a mixed-instances policy, or a
    /// `DesiredCapacityType` other than `units`.
    pub weighted: bool,
    /// The warm pool, when there is one.
    pub warm_pool: Option<WarmPool>,
}

/// One tag of a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The tag's key.
    pub key: ShortText,
    /// The tag's value.
    pub value: ShortText,
}

/// A group's warm pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmPool {
    /// `InstanceReusePolicy.ReuseOnScaleIn`.
    pub reuse_on_scale_in: bool,
}

/// An instance that stands by in a warm pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarmMember {
    /// The EC2 instance id.
    pub id: ShortText,
    /// `LifecycleState`, for example `Warmed:Stopped`.
    pub state: ShortText,
}

/// An instance of a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// The EC2 instance id.
    pub id: ShortText,
    /// Where it is in its life.
    pub state: LifecycleState,
    /// `HealthStatus` is `Healthy`.
    pub healthy: bool,
    /// `ProtectedFromScaleIn`.
    pub protected: bool,
    /// `Pending:Wait`: a launch hook waits for somebody to complete it.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub waits: bool,
}

/// `LifecycleState` of an instance. AWS keeps adding states: an unknown one is kept as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "ShortText", into = "ShortText")]
pub enum LifecycleState {
    /// `Pending`, `Pending:Wait`, `Pending:Proceed`: on its way to `InService`.
    Pending,
    /// `InService`: up and counted.
    InService,
    /// `Terminating…`: on its way out.
    Terminating,
    /// Any other state, as AWS wrote it.
    Other(ShortText),
}

impl LifecycleState {
    /// The state as AWS names it, one that we know without `:Wait` or `:Proceed`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Pending => "Pending",
            Self::InService => "InService",
            Self::Terminating => "Terminating",
            Self::Other(text) => text,
        }
    }
}

impl From<ShortText> for LifecycleState {
    fn from(text: ShortText) -> Self {
        match text.as_str() {
            "InService" => Self::InService,
            "Pending" | "Pending:Wait" | "Pending:Proceed" => Self::Pending,
            "Terminating" | "Terminating:Wait" | "Terminating:Proceed" => Self::Terminating,
            _ => Self::Other(text),
        }
    }
}

impl From<LifecycleState> for ShortText {
    fn from(state: LifecycleState) -> Self {
        match state {
            LifecycleState::Other(text) => text,
            LifecycleState::Pending | LifecycleState::InService | LifecycleState::Terminating => state.as_str().into(),
        }
    }
}
