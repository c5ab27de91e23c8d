//! A model of GitHub: the REST calls that lead to the Actions Service, and that service with its scale sets, sessions,
//! message queues, runners and jobs.
//!
//! It owns no clock: every call carries the time. Long polls are held until a message, their deadline or
//! [`GitHub::cancel`]; [`GitHub::advance`] hands out what became ready.

mod acquire;
pub mod config;
mod job;
mod queue;
mod reply;
mod rest;
pub mod route;
mod runner;
mod scale_set;
mod service;
mod session;
mod token;
mod view;
mod wire;

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::rng::Rng;
use poolkeeper_core::time::{Instant, Now};

use crate::http::{HttpRequest, HttpResponse, Served, Ticket};
pub use config::{AppConfig, GitHubConfig, Style};
use job::Job;
pub use job::{Fact, JobId, JobResult, QueueFull};
use queue::Poll;
pub(crate) use reply::http_date;
pub use route::Call;
pub(crate) use route::Route;
use runner::Runner;
use scale_set::{ScaleSet, Tenant};
pub use token::MARKER;
use token::Tokens;
pub use view::{SetKey, SetState};

/// The model of one GitHub.
#[derive(Debug)]
pub struct GitHub {
    config: GitHubConfig,
    now: Now,
    rng: Rng,
    tenants: BTreeMap<String, Tenant>,
    installations: BTreeMap<String, u64>,
    sets: BTreeMap<u64, ScaleSet>,
    runners: BTreeMap<u64, Runner>,
    jobs: BTreeMap<JobId, Job>,
    tokens: Tokens,
    timers: BTreeSet<(Instant, Timer)>,
    /// The scale set whose queue each held poll listens to.
    polls: BTreeMap<Ticket, u64>,
    /// Sets that may have a message for a held poll.
    stirred: BTreeSet<u64>,
    ready: Vec<(Ticket, HttpResponse)>,
    facts: Vec<Fact>,
    rate: rest::RateWindow,
    last_set: u64,
    last_runner: u64,
    last_job: u64,
    last_ticket: u64,
    requests: u64,
    lag_statistics: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// A held poll is answered with nothing.
    Poll(Ticket),
    /// A session may have gone without polls for too long.
    Session { set: u64, session: u64 },
    /// A job may have waited for a runner for too long.
    Pickup { job: JobId, attempt: u32 },
}

impl GitHub {
    /// A GitHub without any scale set. The seed draws ids and tokens.
    #[must_use]
    pub fn new(config: GitHubConfig, seed: u64) -> Self {
        Self {
            config,
            now: Now::default(),
            rng: Rng::new(seed),
            tenants: BTreeMap::new(),
            installations: BTreeMap::new(),
            sets: BTreeMap::new(),
            runners: BTreeMap::new(),
            jobs: BTreeMap::new(),
            tokens: Tokens::default(),
            timers: BTreeSet::new(),
            polls: BTreeMap::new(),
            stirred: BTreeSet::new(),
            ready: Vec::new(),
            facts: Vec::new(),
            rate: rest::RateWindow::default(),
            last_set: 0,
            last_runner: 0,
            last_job: 0,
            last_ticket: 0,
            requests: 0,
            lag_statistics: false,
        }
    }

    /// Takes one request: it is answered at once, or held.
    pub fn serve(&mut self, now: Now, request: &HttpRequest) -> Served {
        self.serve_routed(now, request, Route::parse(request))
    }

    /// Takes one request whose route was read.
    pub(crate) fn serve_routed(
        &mut self,
        now: Now,
        request: &HttpRequest,
        route: Result<Route, HttpResponse>,
    ) -> Served {
        self.set_clock(now);
        self.fire_timers();
        self.requests += 1;
        match route {
            Ok(Route::Poll { set }) => match self.poll(request, set) {
                Poll::Reply(reply) => Served::Reply(self.stamped(reply)),
                Poll::Held(ticket) => Served::Held(ticket),
            },
            Ok(Route::Rest(call)) => {
                let reply = self.rest(request, call);
                Served::Reply(self.stamped(reply))
            }
            Ok(Route::Service { tenant, call }) => {
                let reply = self.service(request, &tenant, call);
                Served::Reply(self.stamped(reply))
            }
            Ok(Route::Acknowledge { set, message }) => {
                let reply = self.acknowledge(request, set, message);
                Served::Reply(self.stamped(reply))
            }
            Err(reply) => Served::Reply(self.stamped(reply)),
        }
    }

    /// Brings the model to `now` and hands out the replies of held polls that became ready.
    pub fn advance(&mut self, now: Now) -> Vec<(Ticket, HttpResponse)> {
        self.set_clock(now);
        self.fire_timers();
        self.answer_stirred();
        std::mem::take(&mut self.ready)
    }

    /// When [`GitHub::advance`] next has something to do; the past when replies wait.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        if !self.ready.is_empty() || !self.stirred.is_empty() {
            return Some(Instant::default());
        }
        self.timers.first().map(|(at, _)| *at)
    }

    /// The client of a held poll is gone: no reply will be made for it, and no message is lost.
    pub fn cancel(&mut self, ticket: Ticket) {
        self.release_poll(ticket);
        self.ready.retain(|(ready, _)| *ready != ticket);
    }

    /// Brings the model's clock to `now`, for what happens inside of it next.
    pub fn set_time(&mut self, now: Now) {
        self.set_clock(now);
    }

    /// What happened to jobs and scale sets since the last time, in order.
    pub fn take_facts(&mut self) -> Vec<Fact> {
        std::mem::take(&mut self.facts)
    }

    /// Whether messages and sessions carry the statistics of the one before.
    pub const fn lag_statistics(&mut self, lag: bool) {
        self.lag_statistics = lag;
    }

    /// Whether unacknowledged messages are delivered again although `lastMessageId` names them.
    pub const fn redeliver(&mut self, redeliver: bool) {
        self.config.redeliver = redeliver;
    }

    /// Ends every token at once, as a rotation of keys would.
    pub fn expire_tokens(&mut self) {
        self.tokens.expire_all();
    }

    /// What the model is like.
    #[must_use]
    pub const fn config(&self) -> &GitHubConfig {
        &self.config
    }

    fn set_clock(&mut self, now: Now) {
        let mono = now.mono.max(self.now.mono);
        let unix_ms = now.unix_ms.saturating_add_signed(self.config.clock_offset_ms);
        self.now = Now { mono, unix_ms };
    }

    const fn unix_s(&self) -> u64 {
        self.now.unix_ms / 1000
    }

    fn fire_timers(&mut self) {
        while let Some((at, timer)) = self.timers.first().copied()
            && at <= self.now.mono
        {
            self.timers.remove(&(at, timer));
            match timer {
                Timer::Poll(ticket) => self.end_poll_empty(ticket),
                Timer::Session { set, session } => self.check_session(set, session),
                Timer::Pickup { job, attempt } => self.check_pickup(job, attempt),
            }
        }
    }
}

#[cfg(test)]
mod tests;
