//! Carrying out what happens in a scenario.

use poolkeeper_core::aws::{Instance, Tag};
use poolkeeper_core::event::Event;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Now};

use super::run::Stage;
use super::{Demand, Knobs, PoolPlan, What};
use crate::aws::action::{GroupChange, GroupTag};
use crate::aws::{Aws, Rate};
use crate::github::SetKey;
use crate::world::{Weather, World, WorldNow};

impl Stage<'_> {
    pub(super) fn begin(&mut self, at_ms: u64, what: &What) {
        match what {
            What::Jobs(demand) => self.demand(at_ms, demand),
            What::Weather { for_ms, weather } => self.weather(*for_ms, weather),
            What::EndSession { group } => self.set(group, World::end_session),
            What::ExpireTokens {} => self.simulation.act(World::expire_tokens),
            What::RetireSet { group } => self.set(group, World::retire_set),
            What::LaggingStatistics { .. } => self.simulation.act(|world, _| world.lag_statistics(true)),
            What::Redeliver { .. } => self.simulation.act(|world, _| world.redeliver(true)),
            What::SetDesired { group, to } => self.set_desired(group, *to),
            What::SetBounds { group, min, max } => self.set_bounds(group, *min, *max),
            What::SetProtection { group, new, all } => self.protect(group, *new, *all),
            What::SetTag { group, key, value } => self.set_tag(group, key, value),
            // A group or process that is not there stays as it is.
            What::Suspend { group, process, .. } => {
                self.aws(|aws, now| drop(aws.suspend(now, group, std::slice::from_ref(process))));
            }
            What::AddGroup(plan) => self.add_group(plan),
            What::DeleteGroup { group } => self.aws(|aws, now| drop(aws.delete_group(now, group, true))),
            What::Hide { groups, .. } => self.hide(groups, true),
            What::Room { group, instances, .. } => self.aws(|aws, now| aws.set_room(now, group, Some(*instances))),
            What::Throttle { burst, per_second, .. } => {
                let rate = Rate { burst: (*burst).max(1), per_second: (*per_second).max(1) };
                self.aws(|aws, _| aws.set_rate(Some(rate)));
            }
            What::Reclaim { group, instances } => self.each(group, *instances, at_ms, Aws::reclaim),
            What::Fail { group, instances } => self.each(group, *instances, at_ms, Aws::fail_instance),
            What::FailBoots { percent, .. } => self.aws(|aws, _| aws.set_failed_boots(*percent)),
            What::Crash { daemon, forget, in_step, .. } => self.crash(*daemon, *forget, *in_step),
            What::Stop { daemon, .. } => self.simulation.tell_daemon(*daemon, Event::Stop),
            What::Unwritable { .. } => self.simulation.set_writable(false),
            What::Disconnect { daemon } => self.simulation.disconnect(*daemon),
            What::SecondDaemon { .. } => {
                self.second_wanted = true;
                self.simulation.start_daemon(1);
            }
            What::JumpClock { by_ms } => self.simulation.jump_clock_ms(*by_ms),
            What::Reload { idle_grace_ms } => self.reload(*idle_grace_ms),
        }
    }

    pub(super) fn end(&mut self, what: &What) {
        match what {
            What::LaggingStatistics { .. } => self.simulation.act(|world, _| world.lag_statistics(false)),
            What::Redeliver { .. } => self.simulation.act(|world, _| world.redeliver(false)),
            What::Suspend { group, process, .. } => {
                self.aws(|aws, now| drop(aws.resume(now, group, std::slice::from_ref(process))));
            }
            What::Hide { groups, .. } => self.hide(groups, false),
            What::Room { group, .. } => self.aws(|aws, now| aws.set_room(now, group, None)),
            What::Throttle { .. } => {
                let usual = self.scenario.knobs.aws_rate();
                self.aws(|aws, _| aws.set_rate(usual));
            }
            What::FailBoots { .. } => self.aws(|aws, _| aws.set_failed_boots(0)),
            What::Crash { daemon, .. } | What::Stop { daemon, .. } => self.restart(*daemon),
            What::Unwritable { .. } => self.simulation.set_writable(true),
            What::SecondDaemon { .. } => {
                self.second_wanted = false;
                self.simulation.crash_daemon(1);
            }
            What::Jobs(_)
            | What::Weather { .. }
            | What::EndSession { .. }
            | What::ExpireTokens {}
            | What::RetireSet { .. }
            | What::SetDesired { .. }
            | What::SetBounds { .. }
            | What::SetProtection { .. }
            | What::SetTag { .. }
            | What::AddGroup(_)
            | What::DeleteGroup { .. }
            | What::Reclaim { .. }
            | What::Fail { .. }
            | What::Disconnect { .. }
            | What::JumpClock { .. }
            | What::Reload { .. } => {}
        }
    }

    /// Changes AWS behind everybody's back.
    pub(super) fn aws(&mut self, change: impl FnOnce(&mut Aws, Now)) {
        self.simulation.act(|world, at| change(world.aws_model_mut(), at.now));
    }

    fn set<R>(&mut self, group: &str, act: impl FnOnce(&mut World, WorldNow, &SetKey) -> R) {
        if let Some(key) = self.key(group) {
            self.simulation.act(|world, at| act(world, at, &key));
        }
    }

    fn demand(&mut self, at_ms: u64, demand: &Demand) {
        let seed = self.scenario.seed ^ at_ms.rotate_left(20);
        self.set(&demand.group, |world, at, key| {
            world.start_seeded_workload(at, demand.workload(key.clone()), seed);
        });
    }

    fn weather(&mut self, for_ms: u64, weather: &Weather) {
        let until = self.simulation.at() + Duration::from_millis(for_ms);
        self.simulation.act(|world, _| world.set_weather(until, weather.clone()));
    }

    fn set_desired(&mut self, group: &str, to: u32) {
        let Some((min, max)) = self.bounds(group) else { return };
        // It is within the bounds, and the group is there.
        self.aws(|aws, now| drop(aws.set_desired(now, group, to.min(max).max(min))));
    }

    fn set_bounds(&mut self, group: &str, min: u32, max: u32) {
        let change = GroupChange {
            name: group.into(),
            min_size: Some(min.min(max)),
            max_size: Some(max),
            ..GroupChange::default()
        };
        self.aws(|aws, now| drop(aws.update_group(now, &change)));
    }

    fn bounds(&self, group: &str) -> Option<(u32, u32)> {
        self.simulation.world().aws_model().group(group).map(|group| (group.min_size, group.max_size))
    }

    pub(super) fn protect(&mut self, group: &str, new: bool, all: bool) {
        let change = GroupChange { name: group.into(), new_instances_protected: Some(new), ..GroupChange::default() };
        self.aws(|aws, now| {
            drop(aws.update_group(now, &change));
            aws.protect_all(now, group, all);
        });
    }

    fn set_tag(&mut self, group: &str, key: &str, value: &str) {
        let tag = Tag { key: key.into(), value: value.into() };
        let change = [GroupTag { group: group.into(), tag }];
        self.aws(|aws, now| {
            drop(if value.is_empty() { aws.delete_tags(now, &change) } else { aws.set_tags(now, &change) });
        });
    }

    fn add_group(&mut self, plan: &PoolPlan) {
        if !self.plans.iter().any(|known| known.group == plan.group) {
            self.plans.push(plan.clone());
        }
        // A group of that name may be there already: then it stays.
        self.aws(|aws, now| drop(aws.create_group(now, plan.spec())));
    }

    fn hide(&mut self, groups: &[ShortText], hidden: bool) {
        let all = || self.plans.iter().map(|plan| plan.group.clone()).collect();
        let groups: Vec<ShortText> = if groups.is_empty() { all() } else { groups.to_vec() };
        self.aws(|aws, _| groups.iter().for_each(|group| aws.hide(group, hidden)));
    }

    /// Does something to so many instances of a group; the time decides which.
    fn each(&mut self, group: &str, instances: u32, at_ms: u64, act: impl Fn(&mut Aws, Now, &str)) {
        let Some(group) = self.simulation.world().aws_model().group(group) else { return };
        let count = group.instances.len().max(1);
        let skip = usize::try_from(at_ms).unwrap_or(0) % count;
        let most = usize::try_from(instances).unwrap_or(usize::MAX).min(count);
        let chosen: Vec<Instance> = group.instances.iter().cycle().skip(skip).take(most).cloned().collect();
        self.aws(|aws, now| chosen.iter().for_each(|instance| act(aws, now, &instance.id)));
    }

    fn crash(&mut self, daemon: usize, forget: bool, in_step: Option<usize>) {
        match in_step {
            Some(effects) => self.simulation.crash_in_step(daemon, effects),
            None => self.simulation.crash_daemon(daemon),
        }
        if forget {
            self.simulation.forget_daemon(daemon);
        }
    }

    fn restart(&mut self, daemon: usize) {
        if daemon == 0 || self.second_wanted {
            self.simulation.crash_daemon(daemon);
            self.simulation.start_daemon(daemon);
        }
    }

    fn reload(&mut self, idle_grace_ms: u64) {
        let knobs = Knobs { idle_grace_ms, ..self.scenario.knobs.clone() };
        if let Ok(config) = knobs.daemon(&self.scenario.pools) {
            self.simulation.tell(Event::Reconfigure(Box::new(config)));
        }
    }
}
