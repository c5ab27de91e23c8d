//! One message session of a scale set, from its creation to its end.
//!
//! A session makes one call at a time. This table is all it does; `~` is a wait, `x` an end of the session:
//!
//! | in state | on | does | next |
//! |---|---|---|---|
//! | Closed | open | | Deleting, if a session of ours is known to be left, else Creating |
//! | Deleting | done, or not found | | Creating |
//! | Deleting | other failure | creates all the same | Creating |
//! | Creating | session | remembers it, reports its statistics | Remembering |
//! | Remembering | kept, or not, or a wait over | | Polling |
//! | Creating | conflict | reports standby | ~ then Deleting or Creating |
//! | Creating | scale set not found | reports it | ~ then Creating |
//! | Creating | other failure | | ~ then Deleting or Creating |
//! | Polling | message | reports it | Acquiring, if jobs are offered and there is room, else Acknowledging |
//! | Polling | nothing | | Listing, if jobs wait and there is room, else Polling |
//! | Polling | 401 | | Refreshing, then Polling |
//! | Polling | not found | reports the loss | x Deleting |
//! | Listing | jobs | | Acquiring, else Polling |
//! | Acquiring | done, or refused | reports it; after a try in doubt all of it counts as ours | Acquiring, if there are more offers and room, but eight times between two polls at most, else Acknowledging, else Polling |
//! | Acknowledging | done | | Polling |
//! | Acknowledging | not found | | Polling; a minute later for the oldest message, in case it is still held, until an answer tells |
//! | Refreshing | session | drops the old token | what was to be done |
//! | Refreshing | refused | reports the loss | x Deleting |
//! | any open | other failure | | ~ then the same again; after some tries x Deleting |
//! | any | close | finishes the message in hand | Closing, if a session of ours is left, else Closed |
//! | Closing | done, or not found | forgets it | Closed |

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::config::Defences;
use crate::context::Turn;
use crate::github::answer::{Answer, OpenedSession};
use crate::github::call::{Call, already_gone};
use crate::github::error::{CallError, CallErrorKind, misbehaved};
use crate::github::message::Statistics;
use crate::github::request::CallKind;
use crate::time::{Duration, Instant};
use crate::view::SessionView;

mod event;
mod open;

pub use event::{SessionEffect, SessionEvent};
use open::{LIST_AGAIN_AFTER, Open, Stage, Verdict};

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(30);
/// Another daemon's session, or a lost one of ours, ends when it ends.
const STANDBY_FIRST: Duration = Duration::from_secs(2);
const STANDBY_CAP: Duration = Duration::from_secs(30);
/// No poll is begun before the session's id is kept, so that whoever dies polling leaves a session that can be ended;
/// a disk that takes longer than this makes nobody deaf.
const REMEMBER_WAIT: Duration = Duration::from_secs(2);
/// A session that lived this long was no failure.
const LASTING: Duration = Duration::from_secs(60);
/// A call of an open session that fails this often in a row ends the session.
const TRIES: u32 = 5;

/// One message session. Getters: [`Self::view`], [`Self::poll_timeout`]; settings: [`Self::set_capacity`], [`Self::set_counts`];
/// in: [`Self::handle`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Session {
    owner: String,
    #[serde(default, skip_serializing_if = "Defences::all_on")]
    defences: Defences,
    scale_set: u64,
    left: Option<String>,
    state: State,
    closing: bool,
    capacity: u32,
    backoff: Backoff,
    standby: Backoff,
    polled_at: Option<Instant>,
    polls: u64,
    #[serde(default)]
    acquires: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[expect(clippy::large_enum_variant, reason = "nearly all sessions are open nearly all the time")]
enum State {
    Closed,
    Deleting,
    Creating,
    Waiting { until: Instant, standby: bool },
    Open(Open),
    Closing,
    RetryClosing { until: Instant },
}

