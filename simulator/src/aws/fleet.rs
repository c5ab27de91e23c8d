//! Instances: launched, booted, picked as victims, terminated.

use poolkeeper_core::aws::{Group, Instance, LifecycleState};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};

use super::action::{Describe, Outcome};
use super::{Actor, Aws, AwsEvent, Cause};

/// What becomes of an instance when its time has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Timer {
    pub(crate) group: ShortText,
    pub(crate) id: ShortText,
    pub(crate) step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// `Pending` ends.
    Boot,
    /// A member of the warm pool is prepared.
    Warm,
    /// A launch hook has waited for long enough.
    GiveUp,
    /// A dead machine is noticed.
    HealthCheck,
    /// `Terminating` ends.
    Leave,
}

impl Aws {
    /// Does all that was due up to `now`, each at its own time, and publishes what describes may show by now.
    pub(crate) fn settle(&mut self, now: Instant) {
        let actor = std::mem::replace(&mut self.actor, Actor::Aws);
        while let Some(entry) = self.timers.first_entry() {
            let (at, _) = *entry.key();
            if at > now {
                break;
            }
            let timer = entry.remove();
            self.fire(at, timer);
        }
        self.actor = actor;
        while let Some((at, _, _)) = self.publications.front() {
            if *at > now {
                break;
            }
            match self.publications.pop_front() {
                Some((_, _, Some(group))) => self.seen.put(*group),
                Some((_, name, None)) => drop(self.seen.remove(&name)),
                None => break,
            }
        }
    }

    fn fire(&mut self, at: Instant, timer: Timer) {
        let Timer { group, id, step } = timer;
        match step {
            Step::Boot => self.boot(at, group, id),
            Step::Warm => self.warmed(&group, &id),
            Step::GiveUp => self.give_up_hook(at, &group, &id),
            Step::HealthCheck => self.replace_dead(at, &group, &id),
            Step::Leave => self.leave(at, group, id),
        }
    }

    fn boot(&mut self, at: Instant, name: ShortText, id: ShortText) {
        let Some(group) = self.truth.group_mut(&name) else { return };
        let protected = group.new_instances_protected;
        let Some(instance) = group.instances.iter_mut().find(|i| i.id == id) else { return };
        if instance.state != LifecycleState::Pending {
            return;
        }
        if self.config.failed_boot_percent > 0 && self.rng.below(100) < self.config.failed_boot_percent {
            self.start_termination(at, &name, &id, Cause::FailedBoot);
            self.reconcile(at, &name);
            return self.publish(at, &name);
        }
        if self.hooks.contains_key(&name) {
            instance.waits = true;
            self.schedule(at + self.config.hook_timeout, &name, &id, Step::GiveUp);
            return self.publish(at, &name);
        }
        instance.state = LifecycleState::InService;
        instance.protected = protected;
        self.came_up(at, &name, &id);
    }

    /// An instance has come into service.
    pub(super) fn came_up(&mut self, at: Instant, name: &str, id: &str) {
        self.publish(at, name);
        self.unseen.insert(id.into());
        let warm = self.warm.get_mut(name).is_some_and(|pool| pool.lets_go(id));
        self.events.push(AwsEvent::InstanceInService { group: name.into(), id: id.into(), warm });
    }

    fn replace_dead(&mut self, at: Instant, name: &str, id: &str) {
        let Some(group) = self.truth.group_mut(name) else { return };
        let Some(instance) = group.instances.iter_mut().find(|i| i.id == id) else { return };
        instance.healthy = false;
        self.start_termination(at, name, id, Cause::Unhealthy);
        self.reconcile(at, name);
        self.publish(at, name);
    }

    fn leave(&mut self, at: Instant, name: ShortText, id: ShortText) {
        let Some(group) = self.truth.group_mut(&name) else { return };
        group.instances.retain(|instance| instance.id != id);
        self.homes.remove(&id);
        self.publish(at, &name);
        self.events.push(AwsEvent::InstanceGone { group: name, id });
    }

