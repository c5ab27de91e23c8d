//! Writes of desired capacity that are wrong, and none where there should be one.

use poolkeeper_core::aws::{AwsCall, AwsReply, Group, InstanceCall, LifecycleState};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};

use super::{Forger, Saboteur};

fn write(forger: &mut Forger, group: &str, desired: u32) -> Effect {
    Effect::Aws { id: forger.id(), call: AwsCall::SetDesiredCapacity { group: group.into(), desired } }
}

fn described(event: &Event) -> &[Group] {
    match event {
        Event::AwsReply { result: Ok(AwsReply::Groups { groups, .. }), .. } => groups,
        Event::AwsReply { result: Ok(AwsReply::Done | AwsReply::WarmMembers { .. }) | Err(_), .. }
        | Event::Start { .. }
        | Event::Tick
        | Event::GitHubReply { .. }
        | Event::Remembered { .. }
        | Event::Reconfigure(_)
        | Event::Stop => &[],
    }
}

/// Changes every write by a rule.
#[derive(Debug)]
pub(super) struct Bends(pub(super) fn(u32) -> u32);

impl Saboteur for Bends {
    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        for effect in effects {
            if let Effect::Aws { call: AwsCall::SetDesiredCapacity { desired, .. }, .. } = effect {
                *desired = self.0(*desired);
            }
        }
    }
}

/// Keeps every write to itself.
#[derive(Debug)]
pub(super) struct Lazy;

impl Saboteur for Lazy {
    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        effects.retain(|effect| !matches!(effect, Effect::Aws { call: AwsCall::SetDesiredCapacity { .. }, .. }));
    }
}

/// How long [`Yields`] keeps a write back at the most.
const YIELDS_FOR: Duration = Duration::from_secs(30);

/// Keeps every write back until an instance was ended or protected, but not for ever.
#[derive(Debug, Default)]
pub(super) struct Yields {
    kept: Vec<Effect>,
    since: Instant,
}

impl Saboteur for Yields {
    fn effects(&mut self, at: Instant, effects: &mut Vec<Effect>) {
        let goes_first = |effect: &Effect| {
            let Effect::Aws { call: AwsCall::Instances { call, .. }, .. } = effect else { return false };
            matches!(call, InstanceCall::Terminate { .. } | InstanceCall::Protect { .. })
        };
        let one_went = effects.iter().any(goes_first);
        let is_write =
            |effect: &mut Effect| matches!(effect, Effect::Aws { call: AwsCall::SetDesiredCapacity { .. }, .. });
        if self.kept.is_empty() {
            self.since = at;
        }
        self.kept.extend(effects.extract_if(.., is_write));
        if one_went || at.since(self.since) >= YIELDS_FOR {
            effects.append(&mut self.kept);
        }
    }
}

/// Says once more what was written, when the write was taken.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    forger: Forger,
    last: Option<(poolkeeper_core::github::request::RequestId, AwsCall)>,
    again: Option<AwsCall>,
}

impl Saboteur for Repeats {
    fn event(&mut self, _: Instant, event: &mut Event) -> bool {
        if let Event::AwsReply { id, result: Ok(AwsReply::Done) } = event
            && let Some((_, call)) = self.last.take_if(|(last, _)| *last == *id)
        {
            self.again = Some(call);
        }
        true
    }

    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        for effect in effects.iter() {
            if let Effect::Aws { id, call: call @ AwsCall::SetDesiredCapacity { .. } } = effect {
                self.last = Some((*id, call.clone()));
            }
        }
        if let Some(call) = self.again.take() {
            effects.push(Effect::Aws { id: self.forger.id(), call });
        }
    }
}

/// Writes what it likes after a describe, as a rule says.
#[derive(Debug)]
pub(super) struct Meddles {
    forger: Forger,
    rule: fn(&Group) -> Option<u32>,
    wanted: Vec<(ShortText, u32)>,
}

impl Meddles {
    pub(super) const fn new(rule: fn(&Group) -> Option<u32>) -> Self {
        Self { forger: Forger(0), rule, wanted: Vec::new() }
    }
}

impl Saboteur for Meddles {
    fn event(&mut self, _: Instant, event: &mut Event) -> bool {
        let wanted = described(event).iter().filter_map(|group| Some((group.name.clone(), (self.rule)(group)?)));
        self.wanted = wanted.collect();
        true
    }

    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        for (group, desired) in self.wanted.drain(..) {
            effects.push(write(&mut self.forger, &group, desired));
        }
    }
}

fn count(group: &Group, state: &LifecycleState) -> usize {
    group.instances.iter().filter(|instance| instance.state == *state).count()
}

/// One less, while something comes up.
pub(super) fn less_while_pending(group: &Group) -> Option<u32> {
    let lowers = group.desired > group.min_size && count(group, &LifecycleState::Pending) > 0;
    lowers.then(|| group.desired - 1)
}

/// The least there can be, while something is in service.
pub(super) fn least_while_serving(group: &Group) -> Option<u32> {
    let lowers = group.desired > group.min_size && count(group, &LifecycleState::InService) > 0;
    lowers.then_some(group.min_size)
}

/// One more, at once.
pub(super) fn one_more(group: &Group) -> Option<u32> {
    (group.desired < group.max_size).then(|| group.desired + 1)
}
