//! Calls to AWS, within the account's limits: writes first, then ends of instances and describes in turns; the parameter
//! store has queues of its own.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::pools::Pools;
use super::{Machine, TimerKind};
use crate::aws::{AwsCall, AwsError, AwsReply, GroupQuery, InstanceCall};
use crate::event::Effect;
use crate::github::request::RequestId;
use crate::limiter::{self, Limiter};
use crate::notice::{AwsFact, Notice, PoolFact, PoolId};
use crate::runners::Target;
use crate::short_text::ShortText;
use crate::time::{Duration, Instant};

/// A call to AWS that goes without an answer for this long counts as lost.
const BACKSTOP: Duration = Duration::from_secs(60);

/// How many configs may wait for the store before no more are made: what a process that is killed has in hand is lost.
const CONFIGS_WAITING_MAX: usize = 64;

/// A describe that waits or is in flight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Describe {
    /// A page of the listing of all groups.
    Listing { query: GroupQuery, next_token: Option<String> },
    /// Groups in motion; once asked for, their names are the call's.
    Moving { names: Vec<ShortText> },
}

/// What waits for AWS and what is in flight there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct AwsCalls {
    limiter: Limiter,
    writes: VecDeque<PoolId>,
    queued: BTreeSet<PoolId>,
    describes: VecDeque<Describe>,
    /// Calls about instances: each has one at most.
    #[serde(default)]
    instances: VecDeque<About>,
    /// Describes and calls about instances take turns: neither waits for all of the others.
    #[serde(default)]
    describe_next: bool,
    /// Configs to be stored, at the pace of the store.
    #[serde(default = "Store::of_configs")]
    store: Store,
    /// Those to be deleted: nobody waits for that.
    #[serde(default = "Store::of_deletes")]
    discards: Store,
    /// Pools whose warm members are to be listed, and where the page before ended: they wait for all else.
    #[serde(default)]
    warm: VecDeque<(PoolId, Option<String>)>,
    in_flight: BTreeMap<RequestId, Flight>,
    by_deadline: BTreeSet<(Instant, RequestId)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flight {
    purpose: Purpose,
    asked_at: Instant,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Purpose {
    Write(PoolId),
    Instances(PoolId, Target),
    Store(PoolId, Target),
    Discard(PoolId, Target),
    Warm(PoolId),
    Describe(Describe),
}

/// A call about instances that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct About {
    pool: PoolId,
    target: Target,
    call: InstanceCall,
}

/// What waits for the parameter store, which has limits of its own for each kind of call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Store {
    limiter: Limiter,
    waiting: VecDeque<About>,
}

impl Store {
    fn of_configs() -> Self {
        Self { limiter: Limiter::new(limiter::SSM), waiting: VecDeque::new() }
    }

    fn of_deletes() -> Self {
        Self { limiter: Limiter::new(limiter::SSM_DELETES), waiting: VecDeque::new() }
    }

    /// Takes what may be sent now.
    ///
    /// # Errors
    /// When there is nothing, or no room: the moment to ask again, if time alone makes room.
    fn next(&mut self, pools: &Pools, now: Instant) -> Result<About, Option<Instant>> {
        // A pool that is gone has nobody to hear the answer.
        while self.waiting.front().is_some_and(|about| pools.get(about.pool).is_none()) {
            self.waiting.pop_front();
        }
        if self.waiting.is_empty() {
            return Err(None);
        }
        self.limiter.take(now)?;
        self.waiting.pop_front().ok_or(None)
    }
}

impl AwsCalls {
    pub(super) fn new() -> Self {
        Self {
            limiter: Limiter::new(limiter::AWS),
            writes: VecDeque::new(),
            queued: BTreeSet::new(),
            describes: VecDeque::new(),
            instances: VecDeque::new(),
            describe_next: false,
            store: Store::of_configs(),
            discards: Store::of_deletes(),
            warm: VecDeque::new(),
            in_flight: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
        }
    }

