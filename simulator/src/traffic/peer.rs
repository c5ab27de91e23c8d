//! Both peers, as a script has them.

use std::collections::{BTreeMap, VecDeque};

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, InstanceCall};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Reply, ReplyHeaders, TransportError, TransportErrorKind};
use poolkeeper_core::github::request::{CallKind, Request, RequestId, Slot};
use poolkeeper_core::seal::{Sealed, SealedSecret};
use poolkeeper_core::short_text::ShortText;

use super::faults::{AwsFault, Fault, Faults, raw};
use super::fleet::{Fleet, query};
use super::key::{Key, Queues};
use super::script::{Answer, Script, Written};

/// How long the service holds a poll that has nothing to say.
const HOLD_MS: u64 = 50_000;
/// How long anything takes of which nobody knows how long it took.
const SOME_MS: u64 = 20;
/// Between an answer and itself, when it comes twice.
const AGAIN_MS: u64 = 5;
/// A call to AWS that is late by more than this is one that the shell gave up.
const AWS_MS: u64 = 50_000;

type Said = Result<Reply, TransportError>;

/// The peers of one machine.
#[derive(Debug)]
pub(super) struct Peer {
    answers: BTreeMap<Key, VecDeque<Answer>>,
    written: BTreeMap<ShortText, VecDeque<Written>>,
    fleet: Fleet,
    queues: Queues,
    /// The last good answer of each kind: what is asked more often than it was recorded is answered so again.
    last: BTreeMap<Key, Reply>,
    faults: Option<Faults>,
    inbox: BTreeMap<(u64, u64), Event>,
    /// Polls that are held: when their end is due, and what it will be.
    polls: BTreeMap<RequestId, Poll>,
    arrivals: u64,
    /// Calls that were answered without a recorded answer.
    pub(super) made_up: u64,
    /// Calls that were answered as recorded.
    pub(super) answered: u64,
}

#[derive(Debug)]
struct Poll {
    place: (u64, u64),
    key: Key,
    answer: Option<Answer>,
}

impl Peer {
    pub(super) fn new(script: &Script, faults: Option<u64>) -> Self {
        Self {
            answers: script.answers.clone(),
            written: script.written.clone(),
            fleet: script.fleet.clone(),
            queues: Queues::default(),
            last: BTreeMap::new(),
            faults: faults.map(Faults::new),
            inbox: BTreeMap::new(),
            polls: BTreeMap::new(),
            arrivals: 0,
            made_up: 0,
            answered: 0,
        }
    }

