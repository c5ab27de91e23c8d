//! Messages, and what follows from them.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::event::Event;
use poolkeeper_core::github::message::Message;
use poolkeeper_core::github::reply::Body;
use poolkeeper_core::github::request::{CallKind, RequestId};
use poolkeeper_core::notice::PoolId;

use super::super::key::message_of;
use super::{Judge, Look, requests};

const BOM: &[u8] = b"\xef\xbb\xbf";

fn message(event: &Event) -> Option<Message> {
    let Event::GitHubReply { result: Ok(reply), .. } = event else { return None };
    let Body::Raw(body) = &reply.body else { return None };
    (reply.status == 200).then(|| Message::parse(body.0.strip_prefix(BOM).unwrap_or(&body.0)).ok()).flatten()
}

/// Only what was delivered is acknowledged, in the step that took it in or later.
#[derive(Debug, Default)]
pub(crate) struct Acknowledges {
    polls: BTreeMap<RequestId, PoolId>,
    delivered: BTreeSet<(PoolId, u64)>,
}

impl Judge for Acknowledges {
    fn contract(&self) -> &'static str {
        "a message is acknowledged only after it was delivered"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, .. } = look.event
            && let Some(pool) = self.polls.remove(id)
            && let Some(message) = message(look.event)
        {
            self.delivered.insert((pool, message.id));
        }
        for (id, call, request) in requests(look.effects) {
            let Some(pool) = look.machine.pool_of_call(id) else { continue };
            if call == CallKind::Poll {
                self.polls.insert(id, pool);
            }
            if call == CallKind::Acknowledge {
                let number = message_of(&request.url).unwrap_or_default();
                if !self.delivered.contains(&(pool, number)) {
                    return Err(format!("pool {} acknowledges message {number}, which never came", pool.0));
                }
            }
        }
        Ok(())
    }
}

/// No more jobs are acquired at once than there can be runners.
#[derive(Debug)]
pub(crate) struct AcquiresWithinRoom;

impl Judge for AcquiresWithinRoom {
    fn contract(&self) -> &'static str {
        "no more jobs are acquired than there can be runners"
    }

    fn step(&mut self, look: &Look<'_>) -> Result<(), String> {
        for (id, call, request) in requests(look.effects).filter(|(_, call, _)| *call == CallKind::Acquire) {
            let Some(pool) = look.machine.pool_of_call(id).and_then(|pool| look.machine.pool(pool)) else { continue };
            let asked: Vec<u64> = serde_json::from_str(request.body.as_deref().unwrap_or_default())
                .map_err(|e| format!("{} {}: {e}", call.as_str(), request.url))?;
            let most = pool.group_max.min(pool.size_max).max(pool.group_min);
            let room = usize::try_from(most).unwrap_or(usize::MAX);
            if asked.len() > room {
                return Err(format!("{}: {} jobs for at most {room} runners", pool.group, asked.len()));
            }
        }
        Ok(())
    }
}
