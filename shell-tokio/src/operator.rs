//! Single calls for a person, through the same connection machine and transport as the daemon's.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use poolkeeper_core::connection::{Caller, Connection, ConnectionEffect, ConnectionEvent};
use poolkeeper_core::context::{Context, RequestIds};
use poolkeeper_core::event::Event;
use poolkeeper_core::github::answer::Answer;
use poolkeeper_core::github::call::Call;
use poolkeeper_core::github::error::{CallError, CallErrorKind};
use poolkeeper_core::github::request::CallKind;
use poolkeeper_core::limiter::{GITHUB, Limiter};
use poolkeeper_core::notice::ConnectionFact;
use poolkeeper_core::rng::Rng;
use poolkeeper_shell::clock::Clock;
use poolkeeper_shell::vault::Vault;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::github::GitHub;
use crate::inbox::Inbox;

/// How long a person waits for one call, its tokens included.
const CALL_MAX: Duration = Duration::from_secs(60);

/// Makes one call at a time.
pub struct Operator {
    connection: Connection,
    github: GitHub,
    vault: Arc<Vault>,
    inbox: Inbox,
    events: mpsc::Receiver<Event>,
    clock: Clock,
    rng: Rng,
    ids: RequestIds,
    limiter: Limiter,
    effects: Vec<ConnectionEffect>,
    troubles: VecDeque<(CallKind, CallError)>,
}

/// Why a call for a person failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorError {
    /// The call that failed: the one asked for, or one of the token chain's.
    pub call: CallKind,
    /// Why.
    pub error: CallError,
}

impl fmt::Display for OperatorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.call.as_str(), self.error)?;
        match self.error.kind {
            CallErrorKind::Denied => f.write_str("; check the connection's credential and what it may do"),
            CallErrorKind::Unreachable => f.write_str("; check the connection's url, proxy and ca_file"),
            CallErrorKind::OutcomeUnknown
            | CallErrorKind::RateLimited
            | CallErrorKind::ServerError
            | CallErrorKind::Misbehaved
            | CallErrorKind::ScaleSetNotFound
            | CallErrorKind::NotFound
            | CallErrorKind::SessionConflict
            | CallErrorKind::Conflict
            | CallErrorKind::RunnerExists
            | CallErrorKind::JobStillRunning
            | CallErrorKind::RunnerNotFound
            | CallErrorKind::Refused
            | CallErrorKind::Cancelled => Ok(()),
        }
    }
}

impl std::error::Error for OperatorError {}

impl Operator {
    /// An operator on a connection that has no token yet.
    #[must_use]
    pub fn new(connection: Connection, github: GitHub, vault: Arc<Vault>, seed: u64) -> Self {
        let (inbox, events) = Inbox::new();
        Self {
            connection,
            github,
            vault,
            inbox,
            events,
            clock: Clock::start(),
            rng: Rng::new(seed),
            ids: RequestIds::default(),
            limiter: Limiter::new(GITHUB),
            effects: Vec::new(),
            troubles: VecDeque::new(),
        }
    }

    /// Makes one call and waits for its answer.
    ///
    /// # Errors
    /// When GitHub refuses the call or the credential, or nothing comes within a minute.
    pub async fn call(&mut self, call: Call) -> Result<Answer, OperatorError> {
        let kind = call.kind();
        let deadline = Instant::now() + CALL_MAX;
        let mut next = ConnectionEvent::Call { caller: Caller::Operator, call };
        loop {
            self.handle(next);
            if let Some(result) = self.carry_out() {
                return result.map_err(|error| OperatorError { call: kind, error });
            }
            if let Some(trouble) = self.hopeless() {
                return Err(trouble);
            }
            let tick_at = self.tick_at(deadline);
            next = tokio::select! {
                Some(Event::GitHubReply { id, result }) = self.events.recv() => {
                    ConnectionEvent::Reply { id, result }
                }
                () = tokio::time::sleep_until(tick_at) => {
                    if Instant::now() >= deadline {
                        return Err(self.late(kind));
                    }
                    ConnectionEvent::Tick
                }
            };
        }
    }

    fn handle(&mut self, event: ConnectionEvent) {
        let mut context =
            Context { now: self.clock.now().mono, rng: &mut self.rng, ids: &mut self.ids, limiter: &mut self.limiter };
        self.connection.handle(&mut context, event, &mut self.effects);
    }

    fn carry_out(&mut self) -> Option<Result<Answer, CallError>> {
        let mut called = None;
        for effect in self.effects.drain(..) {
            match effect {
                ConnectionEffect::Request { id, call, request } => {
                    if let Ok(promise) = self.inbox.github(id) {
                        let _aborted_never = self.github.start(id, call, request, promise);
                    }
                }
                ConnectionEffect::Called { result, .. } => called = Some(result),
                ConnectionEffect::Drop(slot) => self.vault.drop_slot(slot),
                ConnectionEffect::Note(ConnectionFact::TokenFailed { call, error, .. }) => {
                    self.troubles.push_back((call, error));
                }
                ConnectionEffect::Note(
                    ConnectionFact::Connected { .. }
                    | ConnectionFact::RateLimited { .. }
                    | ConnectionFact::Overdue { .. },
                )
                | ConnectionEffect::Cancel { .. }
                | ConnectionEffect::Forget { .. } => {}
            }
        }
        called
    }

    /// A refused credential stays refused, except that a fresh registration token is not known everywhere at once.
    fn hopeless(&mut self) -> Option<OperatorError> {
        let (call, error) = self.troubles.back()?;
        let retried = *call == CallKind::AdminConnection
            || !matches!(error.kind, CallErrorKind::Denied | CallErrorKind::NotFound);
        if retried {
            return None;
        }
        self.troubles.pop_back().map(|(call, error)| OperatorError { call, error })
    }

    fn tick_at(&self, deadline: Instant) -> Instant {
        self.connection.poll_timeout().map_or(deadline, |at| Instant::from(self.clock.at(at)).min(deadline))
    }

    fn late(&mut self, call: CallKind) -> OperatorError {
        let (call, error) = self.troubles.pop_back().unwrap_or_else(|| {
            let error = CallError {
                kind: CallErrorKind::OutcomeUnknown,
                status: None,
                message: format!("no answer in {} s", CALL_MAX.as_secs()),
                retry_after: None,
                activity_id: None,
            };
            (call, error)
        });
        OperatorError { call, error }
    }
}
