//! Calls to AWS: writes first, then describes, within the account's limits.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{Machine, TimerKind};
use crate::aws::{AwsCall, AwsError, AwsReply, GroupQuery, InstanceCall};
use crate::event::Effect;
use crate::github::request::RequestId;
use crate::limiter::{self, Limiter};
use crate::notice::{AwsFact, Notice, PoolFact, PoolId};
use crate::runners::Target;
use crate::time::{Duration, Instant};

/// A call to AWS that goes without an answer for this long counts as lost.
const BACKSTOP: Duration = Duration::from_secs(60);

/// A describe that waits or is in flight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum Describe {
    /// A page of the listing of all groups.
    Listing { query: GroupQuery, next_token: Option<String> },
    /// Groups in motion; once asked for, their names are the call's.
    Moving { names: Vec<String> },
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
    /// Configs to be stored and deleted, at the pace of the store.
    #[serde(default)]
    store: Store,
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
    Describe(Describe),
}

/// A call about instances that waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct About {
    pool: PoolId,
    target: Target,
    call: InstanceCall,
}

/// What waits for the parameter store, which has limits of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Store {
    limiter: Limiter,
    waiting: VecDeque<About>,
}

impl Default for Store {
    fn default() -> Self {
        Self { limiter: Limiter::new(limiter::SSM), waiting: VecDeque::new() }
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
            store: Store::default(),
            in_flight: BTreeMap::new(),
            by_deadline: BTreeSet::new(),
        }
    }

    /// Takes a call about instances.
    pub(super) fn ask(&mut self, pool: PoolId, target: Target, call: InstanceCall) {
        let to_store = matches!(call, InstanceCall::PutConfig { .. } | InstanceCall::DeleteConfig { .. });
        let queue = if to_store { &mut self.store.waiting } else { &mut self.instances };
        queue.push_back(About { pool, target, call });
    }

    pub(super) fn describe(&mut self, describe: Describe) {
        self.describes.push_back(describe);
    }

    /// The pool whose write is in flight under this id.
    pub(super) fn pool_of_write(&self, id: RequestId) -> Option<PoolId> {
        match self.in_flight.get(&id)?.purpose {
            Purpose::Write(pool) | Purpose::Instances(pool, _) | Purpose::Store(pool, _) => Some(pool),
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
        }
        let mut wait = None;
        while !self.aws.writes.is_empty() || !self.aws.instances.is_empty() || !self.aws.describes.is_empty() {
            if let Err(at) = self.aws.limiter.take(self.now) {
                wait = at;
                break;
            }
            if !self.send_write(effects) && !self.send_about_instances(effects) && !self.send_describe(effects) {
                self.aws.limiter.give_back();
                break;
            }
        }
        let store = self.pump_store(effects);
        let overdue = self.aws.by_deadline.first().map(|(at, _)| *at);
        self.timers.set(TimerKind::Aws, [wait, store, overdue].into_iter().flatten().min());
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

    /// Sends what the parameter store may be sent now; when to go on.
    fn pump_store(&mut self, effects: &mut Vec<Effect>) -> Option<Instant> {
        while !self.aws.store.waiting.is_empty() {
            if let Err(at) = self.aws.store.limiter.take(self.now) {
                return at;
            }
            let Some(About { pool: id, target, call }) = self.aws.store.waiting.pop_front() else { break };
            let Some(pool) = self.pools.get(id) else {
                self.aws.store.limiter.give_back();
                continue;
            };
            let call = AwsCall::Instances { group: pool.group.name.clone(), call };
            self.emit(Purpose::Store(id, target), call, effects);
        }
        None
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
            Purpose::Write(_) | Purpose::Instances(..) | Purpose::Describe(_) => &mut self.aws.limiter,
        };
        limiter.release();
        if result == Err(AwsError::Throttled) {
            limiter.throttled(self.now, None);
            let calls_per_min = limiter.calls_per_min();
            effects.push(Effect::Note(Notice::Aws(AwsFact::Throttled { calls_per_min })));
        }
        let nonsense = || AwsError::Misbehaved { message: "an answer to another call".into() };
        match purpose {
            Purpose::Write(pool) => {
                let result = match result {
                    Ok(AwsReply::Done) => Ok(()),
                    Ok(AwsReply::Groups { .. }) => Err(nonsense()),
                    Err(error) => Err(error),
                };
                self.wrote(pool, &result, effects);
            }
            Purpose::Instances(pool, target) | Purpose::Store(pool, target) => {
                let result = match result {
                    Ok(AwsReply::Done) => Ok(()),
                    Ok(AwsReply::Groups { .. }) => Err(nonsense()),
                    Err(error) => Err(error),
                };
                self.touched.insert(pool);
                self.pool_step(pool, effects, |pool, cx, _, out| pool.wrote_runner(cx, &target, result, out));
            }
            Purpose::Describe(describe) => {
                let result = match result {
                    Ok(AwsReply::Groups { groups, next_token }) => Ok((groups, next_token)),
                    Ok(AwsReply::Done) => Err(nonsense()),
                    Err(error) => Err(error),
                };
                self.described(describe, asked_at, result, effects);
            }
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
