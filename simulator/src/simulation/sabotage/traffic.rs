//! Calls, timers and memories: too many, too early, too late, or none.

use std::collections::BTreeSet;

use poolkeeper_core::event::{Effect, Event, ExitReason};
use poolkeeper_core::github::reply::Reply;
use poolkeeper_core::github::request::{CallKind, Request, RequestId};
use poolkeeper_core::notice::{Notice, PoolFact};
use poolkeeper_core::seal::Sealed;
use poolkeeper_core::time::{Duration, Instant};

use super::{Forger, Saboteur};
use crate::github::MARKER;

/// Writes a secret into the body of what is sent.
#[derive(Debug)]
pub(super) struct Leaks;

impl Saboteur for Leaks {
    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        for effect in effects {
            if let Effect::GitHub { call: CallKind::CreateSession, request, .. } = effect {
                request.body = Some(format!("{{\"ownerName\":\"AR{MARKER}00\"}}"));
            }
        }
    }
}

/// Makes a call of a kind once more, under the same number or another.
#[derive(Debug)]
pub(super) struct Doubles {
    pub(super) call: CallKind,
    pub(super) same_number: bool,
    pub(super) forger: Forger,
}

impl Saboteur for Doubles {
    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        let ours = |effect: &&Effect| matches!(effect, Effect::GitHub { call, .. } if *call == self.call);
        let mut again: Vec<Effect> = effects.iter().filter(ours).cloned().collect();
        for effect in &mut again {
            if let Effect::GitHub { id, .. } = effect
                && !self.same_number
            {
                *id = self.forger.id();
            }
        }
        effects.append(&mut again);
    }
}

/// Makes the last call of a kind once more when something else happens.
#[derive(Debug)]
pub(super) struct Recalls {
    pub(super) call: CallKind,
    pub(super) when: fn(&Event) -> bool,
    pub(super) forger: Forger,
    pub(super) last: Option<Box<Request>>,
    pub(super) now: bool,
}

impl Recalls {
    pub(super) fn new(call: CallKind, when: fn(&Event) -> bool) -> Self {
        Self { call, when, forger: Forger::default(), last: None, now: false }
    }
}

impl Saboteur for Recalls {
    fn event(&mut self, _: Instant, event: &mut Event) -> bool {
        self.now = (self.when)(event);
        true
    }

    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        if self.now
            && let Some(request) = &self.last
        {
            effects.push(Effect::GitHub { id: self.forger.id(), call: self.call, request: request.clone() });
        }
        for effect in effects {
            if let Effect::GitHub { call, request, .. } = effect
                && *call == self.call
            {
                self.last = Some(request.clone());
            }
        }
    }
}

pub(super) fn sealed(event: &Event) -> Option<&Sealed> {
    let Event::GitHubReply { result: Ok(Reply { body, .. }), .. } = event else { return None };
    match body {
        poolkeeper_core::github::reply::Body::Sealed(sealed) => Some(sealed),
        poolkeeper_core::github::reply::Body::Raw(_) => None,
    }
}

/// An admin token has come.
pub(super) fn admin_came(event: &Event) -> bool {
    matches!(sealed(event), Some(Sealed::AdminConnection { .. }))
}

/// A session was opened or refreshed.
pub(super) fn session_came(event: &Event) -> bool {
    matches!(sealed(event), Some(Sealed::Session { .. }))
}

/// The daemon is told to stop.
pub(super) const fn stop_came(event: &Event) -> bool {
    matches!(event, Event::Stop)
}

/// GitHub said that it is too much.
pub(super) fn limit_came(event: &Event) -> bool {
    matches!(event, Event::GitHubReply { result: Ok(Reply { status: 429, .. }), .. })
}

/// Every timer is late.
#[derive(Debug)]
pub(super) struct Late;

impl Saboteur for Late {
    fn due(&self, due: Instant) -> Instant {
        due + Duration::from_secs(5)
    }
}

