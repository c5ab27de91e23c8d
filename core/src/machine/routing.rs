//! Between connections and pools: who asked what, and who gets the answer.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::ops::Bound;

use super::{ConnectionId, Machine, TimerKind};
use crate::connection::{Caller, Connection, ConnectionEffect, ConnectionEvent};
use crate::context::{Context, Turn};
use crate::event::Effect;
use crate::github::error::{CallError, CallErrorKind};
use crate::github::reply::{Reply, TransportError};
use crate::github::request::RequestId;
use crate::limiter::Limiter;
use crate::notice::{Notice, PoolId};
use crate::pool::{Pool, PoolEffect};
use crate::spec::PoolSpec;

const SESSION: &str = "session/";
const BINDING: &str = "binding/";
/// A session and a binding.
const MEMORIES_A_POOL: usize = 2;
/// The most connections that are fed in one step.
const FEED_AT_ONCE: usize = 8;

impl Machine {
    pub(super) fn github_replied(
        &mut self,
        id: RequestId,
        result: Result<Reply, TransportError>,
        effects: &mut Vec<Effect>,
    ) {
        match self.routes.remove(&id) {
            Some(connection) => {
                self.connection_event(connection, ConnectionEvent::Reply { id, result }, effects);
            }
            None => effects.push(Effect::Note(Notice::StrayReply { id })),
        }
    }

    pub(super) fn connection_tick(&mut self, id: ConnectionId, effects: &mut Vec<Effect>) {
        self.connection_event(id, ConnectionEvent::Tick, effects);
    }

    /// Lets starved connections use the room that others of the same credential left, each in its turn.
    pub(super) fn feed_hungry(&mut self, effects: &mut Vec<Effect>) {
        let has_room = |id: &&ConnectionId| {
            let limits = self.connections.get(id).map(|connection| connection.limits);
            limits.and_then(|limits| self.github_limits.get(limits)).is_none_or(Limiter::has_room)
        };
        let later = self.hungry.range((Bound::Excluded(self.fed), Bound::Unbounded));
        let turn = later.chain(self.hungry.range(..=self.fed));
        let hungry: Vec<_> = turn.filter(has_room).copied().take(FEED_AT_ONCE).collect();
        for id in hungry {
            self.fed = id;
            self.connection_event(id, ConnectionEvent::Tick, effects);
        }
    }

