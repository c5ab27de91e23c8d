//! A model of AWS Auto Scaling: groups, their instances, and the calls that move them.
//!
//! It owns no clock: every call carries the time, and [`Aws::advance`] brings instances up and down. The typed calls
//! of the core and the query protocol of real clients ([`query`]) reach the same model.

pub mod action;
mod catalog;
mod error;
mod fleet;
mod groups;
pub mod query;
mod throttle;
mod warm;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use poolkeeper_core::aws::{
    AwsCall, AwsError, AwsReply, GROUPS_A_PAGE, Group, GroupQuery, InstanceCall, Tag, WARM_MEMBERS_A_PAGE, WarmMember,
    WarmPool,
};
use poolkeeper_core::rng::Rng;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant, Now};
use serde::Serialize;

use action::{Action, Describe, Filter, Outcome};
use catalog::Catalog;
pub use error::ApiError;
pub(crate) use throttle::Bucket;

/// The most instances one call may protect, or release from protection.
pub const INSTANCES_A_PROTECTION: usize = 50;

/// What the model of AWS is like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsConfig {
    /// The account, twelve digits.
    pub account: String,
    /// The region.
    pub region: String,
    /// The shortest and the longest time from launch to `InService`.
    pub boot: (Duration, Duration),
    /// The time from leaving the warm pool to `InService`.
    pub warm_start: Duration,
    /// How long a launch hook waits to be completed; then its instance is given up.
    pub hook_timeout: Duration,
    /// The time from the start of a termination until the instance has left its group.
    pub shutdown: Duration,
    /// The time after which a dead machine is found unhealthy and replaced.
    pub health_check: Duration,
    /// How far describes lag behind the truth.
    pub lag: Duration,
    /// The account's rate of calls; `None`: unlimited.
    pub rate: Option<Rate>,
    /// Instances that fail while they boot, of a hundred: they leave, and others take their place.
    pub failed_boot_percent: u64,
}

impl Default for AwsConfig {
    fn default() -> Self {
        Self {
            account: "123456789012".to_owned(),
            region: "eu-west-1".to_owned(),
            boot: (Duration::from_secs(1), Duration::from_secs(3)),
            warm_start: Duration::from_millis(300),
            hook_timeout: Duration::from_secs(600),
            shutdown: Duration::from_secs(1),
            health_check: Duration::from_secs(60),
            lag: Duration::ZERO,
            rate: None,
            failed_boot_percent: 0,
        }
    }
}

/// A rate of calls: a bucket of `burst` calls that fills by `per_second`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The most calls at once.
    pub burst: u32,
    /// Calls a second in the long run.
    pub per_second: u32,
}

/// A group as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupSpec {
    /// `AutoScalingGroupName`.
    pub name: ShortText,
    /// `MinSize`.
    pub min_size: u32,
    /// `MaxSize`.
    pub max_size: u32,
    /// `DesiredCapacity`; the least size when absent.
    pub desired: Option<u32>,
    /// `NewInstancesProtectedFromScaleIn`.
    pub new_instances_protected: bool,
    /// The tags.
    pub tags: Vec<Tag>,
    /// Processes that are suspended from the start.
    pub suspended_processes: Vec<ShortText>,
    /// Whether a mixed-instances policy with weights makes capacity differ from the number of instances.
    pub weighted: bool,
    /// The warm pool's settings.
    pub warm_pool: Option<WarmPool>,
    /// How many instances stand by in the warm pool.
    pub warm_size: u32,
    /// The launch hook that holds instances on their way into service until it is completed.
    pub launch_hook: Option<ShortText>,
}

/// Whose doing a change is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor {
    /// A call over the API: the daemon's, as nobody else makes any.
    Caller,
    /// Somebody at the console, or the test.
    Human,
    /// AWS itself, as time goes by.
    Aws,
}

/// Why an instance is being terminated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Desired capacity was below the number of instances, and the group picked this one.
    ScaleIn {
        /// Whose act made the group look for a victim.
        by: Actor,
    },
    /// Somebody asked for this very instance.
    Asked {
        /// The caller, or the instance itself.
        by: Actor,
    },
    /// It was found dead.
    Unhealthy,
    /// It failed while it booted.
    FailedBoot,
    /// AWS took its Spot capacity back.
    Reclaimed,
    /// Its group was deleted.
    GroupDeleted,
}

