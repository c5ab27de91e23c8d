//! The list of all runners of a scope, for pools that may have lost instances while nobody looked: asked for once for
//! all of them.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use super::{ConnectionId, Machine};
use crate::connection::{Caller, ConnectionEvent};
use crate::event::Effect;
use crate::github::answer::Answer;
use crate::github::call::Call;
use crate::github::error::CallError;
use crate::notice::PoolId;

/// Pools that wait for a list, by connection: one list is on its way for each.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Census(BTreeMap<ConnectionId, Vec<PoolId>>);

impl Machine {
    /// A pool wants to know which runners there are.
    pub(super) fn want_census(&mut self, pool: PoolId, connection: ConnectionId, effects: &mut Vec<Effect>) {
        let waiting = self.census.0.entry(connection).or_default();
        waiting.push(pool);
        if waiting.len() == 1 {
            let event = ConnectionEvent::Call { caller: Caller::Census, call: Call::Runners };
            self.connection_event(connection, event, effects);
        }
    }

    /// The list is there, or could not be had.
    pub(super) fn counted(
        &mut self,
        connection: ConnectionId,
        result: &Result<Answer, CallError>,
        effects: &mut Vec<Effect>,
    ) {
        // Those that did not ask need not ask any more; those that asked may have another connection by now.
        let of_scope = self.pools.values().filter(|pool| pool.connection == Some(connection)).map(|pool| pool.id);
        let mut pools = self.census.0.remove(&connection).unwrap_or_default();
        pools.extend(of_scope);
        pools.sort_unstable();
        pools.dedup();
        for pool in pools {
            self.touched.insert(pool);
            self.pool_step(pool, effects, |pool, cx, _, _| pool.counted(cx, result));
        }
    }
}
