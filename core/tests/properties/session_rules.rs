//! What a session must and must not do, kept beside it from its effects and its peer's answers alone.

use std::collections::{BTreeSet, VecDeque};

use poolkeeper_core::github::answer::Answer;
use poolkeeper_core::github::call::Call;
use poolkeeper_core::github::error::{CallError, CallErrorKind};
use poolkeeper_core::github::message::{JobMessageKind, Message, Statistics};
use poolkeeper_core::github::request::Slot;
use poolkeeper_core::session::SessionEffect;
use poolkeeper_core::time::{Duration, Instant};

const REFRESH_AT_MOST_EVERY: Duration = Duration::from_secs(30);
/// Acquires that end between two polls.
const ACQUIRES_A_POLL: u32 = 8;
const LIST_AT_MOST_EVERY: Duration = Duration::from_secs(10);
/// A message that could not be acknowledged is asked for again after this.
const LOOK_BACK_AFTER: Duration = Duration::from_secs(60);
const MINUTE: Duration = Duration::from_secs(60);
/// Polls a minute that may end with nothing new: one a second, and those that were not quite a second long.
const QUIET_POLLS_A_MINUTE: usize = 66;

/// What is known of a session from outside.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    pub(super) capacity: u32,
    pub(super) in_flight: Option<Call>,
    pub(super) remembered: Option<String>,
    pub(super) live: BTreeSet<Slot>,
    pub(super) closing: bool,
    pub(super) cancelled: bool,
    /// When the last poll ended well, and how many did.
    pub(super) polls: (Option<Instant>, u64),
    /// A session was lost with its set, and nobody has been told of the set yet.
    pub(super) lost_a_set: bool,
    delete_tried: bool,
    deleted: bool,
    last_message: u64,
    /// When GitHub last did not know the message that was acknowledged.
    unacknowledged: Option<Instant>,
    in_hand: Option<u64>,
    offers: Vec<u64>,
    statistics: Statistics,
    acquired_since: u32,
    acquires: u32,
    /// An acquire ended in doubt: what it asked for may be ours.
    perhaps_acquired: bool,
    token_since: Instant,
    token_refused: bool,
    listed_at: Option<Instant>,
    polled_since: Instant,
    quiet_polls: VecDeque<Instant>,
}

impl Rules {
    /// How many more jobs there is room for, as far as the session can know.
    fn room(&self) -> u32 {
        let taken = self.statistics.assigned + self.statistics.acquired + self.acquired_since;
        self.capacity.saturating_sub(taken)
    }

    fn has_dealt_with_offers(&self) -> bool {
        self.offers.is_empty() || self.room() == 0 || self.acquires >= ACQUIRES_A_POLL
    }

    /// Whether the session that is left could not be deleted when that was tried last.
    pub(super) const fn gave_up(&self) -> bool {
        self.delete_tried && !self.deleted
    }

    pub(super) const fn counted(&mut self, statistics: Statistics) {
        (self.statistics, self.acquired_since) = (statistics, 0);
    }

    /// The call in flight ends.
    pub(super) fn ended(&mut self, now: Instant, result: &Result<Answer, CallError>) {
        let call = self.in_flight.take().expect("a call in flight");
        self.cancelled = false;
        let refused = matches!(result, Err(error) if error.status == Some(401));
        match (&call, result) {
            (Call::CreateSession { .. }, Ok(Answer::Session(session))) => {
                assert!(self.live.insert(session.queue.token));
                let (capacity, closing, quiet) = (self.capacity, self.closing, core::mem::take(&mut self.quiet_polls));
                let polls = self.polls;
                let (live, remembered) = (core::mem::take(&mut self.live), self.remembered.take());
                let statistics = session.statistics.unwrap_or_default();
                let token_since = now;
                *self = Self { capacity, closing, polls, live, remembered, statistics, token_since, ..Self::default() };
                self.quiet_polls = quiet;
            }
            (Call::RefreshSession { .. }, Ok(Answer::Session(session))) => {
                assert!(self.live.insert(session.queue.token));
                if !session.queue.url.is_empty() {
                    (self.token_since, self.token_refused) = (now, false);
                }
            }
            (Call::Poll { .. }, Ok(answer)) => self.polled(now, answer),
            (Call::Acquire { request_ids, .. }, Ok(Answer::Acquired(ids))) => {
                self.acquired(request_ids.len(), ids.len());
            }
            (Call::Acquire { request_ids, .. }, Err(error)) if is_no(error) => self.acquired(request_ids.len(), 0),
            (Call::Acquire { .. }, Err(error)) => self.perhaps_acquired |= is_doubtful(error),
            (Call::Acknowledge { .. }, Ok(_)) => self.acknowledged(),
            (Call::Acknowledge { .. }, Err(error)) if error.kind == CallErrorKind::NotFound => {
                self.acknowledged();
                self.unacknowledged = Some(now);
            }
            (Call::AcquirableJobs { .. }, Ok(Answer::AcquirableJobs(ids))) => self.offers.clone_from(ids),
            (Call::DeleteSession { .. }, result) => {
                self.delete_tried = true;
                let gone =
                    |error: &CallError| matches!(error.kind, CallErrorKind::NotFound | CallErrorKind::ScaleSetNotFound);
                self.deleted = result.as_ref().map_or_else(gone, |_| true);
            }
            (_, _) => {}
        }
        if refused && matches!(call, Call::Poll { .. } | Call::Acquire { .. } | Call::Acknowledge { .. }) {
            self.token_refused = true;
        }
    }

