//! Messages and what is done about them.

use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Reply};
use poolkeeper_core::github::request::{CallKind, Request};
use poolkeeper_core::time::Instant;
use serde_json::Value;

use super::{Forger, Saboteur};

/// Acknowledges the message after the one that came.
#[derive(Debug)]
pub(super) struct AcksAhead;

impl Saboteur for AcksAhead {
    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        for effect in effects {
            let Effect::GitHub { call: CallKind::Acknowledge, request, .. } = effect else { continue };
            let Some((before, after)) = request.url.split_once("/messages/") else { continue };
            let Some((number, query)) = after.split_once('?') else { continue };
            let next = number.parse().unwrap_or(0_u64) + 1;
            request.url = format!("{before}/messages/{next}?{query}");
        }
    }
}

/// Acknowledges before it acquires what was offered.
#[derive(Debug, Default)]
pub(super) struct AcksFirst {
    forger: Forger,
    acknowledge: Option<Box<Request>>,
    message: Option<u64>,
}

impl Saboteur for AcksFirst {
    fn event(&mut self, _: Instant, event: &mut Event) -> bool {
        self.message = message_in(event).and_then(|message| message.get("messageId")?.as_u64());
        true
    }

    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        if let Some(message) = self.message.take()
            && effects.iter().any(|effect| matches!(effect, Effect::GitHub { call: CallKind::Acquire, .. }))
            && let Some(mut request) = self.acknowledge.clone()
            && let Some((before, after)) = request.url.split_once("/messages/")
            && let Some((_, query)) = after.split_once('?')
        {
            request.url = format!("{before}/messages/{message}?{query}");
            effects.insert(0, Effect::GitHub { id: self.forger.id(), call: CallKind::Acknowledge, request });
        }
        for effect in effects {
            if let Effect::GitHub { call: CallKind::Acknowledge, request, .. } = effect {
                self.acknowledge = Some(request.clone());
            }
        }
    }
}

/// Acquires a hundred jobs more than there is room for.
#[derive(Debug)]
pub(super) struct Greedy;

impl Saboteur for Greedy {
    fn effects(&mut self, _: Instant, effects: &mut Vec<Effect>) {
        for effect in effects {
            let Effect::GitHub { call: CallKind::Acquire, request, .. } = effect else { continue };
            let mut ids: Vec<u64> =
                serde_json::from_str(request.body.as_deref().unwrap_or_default()).unwrap_or_default();
            ids.extend((0..100).map(|n| 1_000_000 + n));
            request.body = serde_json::to_string(&ids).ok();
        }
    }
}

fn message_in(event: &Event) -> Option<Value> {
    let Event::GitHubReply { result: Ok(Reply { status: 200, body: Body::Raw(body), .. }), .. } = event else {
        return None;
    };
    let value: Value = serde_json::from_slice(&body.0).ok()?;
    value.get("messageId").is_some().then_some(value)
}

/// Changes each message on its way to the machine by a rule.
#[derive(Debug)]
pub(super) struct Rewrites(pub(super) fn(&mut Value));

impl Saboteur for Rewrites {
    fn event(&mut self, _: Instant, event: &mut Event) -> bool {
        let Some(mut message) = message_in(event) else { return true };
        self.0(&mut message);
        if let Event::GitHubReply { result: Ok(Reply { body: Body::Raw(body), .. }), .. } = event {
            body.0 = message.to_string().into_bytes();
        }
        true
    }
}

/// Jobs are told apart by `runnerRequestId` alone: with all of them 0, there is one.
pub(super) fn one_job(message: &mut Value) {
    set_count(message, "totalAssignedJobs", |jobs| jobs.min(1));
}

fn set_count(message: &mut Value, name: &str, rule: impl Fn(u64) -> u64) {
    let count = message.get_mut("statistics").and_then(|statistics| statistics.get_mut(name));
    if let Some(count) = count {
        *count = rule(count.as_u64().unwrap_or(0)).into();
    }
}