    /// Launches what is missing and ends what is too much, as far as processes, room and protection allow.
    pub(crate) fn reconcile(&mut self, at: Instant, name: &str) {
        let Some(group) = self.truth.group(name) else { return };
        let live = live(group);
        let desired = usize::try_from(group.desired).unwrap_or(usize::MAX);
        if live < desired && !suspended(group, "Launch") {
            let room = self.room.get(name).map_or(usize::MAX, |room| usize::try_from(*room).unwrap_or(usize::MAX));
            for _ in live..desired.min(room) {
                self.launch(at, name);
            }
        } else if live > desired && !suspended(group, "Terminate") {
            for _ in desired..live {
                let Some(victim) = self.pick_victim(name) else { break };
                self.start_termination(at, name, &victim, Cause::ScaleIn { by: self.actor });
            }
        }
        self.refill(at, name);
    }

    pub(super) fn fresh_id(&mut self) -> ShortText {
        format!("i-{:017x}", u128::from(self.rng.next()) | (1 << 64)).into()
    }

    fn launch(&mut self, at: Instant, name: &str) {
        let (id, ready) = match self.take_warm(name) {
            Some(id) => (id, at + self.config.warm_start),
            None => (self.fresh_id(), at + self.boot_time()),
        };
        let Some(group) = self.truth.group_mut(name) else { return };
        group.instances.push(Instance {
            id: id.clone(),
            state: LifecycleState::Pending,
            healthy: true,
            protected: false,
            waits: false,
        });
        self.homes.insert(id.clone(), name.into());
        self.schedule(ready, name, &id, Step::Boot);
    }

    pub(super) fn boot_time(&mut self) -> Duration {
        let (shortest, longest) = self.config.boot;
        let spread = (longest - shortest).as_millis();
        shortest + Duration::from_millis(self.rng.below(spread.saturating_add(1)))
    }

    /// Any unprotected instance may be the victim: a client must not count on AWS's policy to spare one.
    fn pick_victim(&mut self, name: &str) -> Option<ShortText> {
        let group = self.truth.group(name)?;
        let open = group.instances.iter().filter(|i| is_live(i) && !i.protected);
        let count = u64::try_from(open.clone().count()).ok()?;
        let nth = usize::try_from(self.rng.below(count)).ok()?;
        open.clone().nth(nth).map(|instance| instance.id.clone())
    }

    /// Takes an instance out of the count: what ran on it has ended.
    pub(crate) fn start_termination(&mut self, at: Instant, name: &str, id: &str, cause: Cause) {
        let Some(group) = self.truth.group_mut(name) else { return };
        let Some(instance) = group.instances.iter_mut().find(|i| i.id == id) else { return };
        if instance.state == LifecycleState::Terminating {
            return;
        }
        instance.state = LifecycleState::Terminating;
        instance.waits = false;
        self.schedule(at + self.config.shutdown, name, id, Step::Leave);
        self.unseen.remove(id);
        self.events.push(AwsEvent::InstanceTerminating { group: name.into(), id: id.into(), cause });
    }

    /// Notes whom a describe shows in service for the first time.
    pub(crate) fn show(&mut self, describe: &Describe) {
        if self.unseen.is_empty() {
            return;
        }
        let Ok(Outcome::Groups { groups, .. }) = self.describe(describe) else { return };
        let instances = groups.into_iter().flat_map(|group| &group.instances);
        let news = instances.filter(|i| i.state == LifecycleState::InService && self.unseen.contains(&i.id));
        let news: Vec<ShortText> = news.map(|instance| instance.id.clone()).collect();
        for id in news {
            self.unseen.remove(&id);
            self.events.push(AwsEvent::InstanceShown { id });
        }
    }

    pub(crate) fn schedule(&mut self, at: Instant, name: &str, id: &str, step: Step) {
        self.timer_count += 1;
        let timer = Timer { group: name.into(), id: id.into(), step };
        self.timers.insert((at, self.timer_count), timer);
    }

    /// Lets describes show a group as it is now, after the lag.
    pub(crate) fn publish(&mut self, at: Instant, name: &str) {
        if self.config.lag == Duration::ZERO {
            return;
        }
        let group = self.truth.group(name).cloned().map(Box::new);
        self.publications.push_back((at + self.config.lag, name.into(), group));
    }
}

pub(crate) fn is_live(instance: &Instance) -> bool {
    matches!(instance.state, LifecycleState::Pending | LifecycleState::InService)
}

fn live(group: &Group) -> usize {
    group.instances.iter().filter(|instance| is_live(instance)).count()
}

fn suspended(group: &Group, process: &str) -> bool {
    group.suspended_processes.iter().any(|p| p == process)
}