/// Something that happened in AWS and matters to what runs on its instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AwsEvent {
    /// Somebody set a group's desired capacity.
    DesiredCapacitySet {
        /// The group's name.
        group: ShortText,
        /// Desired capacity before.
        from: u32,
        /// Desired capacity now.
        desired: u32,
    },
    /// An instance has booted and counts.
    InstanceInService {
        /// The group's name.
        group: ShortText,
        /// The instance.
        id: ShortText,
        /// Whether it came from the warm pool.
        warm: bool,
    },
    /// A describe showed an instance in service for the first time.
    InstanceShown {
        /// The instance.
        id: ShortText,
    },
    /// An instance is being terminated: whatever ran on it has ended.
    InstanceTerminating {
        /// The group's name.
        group: ShortText,
        /// The instance.
        id: ShortText,
        /// Why.
        cause: Cause,
    },
    /// An instance has left its group.
    InstanceGone {
        /// The group's name.
        group: ShortText,
        /// The instance.
        id: ShortText,
    },
}

/// What is left to answer once an action was carried out.
enum Done {
    Describe(Describe),
    Terminating { group: ShortText, id: ShortText },
    WarmMembers { members: Vec<WarmMember>, next_token: Option<String> },
    Nothing,
}

/// The model of one account's Auto Scaling in one region.
#[derive(Clone, Debug)]
pub struct Aws {
    config: AwsConfig,
    rng: Rng,
    truth: Catalog,
    /// What describes show while they lag; unused when they do not.
    seen: Catalog,
    publications: VecDeque<(Instant, ShortText, Option<Box<Group>>)>,
    timers: BTreeMap<(Instant, u64), fleet::Timer>,
    timer_count: u64,
    /// The group of each instance.
    homes: BTreeMap<ShortText, ShortText>,
    /// The most instances AWS has room for, by group.
    room: BTreeMap<ShortText, u32>,
    /// Warm pools, by group.
    warm: BTreeMap<ShortText, warm::WarmPoolModel>,
    /// Launch hooks, by group.
    hooks: BTreeMap<ShortText, ShortText>,
    /// Groups that describes leave out, although they exist.
    hidden: BTreeSet<ShortText>,
    /// Groups whose instances were ever without protection from scale-in by somebody's choice.
    released: BTreeSet<ShortText>,
    /// Instances in service that no describe has shown there yet.
    unseen: BTreeSet<ShortText>,
    /// Whose doing the present changes are.
    actor: Actor,
    bucket: Option<Bucket>,
    events: Vec<AwsEvent>,
}

impl Aws {
    /// An account without any group. The seed draws ids, boot times and victims.
    #[must_use]
    pub fn new(config: AwsConfig, seed: u64) -> Self {
        Self {
            bucket: config.rate.map(Bucket::new),
            config,
            rng: Rng::new(seed),
            truth: Catalog::default(),
            seen: Catalog::default(),
            publications: VecDeque::new(),
            timers: BTreeMap::new(),
            timer_count: 0,
            homes: BTreeMap::new(),
            room: BTreeMap::new(),
            warm: BTreeMap::new(),
            hooks: BTreeMap::new(),
            hidden: BTreeSet::new(),
            released: BTreeSet::new(),
            unseen: BTreeSet::new(),
            actor: Actor::Human,
            events: Vec::new(),
        }
    }

    /// One of the core's calls, as over the wire: throttled, and with what describes show.
    ///
    /// # Errors
    /// As AWS refuses: throttling, bounds, unknown names.
    pub fn call(&mut self, now: Now, call: &AwsCall) -> Result<AwsReply, AwsError> {
        let action = match call {
            AwsCall::DescribeGroups { query, next_token } => {
                let mut describe = Describe {
                    max_records: Some(GROUPS_A_PAGE),
                    next_token: next_token.clone(),
                    ..Describe::default()
                };
                match query {
                    GroupQuery::Tagged { key, value } => {
                        describe.filters.push(Filter::Tag { key: key.clone(), values: vec![value.clone()] });
                    }
                    GroupQuery::Named(names) => describe.names.clone_from(names),
                }
                Action::Describe(describe)
            }
            AwsCall::SetDesiredCapacity { group, desired } => {
                Action::SetDesiredCapacity { group: group.clone(), desired: *desired }
            }
            AwsCall::Instances { group, call } => match call {
                InstanceCall::Protect { instances } => {
                    Action::SetProtection { group: group.clone(), ids: instances.clone(), protected: true }
                }
                InstanceCall::Terminate { instance, decrement } => {
                    Action::Terminate { id: instance.clone(), decrement: *decrement }
                }
                InstanceCall::CompleteHook { instance, hook } => {
                    Action::CompleteHook { group: group.clone(), hook: hook.clone(), id: instance.clone() }
                }
                InstanceCall::WarmMembers { next_token } => Action::DescribeWarmPool {
                    group: group.clone(),
                    max_records: Some(WARM_MEMBERS_A_PAGE),
                    next_token: next_token.clone(),
                },
                InstanceCall::PutConfig { .. } | InstanceCall::DeleteConfig { .. } => {
                    let message = "Auto Scaling keeps no configs".to_owned();
                    return Err(AwsError::Misbehaved { message });
                }
            },
        };
        match self.act(now, action).map_err(AwsError::from)? {
            Outcome::Groups { groups, next_token } => {
                let groups = groups.into_iter().cloned().collect();
                Ok(AwsReply::Groups { groups, next_token })
            }
            Outcome::WarmMembers { members, next_token } => Ok(AwsReply::WarmMembers { members, next_token }),
            Outcome::Done | Outcome::Terminating { .. } => Ok(AwsReply::Done),
        }
    }

