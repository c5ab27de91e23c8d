//! What a step touched.

use alloc::collections::VecDeque;

use crate::notice::PoolId;

/// Pools, each once, in the order of their ids. A step touches one or two; a listing may touch all, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Touched(VecDeque<PoolId>);

impl Touched {
    pub(super) fn insert(&mut self, id: PoolId) {
        if let Err(place) = self.0.binary_search(&id) {
            self.0.insert(place, id);
        }
    }

    pub(super) fn pop_first(&mut self) -> Option<PoolId> {
        self.0.pop_front()
    }
}
