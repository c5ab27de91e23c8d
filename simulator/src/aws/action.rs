//! The calls of the Auto Scaling API that the model knows, as data.

use poolkeeper_core::aws::{Group, Tag, WarmMember};
use poolkeeper_core::short_text::ShortText;

use super::GroupSpec;

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `DescribeAutoScalingGroups`.
    Describe(Describe),
    /// `SetDesiredCapacity`.
    SetDesiredCapacity {
        /// The group's name.
        group: ShortText,
        /// The new desired capacity.
        desired: u32,
    },
    /// `TerminateInstanceInAutoScalingGroup`.
    Terminate {
        /// The instance.
        id: ShortText,
        /// `ShouldDecrementDesiredCapacity`.
        decrement: bool,
    },
    /// `SetInstanceProtection`.
    SetProtection {
        /// The group's name.
        group: ShortText,
        /// The instances.
        ids: Vec<ShortText>,
        /// `ProtectedFromScaleIn`.
        protected: bool,
    },
    /// `CompleteLifecycleAction` with `CONTINUE`.
    CompleteHook {
        /// The group's name.
        group: ShortText,
        /// The hook's name.
        hook: ShortText,
        /// The instance.
        id: ShortText,
    },
    /// `DescribeWarmPool`.
    DescribeWarmPool {
        /// The group's name.
        group: ShortText,
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
        group: ShortText,
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
        group: ShortText,
        /// The processes; none: all.
        processes: Vec<ShortText>,
    },
    /// `ResumeProcesses`.
    Resume {
        /// The group's name.
        group: ShortText,
        /// The processes; none: all.
        processes: Vec<ShortText>,
    },
}

/// What a describe asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Describe {
    /// These groups; none: all.
    pub names: Vec<ShortText>,
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
        key: ShortText,
        /// The values, any of which will do.
        values: Vec<ShortText>,
    },
    /// `tag-key`: there is a tag of one of these keys.
    TagKey(Vec<ShortText>),
    /// `tag-value`: there is a tag of one of these values.
    TagValue(Vec<ShortText>),
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
    pub name: ShortText,
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
    pub group: ShortText,
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
        group: ShortText,
        /// The instance.
        id: ShortText,
    },
}
