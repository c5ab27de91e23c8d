//! Writes of desired capacity.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::aws::{AwsReply, Group, LifecycleState};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::Body;
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::notice::{Decision, Notice, PoolFact, PoolId};
use poolkeeper_core::seal::Sealed;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};
use poolkeeper_core::view::SessionView;

use super::{Judge, Look, requests};

/// A describe older than this says nothing of what may be lowered.
const FRESH: Duration = Duration::from_secs(10);

/// The decisions among the effects, each with its pool and group.
fn decisions(effects: &[Effect]) -> impl Iterator<Item = (PoolId, &str, &Decision)> {
    effects.iter().filter_map(|effect| match effect {
        Effect::Note(Notice::Pool { pool, group, fact: PoolFact::Scaling(decision) }) => {
            Some((*pool, group.as_str(), decision))
        }
        Effect::Note(_)
        | Effect::GitHub { .. }
        | Effect::Aws { .. }
        | Effect::Cancel { .. }
        | Effect::Remember { .. }
        | Effect::Drop(_)
        | Effect::Exit(_) => None,
    })
}

/// Desired capacity stays within what the group and the operator allow, and is not set to what it is.
#[derive(Debug)]
pub(crate) struct WithinBounds;

impl Judge for WithinBounds {
    fn contract(&self) -> &'static str {
        "desired capacity is set only within the bounds of group and config, and only to what it is not"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        for (id, group, decision) in decisions(look.effects) {
            let Some(pool) = look.machine.pool(id) else { return Err(format!("{group} is no pool")) };
            let to = decision.to;
            if to < pool.group_min || to > pool.group_max {
                return Err(format!("{group}: {to} is not in {}..={}", pool.group_min, pool.group_max));
            }
            if to == decision.from {
                return Err(format!("{group}: desired is {to} already"));
            }
        }
        Ok(())
    }
}

/// Capacity is lowered only on a fresh describe in which AWS finds nothing to end.
#[derive(Debug, Default)]
pub(crate) struct NoVictim {
    asked: BTreeMap<RequestId, Instant>,
    groups: BTreeMap<ShortText, (Instant, bool)>,
}

impl Judge for NoVictim {
    fn contract(&self) -> &'static str {
        "capacity is lowered only where a fresh describe shows nothing pending and all in service protected"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        if let Event::AwsReply { id, result } = look.event
            && let Some(asked_at) = self.asked.remove(id)
            && let Ok(AwsReply::Groups { groups, .. }) = result
        {
            for group in groups {
                let newest = self.groups.entry(group.name.clone()).or_insert((asked_at, false));
                if newest.0 <= asked_at {
                    *newest = (asked_at, is_safe(group));
                }
            }
        }
        for (_, group, decision) in decisions(look.effects).filter(|(.., decision)| decision.to < decision.from) {
            let safe = self.groups.get(group).is_some_and(|(at, safe)| *safe && look.now.mono.since(*at) < FRESH);
            if !safe {
                return Err(format!("{group} is lowered from {} to {}", decision.from, decision.to));
            }
        }
        for effect in look.effects {
            if let Effect::Aws { id, .. } = effect {
                self.asked.insert(*id, look.now.mono);
            }
        }
        Ok(())
    }
}

fn is_safe(group: &Group) -> bool {
    group.instances.iter().all(|instance| match instance.state {
        LifecycleState::Pending => false,
        LifecycleState::InService => instance.protected,
        LifecycleState::Terminating | LifecycleState::Other(_) => true,
    })
}

/// A pool whose session is not open writes nothing.
#[derive(Debug, Default)]
pub(crate) struct Passive {
    creating: BTreeMap<RequestId, PoolId>,
    open: BTreeSet<PoolId>,
}

impl Judge for Passive {
    fn contract(&self) -> &'static str {
        "desired capacity is set only while the pool's session is open"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, result } = look.event
            && let Some(pool) = self.creating.remove(id)
            && result.as_ref().is_ok_and(|reply| matches!(reply.body, Body::Sealed(Sealed::Session { .. })))
        {
            self.open.insert(pool);
        }
        for (id, group, _) in decisions(look.effects) {
            let view = look.machine.pool(id).map(|pool| pool.session);
            if !self.open.contains(&id) || view != Some(SessionView::Open) {
                return Err(format!("{group} is written to, and its session is {view:?}"));
            }
        }
        for (id, call, _) in requests(look.effects) {
            let Some(pool) = look.machine.pool_of_call(id) else { continue };
            if call == CallKind::CreateSession {
                self.creating.insert(id, pool);
            }
            if matches!(call, CallKind::CreateSession | CallKind::DeleteSession) {
                self.open.remove(&pool);
            }
        }
        Ok(())
    }
}
