//! What an open session has in hand, and which call comes next.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::config::Defences;
use crate::context::Turn;
use crate::github::answer::Queue;
use crate::github::error::{CallError, CallErrorKind};
use crate::github::message::{JobMessageKind, Message, Statistics};
use crate::github::request::CallKind;
use crate::time::{Duration, Instant};

/// A poll that ends sooner with nothing to say is not repeated at once: a broken peer must not make us spin.
const SHORTEST_QUIET_POLL: Duration = Duration::from_secs(1);
const QUIET_FIRST: Duration = Duration::from_millis(500);
const QUIET_CAP: Duration = Duration::from_secs(30);
/// Jobs that wait to be acquired are listed at most this often, and whenever a job's end may have left room for them.
const LIST_EVERY: Duration = Duration::from_secs(10);
/// After the list could not be had.
pub(super) const LIST_AGAIN_AFTER: Duration = Duration::from_secs(60);
/// A message that GitHub would not let us acknowledge, and may still hold, is asked for again after this.
pub(super) const LOOK_BACK_AFTER: Duration = Duration::from_secs(60);
/// How many acquires may end between two polls: a session that does not poll is taken away, and its message comes again.
pub(super) const ACQUIRES_A_POLL: u32 = 8;
/// No session is refreshed ahead of time sooner than this after it got its token.
const REFRESH_AT_MOST_EVERY: Duration = Duration::from_secs(30);

/// The call in flight, or the wait before the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Stage {
    Polling,
    Listing,
    Acquiring,
    Acknowledging,
    Refreshing,
    Resting { until: Instant },
}

impl Stage {
    pub(super) const fn call(self) -> CallKind {
        match self {
            Self::Polling | Self::Resting { .. } => CallKind::Poll,
            Self::Listing => CallKind::AcquirableJobs,
            Self::Acquiring => CallKind::Acquire,
            Self::Acknowledging => CallKind::Acknowledge,
            Self::Refreshing => CallKind::RefreshSession,
        }
    }
}

/// What a failed call means for the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The next call can be made at once: the failure was an answer too, or the token is to be refreshed.
    GoOn,
    /// The same again after a wait.
    Retry,
    /// The session is gone.
    Lost,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Open {
    pub(super) id: String,
    pub(super) queue: Queue,
    pub(super) last_message: u64,
    pub(super) stage: Stage,
    pub(super) opened_at: Instant,
    pub(super) tries: Backoff,
    in_hand: Option<u64>,
    /// When the oldest message is asked for, as it may have been acknowledged in vain.
    #[serde(default)]
    look_back_at: Option<Instant>,
    /// Whether the poll in flight asks for the oldest message.
    #[serde(default)]
    looks_back: bool,
    /// Whether its id is not known to be kept.
    #[serde(default)]
    unremembered: bool,
    offers: Vec<u64>,
    asked: Vec<u64>,
    /// How many acquires have ended since the last poll.
    #[serde(default)]
    acquires: u32,
    /// Whether what is asked for may have been acquired by a call that ended in doubt.
    #[serde(default)]
    perhaps_acquired: bool,
    statistics: Statistics,
    acquired_since: u32,
    refresh_at: Option<Instant>,
    token_refused: bool,
    token_fresh: bool,
    polling_since: Instant,
    quiet: Backoff,
    rest_until: Instant,
    list_at: Instant,
}

impl Open {
    pub(super) fn new(
        now: Instant,
        id: String,
        queue: Queue,
        lifetime_s: Option<u64>,
        statistics: Option<Statistics>,
    ) -> Self {
        Self {
            id,
            queue,
            last_message: 0,
            stage: Stage::Resting { until: now },
            opened_at: now,
            tries: Backoff::new(super::RETRY_FIRST, super::RETRY_CAP),
            in_hand: None,
            look_back_at: None,
            looks_back: false,
            unremembered: true,
            offers: Vec::new(),
            asked: Vec::new(),
            acquires: 0,
            perhaps_acquired: false,
            statistics: statistics.unwrap_or_default(),
            acquired_since: 0,
            refresh_at: refresh_at(now, lifetime_s),
            token_refused: false,
            token_fresh: false,
            polling_since: now,
            quiet: Backoff::new(QUIET_FIRST, QUIET_CAP),
            rest_until: now,
            list_at: now,
        }
    }