    fn acquired(&mut self, asked: usize, got: usize) {
        let ours = if core::mem::take(&mut self.perhaps_acquired) { asked } else { got };
        self.acquired_since += u32::try_from(ours).expect("few");
        self.acquires += 1;
        self.offers.drain(..asked);
    }

    /// What was not asked for is left for lack of room.
    fn acknowledged(&mut self) {
        self.in_hand = None;
        self.offers.clear();
    }

    fn polled(&mut self, now: Instant, answer: &Answer) {
        self.polls = (Some(now), self.polls.1 + 1);
        let again = matches!(answer, Answer::Message(Some(message)) if message.id <= self.last_message);
        let is_clear = *answer != Answer::EmptyReply;
        if is_clear && !again && self.unacknowledged.is_some_and(|at| self.polled_since.since(at) >= LOOK_BACK_AFTER) {
            self.unacknowledged = None;
        }
        let Answer::Message(Some(message)) = answer else { return self.quiet(now) };
        if message.id > self.last_message {
            return self.quiet_polls.clear();
        }
        self.in_hand = Some(message.id);
        self.quiet(now);
    }

    fn quiet(&mut self, now: Instant) {
        self.quiet_polls.push_back(now);
        while self.quiet_polls.front().is_some_and(|first| now.since(*first) > MINUTE) {
            self.quiet_polls.pop_front();
        }
        assert!(self.quiet_polls.len() <= QUIET_POLLS_A_MINUTE, "polls that bring nothing are not made in a hurry");
    }

    pub(super) fn effect(&mut self, now: Instant, effect: &SessionEffect) {
        match effect {
            SessionEffect::Call(call) => {
                self.call(now, call);
                assert_eq!(self.in_flight.replace(call.clone()), None, "one call at a time");
            }
            SessionEffect::Cancel => {
                let wanted = matches!(self.in_flight, Some(Call::Poll { .. } | Call::CreateSession { .. }));
                assert!(wanted, "only a poll or a creation is given up");
                assert!(self.closing, "only for the end");
                self.cancelled = true;
            }
            SessionEffect::Remember(session) => self.remembered = Some(session.clone()),
            SessionEffect::Forget => {
                assert!(self.deleted || self.remembered.is_none(), "only what is gone is forgotten");
                self.remembered = None;
            }
            SessionEffect::Drop(slot) => assert!(self.live.remove(slot), "a secret dies once: {slot:?}"),
            SessionEffect::Opened { session, .. } => {
                assert_eq!(self.remembered.as_ref(), Some(session), "it is remembered before it is used");
            }
            SessionEffect::Message(message) => self.message(message),
            SessionEffect::Redelivered(id) => assert!(*id <= self.last_message, "only what came before comes again"),
            SessionEffect::Acquired { asked, got } => assert!(got <= asked),
            SessionEffect::Closed => {
                assert_eq!(self.in_flight, None);
                self.closing = false;
            }
            SessionEffect::Standby(wait) | SessionEffect::Failed { retry_in: wait, .. } => {
                assert!(*wait > Duration::ZERO, "nothing is tried again at once");
            }
            SessionEffect::Lost(error) => {
                self.lost_a_set = error.kind == CallErrorKind::ScaleSetNotFound && !self.closing;
            }
            SessionEffect::ScaleSetMissing => self.lost_a_set = false,
            SessionEffect::EmptyReply => {}
        }
    }

