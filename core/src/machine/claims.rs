//! Which group is tied to which scale set, and what a changed config or tag makes of that.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::discovery::{hash, is_lost};
use super::routing::{binding_key, session_key};
use super::{Machine, TimerKind};
use crate::config::Config;
use crate::connection::ConnectionEvent;
use crate::event::Effect;
use crate::notice::{Notice, PoolFact, PoolId};
use crate::pool::{Claim, PoolEffect};
use crate::short_text::ShortText;
use crate::spec::{Fault, PoolSpec, resolve};

/// Ends the memory of a group all of whose instances are known.
const MANAGED: &str = " managed";

impl Machine {
    /// Carries out what a describe made of a pool.
    pub(super) fn claim(&mut self, id: PoolId, claim: Claim, effects: &mut Vec<Effect>) {
        match claim {
            Claim::Unchanged => {}
            Claim::Refused(fault) => {
                if let Some(pool) = self.pools.get_mut(id) {
                    pool.retag = None;
                }
                self.refuse(id, fault, effects);
            }
            Claim::Wants(spec) => self.want(id, *spec, effects),
        }
    }

    fn want(&mut self, id: PoolId, spec: PoolSpec, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.get(id) else { return };
        let bound = pool.key() == Some(&spec.key);
        if !bound && !pool.may_rebind() {
            return self.pool_effects(id, effects, |pool, out| pool.wait_for_retag(spec, out));
        }
        if !bound && let Some(holder) = self.holder(&spec, &pool.group.arn) {
            self.release_if_lost(&spec);
            let fault = Fault {
                problem: format!("scale set \"{}\" already belongs to group \"{holder}\"", spec.key.name),
                mend: "give one of the two another runs-on-pool".to_string(),
            };
            return self.refuse(id, fault, effects);
        }
        let key = binding_key(&spec);
        let Some(arn) = self.pools.get(id).map(|pool| pool.group.arn.clone()) else { return };
        let managed = managed_binding(&arn);
        let was_ours = spec.is_managed && self.memory.get(&key) == Some(&managed);
        if !bound {
            self.leave_wall(id);
            self.unbind(id, effects);
            self.by_set.insert(spec.set.clone(), id);
        }
        self.remember(key, Some(if was_ours { managed } else { arn }), effects);
        self.pool_effects(id, effects, |pool, out| pool.adopt(spec, was_ours, out));
    }

    /// The other group that a set belongs to: the one that is bound, or was when the daemon last lived.
    fn holder(&self, spec: &PoolSpec, arn: &str) -> Option<ShortText> {
        if let Some(pool) = self.by_set.get(&spec.set).and_then(|id| self.pools.get(*id)) {
            return Some(pool.group.name.clone());
        }
        let remembered =
            self.memory.get(&binding_key(spec)).filter(|bound| bound.strip_suffix(MANAGED).unwrap_or(bound) != arn)?;
        if self.discovery.is_complete() {
            return None;
        }
        Some(remembered.strip_suffix(MANAGED).unwrap_or(remembered).rsplit('/').next().unwrap_or_default().into())
    }

    /// A listed group claims the set of one that has long been missing: that one was replaced.
    fn release_if_lost(&mut self, spec: &PoolSpec) {
        let now = self.now;
        let holder = self.by_set.get(&spec.set).and_then(|id| self.pools.get_mut(*id));
        if let Some(pool) = holder.filter(|pool| is_lost(pool, now)) {
            pool.replaced();
            self.touched.insert(pool.id);
        }
    }

    /// No instance of a pool has a runner that nobody knows of: the next life of the daemon may rely on that.
    pub(super) fn knows_all(&mut self, id: PoolId, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.get(id) else { return };
        if let Some(key) = pool.spec.as_ref().map(binding_key) {
            let binding = managed_binding(&pool.group.arn);
            self.remember(key, Some(binding), effects);
        }
    }

    fn refuse(&mut self, id: PoolId, fault: Fault, effects: &mut Vec<Effect>) {
        self.pool_effects(id, effects, |pool, out| pool.refuse(fault, out));
    }

    fn pool_effects(
        &mut self,
        id: PoolId,
        effects: &mut Vec<Effect>,
        step: impl FnOnce(&mut crate::pool::Pool, &mut Vec<PoolEffect>),
    ) {
        self.pool_step(id, effects, |pool, _, _, out| step(pool, out));
    }

    /// A re-tag that waited takes effect.
    pub(super) fn rebind(&mut self, id: PoolId, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.get(id) else { return };
        if pool.may_rebind()
            && let Some(spec) = pool.retag.clone()
        {
            self.want(id, spec, effects);
        }
    }

