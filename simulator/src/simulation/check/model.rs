//! The reference model: what capacity should be, from tags, config and the world's truth alone.
//!
//! It is written apart from the core's scaler on purpose, and knows nothing of time, calls or failures: it says where
//! everything ends when nothing happens any more.

use std::collections::BTreeMap;

use poolkeeper_core::aws::{Group, LifecycleState, Tag};
use poolkeeper_core::config::{ANY_ORG, RawConfig};

use crate::github::SetKey;
use crate::runners::set_of;
use crate::world::World;

/// What a group's owner wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// The least capacity.
    pub size_min: u32,
    /// The most capacity.
    pub size_max: u32,
    /// Runners that stand by.
    pub idle: u32,
    /// Whether nothing is to be done.
    pub paused: bool,
}

/// What a group should desire in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Exactly this.
    Exactly(u32),
    /// At least this: what is too much cannot be taken back without a victim.
    AtLeast(u32),
}

/// What tags and config ask for; `None` when they make no sense.
#[must_use]
pub fn wish(tags: &[Tag], config: &RawConfig) -> Option<Wish> {
    let tag = |key: &str| tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.trim());
    let number = |key: &str, default: u32| tag(key).map_or(Some(default), |text| text.parse().ok());
    let size_max = number("runs-on-size-max", config.pool.size_max)?.min(config.pool.size_max_limit);
    let size_min = number("runs-on-size-min", config.pool.size_min.min(size_max))?;
    let idle = number("runs-on-idle", config.pool.idle)?;
    let paused = match tag("runs-on-paused") {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return None,
    };
    (size_min <= size_max).then_some(Wish { size_min, size_max, idle, paused })
}

/// The most instances that may be wanted: `MinSize` is the strongest word, then `MaxSize`, then the owner's.
#[must_use]
pub fn most(wish: &Wish, min_size: u32, max_size: u32) -> u32 {
    wish.size_max.min(max_size).max(min_size)
}

/// How many instances should be able to serve so many jobs.
#[must_use]
pub fn target(wish: &Wish, min_size: u32, max_size: u32, jobs: u32) -> u32 {
    let most = most(wish, min_size, max_size);
    let least = wish.size_min.max(min_size).min(most);
    (jobs.saturating_add(wish.idle)).min(most).max(least)
}

/// The groups that poolkeeper should drive in the end, and the set of each.
///
/// Left out are groups whose set another group claims too: which of them has it is decided by who came first.
#[must_use]
pub fn driven<'a>(world: &'a World, config: &RawConfig) -> Vec<(&'a Group, SetKey, Wish)> {
    let mut claims: BTreeMap<SetKey, usize> = BTreeMap::new();
    let ours = |group: &&Group| group.tags.iter().any(|t| t.key == "runs-on-stack" && t.value == config.stack);
    let groups: Vec<_> = world.aws_model().groups().filter(ours).collect();
    for key in groups.iter().filter_map(|group| set_of(&group.tags)) {
        *claims.entry(key).or_default() += 1;
    }
    let served = |group: &'a Group| {
        let key = set_of(&group.tags).filter(|key| claims.get(key) == Some(&1))?;
        let wish = wish(&group.tags, config)?;
        let reuses = group.warm_pool.as_ref().is_some_and(|pool| pool.reuse_on_scale_in);
        let owner = key.scope.split('/').next().unwrap_or_default();
        let named = |org: &String| org == ANY_ORG || *org == owner || *org == key.scope;
        let allowed = config.connections.values().any(|connection| connection.orgs.iter().any(named));
        (!group.weighted && !reuses && allowed).then_some((group, key, wish))
    };
    groups.into_iter().filter_map(served).collect()
}

/// What a driven group should desire in the end; `None` when it is to be left alone.
#[must_use]
pub fn capacity(world: &World, config: &RawConfig, group: &Group, key: &SetKey, wish: &Wish) -> Option<Capacity> {
    let walled = config.orgs.get(key.scope.split('/').next()?).is_some_and(|org| org.max_runners.is_some());
    if wish.paused || walled {
        return None;
    }
    let set = world.github_model().set(key)?;
    let jobs = u32::try_from(set.assigned + set.running).ok()?;
    let sick = group.instances.iter().filter(|i| i.state == LifecycleState::InService && !i.healthy).count();
    let wanted = target(wish, group.min_size, group.max_size, jobs);
    let desired = wanted.saturating_add(u32::try_from(sick).ok()?).min(group.max_size.max(group.min_size));
    let rebalanced = !group.suspended_processes.iter().any(|process| process == "AZRebalance");
    let exposed = group.instances.iter().any(|i| i.state == LifecycleState::InService && !i.protected);
    if !group.new_instances_protected || rebalanced || exposed {
        return Some(Capacity::AtLeast(desired));
    }
    Some(Capacity::Exactly(desired))
}