    /// Any call the model knows, throttled as over the wire.
    ///
    /// # Errors
    /// As AWS refuses: throttling, bounds, unknown names.
    pub fn act(&mut self, now: Now, action: Action) -> Result<Outcome<'_>, ApiError> {
        self.settle(now.mono);
        if let Some(bucket) = &mut self.bucket
            && !bucket.take(now.mono)
        {
            return Err(ApiError::throttling());
        }
        self.actor = Actor::Caller;
        let outcome = self.carry_out(now, action);
        self.actor = Actor::Human;
        match outcome? {
            Done::Describe(describe) => {
                self.show(&describe);
                self.describe(&describe)
            }
            Done::Terminating { group, id } => Ok(Outcome::Terminating { group, id }),
            Done::WarmMembers { members, next_token } => Ok(Outcome::WarmMembers { members, next_token }),
            Done::Nothing => Ok(Outcome::Done),
        }
    }

    fn carry_out(&mut self, now: Now, action: Action) -> Result<Done, ApiError> {
        match action {
            Action::Describe(describe) => return Ok(Done::Describe(describe)),
            Action::SetDesiredCapacity { group, desired } => {
                self.set_desired(now, &group, desired)?;
            }
            Action::Terminate { id, decrement } => {
                let group = self.terminate_instance(now, &id, decrement)?;
                return Ok(Done::Terminating { group, id });
            }
            Action::CompleteHook { group, hook, id } => self.complete_hook(now, &group, &hook, &id)?,
            Action::DescribeWarmPool { group, max_records, next_token } => {
                let (members, next_token) = self.warm_members(&group, max_records, next_token.as_deref())?;
                return Ok(Done::WarmMembers { members, next_token });
            }
            Action::SetProtection { group, ids, protected } => {
                self.set_protection(now, &group, &ids, protected)?;
            }
            Action::Create(spec) => self.create_group(now, *spec)?,
            Action::Update(change) => self.update_group(now, &change)?,
            Action::Delete { group, force } => self.delete_group(now, &group, force)?,
            Action::SetTags(tags) => self.set_tags(now, &tags)?,
            Action::DeleteTags(tags) => self.delete_tags(now, &tags)?,
            Action::Suspend { group, processes } => self.suspend(now, &group, &processes)?,
            Action::Resume { group, processes } => self.resume(now, &group, &processes)?,
        }
        Ok(Done::Nothing)
    }

    /// Brings the world to `now` and hands out what happened since the last time, in order.
    pub fn advance(&mut self, now: Now) -> Vec<AwsEvent> {
        self.settle(now.mono);
        std::mem::take(&mut self.events)
    }

    /// When [`Aws::advance`] next has something to do; the past when events wait.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        if !self.events.is_empty() {
            return Some(Instant::default());
        }
        self.timers.keys().next().map(|(at, _)| *at)
    }

    /// A group as it truly is.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&Group> {
        self.truth.group(name)
    }

    /// All groups as they truly are, by name.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.truth.groups()
    }

    /// The name of the group an instance belongs to.
    #[must_use]
    pub fn group_of(&self, instance: &str) -> Option<&str> {
        self.homes.get(instance).map(ShortText::as_str)
    }

    /// Whether somebody ever chose to leave instances of a group without protection from scale-in. Which capacity to
    /// write there without a victim nobody can know, as the truth may have moved since the newest describe.
    #[must_use]
    pub fn was_released(&self, group: &str) -> bool {
        self.released.contains(group)
    }

    /// What the model is like.
    #[must_use]
    pub const fn config(&self) -> &AwsConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests;