    fn unbind(&mut self, id: PoolId, effects: &mut Vec<Effect>) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        pool.connection = None;
        let Some(spec) = &pool.spec else { return };
        self.by_set.remove(&spec.set);
        let binding = binding_key(spec);
        self.remember(binding, None, effects);
        self.discovery.resolve_all();
    }

    /// A pool whose group is gone, and of which nothing is left open.
    pub(super) fn remove(&mut self, id: PoolId, effects: &mut Vec<Effect>) {
        let notice = |group: &str, fact| Notice::Pool { pool: id, group: group.into(), fact };
        self.unbind(id, effects);
        self.leave_wall(id);
        self.set_moving(id, false);
        let Some(pool) = self.pools.remove(id) else { return };
        if let Some(spec) = &pool.spec {
            self.remember(session_key(spec), None, effects);
        }
        effects.push(Effect::Note(notice(&pool.group.name, PoolFact::Gone)));
        self.by_arn.remove(&pool.group.arn);
        let name = hash(&pool.group.name);
        if self.by_name.get(&name) == Some(&id) {
            self.by_name.remove(&name);
        }
        self.timers.set(TimerKind::Pool(id), None);
        if let Some(stopping) = &mut self.stopping {
            stopping.open.remove(&id);
        }
    }

    pub(super) fn reconfigure(&mut self, config: Config, effects: &mut Vec<Effect>) {
        let old = core::mem::replace(&mut self.config, config);
        self.config.keep_stack_of(&old);
        let config = &self.config;
        let connections = &self.connections;
        let mut replaced = Vec::new();
        self.connection_ids.retain(|_, id| {
            let name = connections.get(id).map(crate::connection::Connection::name).unwrap_or_default();
            let stays = match config.connections.get(name) {
                Some(now) => old.connections.get(name).is_some_and(|before| same_service(before, now)),
                None => true,
            };
            if !stays {
                replaced.push(*id);
            }
            stays
        });
        effects.push(Effect::Note(Notice::Reconfigured));
        self.discovery.resolve_all();
        let ids: Vec<_> = self.pools.values().map(|pool| pool.id).collect();
        for id in ids {
            let Some(pool) = self.pools.get_mut(id) else { continue };
            pool.connection = None;
            pool.resolved_in = self.discovery.generation();
            let claim = match resolve(&pool.group, &self.config) {
                Ok(spec) => Claim::Wants(Box::new(spec)),
                Err(fault) => Claim::Refused(fault),
            };
            self.claim(id, claim, effects);
            self.touched.insert(id);
        }
        for id in replaced {
            self.connection_event(id, ConnectionEvent::Retire, effects);
        }
        if self.stopping.is_none() {
            self.timers.set(TimerKind::Listing, Some(self.now));
        }
    }

    /// What the organization's wall leaves to a pool, now that the others desire what they do.
    pub(super) fn share_wall(&mut self, id: PoolId) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        let Some((max, org)) = pool.spec.as_ref().and_then(|spec| spec.max_runners.map(|max| (max, &spec.org))) else {
            pool.room = u32::MAX;
            return;
        };
        let desired = pool.desired();
        let sum = self.desired_by_org.entry(org.clone()).or_default();
        *sum = sum.saturating_sub(pool.counted).saturating_add(desired);
        let frees = desired < core::mem::replace(&mut pool.counted, desired);
        pool.room = max.saturating_sub(sum.saturating_sub(desired));
        if frees && let Some(cramped) = self.cramped.get(org) {
            cramped.iter().for_each(|id| self.touched.insert(*id));
        }
    }

    /// Keeps the list of pools that want more room than their organization's wall leaves: they are settled when others
    /// leave some.
    pub(super) fn watch_room(&mut self, id: PoolId) {
        let Some(pool) = self.pools.get(id) else { return };
        let Some(spec) = pool.spec.as_ref().filter(|spec| spec.max_runners.is_some()) else { return };
        if pool.is_cramped(self.now) {
            self.cramped.entry(spec.org.clone()).or_default().insert(id);
        } else if let Some(cramped) = self.cramped.get_mut(&spec.org) {
            cramped.remove(&id);
        }
    }

    fn leave_wall(&mut self, id: PoolId) {
        let Some(pool) = self.pools.get_mut(id) else { return };
        if let Some(org) = pool.spec.as_ref().map(|spec| &spec.org) {
            if let Some(sum) = self.desired_by_org.get_mut(org) {
                *sum = sum.saturating_sub(pool.counted);
            }
            if let Some(cramped) = self.cramped.get_mut(org) {
                cramped.remove(&id);
                cramped.iter().for_each(|id| self.touched.insert(*id));
            }
        }
        pool.counted = 0;
    }
}

/// What is remembered of a group all of whose instances are known to have no runners but ours.
fn managed_binding(arn: &str) -> String {
    format!("{arn}{MANAGED}")
}

fn same_service(before: &crate::config::ConnectionConfig, now: &crate::config::ConnectionConfig) -> bool {
    before.url == now.url && before.credential == now.credential && before.force_ghes == now.force_ghes
}
