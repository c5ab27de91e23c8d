//! The machine of a whole daemon: it routes events to connections and pools, and carries out what these want.
//!
//! Each step *absorbs* its event into what is observed, then *settles*: every pool that the event touched compares
//! what is observed with what is wanted, and only then are calls made.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::config::Config;
use crate::connection::{Connection, ConnectionEffect};
use crate::context::RequestIds;
use crate::event::{Effect, Event, ExitReason, Memory};
use crate::github::request::RequestId;
use crate::limiter::SharedLimits;
use crate::notice::{Notice, PoolId};
use crate::pool::{Pool, PoolEffect};
use crate::rng::Rng;
use crate::time::{Duration, Instant, Now};
use crate::timers::Timers;
use crate::view::{PoolView, SessionView, Summary};

mod capacity;
mod census;
mod claims;
mod discovery;
mod grounds;
mod pools;
mod routing;
mod touched;

use capacity::AwsCalls;
use census::Census;
use discovery::Discovery;
use pools::Pools;
use touched::Touched;

/// How long the daemon may take to close its sessions.
const STOP_DEADLINE: Duration = Duration::from_secs(10);
/// Each step checks what it touched; beside that, once in so many steps, the next of all pools has its turn.
const CHECK_ONE_EVERY: u64 = 16;
/// Ids count up and are never used again: this many pools may come and go in one life of a daemon.
pub(crate) const MOST_IDS: u32 = 1 << 24;

/// The state machine of a whole daemon.
///
/// In: [`Self::handle`]. Getters: [`Self::poll_timeout`], [`Self::pool`], [`Self::pools`], [`Self::summary`],
/// [`Self::config`], [`Self::grounds`], [`Self::pool_of_call`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    config: Config,
    rng: Rng,
    ids: RequestIds,
    now: Instant,
    steps: u64,
    started: bool,
    stopping: Option<Stopping>,
    exited: bool,
    memory: BTreeMap<String, String>,
    /// A memory that could not be written: the shell writes all with the next one, so that one is asked for again.
    #[serde(default)]
    unwritten: Option<String>,
    github_limits: SharedLimits,
    connections: BTreeMap<ConnectionId, Connection>,
    connection_ids: BTreeMap<String, ConnectionId>,
    next_connection: u32,
    hungry: BTreeSet<ConnectionId>,
    fed: ConnectionId,
    routes: BTreeMap<RequestId, ConnectionId>,
    #[serde(default)]
    census: Census,
    aws: AwsCalls,
    discovery: Discovery,
    pools: Pools,
    /// The pool whose turn it is to be checked.
    check_next: PoolId,
    next_pool: u32,
    by_arn: BTreeMap<String, PoolId>,
    /// By a hash of the group's name: a short cut, which may be wrong.
    by_name: BTreeMap<u64, PoolId>,
    by_set: BTreeMap<String, PoolId>,
    desired_by_org: BTreeMap<String, u32>,
    /// Pools whose organization's wall leaves them less room than they want.
    #[serde(default)]
    cramped: BTreeMap<String, BTreeSet<PoolId>>,
    moving: BTreeSet<PoolId>,
    timers: Timers,
    #[serde(skip)]
    touched: Touched,
    #[serde(skip)]
    scratch: Scratch,
}

/// Buffers that steps use again.
#[derive(Clone, Debug, Default)]
struct Scratch {
    connection: Vec<ConnectionEffect>,
    pool: Vec<PoolEffect>,
    settled: Vec<PoolId>,
}