    /// Takes a call about instances.
    pub(super) fn ask(&mut self, pool: PoolId, target: Target, call: InstanceCall) {
        let queue = match call {
            InstanceCall::PutConfig { .. } => &mut self.store.waiting,
            InstanceCall::DeleteConfig { .. } => &mut self.discards.waiting,
            InstanceCall::Protect { .. }
            | InstanceCall::Terminate { .. }
            | InstanceCall::CompleteHook { .. }
            | InstanceCall::WarmMembers { .. } => &mut self.instances,
        };
        queue.push_back(About { pool, target, call });
    }

    /// Whether so many configs wait for the store that no more are to be made.
    pub(super) fn configs_wait(&self) -> bool {
        self.store.waiting.len() >= CONFIGS_WAITING_MAX
    }

    /// Whether there are more configs to be deleted than may be now.
    pub(super) fn discards_wait(&self) -> bool {
        !self.discards.waiting.is_empty()
    }

    pub(super) fn describe(&mut self, describe: Describe) {
        self.describes.push_back(describe);
    }

    /// Takes a page of a warm pool to be asked for.
    pub(super) fn list_warm(&mut self, pool: PoolId, next_token: Option<String>) {
        self.warm.push_back((pool, next_token));
    }

    fn is_idle(&self) -> bool {
        self.writes.is_empty() && self.instances.is_empty() && self.describes.is_empty() && self.warm.is_empty()
    }

    /// The pool whose write is in flight under this id.
    pub(super) fn pool_of_write(&self, id: RequestId) -> Option<PoolId> {
        match self.in_flight.get(&id)?.purpose {
            Purpose::Write(pool)
            | Purpose::Instances(pool, _)
            | Purpose::Store(pool, _)
            | Purpose::Discard(pool, _)
            | Purpose::Warm(pool) => Some(pool),
            Purpose::Describe(_) => None,
        }
    }
}

impl Machine {
    /// Puts a pool in the queue of writers when it has something to write.
    pub(super) fn want_write(&mut self, id: PoolId) {
        let due = self.stopping.is_none() && self.pools.get(id).is_some_and(|pool| pool.decide(self.now).is_some());
        if due && self.aws.queued.insert(id) {
            self.aws.writes.push_back(id);
        }
    }

    /// Sends what may be sent now.
    pub(super) fn pump_aws(&mut self, effects: &mut Vec<Effect>) {
        if self.stopping.is_some() {
            self.aws.instances.clear();
            self.aws.store.waiting.clear();
            self.aws.discards.waiting.clear();
            self.aws.warm.clear();
        }
        let mut wait = None;
        while !self.aws.is_idle() {
            if let Err(at) = self.aws.limiter.take(self.now) {
                wait = at;
                break;
            }
            if !self.send_write(effects) && !self.send_in_turn(effects) && !self.send_warm(effects) {
                self.aws.limiter.give_back();
                break;
            }
        }
        let store = self.pump_store(effects);
        let discards = self.pump_discards(effects);
        let overdue = self.aws.by_deadline.first().map(|(at, _)| *at);
        self.timers.set(TimerKind::Aws, [wait, store, discards, overdue].into_iter().flatten().min());
    }

    fn send_write(&mut self, effects: &mut Vec<Effect>) -> bool {
        while let Some(id) = self.aws.writes.pop_front() {
            self.aws.queued.remove(&id);
            self.share_wall(id);
            let stopping = self.stopping.is_some();
            let Some(pool) = self.pools.get_mut(id) else { continue };
            let Some(decision) = pool.decide(self.now).filter(|_| !stopping) else {
                // Others of its organization may have taken its room meanwhile: it is to be told when they leave some.
                self.touched.insert(id);
                continue;
            };
            pool.writes(decision);
            let group = pool.group.name.clone();
            let call = AwsCall::SetDesiredCapacity { group: group.clone(), desired: decision.to };
            self.emit(Purpose::Write(id), call, effects);
            self.share_wall(id);
            let fact = PoolFact::Scaling(decision);
            effects.push(Effect::Note(Notice::Pool { pool: id, group, fact }));
            self.touched.insert(id);
            return true;
        }
        false
    }

