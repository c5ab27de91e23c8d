//! What must hold at every step, as far as the machine and its events alone can tell.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use poolkeeper_core::Machine;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::time::Now;

use super::key::{Key, Queues};
use crate::simulation::check::holds_secret;

mod capacity;
mod messages;
mod sessions;

pub(super) use capacity::{NoVictim, Passive, WithinBounds};
pub(super) use messages::{Acknowledges, AcquiresWithinRoom};
pub(super) use sessions::{OneSessionCall, RenewsSeldom};

/// One step, after the machine took it and before anything is done about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'a> {
    pub(super) now: Now,
    pub(super) event: &'a Event,
    pub(super) effects: &'a [Effect],
    pub(super) machine: &'a Machine,
}

/// Knows one thing that must hold.
pub(super) trait Judge: fmt::Debug {
    /// What must hold, in one sentence.
    fn contract(&self) -> &'static str;

    /// Looks at one step, and says what is wrong.
    fn step(&mut self, look: &Look<'_>) -> Result<(), String>;
}

/// All judges.
pub(super) fn all() -> Vec<Box<dyn Judge>> {
    vec![
        Box::new(BoundedEffects),
        Box::new(NoBusyLoop::default()),
        Box::new(NewIds::default()),
        Box::new(NoQuote),
        Box::new(WithinBounds),
        Box::new(NoVictim::default()),
        Box::new(Passive::default()),
        Box::new(Acknowledges::default()),
        Box::new(AcquiresWithinRoom),
        Box::new(OneSessionCall::default()),
        Box::new(RenewsSeldom::default()),
    ]
}

/// The requests among the effects.
pub(super) fn requests(
    effects: &[Effect],
) -> impl Iterator<Item = (RequestId, CallKind, &poolkeeper_core::github::request::Request)> {
    effects.iter().filter_map(|effect| match effect {
        Effect::GitHub { id, call, request } => Some((*id, *call, request.as_ref())),
        Effect::Aws { .. }
        | Effect::Cancel { .. }
        | Effect::Remember { .. }
        | Effect::Drop(_)
        | Effect::Note(_)
        | Effect::Exit(_) => None,
    })
}

/// Effects a step may have, beside those for each pool.
const EFFECTS_A_STEP: usize = 64;
/// Effects a step may have for each pool.
const EFFECTS_A_POOL: usize = 6;

/// A step wants few things.
#[derive(Debug)]
struct BoundedEffects;

impl Judge for BoundedEffects {
    fn contract(&self) -> &'static str {
        "a step's effects are bounded"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        let pools = usize::try_from(look.machine.summary().pools).unwrap_or(usize::MAX);
        let (effects, most) = (look.effects.len(), EFFECTS_A_POOL.saturating_mul(pools) + EFFECTS_A_STEP);
        if effects > most { Err(format!("{effects} effects in one step, more than {most}")) } else { Ok(()) }
    }
}

/// How often a minute may hold the same call for the same scale set: each of a burst's messages brings three.
const CALLS_A_MINUTE: u32 = 400;
/// How many calls to AWS a minute may hold, beside those for each pool.
const AWS_A_MINUTE: u32 = 300;
/// How many writes a minute may hold for each pool.
const WRITES_A_POOL: u32 = 120;

/// No call is made over and over.
#[derive(Debug, Default)]
struct NoBusyLoop {
    minute: u64,
    queues: Queues,
    asked: BTreeMap<RequestId, Key>,
    calls: BTreeMap<Key, u32>,
    aws: u32,
}

impl Judge for NoBusyLoop {
    fn contract(&self) -> &'static str {
        "no call is made over and over"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        let minute = look.now.mono.as_millis() / 60_000;
        if minute != self.minute {
            self.minute = minute;
            self.calls.clear();
            self.aws = 0;
        }
        if let Event::GitHubReply { id, result } = look.event
            && let Some(key) = self.asked.remove(id)
        {
            self.queues.learn(&key, result);
        }
        for (id, call, request) in requests(look.effects) {
            let key = self.queues.key(call, request);
            let count = self.calls.entry(key.clone()).or_default();
            *count += 1;
            if *count > CALLS_A_MINUTE {
                return Err(format!("{} {}: more than {CALLS_A_MINUTE} in a minute", call.as_str(), key.whom));
            }
            self.asked.insert(id, key);
        }
        let aws = look.effects.iter().filter(|effect| matches!(effect, Effect::Aws { .. })).count();
        self.aws += u32::try_from(aws).unwrap_or(u32::MAX);
        let most = AWS_A_MINUTE + WRITES_A_POOL * look.machine.summary().pools;
        if self.aws > most { Err(format!("{} calls to AWS in a minute, more than {most}", self.aws)) } else { Ok(()) }
    }
}

/// No call has the name of another.
#[derive(Debug, Default)]
struct NewIds {
    last: Option<RequestId>,
}

impl Judge for NewIds {
    fn contract(&self) -> &'static str {
        "each call has a name of its own, and names count up"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        let ids: BTreeSet<RequestId> = look
            .effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::GitHub { id, .. } | Effect::Aws { id, .. } => Some(*id),
                Effect::Cancel { .. }
                | Effect::Remember { .. }
                | Effect::Drop(_)
                | Effect::Note(_)
                | Effect::Exit(_) => None,
            })
            .collect();
        let calls = look.effects.iter().filter(|e| matches!(e, Effect::GitHub { .. } | Effect::Aws { .. })).count();
        let (Some(first), Some(last)) = (ids.first(), ids.last()) else { return Ok(()) };
        let is_new = ids.len() == calls && self.last.is_none_or(|before| *first > before);
        self.last = Some(*last);
        if is_new { Ok(()) } else { Err(format!("call {first} is not new")) }
    }
}

/// What is in a body that nobody can read is repeated nowhere: it may be a secret.
#[derive(Debug)]
struct NoQuote;

impl Judge for NoQuote {
    fn contract(&self) -> &'static str {
        "no effect quotes a success that does not parse"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        let text = serde_json::to_vec(look.effects).map_err(|e| e.to_string())?;
        if holds_secret(&text) { Err("an effect holds the mark of such a body".to_owned()) } else { Ok(()) }
    }
}