/// What the buffers hold between steps is no part of the machine's state.
impl PartialEq for Scratch {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// Names a connection and scope for as long as the daemon lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub(crate) u32);

/// Which timer wants the next [`Event::Tick`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimerKind {
    /// The listing of all groups.
    Listing,
    /// The describe of groups in motion.
    Motion,
    /// Calls to AWS that wait for the rate, or are overdue.
    Aws,
    /// A connection's tokens, waiting or overdue calls.
    Connection(ConnectionId),
    /// A pool's session, scale set or capacity.
    Pool(PoolId),
    /// The end of the time for stopping.
    Stop,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Stopping {
    deadline: Instant,
    open: BTreeSet<PoolId>,
}

impl Machine {
    /// A machine that has observed nothing yet.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            rng: Rng::new(seed),
            ids: RequestIds::default(),
            now: Instant::default(),
            steps: 0,
            started: false,
            stopping: None,
            exited: false,
            memory: BTreeMap::new(),
            unwritten: None,
            github_limits: SharedLimits::default(),
            connections: BTreeMap::new(),
            connection_ids: BTreeMap::new(),
            next_connection: 0,
            hungry: BTreeSet::new(),
            fed: ConnectionId(0),
            routes: BTreeMap::new(),
            census: Census::default(),
            aws: AwsCalls::new(),
            discovery: Discovery::default(),
            pools: Pools::default(),
            check_next: PoolId(0),
            next_pool: 0,
            by_arn: BTreeMap::new(),
            by_name: BTreeMap::new(),
            by_set: BTreeMap::new(),
            desired_by_org: BTreeMap::new(),
            cramped: BTreeMap::new(),
            moving: BTreeSet::new(),
            timers: Timers::default(),
            touched: Touched::default(),
            scratch: Scratch::default(),
        }
    }

    /// Takes one event and appends its effects, in the order in which they are to be carried out.
    ///
    /// # Panics
    /// When the shell breaks the contract: a monotonic clock that goes back, or an event before [`Event::Start`].
    pub fn handle(&mut self, now: Now, event: Event, effects: &mut Vec<Effect>) {
        assert!(now.mono >= self.now, "the monotonic clock never goes back");
        assert!(self.started || matches!(event, Event::Start { .. }), "nothing comes before Start");
        self.scratch.settled.clear();
        if self.exited {
            return;
        }
        self.now = now.mono;
        self.absorb(event, effects);
        self.settle(effects);
        self.steps += 1;
        self.check_in_turn();
    }

    /// When the next [`Event::Tick`] is wanted, and which timer wants it.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Instant, TimerKind)> {
        if self.exited { None } else { self.timers.first() }
    }

    /// One pool.
    #[must_use]
    pub fn pool(&self, id: PoolId) -> Option<PoolView> {
        self.pools.get(id).map(|pool| pool.view(self.now))
    }

    /// The pools that the last step touched, in the order in which it settled them; one may stand here twice, and one
    /// that the step removed does too.
    ///
    /// The views of all others are as before, but for the time of a describe that showed nothing new.
    #[must_use]
    pub fn settled(&self) -> &[PoolId] {
        &self.scratch.settled
    }

    /// The pool that is tied to the scale set of this id, or was last.
    #[must_use]
    pub fn pool_of_set(&self, scale_set_id: u64) -> Option<PoolView> {
        let pool = self.pools.values().find(|pool| pool.last_set() == Some(scale_set_id))?;
        Some(pool.view(self.now))
    }

    /// Up to `n` pools, in order of their ids, after the given one.
    #[must_use]
    pub fn pools(&self, after: Option<PoolId>, n: usize) -> Vec<PoolView> {
        let first = after.map_or(0, |PoolId(id)| id.saturating_add(1));
        self.pools.from(PoolId(first)).take(n).map(|pool| pool.view(self.now)).collect()
    }

    /// The whole at a glance.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let mut summary =
            Summary { listed: self.discovery.is_complete(), stopping: self.stopping.is_some(), ..Summary::default() };
        for pool in self.pools.values() {
            summary.pools += 1;
            summary.refused += u32::from(pool.spec.is_none());
            match pool.session_view() {
                SessionView::Open => summary.open += 1,
                SessionView::Standby => summary.standby += 1,
                SessionView::None | SessionView::Opening | SessionView::Closing => {}
            }
        }
        summary
    }

    /// The config in force.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Checks every invariant.
    ///
    /// # Panics
    /// When one does not hold: that is a bug of this crate.
    pub fn check(&self) {
        for pool in self.pools.values() {
            self.check_pool(pool);
        }
        for connection in self.connections.values() {
            connection.check();
        }
        self.check_indexes();
    }

    fn check_in_turn(&mut self) {
        self.check_indexes();
        if !self.steps.is_multiple_of(CHECK_ONE_EVERY) {
            return;
        }
        if let Some(pool) = self.pools.get(self.check_next) {
            self.check_pool(pool);
        }
        self.check_next = self.pools.next_place(self.check_next);
    }

    fn check_pool(&self, pool: &Pool) {
        pool.check();
        if let Some(spec) = &pool.spec {
            assert_eq!(self.by_set.get(&spec.set), Some(&pool.id), "a set has one pool: {}", pool.group.name);
        }
        assert_eq!(self.by_arn.get(&pool.group.arn), Some(&pool.id), "a group has one pool: {}", pool.group.name);
    }

    fn check_indexes(&self) {
        assert_eq!(self.pools.len(), self.by_arn.len(), "each pool has one group");
        assert!(self.by_set.len() <= self.pools.len(), "each set that is taken is some pool's");
    }

    fn absorb(&mut self, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Start { remembered } => self.start(remembered),
            Event::Tick => {}
            Event::GitHubReply { id, result } => self.github_replied(id, result, effects),
            Event::AwsReply { id, result } => self.aws_replied(id, result, effects),
            Event::Remembered { key, ok } => self.remembered(key, ok, effects),
            Event::Reconfigure(config) => self.reconfigure(*config, effects),
            Event::Stop => self.stop(effects),
        }
        for kind in self.timers.take_due(self.now) {
            self.timer(kind, effects);
        }
    }

    fn start(&mut self, remembered: Vec<Memory>) {
        self.started = true;
        self.memory = remembered.into_iter().map(|Memory { key, value }| (key, value)).collect();
        self.timers.set(TimerKind::Listing, Some(self.now));
    }

    fn timer(&mut self, kind: TimerKind, effects: &mut Vec<Effect>) {
        match kind {
            TimerKind::Listing => self.begin_listing(),
            TimerKind::Motion => self.describe_moving(),
            TimerKind::Aws => self.give_up_overdue_aws(effects),
            TimerKind::Connection(id) => self.connection_tick(id, effects),
            TimerKind::Pool(id) => {
                self.touched.insert(id);
            }
            TimerKind::Stop => self.exit(ExitReason::StoppedAtDeadline, effects),
        }
    }

    fn stop(&mut self, effects: &mut Vec<Effect>) {
        if self.stopping.is_some() {
            return;
        }
        effects.push(Effect::Note(Notice::Stopping));
        let deadline = self.now + STOP_DEADLINE;
        self.stopping = Some(Stopping { deadline, open: self.pools.values().map(|pool| pool.id).collect() });
        self.timers.set(TimerKind::Stop, Some(deadline));
        self.timers.set(TimerKind::Listing, None);
        self.timers.set(TimerKind::Motion, None);
        for pool in self.pools.values_mut() {
            pool.stop();
            self.touched.insert(pool.id);
        }
    }

    fn exit(&mut self, reason: ExitReason, effects: &mut Vec<Effect>) {
        self.exited = true;
        effects.push(Effect::Exit(reason));
    }

    fn settle(&mut self, effects: &mut Vec<Effect>) {
        self.settle_touched(effects);
        self.feed_hungry(effects);
        self.pump_aws(effects);
        // A write that frees room behind a wall lets others write.
        while self.settle_touched(effects) {
            self.pump_aws(effects);
        }
        if let Some(stopping) = &self.stopping
            && stopping.open.is_empty()
            && !self.exited
        {
            self.exit(ExitReason::Stopped, effects);
        }
    }

    /// Settles every pool that was touched; whether there was any.
    fn settle_touched(&mut self, effects: &mut Vec<Effect>) -> bool {
        let mut any = false;
        while let Some(id) = self.touched.pop_first() {
            any = true;
            self.settle_pool(id, effects);
        }
        any
    }

    fn settle_pool(&mut self, id: PoolId, effects: &mut Vec<Effect>) {
        self.scratch.settled.push(id);
        self.rebind(id, effects);
        self.share_wall(id);
        self.reconcile(id, effects);
        self.watch_room(id);
        let Some(pool) = self.pools.get(id) else { return };
        pool.check();
        if pool.is_closed() {
            if let Some(stopping) = &mut self.stopping {
                stopping.open.remove(&id);
            }
            if pool.gone {
                return self.remove(id, effects);
            }
        }
        let timeout = pool.poll_timeout(self.now);
        let moving = pool.in_motion(self.now);
        self.timers.set(TimerKind::Pool(id), timeout);
        self.set_moving(id, moving);
        self.want_write(id);
    }
}