    fn send_in_turn(&mut self, effects: &mut Vec<Effect>) -> bool {
        if self.aws.describe_next && self.send_describe(effects) {
            self.aws.describe_next = false;
            return true;
        }
        self.aws.describe_next = true;
        self.send_about_instances(effects) || self.send_describe(effects)
    }

    fn send_about_instances(&mut self, effects: &mut Vec<Effect>) -> bool {
        for _ in 0..self.aws.instances.len() {
            let Some(About { pool: id, target, mut call }) = self.aws.instances.pop_front() else { break };
            // A pool that is gone has nobody to hear the answer.
            let Some(pool) = self.pools.get_mut(id) else { continue };
            if pool.gone {
                // Its instances went with the group: what was to be done is done.
                self.touched.insert(id);
                self.pool_step(id, effects, |pool, cx, _, out| pool.wrote_runner(cx, &target, Ok(()), out));
                continue;
            }
            if let InstanceCall::Terminate { decrement, .. } = &mut call {
                if !pool.knows_desired() {
                    self.aws.instances.push_back(About { pool: id, target, call });
                    continue;
                }
                *decrement = pool.ends_instance(self.now, &target);
            }
            let call = AwsCall::Instances { group: pool.group.name.clone(), call };
            self.emit(Purpose::Instances(id, target), call, effects);
            return true;
        }
        false
    }

    /// Sends the configs that may be stored now; when to go on.
    fn pump_store(&mut self, effects: &mut Vec<Effect>) -> Option<Instant> {
        loop {
            let About { pool: id, target, call } = match self.aws.store.next(&self.pools, self.now) {
                Ok(about) => about,
                Err(at) => return at,
            };
            self.emit_about(id, call, Purpose::Store(id, target), effects);
        }
    }

    /// Sends the deletes that may be sent now; when to go on.
    fn pump_discards(&mut self, effects: &mut Vec<Effect>) -> Option<Instant> {
        loop {
            let About { pool: id, target, call } = match self.aws.discards.next(&self.pools, self.now) {
                Ok(about) => about,
                Err(at) => return at,
            };
            self.emit_about(id, call, Purpose::Discard(id, target), effects);
        }
    }

    fn emit_about(&mut self, id: PoolId, call: InstanceCall, purpose: Purpose, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.get(id) else { return };
        let call = AwsCall::Instances { group: pool.group.name.clone(), call };
        self.emit(purpose, call, effects);
    }

    fn send_describe(&mut self, effects: &mut Vec<Effect>) -> bool {
        if self.stopping.is_some() {
            self.aws.describes.clear();
        }
        let Some(mut describe) = self.aws.describes.pop_front() else { return false };
        let (query, next_token) = match &mut describe {
            Describe::Listing { query, next_token } => (query.clone(), next_token.clone()),
            Describe::Moving { names } => (GroupQuery::Named(core::mem::take(names)), None),
        };
        let call = AwsCall::DescribeGroups { query, next_token };
        self.emit(Purpose::Describe(describe), call, effects);
        true
    }

    fn send_warm(&mut self, effects: &mut Vec<Effect>) -> bool {
        while let Some((id, next_token)) = self.aws.warm.pop_front() {
            let Some(pool) = self.pools.get(id).filter(|pool| !pool.gone) else { continue };
            let call = InstanceCall::WarmMembers { next_token };
            let call = AwsCall::Instances { group: pool.group.name.clone(), call };
            self.emit(Purpose::Warm(id), call, effects);
            return true;
        }
        false
    }

    fn emit(&mut self, purpose: Purpose, call: AwsCall, effects: &mut Vec<Effect>) {
        let id = self.ids.next();
        self.aws.in_flight.insert(id, Flight { purpose, asked_at: self.now });
        self.aws.by_deadline.insert((self.now + BACKSTOP, id));
        effects.push(Effect::Aws { id, call });
    }

