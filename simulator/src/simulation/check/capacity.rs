//! Desired capacity: what is written, when, and where it ends.

use std::collections::BTreeMap;

use poolkeeper_core::aws::AwsCall;
use poolkeeper_core::event::Effect;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Duration;

use super::model::{self, Capacity};
use super::wire::GroupSeen;
use super::{Checker, Moment, Observed};
use crate::world::World;

/// The writes of a step: group, what is known of it, and the capacity.
fn writes<'a>(moment: &Moment<'a>) -> impl Iterator<Item = (&'a str, Option<&'a GroupSeen>, u32)> {
    let wire = moment.wire;
    moment.effects.iter().filter_map(move |effect| match effect {
        Effect::Aws { call: AwsCall::SetDesiredCapacity { group, desired }, .. } => {
            Some((group.as_str(), wire.group(group), *desired))
        }
        Effect::Aws { call: AwsCall::DescribeGroups { .. } | AwsCall::Instances { .. }, .. }
        | Effect::GitHub { .. }
        | Effect::Cancel { .. }
        | Effect::Remember { .. }
        | Effect::Drop(_)
        | Effect::Note(_)
        | Effect::Exit(_) => None,
    })
}

/// No job dies by our doing.
///
/// Where somebody left a group unprotected, a write that raises capacity by what was last described may be lower than
/// what somebody else has set since, and end a job: desired capacity is absolute. So may one that lowers when somebody
/// took the protection away after a describe that showed all of them protected.
#[derive(Debug, Default)]
pub struct NoVictim {
    killed: u64,
    /// Whether the last write to a group was below the instances it was last seen to have, not all of them protected.
    lowered: BTreeMap<ShortText, bool>,
}

impl Checker for NoVictim {
    fn name(&self) -> &'static str {
        "no_victim"
    }

    fn contract(&self) -> &'static str {
        "no write of ours makes Auto Scaling pick an instance at work, unless somebody took its protection away unseen"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let Some(world) = moment.observed.world else { return Ok(()) };
        let killed = world.ledger().totals_ref().killed;
        let new = usize::try_from(killed - std::mem::replace(&mut self.killed, killed)).unwrap_or(usize::MAX);
        // Who never wrote to a group leaves the objection to the daemon that did.
        let lowered = |group: &str| self.lowered.get(group).copied().unwrap_or(false);
        let ours = world.ledger().victims().rev().take(new).find(|victim| !victim.released || lowered(&victim.group));
        let objection = ours.map(|victim| format!("a job of {} lost its instance to a write of ours", victim.group));
        for (group, seen, desired) in writes(moment) {
            self.lowered.insert(group.into(), seen.is_none_or(|seen| exposes(seen, desired)));
        }
        objection.map_or(Ok(()), Err)
    }
}

/// Whether a capacity is below the instances that were last seen, while not all of them were protected.
const fn exposes(seen: &GroupSeen, desired: u32) -> bool {
    desired < seen.live && (seen.unprotected > 0 || seen.pending > 0)
}

/// The age at which a describe is too old to lower capacity by it.
const FRESH: Duration = Duration::from_secs(10);

/// Lowering can pick nobody.
#[derive(Debug)]
pub struct SafeLowering;

impl Checker for SafeLowering {
    fn name(&self) -> &'static str {
        "safe_lowering"
    }

    fn contract(&self) -> &'static str {
        "capacity is lowered only by a describe younger than 10 s with nothing pending and all in service protected"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (name, seen, desired) in writes(moment) {
            let Some(seen) = seen else { continue };
            let lowers = !seen.plausible.is_empty() && seen.plausible.iter().all(|now| desired < *now);
            if !lowers {
                continue;
            }
            let age = moment.observed.at.since(seen.asked);
            if age >= FRESH {
                return Err(format!("{name} is lowered to {desired} by a describe {} ms old", age.as_millis()));
            }
            if seen.pending + seen.unprotected > 0 {
                let GroupSeen { pending, unprotected, .. } = seen;
                return Err(format!("{name} is lowered with {pending} pending and {unprotected} unprotected"));
            }
        }
        Ok(())
    }
}

/// Bounds are kept.
#[derive(Debug)]
pub struct Bounds;