/// Drops what a rule picks.
#[derive(Debug)]
pub(super) struct Drops(pub(super) fn(&Effect) -> bool);

impl Saboteur for Drops {
    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        effects.retain(|effect| !self.0(effect));
    }
}

/// The end of a secret.
pub(super) const fn is_drop(effect: &Effect) -> bool {
    matches!(effect, Effect::Drop(_))
}

/// A memory of a session.
pub(super) fn is_memory(effect: &Effect) -> bool {
    matches!(effect, Effect::Remember { key, value: Some(_) } if key.starts_with("session/"))
}

/// A poll.
pub(super) const fn is_poll(effect: &Effect) -> bool {
    matches!(effect, Effect::GitHub { call: CallKind::Poll, .. })
}

/// What tells people of labels that GitHub did not take.
pub(super) const fn is_word_of_labels(effect: &Effect) -> bool {
    matches!(effect, Effect::Note(Notice::Pool { fact: PoolFact::LabelsDiffer { .. }, .. }))
}

/// How often a call is repeated by [`Loops`].
const TIMES: usize = 100;

/// Describes again and again.
#[derive(Debug, Default)]
pub(super) struct Loops(pub(super) Forger);

impl Saboteur for Loops {
    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        let describe = effects.iter().find_map(|effect| match effect {
            Effect::Aws { call: call @ poolkeeper_core::aws::AwsCall::DescribeGroups { .. }, .. } => Some(call.clone()),
            Effect::Aws { .. }
            | Effect::GitHub { .. }
            | Effect::Cancel { .. }
            | Effect::Remember { .. }
            | Effect::Drop(_)
            | Effect::Note(_)
            | Effect::Exit(_) => None,
        });
        if let Some(call) = describe {
            effects.extend((0..TIMES).map(|_| Effect::Aws { id: self.0.id(), call: call.clone() }));
        }
    }
}

/// Makes a call only once, and nothing of it again.
#[derive(Debug)]
pub(super) struct NeverAgain {
    call: CallKind,
    made: BTreeSet<String>,
    kept_back: BTreeSet<RequestId>,
}

impl NeverAgain {
    pub(super) const fn new(call: CallKind) -> Self {
        Self { call, made: BTreeSet::new(), kept_back: BTreeSet::new() }
    }
}

impl Saboteur for NeverAgain {
    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        effects.retain(|effect| match effect {
            Effect::GitHub { id, call, request } if *call == self.call => {
                let first =
                    self.made.insert(format!("{} {}", request.url, request.body.as_deref().unwrap_or_default()));
                if !first {
                    self.kept_back.insert(*id);
                }
                first
            }
            Effect::Cancel { id } => !self.kept_back.remove(id),
            Effect::GitHub { .. }
            | Effect::Aws { .. }
            | Effect::Remember { .. }
            | Effect::Drop(_)
            | Effect::Note(_)
            | Effect::Exit(_) => true,
        });
    }
}

/// Ends the process when something happens.
#[derive(Debug)]
pub(super) struct Exits {
    pub(super) when: fn(&Event) -> bool,
    pub(super) now: bool,
}

impl Saboteur for Exits {
    fn event(&mut self, _: Instant, event: &mut Event) -> bool {
        self.now = (self.when)(event);
        true
    }

    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        if self.now {
            effects.push(Effect::Exit(ExitReason::Stopped));
        }
    }
}

/// A success has no body at all.
pub(super) fn empty_success(event: &Event) -> bool {
    let Event::GitHubReply { result: Ok(Reply { status: 200, body, .. }), .. } = event else { return false };
    matches!(body, poolkeeper_core::github::reply::Body::Raw(bytes) if bytes.0.is_empty())
}

/// Another session of the scale set lives.
pub(super) const fn conflict(event: &Event) -> bool {
    matches!(event, Event::GitHubReply { result: Ok(Reply { status: 409, .. }), .. })
}
