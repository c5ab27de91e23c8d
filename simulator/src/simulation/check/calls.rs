//! Calls: each ends once, and which ones never go together.

use std::collections::BTreeMap;

use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::seal::Sealed;
use poolkeeper_core::time::{Duration, Instant};

use super::{Asked, Checker, Heard, Moment, Observed, body_of};

/// The longest a call may take: a poll's 75 s, and the 15 s after which the core gives it up.
const LONGEST_CALL: Duration = Duration::from_secs(75 + 15);
/// How often all calls in flight are looked at.
const SWEEP_EVERY: u64 = 512;

/// Every call ends, once.
#[derive(Debug, Default)]
pub struct EndsOnce {
    last: Option<RequestId>,
    steps: u64,
}

impl Checker for EndsOnce {
    fn name(&self) -> &'static str {
        "ends_once"
    }

    fn contract(&self) -> &'static str {
        "each call has a number of its own, ends once, and is called off only while it is under way"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, .. } | Event::AwsReply { id, .. } = heard.event
            && heard.wire.ended().is_none()
        {
            return Err(format!("call {id} ended, and is not under way"));
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        // Within a step calls go out in order of urgency, not of their numbers.
        let mut made: Vec<RequestId> = Vec::new();
        for effect in moment.effects {
            match effect {
                Effect::GitHub { id, .. } | Effect::Aws { id, .. } => {
                    if self.last.is_some_and(|last| *id <= last) {
                        return Err(format!("call {id} is made again"));
                    }
                    made.push(*id);
                }
                Effect::Cancel { id } if !moment.wire.flights().contains_key(id) => {
                    return Err(format!("call {id} is called off, and is not under way"));
                }
                Effect::Cancel { .. }
                | Effect::Remember { .. }
                | Effect::Drop(_)
                | Effect::Note(_)
                | Effect::Exit(_) => {}
            }
        }
        made.sort_unstable();
        if let Some((id, _)) = made.iter().zip(made.iter().skip(1)).find(|(id, next)| id == next) {
            return Err(format!("call {id} is made again"));
        }
        self.last = made.last().copied().or(self.last);
        self.steps += 1;
        if self.steps.is_multiple_of(SWEEP_EVERY) {
            return self.sweep(moment);
        }
        Ok(())
    }
}

impl EndsOnce {
    fn sweep(&self, moment: &Moment<'_>) -> Result<(), String> {
        let now = moment.observed.at;
        let late = |since: Instant| now.since(since) > LONGEST_CALL;
        let overdue = moment.wire.flights().iter().find(|(_, flight)| late(flight.since));
        overdue.map_or(Ok(()), |(id, flight)| Err(format!("call {id} has not ended: {flight:?}")))
    }
}

/// A session makes one call at a time, and there is one session a set.
#[derive(Debug, Default)]
pub struct OneSession {
    calls: BTreeMap<u64, (CallKind, u32)>,
}

impl Checker for OneSession {
    fn name(&self) -> &'static str {
        "one_session"
    }

    fn contract(&self) -> &'static str {
        "a scale set has one session of ours at most, and a session one call under way"
    }

    fn started(&mut self) {
        self.calls.clear();
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        if let Some(Asked::GitHub { call, set }) = moment.wire.ended().map(|flight| &flight.asked)
            && call.is_of_session()
            && let Some((_, calls)) = self.calls.get_mut(set)
        {
            *calls -= 1;
        }
        for effect in moment.effects {
            let Effect::GitHub { call, request, .. } = effect else { continue };
            if !call.is_of_session() {
                continue;
            }
            let Some(set) = super::wire::set_in(&request.url) else { continue };
            let (before, calls) = self.calls.entry(set).or_insert((*call, 0));
            *calls += 1;
            if *calls > 1 {
                return Err(format!("{} while {} is under way, of set {set}", call.as_str(), before.as_str()));
            }
            *before = *call;
            let open = moment.wire.set(set).and_then(|seen| seen.session.as_ref());
            if let (CallKind::CreateSession, Some(open)) = (call, open)
                && !was_lost(moment)
            {
                return Err(format!("a session is asked for while {open} of set {set} is open"));
            }
        }
        Ok(())
    }
}

/// Whether a session ends in this very step.
fn was_lost(moment: &Moment<'_>) -> bool {
    use poolkeeper_core::notice::{Notice, PoolFact};
    moment.effects.iter().any(|effect| {
        matches!(effect, Effect::Note(Notice::Pool { fact: PoolFact::SessionLost(_) | PoolFact::SessionClosed, .. }))
    })
}

/// No admin token is asked for sooner than this after one came.
const RENEW_AT_MOST_EVERY: Duration = Duration::from_secs(30);

/// Tokens are not asked for in a loop.
#[derive(Debug, Default)]
pub struct Renewals {
    asked: BTreeMap<RequestId, String>,
    came: BTreeMap<String, Instant>,
}

impl Checker for Renewals {
    fn name(&self) -> &'static str {
        "renewals"
    }

    fn contract(&self) -> &'static str {
        "the admin token of a scope is renewed once in 30 s at most"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, result } = heard.event
            && let Some(scope) = self.asked.remove(id)
            && let Ok(reply) = result
            && (200..300).contains(&reply.status)
            && matches!(body_of(reply), Some(Sealed::AdminConnection { .. }))
        {
            self.came.insert(scope, heard.observed.at);
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for effect in moment.effects {
            let Effect::GitHub { id, call: CallKind::AdminConnection, request } = effect else { continue };
            let scope = format!("{} {}", request.connection, request.body.as_deref().unwrap_or_default());
            if let Some(came) = self.came.get(&scope) {
                let age = moment.observed.at.since(*came);
                if age < RENEW_AT_MOST_EVERY {
                    return Err(format!("asked for again after {} ms: {scope}", age.as_millis()));
                }
            }
            self.asked.insert(*id, scope);
        }
        Ok(())
    }
}

/// The most ticks at one moment: one for each timer there is, and then the machine wants none now.
const TICKS_AT_ONCE: u32 = 64;

/// Timers are honoured, and end.
#[derive(Debug, Default)]
pub struct Timers {
    due: Option<Instant>,
    ticks: (Instant, u32),
}

impl Checker for Timers {
    fn name(&self) -> &'static str {
        "timers"
    }

    fn contract(&self) -> &'static str {
        "each timer is honoured at its moment, and then is over"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        let now = heard.now.mono;
        if let Some(due) = self.due
            && due < now
            && heard.observed.world.is_some()
        {
            return Err(format!("the timer of {} ms is honoured at {} ms", due.as_millis(), now.as_millis()));
        }
        if matches!(heard.event, Event::Tick) {
            let (at, ticks) = &mut self.ticks;
            *ticks = if *at == now { *ticks + 1 } else { 1 };
            *at = now;
            if *ticks > TICKS_AT_ONCE {
                return Err(format!("{ticks} ticks at one moment, and the machine still wants one"));
            }
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        self.due = moment.observed.machine.and_then(|machine| machine.poll_timeout()).map(|(due, _)| due);
        Ok(())
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let machine = observed.machine?;
        machine.poll_timeout().is_none().then(|| "the machine waits for no timer at all".to_owned())
    }
}
