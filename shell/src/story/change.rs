//! Why desired capacity was set: the event, the numbers, and the rule, in plain words.

use std::fmt;

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::explain::Grounds;
use poolkeeper_core::machine::TimerKind;
use poolkeeper_core::notice::{Decision, Notice, PoolFact, PoolId};
use poolkeeper_core::recording::Step;
use poolkeeper_core::recording::Text;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Instant, Now};
use serde::Serialize;

use super::cause::Cause;
use super::notices;
use super::words::{span, utc};

/// What every decision's effects have in them.
const MARK: &str = "\"scaling\"";

/// Which way capacity goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Rule {
    Out,
    Lower,
}

/// One change of desired capacity, with all it came from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    step: u64,
    place: String,
    at: String,
    mono_ms: u64,
    pool: PoolId,
    group: ShortText,
    scale_set: String,
    rule: Rule,
    cause: Cause,
    #[serde(flatten)]
    decision: Decision,
    group_min: u32,
    group_max: u32,
    size_min: u32,
    size_max: u32,
    /// What the organization's wall leaves; absent where there is none.
    room: Option<u32>,
    unprotected: u32,
    /// Whether an earlier count of jobs is held.
    held: bool,
    described_ms_ago: Option<u64>,
    /// How long desired had been above what is wanted; only when it is lowered.
    surplus_ms: Option<u64>,
    idle_grace_ms: u64,
    /// Whether the same was wanted before this event, and something stood in its way.
    was_due: bool,
    /// What had failed before, if that may be why it had to wait.
    failure: Option<String>,
}

/// What is known before a step that will change capacity.
#[derive(Debug)]
pub struct Before {
    event: Event,
    now: Now,
    timer: Option<TimerKind>,
    pools: Vec<Grounds>,
}

impl Before {
    /// Looks at the pools that a recorded step is about to write for; `None` when it writes for none.
    #[must_use]
    pub fn look(machine: &Machine, step: &Step<Text>) -> Option<Self> {
        let text = step.effects.as_ref()?.get();
        if !text.contains(MARK) {
            return None;
        }
        let effects: Vec<Effect> = serde_json::from_str(text).ok()?;
        let pools: Vec<Grounds> = decisions(&effects).filter_map(|(id, _)| machine.grounds(id)).collect();
        let timer = machine.poll_timeout().filter(|(at, _)| *at <= step.now.mono).map(|(_, timer)| timer);
        (!pools.is_empty()).then(|| Self { event: step.event.clone(), now: step.now, timer, pools })
    }

    /// The changes that the step made.
    #[must_use]
    pub fn explain(&self, machine: &Machine, effects: &[Effect], step: u64, place: &str) -> Vec<Change> {
        let change = |(id, decision): (PoolId, Decision)| {
            let before = self.pools.iter().find(|pool| pool.pool == id)?;
            let after = machine.grounds(id)?;
            let cause = Cause::find(&self.event, self.timer, effects, before, &after);
            Some(Change::new(self.now, before, after, decision, cause).at(step, place))
        };
        decisions(effects).filter_map(change).collect()
    }
}

fn decisions(effects: &[Effect]) -> impl Iterator<Item = (PoolId, Decision)> {
    notices(effects).filter_map(|notice| {
        let Notice::Pool { pool, fact: PoolFact::Scaling(decision), .. } = notice else { return None };
        Some((*pool, *decision))
    })
}