    pub(super) fn connection_event(&mut self, id: ConnectionId, event: ConnectionEvent, effects: &mut Vec<Effect>) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let Some(limiter) = self.github_limits.get_mut(connection.limits) else { return };
        let mut cx = Context { now: self.now, rng: &mut self.rng, ids: &mut self.ids, limiter };
        let mut out = core::mem::take(&mut self.scratch.connection);
        connection.handle(&mut cx, event, &mut out);
        let timeout = connection.poll_timeout();
        if connection.is_starved() {
            self.hungry.insert(id);
        } else {
            self.hungry.remove(&id);
        }
        self.timers.set(TimerKind::Connection(id), timeout);
        for effect in out.drain(..) {
            self.carry_out(id, effect, effects);
        }
        self.scratch.connection = out;
        self.retire(id);
    }

    fn carry_out(&mut self, id: ConnectionId, effect: ConnectionEffect, effects: &mut Vec<Effect>) {
        match effect {
            ConnectionEffect::Request { id: request_id, call, request } => {
                self.routes.insert(request_id, id);
                effects.push(Effect::GitHub { id: request_id, call, request });
            }
            ConnectionEffect::Cancel { id } => effects.push(Effect::Cancel { id }),
            ConnectionEffect::Forget { id } => {
                self.routes.remove(&id);
            }
            ConnectionEffect::Drop(slot) => effects.push(Effect::Drop(slot)),
            ConnectionEffect::Note(fact) => {
                let Some(connection) = self.connections.get(&id) else { return };
                let (name, scope) = (connection.name().into(), format!("{}", connection.scope()));
                effects.push(Effect::Note(Notice::Connection { connection: name, scope, fact }));
            }
            ConnectionEffect::Called { caller, result, .. } => match caller {
                Caller::Session(pool) | Caller::Pool(pool) | Caller::Runner(pool, _) => {
                    self.touched.insert(pool);
                    // Others of its organization may have taken room since the pool's last step.
                    self.share_wall(pool);
                    self.pool_step(pool, effects, |pool, cx, config, out| {
                        pool.called(cx, caller, result, config, out);
                    });
                }
                Caller::Census => self.counted(id, &result, effects),
                Caller::Operator => {}
            },
        }
    }

    pub(super) fn reconcile(&mut self, id: PoolId, effects: &mut Vec<Effect>) {
        let left = match self.pools.get(id).filter(|pool| pool.may_open()).and_then(|pool| pool.spec.as_ref()) {
            Some(spec) if self.config.defences.delete_remembered_sessions => {
                self.memory.get(&session_key(spec)).cloned()
            }
            Some(_) | None => None,
        };
        self.pool_step(id, effects, |pool, cx, config, out| pool.reconcile(cx, left, config, out));
    }

    /// Lets a pool take a step, and carries out what it wants.
    pub(super) fn pool_step(
        &mut self,
        id: PoolId,
        effects: &mut Vec<Effect>,
        step: impl FnOnce(&mut Pool, &mut Turn<'_>, &crate::config::Config, &mut Vec<PoolEffect>),
    ) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        let mut turn = Turn {
            now: self.now,
            rng: &mut self.rng,
            discards_wait: self.aws.discards_wait(),
            configs_wait: self.aws.configs_wait(),
        };
        let mut out = core::mem::take(&mut self.scratch.pool);
        step(pool, &mut turn, &self.config, &mut out);
        for effect in out.drain(..) {
            self.carry_out_for_pool(id, effect, effects);
        }
        self.scratch.pool = out;
    }

    pub(super) fn carry_out_for_pool(&mut self, id: PoolId, effect: PoolEffect, effects: &mut Vec<Effect>) {
        match effect {
            PoolEffect::Call(caller, call) => match self.connection_of(id) {
                Some(connection) => {
                    self.connection_event(connection, ConnectionEvent::Call { caller, call }, effects);
                }
                None => self.no_connection(id, caller, effects),
            },
            PoolEffect::Cancel => {
                if let Some(connection) = self.connection_of(id) {
                    let caller = Caller::Session(id);
                    self.connection_event(connection, ConnectionEvent::Cancel { caller }, effects);
                }
            }
            PoolEffect::Remember(value) => {
                if let Some(key) = self.pools.get(id).and_then(|pool| pool.spec.as_ref()).map(session_key) {
                    self.remember(key, value, effects);
                }
            }
            PoolEffect::Census => match self.connection_of(id) {
                Some(connection) => self.want_census(id, connection, effects),
                None => self.no_connection(id, Caller::Census, effects),
            },
            PoolEffect::KnowsAll => self.knows_all(id, effects),
            PoolEffect::Aws(target, call) => self.aws.ask(id, target, call),
            PoolEffect::Drop(slot) => effects.push(Effect::Drop(slot)),
            PoolEffect::Absorbed => {
                self.share_wall(id);
                self.want_write(id);
                self.pump_aws(effects);
            }
            PoolEffect::Note(fact) => {
                let Some(pool) = self.pools.get(id) else { return };
                effects.push(Effect::Note(Notice::Pool { pool: id, group: pool.group.name.clone(), fact }));
            }
        }
    }

    /// The config has no connection for the pool any more: its call fails, and is tried again later.
    fn no_connection(&mut self, id: PoolId, caller: Caller, effects: &mut Vec<Effect>) {
        let message = "the connection is not configured any more".into();
        let error = CallError { kind: CallErrorKind::Denied, message, ..CallError::cancelled() };
        self.touched.insert(id);
        self.pool_step(id, effects, |pool, cx, config, out| pool.called(cx, caller, Err(error), config, out));
    }

    /// A memory is kept, or cannot be: a session waited to learn of it.
    pub(super) fn remembered(&mut self, key: String, ok: bool, effects: &mut Vec<Effect>) {
        if let Some(id) = key.strip_prefix(SESSION).and_then(|set| self.by_set.get(set)).copied() {
            self.touched.insert(id);
            self.share_wall(id);
            self.pool_step(id, effects, Pool::remembered);
        }
        self.unwritten = None;
        if !ok {
            self.unwritten = Some(key.clone());
            effects.push(Effect::Note(Notice::NotRemembered { key }));
        }
    }

    /// Asks again for what could not be written.
    pub(super) fn remember_again(&mut self, effects: &mut Vec<Effect>) {
        if let Some(key) = self.unwritten.take() {
            let value = self.memory.get(&key).cloned();
            effects.push(Effect::Remember { key, value });
        }
    }

    /// Whether more is remembered than of the pools there are.
    pub(super) fn remembers_strangers(&self) -> bool {
        self.memory.len() > self.by_set.len().saturating_mul(MEMORIES_A_POOL)
    }

    /// Forgets what is remembered of scale sets that no pool is tied to.
    pub(super) fn forget_strangers(&mut self, effects: &mut Vec<Effect>) {
        let of = |key: &str| key.strip_prefix(SESSION).or_else(|| key.strip_prefix(BINDING)).map(String::from);
        let strange = |key: &&String| of(key).is_none_or(|set| !self.by_set.contains_key(&set));
        let keys: Vec<_> = self.memory.keys().filter(strange).cloned().collect();
        for key in keys {
            self.remember(key, None, effects);
        }
    }

    pub(super) fn remember(&mut self, key: String, value: Option<String>, effects: &mut Vec<Effect>) {
        let before = match &value {
            Some(value) => self.memory.insert(key.clone(), value.clone()),
            None => self.memory.remove(&key),
        };
        if before != value {
            effects.push(Effect::Remember { key, value });
        }
    }

    /// The connection a pool's calls go through; made when the first pool of its scope needs it.
    fn connection_of(&mut self, id: PoolId) -> Option<ConnectionId> {
        let pool = self.pools.get_mut(id)?;
        if pool.connection.is_some() {
            return pool.connection;
        }
        let key = pool.key()?;
        let place = format!("{}/{}", key.connection, key.scope);
        let connection = match self.connection_ids.get(&place) {
            Some(connection) => *connection,
            None => {
                let settings = self.config.connections.get(&key.connection)?;
                let scope = key.scope.clone();
                let mut connection = Connection::new(&key.connection, settings, scope, &self.config.build).ok()?;
                connection.limits = self.github_limits.of(&key.connection);
                connection.defences = self.config.defences;
                self.next_connection += 1;
                let connection_id = ConnectionId(self.next_connection);
                self.connections.insert(connection_id, connection);
                self.connection_ids.insert(place, connection_id);
                connection_id
            }
        };
        pool.connection = Some(connection);
        Some(connection)
    }

    /// Forgets a connection that the config replaced, once nothing of it is in flight.
    fn retire(&mut self, id: ConnectionId) {
        let Some(connection) = self.connections.get(&id).filter(|connection| connection.is_idle()) else {
            return;
        };
        let place = format!("{}/{}", connection.name(), connection.scope());
        if self.connection_ids.get(&place) != Some(&id) {
            self.connections.remove(&id);
            self.timers.set(TimerKind::Connection(id), None);
        }
    }
}

/// Where the id of a set's open session is remembered.
pub(super) fn session_key(spec: &PoolSpec) -> String {
    format!("{SESSION}{}", spec.set)
}

/// Where the group that a set belongs to is remembered.
pub(super) fn binding_key(spec: &PoolSpec) -> String {
    format!("{BINDING}{}", spec.set)
}