impl Checker for Bounds {
    fn name(&self) -> &'static str {
        "bounds"
    }

    fn contract(&self) -> &'static str {
        "capacity is written only within the group's bounds as last described, and the owner's"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let Some(machine) = moment.observed.machine else { return Ok(()) };
        for (name, seen, desired) in writes(moment) {
            let Some(seen) = seen else { return Err(format!("{name} was never described")) };
            if desired < seen.min_size || desired > seen.max_size {
                return Err(format!("{name}: {desired} is not in {}..={}", seen.min_size, seen.max_size));
            }
            let Some(wish) = model::wish(&seen.tags, machine.config()) else { continue };
            // Instances that cannot serve are replaced beyond the owner's bound, never beyond the group's.
            let idle = moment.observed.world.filter(|world| world.is_managed()).map_or(0, |world| {
                let serves = |(set, online): (u64, bool)| online && set == seen.set;
                // Who was not found once, by a list that hid it, cannot serve as far as anybody knows.
                let useless = |id: &&str| world.hides_lists() || !world.github_model().runners_named(id).any(serves);
                u32::try_from(seen.in_service().filter(useless).count()).unwrap_or(u32::MAX)
            });
            let useless = seen.unhealthy + seen.pending + idle;
            let most = model::most(&wish, seen.min_size, seen.max_size).saturating_add(useless);
            // What serves in a managed pool stays until it is proven free: its capacity is lowered to that.
            let lowers =
                moment.observed.world.is_some_and(World::is_managed) && seen.plausible.iter().any(|now| desired < *now);
            if desired > most && !lowers && !machine.config().pools.contains_key(name) {
                return Err(format!("{name}: {desired} is more than the {most} that its owner wants"));
            }
        }
        Ok(())
    }
}

/// Nothing is written for nothing.
#[derive(Debug)]
pub struct NewsOnly;

impl Checker for NewsOnly {
    fn name(&self) -> &'static str {
        "news_only"
    }

    fn contract(&self) -> &'static str {
        "capacity is not written to say what is so already"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (name, seen, desired) in writes(moment) {
            let plausible = seen.map(|seen| seen.plausible.as_slice()).unwrap_or_default();
            if !plausible.is_empty() && plausible.iter().all(|now| *now == desired) {
                return Err(format!("{name} desires {desired} already"));
            }
        }
        Ok(())
    }
}

/// Who has no session is passive.
#[derive(Debug)]
pub struct Passive;

impl Checker for Passive {
    fn name(&self) -> &'static str {
        "passive"
    }

    fn contract(&self) -> &'static str {
        "capacity is written only by who holds the session of the group's scale set"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for (name, seen, desired) in writes(moment) {
            let set = seen.map_or(0, |seen| seen.set);
            if moment.wire.set(set).is_none_or(|set| set.session.is_none()) {
                return Err(format!("{name} is set to {desired} without a session of set {set}"));
            }
        }
        Ok(())
    }
}

/// What GitHub said last stands until it says something else.
#[derive(Debug)]
pub struct HeldTarget;

impl Checker for HeldTarget {
    fn name(&self) -> &'static str {
        "held_target"
    }

    fn contract(&self) -> &'static str {
        "capacity is never set below the jobs GitHub last told of, as far as bounds allow: silence and zeros tell nothing"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let Some(machine) = moment.observed.machine else { return Ok(()) };
        for (name, seen, desired) in writes(moment) {
            let Some(seen) = seen else { continue };
            let Some(wish) = model::wish(&seen.tags, machine.config()) else { continue };
            let Some(jobs) = moment.wire.set(seen.set).and_then(|set| set.least_assigned()) else { continue };
            let least = jobs.min(model::most(&wish, seen.min_size, seen.max_size));
            let walled = machine.config().orgs.values().any(|org| org.max_runners.is_some());
            if desired < least && !walled && !machine.config().pools.contains_key(name) {
                return Err(format!("{name} is set to {desired}, with {jobs} jobs assigned"));
            }
        }
        Ok(())
    }
}

/// In the end capacity is what the reference model says.
#[derive(Debug)]
pub struct Target;

impl Checker for Target {
    fn name(&self) -> &'static str {
        "target"
    }

    fn contract(&self) -> &'static str {
        "in the end each driven group desires what the reference model says"
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let (world, machine) = (observed.world?, observed.machine?);
        let config = machine.config();
        for (group, key, wish) in model::driven(world, config) {
            let (name, desired) = (&group.name, group.desired);
            match model::capacity(world, config, group, &key, &wish) {
                Some(Capacity::Exactly(wanted)) if desired != wanted => {
                    return Some(format!("{name} desires {desired}, not {wanted}"));
                }
                Some(Capacity::AtLeast(wanted)) if desired < wanted => {
                    return Some(format!("{name} desires {desired}, not {wanted} or more"));
                }
                Some(Capacity::Exactly(_) | Capacity::AtLeast(_)) | None => {}
            }
        }
        None
    }
}
