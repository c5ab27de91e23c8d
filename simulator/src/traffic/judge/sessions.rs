//! Sessions and tokens.

use std::collections::BTreeMap;

use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::Body;
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::notice::PoolId;
use poolkeeper_core::seal::Sealed;
use poolkeeper_core::time::{Duration, Instant};

use super::{Judge, Look, requests};

/// A session makes one call at a time.
#[derive(Debug, Default)]
pub(crate) struct OneSessionCall {
    calls: BTreeMap<RequestId, PoolId>,
    busy: BTreeMap<PoolId, CallKind>,
}

impl Judge for OneSessionCall {
    fn contract(&self) -> &'static str {
        "a session makes one call at a time"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, .. } = look.event
            && let Some(pool) = self.calls.remove(id)
        {
            self.busy.remove(&pool);
        }
        // A call that the machine itself gave up is over too.
        let machine = look.machine;
        let busy = &mut self.busy;
        self.calls.retain(|id, pool| {
            let is_open = machine.pool_of_call(*id).is_some();
            if !is_open {
                busy.remove(pool);
            }
            is_open
        });
        for (id, call, _) in requests(look.effects).filter(|(_, call, _)| call.is_of_session()) {
            let Some(pool) = look.machine.pool_of_call(id) else { continue };
            if let Some(other) = self.busy.insert(pool, call) {
                return Err(format!("pool {}: {} beside {}", pool.0, call.as_str(), other.as_str()));
            }
            self.calls.insert(id, pool);
        }
        Ok(())
    }
}

/// A token that came less than this ago is not renewed.
const SELDOM: Duration = Duration::from_secs(30);

/// Tokens are renewed seldom, whatever their dates say.
#[derive(Debug, Default)]
pub(crate) struct RenewsSeldom {
    asked: BTreeMap<RequestId, String>,
    came: BTreeMap<String, Instant>,
}

impl Judge for RenewsSeldom {
    fn contract(&self) -> &'static str {
        "an admin token that came less than 30 s ago is not renewed"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, result } = look.event
            && let Some(whom) = self.asked.remove(id)
            && result.as_ref().is_ok_and(|reply| matches!(reply.body, Body::Sealed(Sealed::AdminConnection { .. })))
        {
            self.came.insert(whom, look.now.mono);
        }
        for (id, call, request) in requests(look.effects).filter(|(_, call, _)| *call == CallKind::AdminConnection) {
            let whom = format!("{} {}", request.url, request.body.as_deref().unwrap_or_default());
            let ago = self.came.get(&whom).map(|at| look.now.mono.since(*at));
            if ago.is_some_and(|ago| ago < SELDOM) {
                return Err(format!("{} {whom}: the last came {ago:?} ago", call.as_str()));
            }
            self.asked.insert(id, whom);
        }
        Ok(())
    }
}