    pub(super) fn aws_replied(&mut self, id: RequestId, result: Result<AwsReply, AwsError>, effects: &mut Vec<Effect>) {
        let Some(Flight { purpose, asked_at }) = self.aws.in_flight.remove(&id) else {
            return effects.push(Effect::Note(Notice::StrayReply { id }));
        };
        self.aws.by_deadline.remove(&(asked_at + BACKSTOP, id));
        let limiter = match purpose {
            Purpose::Store(..) => &mut self.aws.store.limiter,
            Purpose::Discard(..) => &mut self.aws.discards.limiter,
            Purpose::Write(_) | Purpose::Instances(..) | Purpose::Describe(_) | Purpose::Warm(_) => {
                &mut self.aws.limiter
            }
        };
        limiter.release();
        if result == Err(AwsError::Throttled) {
            limiter.throttled(self.now, None);
            let calls_per_min = limiter.calls_per_min();
            effects.push(Effect::Note(Notice::Aws(AwsFact::Throttled { calls_per_min })));
        }
        match purpose {
            Purpose::Write(pool) => {
                self.wrote(pool, &done(result), effects);
            }
            Purpose::Instances(pool, target) | Purpose::Store(pool, target) | Purpose::Discard(pool, target) => {
                let result = done(result);
                self.touched.insert(pool);
                self.pool_step(pool, effects, |pool, cx, _, out| pool.wrote_runner(cx, &target, result, out));
            }
            Purpose::Warm(pool) => self.warm_listed(pool, result, effects),
            Purpose::Describe(describe) => {
                let result = match result {
                    Ok(AwsReply::Groups { groups, next_token }) => Ok((groups, next_token)),
                    Ok(AwsReply::Done | AwsReply::WarmMembers { .. }) => Err(nonsense()),
                    Err(error) => Err(error),
                };
                self.described(describe, asked_at, result, effects);
            }
        }
    }

    fn warm_listed(&mut self, id: PoolId, result: Result<AwsReply, AwsError>, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        let error = match result {
            Ok(AwsReply::WarmMembers { members, next_token }) => {
                if pool.warm.page(members, next_token.is_some()) {
                    self.aws.list_warm(id, next_token);
                } else {
                    self.touched.insert(id);
                }
                return;
            }
            Ok(AwsReply::Done | AwsReply::Groups { .. }) => nonsense(),
            Err(error) => error,
        };
        // It is asked again with the next listing of groups.
        if pool.warm.failed(matches!(error, AwsError::Denied { .. })) {
            let (group, fact) = (pool.group.name.clone(), PoolFact::WarmPoolDenied { error });
            effects.push(Effect::Note(Notice::Pool { pool: id, group, fact }));
        }
    }

    fn wrote(&mut self, id: PoolId, result: &Result<(), AwsError>, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        if let Some(fact) = pool.wrote(self.now, result, &mut self.rng) {
            let group = pool.group.name.clone();
            effects.push(Effect::Note(Notice::Pool { pool: id, group, fact }));
        }
        self.touched.insert(id);
    }

    /// The shell answers every call in time; one that it does not answer is given up here.
    pub(super) fn give_up_overdue_aws(&mut self, effects: &mut Vec<Effect>) {
        while let Some((at, id)) = self.aws.by_deadline.first().copied() {
            if at > self.now {
                return;
            }
            self.aws.by_deadline.remove(&(at, id));
            let message = "no answer, and no word from the client".into();
            self.aws_replied(id, Err(AwsError::Transport { message }), effects);
        }
    }
}

fn nonsense() -> AwsError {
    AwsError::Misbehaved { message: "an answer to another call".into() }
}

/// The answer to a call that has nothing to tell.
fn done(result: Result<AwsReply, AwsError>) -> Result<(), AwsError> {
    match result? {
        AwsReply::Done => Ok(()),
        AwsReply::Groups { .. } | AwsReply::WarmMembers { .. } => Err(nonsense()),
    }
}
