//! What is known of a pool's capacity and of a call's origin, for people who ask why.

use super::Machine;
use crate::explain::Grounds;
use crate::github::request::RequestId;
use crate::notice::PoolId;

impl Machine {
    /// What a pool's capacity hangs on, as it is after the last step.
    #[must_use]
    pub fn grounds(&self, id: PoolId) -> Option<Grounds> {
        self.pools.get(id).map(|pool| pool.grounds(self.now))
    }

    /// The pool that waits for the end of a call; `None` for calls that serve several, and those that have ended.
    #[must_use]
    pub fn pool_of_call(&self, id: RequestId) -> Option<PoolId> {
        let connection = self.routes.get(&id).and_then(|connection| self.connections.get(connection));
        connection.and_then(|connection| connection.pool_of_call(id)).or_else(|| self.aws.pool_of_write(id))
    }
}