    fn message(&mut self, message: &Message) {
        assert!(message.id > self.last_message, "a message is told once");
        assert_eq!(self.in_hand, None, "one message at a time");
        self.last_message = message.id;
        self.in_hand = Some(message.id);
        let assigned = message.jobs.iter().any(|job| job.kind == JobMessageKind::Assigned);
        let doubtful = assigned && message.statistics == Some(Statistics::default());
        if let Some(statistics) = message.statistics.filter(|_| !doubtful) {
            (self.statistics, self.acquired_since) = (statistics, 0);
        }
        let ended = message.jobs.iter().any(|job| job.kind == JobMessageKind::Completed);
        if message.unknown > 0 || ended {
            self.listed_at = None;
        }
        let offers = message.jobs.iter().filter(|job| job.kind == JobMessageKind::Available);
        self.offers = offers.map(|job| job.job.request_id).filter(|id| *id != 0).collect();
    }

    fn call(&mut self, now: Instant, call: &Call) {
        let newest = self.live.last().copied();
        match call {
            Call::Poll { queue, last_message, max_capacity, .. } => {
                assert_eq!(Some(queue.token), newest);
                let looks_back = self.unacknowledged.is_some_and(|at| now.since(at) >= LOOK_BACK_AFTER);
                let after = if looks_back { 0 } else { self.last_message };
                assert_eq!(*last_message, after, "what comes after the last message, or the oldest one");
                assert_eq!(*max_capacity, self.capacity, "GitHub is told how much it may assign");
                assert_eq!(self.in_hand, None, "a message is acknowledged before the next is asked for");
                self.polled_since = now;
                assert!(!self.closing, "a session that is to end does not listen");
                assert!(self.has_dealt_with_offers(), "offers are dealt with before the next poll");
                self.offers.clear();
                self.acquires = 0;
            }
            Call::Acknowledge { queue, message, .. } => {
                assert_eq!((Some(queue.token), Some(*message)), (newest, self.in_hand));
                assert!(*message <= self.last_message, "a message is told before it is acknowledged");
                assert!(self.has_dealt_with_offers(), "offers are dealt with first");
            }
            Call::Acquire { token, request_ids, .. } => {
                assert_eq!(Some(*token), newest);
                let most = self.offers.len().min(usize::try_from(self.room()).expect("small"));
                assert_eq!(request_ids.len(), most, "all that there is room for");
                assert!(self.acquires < ACQUIRES_A_POLL, "a session that only acquires is taken away");
                assert!(most > 0 && request_ids.iter().all(|id| self.offers.contains(id)), "only what is offered");
            }
            Call::AcquirableJobs { .. } => {
                assert!(self.room() > 0 && self.statistics.available > 0, "a list that is of use");
                let soon = self.listed_at.is_some_and(|at| now.since(at) < LIST_AT_MOST_EVERY);
                assert!(!soon, "jobs are listed once in a while");
                self.listed_at = Some(now);
            }
            Call::RefreshSession { session, .. } => {
                assert_eq!(Some(session), self.remembered.as_ref());
                let early = now.since(self.token_since) < REFRESH_AT_MOST_EVERY;
                assert!(self.token_refused || !early, "a token is renewed when it is refused, or old");
            }
            Call::CreateSession { .. } => {
                assert!(self.live.is_empty(), "one session at a time");
                assert!(self.remembered.is_none() || self.delete_tried, "what is left is deleted first");
                assert!(!self.closing, "a session that is to end is not opened");
            }
            Call::DeleteSession { session, .. } => {
                assert_eq!(Some(session), self.remembered.as_ref(), "ours, and remembered until it is gone");
                assert!(self.live.is_empty(), "no token outlives its session");
                (self.delete_tried, self.deleted) = (false, false);
            }
            Call::RunnerGroup { .. }
            | Call::ScaleSets
            | Call::ScaleSetByName { .. }
            | Call::ScaleSet { .. }
            | Call::CreateScaleSet { .. }
            | Call::UpdateScaleSet { .. }
            | Call::DeleteScaleSet { .. }
            | Call::JitConfig { .. }
            | Call::RunnerByName { .. }
            | Call::Runner { .. }
            | Call::Runners
            | Call::RemoveRunner { .. } => panic!("no call of a session: {call:?}"),
        }
    }
}

/// A refusal that no later attempt will change.
/// Whether a call that failed so may have been carried out.
const fn is_doubtful(error: &CallError) -> bool {
    matches!(error.kind, CallErrorKind::OutcomeUnknown | CallErrorKind::Misbehaved | CallErrorKind::ServerError)
}

const fn is_no(error: &CallError) -> bool {
    matches!(error.kind, CallErrorKind::NotFound | CallErrorKind::Refused | CallErrorKind::Conflict)
}