    /// When the next event is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        self.inbox.keys().next().map(|(at, _)| *at)
    }

    /// The next event that is due.
    pub(super) fn arrival(&mut self, now_ms: u64) -> Option<Event> {
        let entry = self.inbox.first_entry().filter(|entry| entry.key().0 <= now_ms)?;
        let event = entry.remove();
        if let Event::GitHubReply { id, .. } = &event {
            self.polls.remove(id);
        }
        Some(event)
    }

    /// By how much the wall clock jumps now.
    pub(super) fn jump_ms(&mut self) -> i64 {
        self.faults.as_mut().map_or(0, Faults::jump_ms)
    }

    /// Carries out an effect: what comes of it comes later.
    pub(super) fn execute(&mut self, now_ms: u64, effect: Effect) {
        match effect {
            Effect::GitHub { id, call, request } => self.github(now_ms, id, call, &request),
            Effect::Aws { id, call } => self.aws(now_ms, id, &call),
            Effect::Cancel { id } => self.cancel(now_ms, id),
            Effect::Remember { key, .. } => {
                self.arrive(now_ms, Event::Remembered { key, ok: true });
            }
            Effect::Drop(_) | Effect::Note(_) | Effect::Exit(_) => {}
        }
    }

    fn github(&mut self, now_ms: u64, id: RequestId, call: CallKind, request: &Request) {
        let key = self.queues.key(call, request);
        let limit_ms = request.timeout.as_millis();
        let fault = self.faults.as_mut().and_then(|faults| faults.github(call));
        match fault {
            Some(Fault::Refuse) => return self.fail(now_ms + SOME_MS, id, TransportErrorKind::Connect),
            Some(Fault::Instead(reply)) => return self.reply(now_ms + SOME_MS, id, Ok(*reply)),
            Some(Fault::Delay(_) | Fault::Lose(_) | Fault::Twice | Fault::Again | Fault::Zero) | None => {}
        }
        if call == CallKind::Poll {
            return self.poll(now_ms, id, key, fault, limit_ms);
        }
        let (took_ms, result) = self.next(&key);
        self.queues.learn(&key, &result);
        let due = match fault {
            Some(Fault::Lose(kind)) => {
                let after = if kind == TransportErrorKind::TimedOut { limit_ms } else { took_ms };
                return self.fail(now_ms + after, id, kind);
            }
            Some(Fault::Delay(by)) => took_ms + by,
            Some(Fault::Twice) => {
                self.reply(now_ms + took_ms + AGAIN_MS, id, result.clone());
                took_ms
            }
            Some(Fault::Refuse | Fault::Instead(_) | Fault::Again | Fault::Zero) | None => took_ms,
        };
        if due >= limit_ms {
            return self.fail(now_ms + limit_ms, id, TransportErrorKind::TimedOut);
        }
        self.reply(now_ms + due, id, result);
    }

    /// The next answer to a call that is no poll, and how long it takes.
    fn next(&mut self, key: &Key) -> (u64, Said) {
        if let Some(Answer { took_ms, result, .. }) = self.answers.get_mut(key).and_then(VecDeque::pop_front) {
            self.answered += 1;
            if let Some(reply) = result.as_ref().ok().filter(|reply| (200..300).contains(&reply.status)) {
                self.last.insert(key.clone(), reply.clone());
            }
            return (took_ms, result);
        }
        self.made_up += 1;
        (SOME_MS, self.made_up(key))
    }

    /// An answer to what was not asked as often when it was recorded.
    fn made_up(&self, key: &Key) -> Said {
        match key.call {
            CallKind::Acknowledge
            | CallKind::DeleteSession
            | CallKind::DeleteScaleSet
            | CallKind::AcquirableJobs
            | CallKind::RemoveRunner => Ok(Reply { status: 204, headers: ReplyHeaders::default(), body: raw("") }),
            CallKind::Acquire => Ok(text(200, r#"{"count":0,"value":[]}"#)),
            CallKind::Installation
            | CallKind::AccessToken
            | CallKind::RegistrationToken
            | CallKind::AdminConnection
            | CallKind::RunnerGroup
            | CallKind::ScaleSets
            | CallKind::ScaleSetByName
            | CallKind::ScaleSet
            | CallKind::CreateScaleSet
            | CallKind::UpdateScaleSet
            | CallKind::CreateSession
            | CallKind::RefreshSession
            | CallKind::Poll
            | CallKind::JitConfig
            | CallKind::RunnerByName
            | CallKind::Runner
            | CallKind::Runners => self.last.get(key).cloned().ok_or_else(|| TransportError {
                kind: TransportErrorKind::Connect,
                detail: "the recording has no answer to this".to_owned(),
            }),
        }
    }

    fn poll(&mut self, now_ms: u64, id: RequestId, key: Key, fault: Option<Fault>, limit_ms: u64) {
        let queue = self.answers.entry(key.clone()).or_default();
        // What said nothing and is past says nothing now.
        while queue.pop_front_if(|answer| answer.at_ms < now_ms && !is_message(&answer.result)).is_some() {}
        let mut taken = queue.pop_front_if(|answer| answer.at_ms <= now_ms + HOLD_MS);
        let mut due = taken.as_ref().map_or(now_ms + HOLD_MS, |answer| answer.at_ms.max(now_ms + SOME_MS));
        let mut result = taken.as_ref().map_or_else(|| Ok(text(202, "")), |answer| answer.result.clone());
        match fault {
            Some(Fault::Delay(by)) => due += by,
            Some(Fault::Lose(kind)) => {
                self.give_back(&key, taken.take());
                result = Err(TransportError { kind, detail: "so it was drawn".to_owned() });
            }
            Some(Fault::Again) => {
                self.give_back(&key, taken.take());
                result = Ok(self.last.get(&key).cloned().unwrap_or_else(|| text(202, "")));
                due = now_ms + SOME_MS;
            }
            Some(Fault::Zero) => result = result.map(without_counts),
            Some(Fault::Twice) => self.reply(due + AGAIN_MS, id, result.clone()),
            Some(Fault::Refuse | Fault::Instead(_)) | None => {}
        }
        if due >= now_ms + limit_ms {
            self.give_back(&key, taken.take());
            due = now_ms + limit_ms;
            let detail = "held for too long".to_owned();
            result = Err(TransportError { kind: TransportErrorKind::TimedOut, detail });
        }
        self.answered += u64::from(taken.is_some());
        if is_message(&result)
            && let Ok(reply) = &result
        {
            self.last.insert(key.clone(), reply.clone());
        }
        self.reply(due, id, result);
        self.polls.insert(id, Poll { place: (due, self.arrivals), key, answer: taken });
    }

    /// What was not delivered is delivered to the next poll.
    fn give_back(&mut self, key: &Key, answer: Option<Answer>) {
        if let Some(answer) = answer {
            self.answers.entry(key.clone()).or_default().push_front(answer);
        }
    }

    fn cancel(&mut self, now_ms: u64, id: RequestId) {
        let Some(Poll { place, key, answer }) = self.polls.remove(&id) else { return };
        if self.inbox.remove(&place).is_some() {
            self.give_back(&key, answer);
            self.fail(now_ms, id, TransportErrorKind::Cancelled);
        }
    }

    fn aws(&mut self, now_ms: u64, id: RequestId, call: &AwsCall) {
        let (mut took_ms, mut seen_ms) = (SOME_MS, now_ms);
        let fault = self.faults.as_mut().and_then(Faults::aws);
        match fault {
            Some(AwsFault::Delay(by)) => took_ms += by,
            Some(AwsFault::Stale(by)) => seen_ms = now_ms.saturating_sub(by),
            Some(AwsFault::Instead(error)) => {
                self.arrive(now_ms + SOME_MS, Event::AwsReply { id, result: Err(error) });
                return;
            }
            None => {}
        }
        let result = match query(call) {
            Some((query, token)) => match self.fleet.failure(now_ms) {
                Some(error) => Err(error),
                None => Ok(self.fleet.describe(seen_ms, query, token.map(String::as_str))),
            },
            None => self.write(call, &mut took_ms),
        };
        let lost = AwsError::Transport { message: "no answer in time".to_owned() };
        let (took_ms, result) = if took_ms < AWS_MS { (took_ms, result) } else { (AWS_MS, Err(lost)) };
        self.arrive(now_ms + took_ms, Event::AwsReply { id, result });
    }

    fn write(&mut self, call: &AwsCall, took_ms: &mut u64) -> Result<AwsReply, AwsError> {
        if let AwsCall::Instances { call: InstanceCall::WarmMembers { .. }, .. } = call {
            return Ok(AwsReply::WarmMembers { members: Vec::new(), next_token: None });
        }
        let AwsCall::SetDesiredCapacity { group, .. } = call else { return Ok(AwsReply::Done) };
        let Some(written) = self.written.get_mut(group).and_then(VecDeque::pop_front) else {
            self.made_up += 1;
            return Ok(AwsReply::Done);
        };
        self.answered += 1;
        *took_ms += written.took_ms;
        written.result
    }

    fn reply(&mut self, due_ms: u64, id: RequestId, result: Said) {
        self.arrive(due_ms, Event::GitHubReply { id, result: result.map(|reply| slotted(reply, id)) });
    }

    fn fail(&mut self, due_ms: u64, id: RequestId, kind: TransportErrorKind) {
        self.reply(due_ms, id, Err(TransportError { kind, detail: "so the script has it".to_owned() }));
    }

    fn arrive(&mut self, due_ms: u64, event: Event) {
        self.arrivals += 1;
        self.inbox.insert((due_ms, self.arrivals), event);
    }
}

fn text(status: u16, body: &str) -> Reply {
    Reply { status, headers: ReplyHeaders::default(), body: raw(body) }
}

/// Whether a poll's end brings anything.
fn is_message(result: &Said) -> bool {
    result.as_ref().is_ok_and(|reply| reply.status == 200)
}

/// A secret's slot is named by the request that brought it.
fn slotted(mut reply: Reply, id: RequestId) -> Reply {
    let name = |secret: &mut SealedSecret| secret.slot = Slot(id);
    match &mut reply.body {
        Body::Sealed(
            Sealed::Token { token } | Sealed::AdminConnection { token, .. } | Sealed::Session { token, .. },
        ) => name(token),
        Body::Sealed(Sealed::JitConfig { config, .. }) => name(config),
        Body::Sealed(Sealed::Error { .. } | Sealed::Unparsed { .. }) | Body::Raw(_) => {}
    }
    reply
}

/// The same message with counts that are all zero.
fn without_counts(mut reply: Reply) -> Reply {
    let Body::Raw(bytes) = &reply.body else { return reply };
    let Ok(mut message) = serde_json::from_slice::<serde_json::Value>(&bytes.0) else { return reply };
    if let Some(counts) = message.get_mut("statistics").and_then(serde_json::Value::as_object_mut) {
        for (_, count) in counts.iter_mut() {
            *count = 0.into();
        }
    }
    reply.body = raw(&message.to_string());
    reply
}