impl Change {
    fn new(now: Now, before: &Grounds, after: Grounds, decision: Decision, cause: Cause) -> Self {
        let since = |at: Option<Instant>| at.map(|at| now.mono.since(at).as_millis());
        let rule = if decision.to > decision.from { Rule::Out } else { Rule::Lower };
        let was_due = match rule {
            Rule::Out => before.desired < before.goal && before.goal == decision.to,
            Rule::Lower => before.surplus_since.is_some_and(|at| now.mono.since(at) > before.wanted.idle_grace),
        };
        Self {
            step: 0,
            place: String::new(),
            at: utc(now.unix_ms),
            mono_ms: now.mono.as_millis(),
            pool: after.pool,
            group: after.group,
            scale_set: after.scale_set,
            rule,
            cause,
            decision,
            group_min: after.group_min,
            group_max: after.group_max,
            size_min: after.wanted.size_min,
            size_max: after.wanted.size_max,
            room: Some(after.wanted.room).filter(|room| *room != u32::MAX),
            unprotected: after.counts.unprotected,
            held: after.held_until.is_some_and(|until| now.mono < until),
            described_ms_ago: since(after.described_at),
            surplus_ms: since(before.surplus_since).filter(|_| rule == Rule::Lower),
            idle_grace_ms: after.wanted.idle_grace.as_millis(),
            was_due,
            failure: before.error.clone().filter(|_| was_due),
        }
    }

    fn at(self, step: u64, place: &str) -> Self {
        Self { step, place: place.to_owned(), ..self }
    }

    /// Whose capacity it is.
    #[must_use]
    pub const fn pool(&self) -> PoolId {
        self.pool
    }

    fn limits(&self) -> String {
        let Decision { lo, hi, .. } = self.decision;
        let (min, max) = (self.group_min, self.group_max);
        let wall = self.room.map(|room| format!(", the organization's wall leaves {room}")).unwrap_or_default();
        format!("{lo} to {hi} (group {min} to {max}, pool {} to {}{wall})", self.size_min, self.size_max)
    }

    fn reason(&self) -> String {
        let Decision { from, to, target, unusable, .. } = self.decision;
        let goal = if unusable == 0 {
            format!("the target of {target}")
        } else {
            format!("the target of {target} and {unusable} that cannot serve")
        };
        match self.rule {
            Rule::Out => {
                let waited = if self.was_due { "; it was wanted before this event and had to wait" } else { "" };
                let failure = self.failure.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
                format!("OUT: {from} is below {goal}, so it is raised to {to} at once{waited}{failure}")
            }
            Rule::Lower => {
                let waited = self.surplus_ms.map_or_else(|| "just now".to_owned(), span);
                let grace = span(self.idle_grace_ms);
                format!(
                    "LOWER: {from} is above {goal} since {waited} (idle_grace {grace}), nothing is pending and all in \
                     service is protected, so it is lowered to {to}"
                )
            }
        }
    }
}

impl Change {
    /// The group whose capacity it is.
    pub(super) const fn group(&self) -> &ShortText {
        &self.group
    }

    /// The change with all it came from, as an entry of a story.
    pub(super) fn told(&self) -> String {
        let Decision { from, to, .. } = self.decision;
        format!("desired capacity {from} -> {to}\n{}", self.grounds().join("\n"))
    }

    /// Where desired capacity went, and from where.
    pub(super) const fn decision(&self) -> Decision {
        self.decision
    }

    /// Cause, numbers and rule, a line each.
    pub(super) fn grounds(&self) -> [String; 4] {
        let Decision { from, assigned, idle, target, unusable, in_service, pending, .. } = self.decision;
        let held = if self.held { " (an earlier count, held)" } else { "" };
        let limits = self.limits();
        let unprotected = self.unprotected;
        let age = self.described_ms_ago.map_or_else(|| "never described".to_owned(), |ms| format!("{} old", span(ms)));
        [
            format!("cause:  {}", self.cause),
            format!("wanted: {assigned} assigned{held} + {idle} idle, within {limits}: target {target}"),
            format!(
                "there:  desired {from}; {in_service} in service ({unprotected} unprotected), {pending} pending, \
                 {unusable} cannot serve; the describe is {age}"
            ),
            format!("rule:   {}", self.reason()),
        ]
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decision { from, to, .. } = self.decision;
        let Self { at, group, scale_set, pool, step, place, .. } = self;
        writeln!(f, "{at}  {scale_set} ({group}, pool {})  {from} -> {to}", pool.0)?;
        write!(f, "  where:  step {step}, {place}")?;
        self.grounds().iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}
