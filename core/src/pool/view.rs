//! What people may know of a pool.

use alloc::string::ToString;

use super::Pool;
use crate::time::Instant;
use crate::view::{PoolView, SessionView};

impl Pool {
    pub(crate) fn session_view(&self) -> SessionView {
        self.session.view()
    }

    /// The scale set that it is tied to, or was last.
    pub(crate) fn last_set(&self) -> Option<u64> {
        self.scale_set.last_id()
    }

    pub(crate) fn view(&self, now: Instant) -> PoolView {
        let spec = self.spec.as_ref();
        let wanted = self.wanted(now);
        let (polled_at, polls) = self.session.polls();
        let (group_min, group_max) = self.scaler.group_bounds();
        let counts = self.scaler.counts();
        PoolView {
            id: self.id,
            group: self.group.name.clone(),
            arn: self.group.arn.clone(),
            connection: spec.map(|s| s.key.connection.clone()).unwrap_or_default(),
            scope: spec.map(|s| s.key.scope.to_string()).unwrap_or_default(),
            runner_group: spec.map(|s| s.key.runner_group.clone()).unwrap_or_default(),
            scale_set: spec.map(|s| s.key.name.clone()).unwrap_or_default(),
            scale_set_id: self.scale_set.last_id(),
            verdict: self.verdict.clone(),
            paused: spec.is_some_and(|s| s.paused),
            session: self.session.view(),
            statistics: self.statistics,
            group_min,
            group_max,
            size_min: wanted.size_min,
            size_max: wanted.size_max,
            desired: self.scaler.desired(),
            target: self.scaler.target(&wanted),
            capacity: self.capacity(now),
            managed: self.is_managed(),
            warm: self.group.warm_pool.is_some().then(|| self.warm.view()),
            launches_held: self.runners.holds_launches(now),
            in_service: counts.in_service,
            pending: counts.pending,
            described_at: self.scaler.described_at(),
            polled_at,
            polls,
            messages: self.messages,
            error: self.error.clone(),
        }
    }
}
