//! A pool's own account of its capacity.

use super::Pool;
use crate::explain::Grounds;
use crate::time::Instant;

impl Pool {
    pub(crate) fn grounds(&self, now: Instant) -> Grounds {
        let wanted = self.wanted(now);
        let (group_min, group_max) = self.scaler.group_bounds();
        Grounds {
            pool: self.id,
            group: self.group.name.clone(),
            scale_set: self.key().map(|key| key.name.clone()).unwrap_or_default(),
            listening: self.session.is_open(),
            statistics: self.statistics,
            held_until: self.held.map(|held| held.until),
            wanted,
            counts: self.scaler.counts(),
            group_min,
            group_max,
            desired: self.scaler.desired(),
            target: self.scaler.target(&wanted),
            goal: self.scaler.goal(&wanted),
            described_at: self.scaler.described_at(),
            surplus_since: self.scaler.surplus_since(),
            error: self.error.clone(),
        }
    }
}