impl Session {
    /// A session that is not wanted yet; `owner` is what GitHub shows as its owner.
    #[must_use]
    pub fn new(owner: &str) -> Self {
        Self {
            owner: owner.into(),
            defences: Defences::default(),
            scale_set: 0,
            left: None,
            state: State::Closed,
            closing: false,
            capacity: 0,
            backoff: Backoff::new(RETRY_FIRST, RETRY_CAP),
            standby: Backoff::new(STANDBY_FIRST, STANDBY_CAP),
            polled_at: None,
            polls: 0,
            acquires: 0,
        }
    }

    /// What people may know of it.
    #[must_use]
    pub const fn view(&self) -> SessionView {
        if self.closing && !matches!(self.state, State::Closed) {
            return SessionView::Closing;
        }
        match self.state {
            State::Closed => SessionView::None,
            State::Waiting { standby: true, .. } => SessionView::Standby,
            State::Deleting | State::Creating | State::Waiting { .. } => SessionView::Opening,
            State::Open(_) => SessionView::Open,
            State::Closing | State::RetryClosing { .. } => SessionView::Closing,
        }
    }

    /// When the last poll ended well, and how many did.
    #[must_use]
    pub const fn polls(&self) -> (Option<Instant>, u64) {
        (self.polled_at, self.polls)
    }

