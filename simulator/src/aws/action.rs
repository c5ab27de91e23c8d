//! The calls of the Auto Scaling API that the model knows, as data.

use poolkeeper_core::aws::{Group, Tag, WarmMember};

use super::GroupSpec;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `DescribeAutoScalingGroups`.
    Describe(Describe),
    /// `SetDesiredCapacity`.
    SetDesiredCapacity {
        /// The group's name.
        group: String,
        /// The new desired capacity.
        desired: u32,
    },
    /// `TerminateInstanceInAutoScalingGroup`.
    Terminate {
        /// The instance.
        id: String,
        /// `ShouldDecrementDesiredCapacity`.
        decrement: bool,
    },
    /// `SetInstanceProtection`.
    SetProtection {
        /// The group's name.
        group: String,
        /// The instances.
        ids: Vec<String>,
        /// `ProtectedFromScaleIn`.
        protected: bool,
    },
    /// `CompleteLifecycleAction` with `CONTINUE`.
    CompleteHook {
        /// The group's name.
        group: String,
        /// The hook's name.
        hook: String,
        /// The instance.
        id: String,
    },
    /// `DescribeWarmPool`.
    DescribeWarmPool {
        /// The group's name.
        group: String,
        /// The size of a page, 1 to 50.
        max_records: Option<usize>,
        /// Where the last page ended.
        next_token: Option<String>,
    },
    /// `CreateAutoScalingGroup`.
    Create(Box<GroupSpec>),
    /// `UpdateAutoScalingGroup`.
    Update(GroupChange),
    /// `DeleteAutoScalingGroup`.
    Delete {
        /// The group's name.
        group: String,
        /// `ForceDelete`.
        force: bool,
    },
    /// `CreateOrUpdateTags`.
    SetTags(Vec<GroupTag>),
    /// `DeleteTags`.
    DeleteTags(Vec<GroupTag>),
    /// `SuspendProcesses`.
    Suspend {
        /// The group's name.
        group: String,
        /// The processes; none: all.
        processes: Vec<String>,
    },
    /// `ResumeProcesses`.
    Resume {
        /// The group's name.
        group: String,
        /// The processes; none: all.
        processes: Vec<String>,
    },
}

/// What a describe asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Describe {
    /// These groups; none: all.
    pub names: Vec<String>,
    /// Those that match every filter.
    pub filters: Vec<Filter>,
    /// The size of a page, 1 to 100; 50 when absent, as AWS has it, but 100 for the core's typed calls.
    pub max_records: Option<usize>,
    /// Where the last page ended.
    pub next_token: Option<String>,
}

/// A filter of a describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// `tag:KEY`: the tag has one of the values.
    Tag {
        /// The tag's key.
        key: String,
        /// The values, any of which will do.
        values: Vec<String>,
    },
    /// `tag-key`: there is a tag of one of these keys.
    TagKey(Vec<String>),
    /// `tag-value`: there is a tag of one of these values.
    TagValue(Vec<String>),
}

impl Filter {
    /// Whether a group matches.
    #[must_use]
    pub fn matches(&self, group: &Group) -> bool {
        match self {
            Self::Tag { key, values } => group.tags.iter().any(|tag| tag.key == *key && values.contains(&tag.value)),
            Self::TagKey(keys) => group.tags.iter().any(|tag| keys.contains(&tag.key)),
            Self::TagValue(values) => group.tags.iter().any(|tag| values.contains(&tag.value)),
        }
    }
}

/// A change of a group's settings; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupChange {
    /// The group's name.
    pub name: String,
    /// `MinSize`.
    pub min_size: Option<u32>,
    /// `MaxSize`.
    pub max_size: Option<u32>,
    /// `DesiredCapacity`.
    pub desired: Option<u32>,
    /// `NewInstancesProtectedFromScaleIn`.
    pub new_instances_protected: Option<bool>,
}

/// A tag and the group it is on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupTag {
    /// The group's name.
    pub group: String,
    /// The tag.
    pub tag: Tag,
}

/// What a call answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<'a> {
    /// A page of groups, as describes show them.
    Groups {
        /// The groups.
        groups: Vec<&'a Group>,
        /// Present when more pages follow.
        next_token: Option<String>,
    },
    /// A page of the members of a warm pool.
    WarmMembers {
        /// The members.
        members: Vec<WarmMember>,
        /// Present when more pages follow.
        next_token: Option<String>,
    },
    /// It is done and there is nothing to say.
    Done,
    /// The instance is on its way out.
    Terminating {
        /// Its group's name.
        group: String,
        /// The instance.
        id: String,
    },
}
