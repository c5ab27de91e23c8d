//! The pools, each at the place that its id names.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize, Serializer};

use super::MOST_IDS;
use crate::notice::PoolId;
use crate::pool::Pool;

/// Pools by id, found in a single look.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(try_from = "BTreeMap<PoolId, Box<Pool>>")]
pub(super) struct Pools {
    /// The last place is never empty.
    places: Vec<Option<Box<Pool>>>,
    len: usize,
}

impl Pools {
    /// Whether a pool of this id can be kept.
    pub(super) const fn may_hold(PoolId(id): PoolId) -> bool {
        id < MOST_IDS
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// The place after this one, and the first after the last.
    pub(super) fn next_place(&self, PoolId(id): PoolId) -> PoolId {
        let next = id.saturating_add(1);
        PoolId(if place(PoolId(next)).is_some_and(|place| place < self.places.len()) { next } else { 0 })
    }

    pub(super) fn get(&self, id: PoolId) -> Option<&Pool> {
        self.places.get(place(id)?)?.as_deref()
    }

    pub(super) fn get_mut(&mut self, id: PoolId) -> Option<&mut Pool> {
        self.places.get_mut(place(id)?)?.as_deref_mut()
    }

    pub(super) fn insert(&mut self, id: PoolId, pool: Box<Pool>) {
        let Some(place) = place(id).filter(|_| Self::may_hold(id)) else { return };
        if place >= self.places.len() {
            self.places.resize_with(place + 1, || None);
        }
        if let Some(held) = self.places.get_mut(place)
            && held.replace(pool).is_none()
        {
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, id: PoolId) -> Option<Box<Pool>> {
        let pool = self.places.get_mut(place(id)?)?.take()?;
        self.len -= 1;
        while self.places.last().is_some_and(Option::is_none) {
            self.places.pop();
        }
        Some(pool)
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &Pool> {
        self.places.iter().flatten().map(Box::as_ref)
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut Pool> {
        self.places.iter_mut().flatten().map(Box::as_mut)
    }

    /// The pools whose ids are at least this.
    pub(super) fn from(&self, first: PoolId) -> impl Iterator<Item = &Pool> {
        self.places.iter().skip(place(first).unwrap_or(usize::MAX)).flatten().map(Box::as_ref)
    }
}

fn place(PoolId(id): PoolId) -> Option<usize> {
    usize::try_from(id).ok()
}

impl Serialize for Pools {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.values().map(|pool| (pool.id, pool)))
    }
}

impl TryFrom<BTreeMap<PoolId, Box<Pool>>> for Pools {
    type Error = String;

    fn try_from(map: BTreeMap<PoolId, Box<Pool>>) -> Result<Self, String> {
        if let Some((id, pool)) = map.iter().find(|(id, pool)| !Self::may_hold(**id) || **id != pool.id) {
            return Err(format!("pool {} stands at {}", pool.id.0, id.0));
        }
        let mut pools = Self::default();
        for (id, pool) in map {
            pools.insert(id, pool);
        }
        Ok(pools)
    }
}