    pub(super) const fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Resting { until } => Some(until),
            Stage::Polling | Stage::Listing | Stage::Acquiring | Stage::Acknowledging | Stage::Refreshing => None,
        }
    }

    pub(super) const fn is_polling(&self) -> bool {
        matches!(self.stage, Stage::Polling)
    }

    pub(super) const fn is_at_rest(&self) -> bool {
        matches!(self.stage, Stage::Resting { .. })
    }

    /// The message that waits to be acknowledged.
    pub(super) const fn in_hand(&self) -> Option<u64> {
        self.in_hand
    }

    /// The request ids of the acquire in flight.
    pub(super) fn asked(&self) -> &[u64] {
        &self.asked
    }

    /// Chooses the next call, given how many runners there can be.
    pub(super) fn next(&mut self, now: Instant, capacity: u32, defences: Defences) -> Stage {
        let capacity = if defences.acquire_within_capacity { capacity } else { u32::MAX };
        let room = capacity
            .saturating_sub(self.statistics.assigned)
            .saturating_sub(self.statistics.acquired)
            .saturating_sub(self.acquired_since);
        let room_slots = usize::try_from(room).unwrap_or(usize::MAX);
        let may_acquire = room > 0 && self.acquires < ACQUIRES_A_POLL;
        self.stage = if now < self.rest_until {
            Stage::Resting { until: self.rest_until }
        } else if self.token_refused || self.refresh_at.is_some_and(|at| now >= at) {
            Stage::Refreshing
        } else if self.in_hand.is_some() && !defences.acknowledge_last {
            Stage::Acknowledging
        } else if !self.offers.is_empty() && may_acquire {
            self.asked = self.offers.iter().copied().take(room_slots).collect();
            Stage::Acquiring
        } else if self.in_hand.is_some() {
            Stage::Acknowledging
        } else if self.statistics.available > 0 && may_acquire && now >= self.list_at && defences.list_acquirable_jobs {
            self.list_at = now + LIST_EVERY;
            Stage::Listing
        } else {
            self.polling_since = now;
            self.looks_back = self.look_back_at.is_some_and(|at| now >= at);
            self.offers.clear();
            self.acquires = 0;
            Stage::Polling
        };
        if !self.is_at_rest() {
            self.unremembered = false;
        }
        self.stage
    }

    /// The message that a poll asks to be told of what came after: none asks for the oldest.
    pub(super) const fn after(&self) -> u64 {
        if self.looks_back { 0 } else { self.last_message }
    }

    /// The id was kept, or could not be.
    pub(super) const fn remembered(&mut self, now: Instant) -> bool {
        let waits = core::mem::replace(&mut self.unremembered, false) && self.is_at_rest();
        if waits {
            self.rest(now);
        }
        waits
    }

    pub(super) fn heard(&mut self, message: &Message, defences: Defences) {
        self.quiet.reset();
        self.looked_back();
        self.last_message = message.id;
        self.in_hand = Some(message.id);
        let doubtful = defences.distrust_zero_statistics && message.denies_its_jobs();
        if let Some(statistics) = message.statistics.filter(|_| !doubtful) {
            self.statistics = statistics;
            self.acquired_since = 0;
        }
        if message.unknown > 0 || message.jobs.iter().any(|job| job.kind == JobMessageKind::Completed) {
            self.list_at = Instant::default();
        }
        let available = message.jobs.iter().filter(|job| job.kind == JobMessageKind::Available);
        self.offers =
            available.map(|job| job.job.request_id).filter(|id| *id != 0 && defences.acquire_offers).collect();
    }

    /// There is no message.
    pub(super) fn heard_nothing(&mut self, cx: &mut Turn<'_>) {
        self.looked_back();
        self.rest_after_a_quick_poll(cx);
    }

    /// The poll ended, and whether there is a message is unknown.
    pub(super) fn rest_after_a_quick_poll(&mut self, cx: &mut Turn<'_>) {
        if cx.now.since(self.polling_since) < SHORTEST_QUIET_POLL {
            self.rest_until = cx.now + self.quiet.fail(cx.rng, None);
        } else {
            self.quiet.reset();
        }
    }

    pub(super) fn heard_again(&mut self, cx: &mut Turn<'_>, message: u64) {
        self.in_hand = Some(message);
        self.rest_until = cx.now + self.quiet.fail(cx.rng, None);
    }

    /// Whoever asked for the oldest message and got no old one has acknowledged all.
    const fn looked_back(&mut self) {
        if self.looks_back {
            self.look_back_at = None;
        }
    }

    /// The counts were read beside the queue, with no acquire on the way meanwhile.
    pub(super) const fn counted(&mut self, statistics: Statistics) {
        self.statistics = statistics;
        self.acquired_since = 0;
    }

    pub(super) fn listed(&mut self, request_ids: Vec<u64>) {
        self.offers = request_ids;
    }

    /// The acquire ended: what was asked for was acquired or refused. Where that leaves room, the next offers follow, up to
    /// [`ACQUIRES_A_POLL`].
    /// What an earlier try may have acquired counts as ours until GitHub tells: its repetition says that none is left.
    pub(super) fn acquired(&mut self, got: u32) {
        let asked = u32::try_from(self.asked.len()).unwrap_or(u32::MAX);
        let ours = if core::mem::take(&mut self.perhaps_acquired) { asked } else { got };
        self.acquired_since = self.acquired_since.saturating_add(ours);
        self.acquires += 1;
        self.offers.drain(..self.asked.len().min(self.offers.len()));
        self.asked.clear();
    }

    /// What was offered and not asked for is left for lack of room, or for the next list.
    pub(super) fn acknowledged(&mut self) {
        self.in_hand = None;
        self.offers.clear();
    }

    /// Takes the new token; the old one is returned.
    pub(super) fn refreshed(&mut self, now: Instant, queue: Queue, lifetime_s: Option<u64>) -> Queue {
        self.token_refused = false;
        self.token_fresh = true;
        self.refresh_at = refresh_at(now, lifetime_s);
        core::mem::replace(&mut self.queue, queue)
    }

    /// A call other than a refresh went well: its token is good.
    pub(super) fn succeeded(&mut self) {
        self.tries.reset();
        if self.stage != Stage::Refreshing {
            self.token_fresh = false;
        }
    }

    pub(super) const fn rest(&mut self, until: Instant) {
        self.rest_until = until;
        self.stage = Stage::Resting { until };
    }

    pub(super) fn failed(&mut self, now: Instant, error: &CallError) -> Verdict {
        use CallErrorKind as Kind;
        let uses_queue_token = matches!(self.stage, Stage::Polling | Stage::Acquiring | Stage::Acknowledging);
        if error.status == Some(401) && uses_queue_token {
            self.token_refused = true;
            return if self.token_fresh { Verdict::Lost } else { Verdict::GoOn };
        }
        match (self.stage, error.kind) {
            (Stage::Listing, _) => {
                self.list_at = now + LIST_AGAIN_AFTER;
                Verdict::GoOn
            }
            (_, Kind::ScaleSetNotFound) => Verdict::Lost,
            (Stage::Acquiring, Kind::NotFound | Kind::Refused | Kind::Conflict) => {
                self.acquired(0);
                Verdict::GoOn
            }
            (Stage::Acknowledging, Kind::NotFound) => {
                self.acknowledged();
                self.look_back_at = Some(now + LOOK_BACK_AFTER);
                Verdict::GoOn
            }
            (Stage::Refreshing, Kind::NotFound | Kind::Refused | Kind::Conflict | Kind::SessionConflict)
            | (Stage::Polling, Kind::NotFound | Kind::Conflict | Kind::SessionConflict) => Verdict::Lost,
            (Stage::Acquiring, Kind::OutcomeUnknown | Kind::Misbehaved | Kind::ServerError) => {
                self.perhaps_acquired = true;
                Verdict::Retry
            }
            (
                Stage::Polling | Stage::Acquiring | Stage::Acknowledging | Stage::Refreshing | Stage::Resting { .. },
                _,
            ) => Verdict::Retry,
        }
    }
}

/// A token is renewed at four fifths of its life; one of unknown life when it is refused.
fn refresh_at(now: Instant, lifetime_s: Option<u64>) -> Option<Instant> {
    let early = Duration::from_millis(lifetime_s?.saturating_mul(800));
    Some(now + early.max(REFRESH_AT_MOST_EVERY))
}