    /// Whether it is open: only then may anything be written to AWS.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_)) && !self.closing
    }

    /// Whether a call is in flight.
    #[must_use]
    pub const fn is_calling(&self) -> bool {
        match &self.state {
            State::Deleting | State::Creating | State::Closing => true,
            State::Open(open) => !open.is_at_rest(),
            State::Closed | State::Waiting { .. } | State::RetryClosing { .. } => false,
        }
    }

    /// Whether nothing is wanted and nothing is left open.
    #[must_use]
    pub const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// When the next [`SessionEvent::Tick`] is wanted.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Waiting { until, .. } | State::RetryClosing { until } => Some(*until),
            State::Open(open) => open.poll_timeout(),
            State::Closed | State::Deleting | State::Creating | State::Closing => None,
        }
    }

    /// Which defences are on.
    pub(crate) const fn set_defences(&mut self, defences: Defences) {
        self.defences = defences;
    }

    /// How many runners there can be: GitHub assigns no more jobs than that.
    pub const fn set_capacity(&mut self, capacity: u32) {
        self.capacity = capacity;
    }

    /// The scale set's counts were read beside the queue: jobs that wait to be acquired are listed by them. Only counts
    /// that were asked for and told while [`Self::acquires`] stood still may be given.
    pub const fn set_counts(&mut self, statistics: Statistics) {
        if let State::Open(open) = &mut self.state {
            open.counted(statistics);
        }
    }

    /// Moves when jobs are asked for, and when that ends.
    #[must_use]
    pub const fn acquires(&self) -> u64 {
        self.acquires
    }

    /// Takes one event and appends its effects.
    pub fn handle(&mut self, cx: &mut Turn<'_>, event: SessionEvent, effects: &mut Vec<SessionEffect>) {
        match event {
            SessionEvent::Open { scale_set, left } => self.open(scale_set, left, effects),
            SessionEvent::Close => self.close(effects),
            SessionEvent::Called(result) => self.called(cx, result, effects),
            SessionEvent::Remembered => self.remembered(cx.now, effects),
            SessionEvent::Tick => self.tick(cx.now, effects),
        }
    }

    fn open(&mut self, scale_set: u64, left: Option<String>, effects: &mut Vec<SessionEffect>) {
        if !matches!(self.state, State::Closed) {
            return;
        }
        self.closing = false;
        self.scale_set = scale_set;
        self.left = left;
        self.backoff.reset();
        self.standby.reset();
        self.begin(effects);
    }

    fn begin(&mut self, effects: &mut Vec<SessionEffect>) {
        let scale_set = self.scale_set;
        match &self.left {
            Some(session) => {
                self.state = State::Deleting;
                effects.push(SessionEffect::Call(Call::DeleteSession { scale_set, session: session.clone() }));
            }
            None => self.create(effects),
        }
    }

    fn create(&mut self, effects: &mut Vec<SessionEffect>) {
        self.state = State::Creating;
        let call = Call::CreateSession { scale_set: self.scale_set, owner: self.owner.clone() };
        effects.push(SessionEffect::Call(call));
    }

    fn close(&mut self, effects: &mut Vec<SessionEffect>) {
        if self.closing {
            return;
        }
        self.closing = true;
        self.backoff.reset();
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Closed => self.closing = false,
            State::Waiting { .. } => self.delete(effects),
            State::Open(open) if open.is_at_rest() => self.end(&open, effects),
            busy @ (State::Open(_)
            | State::Deleting
            | State::Creating
            | State::Closing
            | State::RetryClosing { .. }) => {
                let polls = matches!(&busy, State::Open(open) if open.is_polling());
                if polls || matches!(busy, State::Creating) {
                    effects.push(SessionEffect::Cancel);
                }
                self.state = busy;
            }
        }
    }

    fn called(&mut self, cx: &mut Turn<'_>, result: Result<Answer, CallError>, effects: &mut Vec<SessionEffect>) {
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Deleting => self.deleted(result, effects),
            State::Creating => self.created(cx, result, effects),
            State::Open(open) => self.answered(cx, open, result, effects),
            State::Closing => self.closed(cx, result, effects),
            resting @ (State::Closed | State::Waiting { .. } | State::RetryClosing { .. }) => {
                self.state = resting;
            }
        }
    }

    fn remembered(&mut self, now: Instant, effects: &mut Vec<SessionEffect>) {
        if let State::Open(open) = &mut self.state
            && open.remembered(now)
        {
            self.tick(now, effects);
        }
    }

    fn tick(&mut self, now: Instant, effects: &mut Vec<SessionEffect>) {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return;
        }
        match core::mem::replace(&mut self.state, State::Closed) {
            State::Waiting { .. } => self.begin(effects),
            State::RetryClosing { .. } => self.delete(effects),
            State::Open(open) => self.resume(now, open, effects),
            resting @ (State::Closed | State::Deleting | State::Creating | State::Closing) => {
                self.state = resting;
            }
        }
    }

    fn deleted(&mut self, result: Result<Answer, CallError>, effects: &mut Vec<SessionEffect>) {
        let gone = match &result {
            Ok(_) => true,
            Err(error) => already_gone(error),
        };
        if gone {
            self.left = None;
        }
        match (self.closing, gone) {
            (true, true) => self.forget(effects),
            (true, false) => self.finish_closing(effects),
            // What is remembered is overwritten by the next session: until then it is one that is gone.
            (false, _) => self.create(effects),
        }
    }

    fn created(&mut self, cx: &mut Turn<'_>, result: Result<Answer, CallError>, effects: &mut Vec<SessionEffect>) {
        match result {
            Ok(Answer::Session(session))
                if session.queue.url.is_empty() && self.defences.refuse_sessions_without_queue =>
            {
                effects.push(SessionEffect::Drop(session.queue.token));
                effects.push(SessionEffect::Remember(session.id.clone()));
                self.left = Some(session.id);
                self.create_failed(cx, misbehaved(200, "a session without a queue"), effects);
            }
            Ok(Answer::Session(session)) => self.opened(cx.now, session, effects),
            Ok(_) => self.create_failed(cx, misbehaved(200, "no session"), effects),
            Err(error) => self.create_failed(cx, error, effects),
        }
    }

    fn opened(&mut self, now: Instant, session: OpenedSession, effects: &mut Vec<SessionEffect>) {
        self.standby.reset();
        self.left = Some(session.id.clone());
        effects.push(SessionEffect::Remember(session.id.clone()));
        let statistics = session.statistics;
        let mut open = Open::new(now, session.id.clone(), session.queue, session.lifetime_s, statistics);
        open.rest(now + REMEMBER_WAIT);
        effects.push(SessionEffect::Opened { session: session.id, statistics });
        self.resume(now, open, effects);
    }

    fn create_failed(&mut self, cx: &mut Turn<'_>, error: CallError, effects: &mut Vec<SessionEffect>) {
        if self.closing {
            return self.delete(effects);
        }
        let standby = error.kind == CallErrorKind::SessionConflict;
        let retry_in = if standby {
            self.standby.fail(cx.rng, error.retry_after)
        } else {
            self.backoff.fail(cx.rng, error.retry_after)
        };
        match error.kind {
            CallErrorKind::SessionConflict => effects.push(SessionEffect::Standby(retry_in)),
            CallErrorKind::ScaleSetNotFound => effects.push(SessionEffect::ScaleSetMissing),
            CallErrorKind::Unreachable
            | CallErrorKind::OutcomeUnknown
            | CallErrorKind::RateLimited
            | CallErrorKind::ServerError
            | CallErrorKind::Misbehaved
            | CallErrorKind::Denied
            | CallErrorKind::NotFound
            | CallErrorKind::Conflict
            | CallErrorKind::RunnerExists
            | CallErrorKind::JobStillRunning
            | CallErrorKind::RunnerNotFound
            | CallErrorKind::Refused
            | CallErrorKind::Cancelled => {
                effects.push(SessionEffect::Failed { call: CallKind::CreateSession, error, retry_in });
            }
        }
        self.state = State::Waiting { until: cx.now + retry_in, standby };
    }

    /// Makes the next call of an open session.
    fn resume(&mut self, now: Instant, mut open: Open, effects: &mut Vec<SessionEffect>) {
        if self.closing && open.in_hand().is_none() {
            return self.end(&open, effects);
        }
        let scale_set = self.scale_set;
        let call = match open.next(now, self.capacity, self.defences) {
            Stage::Polling => Some(Call::Poll {
                scale_set,
                queue: open.queue.clone(),
                last_message: open.after(),
                max_capacity: self.capacity,
            }),
            Stage::Listing => Some(Call::AcquirableJobs { scale_set }),
            Stage::Acquiring => {
                self.acquires += 1;
                Some(Call::Acquire { scale_set, token: open.queue.token, request_ids: open.asked().to_vec() })
            }
            Stage::Acknowledging => {
                open.in_hand().map(|message| Call::Acknowledge { scale_set, queue: open.queue.clone(), message })
            }
            Stage::Refreshing => Some(Call::RefreshSession { scale_set, session: open.id.clone() }),
            Stage::Resting { .. } => None,
        };
        effects.extend(call.map(SessionEffect::Call));
        self.state = State::Open(open);
    }

    fn answered(
        &mut self,
        cx: &mut Turn<'_>,
        mut open: Open,
        result: Result<Answer, CallError>,
        effects: &mut Vec<SessionEffect>,
    ) {
        if open.stage == Stage::Acquiring {
            self.acquires += 1;
        }
        match result.and_then(|answer| self.absorb(cx, &mut open, answer, effects)) {
            Ok(()) => {
                open.succeeded();
                self.resume(cx.now, open, effects);
            }
            Err(error) if error.kind == CallErrorKind::Cancelled && self.closing => {
                self.end(&open, effects);
            }
            Err(error) => self.call_failed(cx, open, error, effects),
        }
    }

    fn call_failed(&mut self, cx: &mut Turn<'_>, mut open: Open, error: CallError, effects: &mut Vec<SessionEffect>) {
        let stage = open.stage;
        match open.failed(cx.now, &error) {
            Verdict::GoOn => {
                if stage == Stage::Listing {
                    let retry_in = LIST_AGAIN_AFTER;
                    effects.push(SessionEffect::Failed { call: stage.call(), error, retry_in });
                }
                self.resume(cx.now, open, effects);
            }
            Verdict::Lost => self.lost(cx, &open, error, effects),
            Verdict::Retry => {
                let retry_in = open.tries.fail(cx.rng, error.retry_after);
                if open.tries.failures() > TRIES && stage != Stage::Polling {
                    return self.lost(cx, &open, error, effects);
                }
                effects.push(SessionEffect::Failed { call: stage.call(), error, retry_in });
                if self.closing {
                    return self.end(&open, effects);
                }
                open.rest(cx.now + retry_in);
                self.state = State::Open(open);
            }
        }
    }

    fn absorb(
        &mut self,
        cx: &mut Turn<'_>,
        open: &mut Open,
        answer: Answer,
        effects: &mut Vec<SessionEffect>,
    ) -> Result<(), CallError> {
        match (open.stage, answer) {
            (Stage::Polling, Answer::EmptyReply) => {
                self.polled(cx.now);
                effects.push(SessionEffect::EmptyReply);
                open.rest_after_a_quick_poll(cx);
            }
            (Stage::Polling, Answer::Message(message)) => {
                self.polled(cx.now);
                match message {
                    None => open.heard_nothing(cx),
                    Some(message) if message.id <= open.last_message => {
                        effects.push(SessionEffect::Redelivered(message.id));
                        open.heard_again(cx, message.id);
                    }
                    Some(message) => {
                        open.heard(&message, self.defences);
                        effects.push(SessionEffect::Message(message));
                    }
                }
            }
            (Stage::Listing, Answer::AcquirableJobs(ids)) => open.listed(ids),
            (Stage::Acquiring, Answer::Acquired(ids)) => {
                let (asked, got) = (count(open.asked().len()), count(ids.len()));
                effects.push(SessionEffect::Acquired { asked, got });
                open.acquired(got);
            }
            (Stage::Acknowledging, Answer::Done) => open.acknowledged(),
            (Stage::Refreshing, Answer::Session(session)) => {
                if session.queue.url.is_empty() {
                    effects.push(SessionEffect::Drop(session.queue.token));
                    return Err(misbehaved(200, "a refreshed session without a queue"));
                }
                let old = open.refreshed(cx.now, session.queue, session.lifetime_s);
                effects.push(SessionEffect::Drop(old.token));
            }
            (stage, _) => unreachable!("an answer of another call while {stage:?}"),
        }
        Ok(())
    }

    const fn polled(&mut self, now: Instant) {
        self.polled_at = Some(now);
        self.polls += 1;
    }

    /// A session that did not last is not asked for again at once: a broken peer must not make us spin.
    fn lost(&mut self, cx: &mut Turn<'_>, open: &Open, error: CallError, effects: &mut Vec<SessionEffect>) {
        let missing = error.kind == CallErrorKind::ScaleSetNotFound;
        effects.push(SessionEffect::Lost(error));
        if self.closing {
            return self.end(open, effects);
        }
        effects.push(SessionEffect::Drop(open.queue.token));
        if missing {
            effects.push(SessionEffect::ScaleSetMissing);
        }
        if cx.now.since(open.opened_at) >= LASTING {
            self.backoff.reset();
            self.begin(effects);
        } else {
            let until = cx.now + self.backoff.fail(cx.rng, None);
            self.state = State::Waiting { until, standby: false };
        }
    }

    /// Closes an open session.
    fn end(&mut self, open: &Open, effects: &mut Vec<SessionEffect>) {
        effects.push(SessionEffect::Drop(open.queue.token));
        self.delete(effects);
    }

    fn delete(&mut self, effects: &mut Vec<SessionEffect>) {
        match &self.left {
            Some(session) => {
                self.state = State::Closing;
                let call = Call::DeleteSession { scale_set: self.scale_set, session: session.clone() };
                effects.push(SessionEffect::Call(call));
            }
            None => self.forget(effects),
        }
    }

    fn closed(&mut self, cx: &mut Turn<'_>, result: Result<Answer, CallError>, effects: &mut Vec<SessionEffect>) {
        match result {
            Err(error) if !already_gone(&error) && self.backoff.failures() < TRIES => {
                let retry_in = self.backoff.fail(cx.rng, error.retry_after);
                effects.push(SessionEffect::Failed { call: CallKind::DeleteSession, error, retry_in });
                self.state = State::RetryClosing { until: cx.now + retry_in };
            }
            Err(error) if !already_gone(&error) => self.finish_closing(effects),
            Ok(_) | Err(_) => {
                self.left = None;
                self.forget(effects);
            }
        }
    }

    /// Nothing of ours is left.
    fn forget(&mut self, effects: &mut Vec<SessionEffect>) {
        effects.push(SessionEffect::Forget);
        self.finish_closing(effects);
    }

    fn finish_closing(&mut self, effects: &mut Vec<SessionEffect>) {
        self.state = State::Closed;
        self.closing = false;
        effects.push(SessionEffect::Closed);
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
