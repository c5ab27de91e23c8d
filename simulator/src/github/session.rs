//! Message sessions: one a scale set, kept alive by its polls.

use poolkeeper_core::time::Instant;

use super::reply::{SESSION_CONFLICT, SESSION_NOT_FOUND, UNAUTHORIZED, empty, json};
use super::scale_set::set_not_found;
use super::token::Grant;
use super::wire::{SessionRequest, WireSession};
use super::{GitHub, Timer};
use crate::http::{HttpRequest, HttpResponse};

#[derive(Clone, Debug)]
pub(super) struct Session {
    /// Tells this session from earlier ones of the set.
    pub(super) number: u64,
    pub(super) id: String,
    pub(super) owner: String,
    pub(super) last_seen: Instant,
}

impl GitHub {
    pub(super) fn create_session(&mut self, request: &HttpRequest, id: u64) -> HttpResponse {
        let owner = serde_json::from_slice::<SessionRequest>(&request.body)
            .ok()
            .and_then(|body| body.owner_name)
            .unwrap_or_default();
        let uuid = self.uuid();
        let last_seen = self.now.mono;
        let Some(set) = self.sets.get_mut(&id) else { return set_not_found(id) };
        if let Some(session) = &set.session {
            let message =
                format!("The runner scale set {} already has an active session for owner {}.", set.name, session.owner);
            return SESSION_CONFLICT.reply(&message);
        }
        set.last_session += 1;
        let number = set.last_session;
        set.session = Some(Session { number, id: uuid, owner, last_seen });
        let ends = last_seen + self.config.session_idle;
        self.timers.insert((ends, Timer::Session { set: id, session: number }));
        self.session_reply(&request.origin, id)
    }

    pub(super) fn refresh_session(&mut self, origin: &str, id: u64, session: &str) -> HttpResponse {
        if !self.has_session(id, session) {
            return session_not_found(session);
        }
        self.session_reply(origin, id)
    }

    pub(super) fn delete_session(&mut self, id: u64, session: &str) -> HttpResponse {
        if !self.has_session(id, session) {
            return session_not_found(session);
        }
        self.drop_session(id);
        empty(204)
    }

    /// Ends a set's session, whoever holds it: held polls are refused.
    pub(super) fn drop_session(&mut self, id: u64) -> bool {
        let Some(set) = self.sets.get_mut(&id) else { return false };
        let existed = set.session.take().is_some();
        let polls = std::mem::take(&mut set.polls);
        for poll in polls {
            self.polls.remove(&poll.ticket);
            self.timers.remove(&(poll.ends, Timer::Poll(poll.ticket)));
            let reply = self.stamped(UNAUTHORIZED.reply("The session has ended."));
            self.ready.push((poll.ticket, reply));
        }
        existed
    }

    /// Ends a session that went without polls, or looks again later.
    pub(super) fn check_session(&mut self, id: u64, number: u64) {
        let idle = self.config.session_idle;
        let now = self.now.mono;
        let Some(set) = self.sets.get(&id) else { return };
        let Some(session) = set.session.as_ref().filter(|s| s.number == number) else { return };
        let seen = if set.polls.is_empty() { session.last_seen } else { now };
        if seen + idle <= now {
            self.drop_session(id);
        } else {
            self.timers.insert((seen + idle, Timer::Session { set: id, session: number }));
        }
    }

    fn has_session(&self, id: u64, session: &str) -> bool {
        self.sets.get(&id).and_then(|set| set.session.as_ref()).is_some_and(|known| known.id == session)
    }

    fn session_reply(&mut self, origin: &str, id: u64) -> HttpResponse {
        let Some(number) = self.sets.get(&id).and_then(|s| s.session.as_ref()).map(|s| s.number) else {
            return set_not_found(id);
        };
        let (tail, life) = (self.rng.next(), self.config.queue_token_life);
        let grant = Grant::Queue { set: id, session: number };
        let token = self.tokens.jwt(grant, self.now, life, tail);
        let (offers, lag) = (self.offers(), self.lag_statistics);
        let Some(set) = self.sets.get_mut(&id) else { return set_not_found(id) };
        let statistics = set.tell_statistics(offers, lag);
        let Some(set) = self.sets.get(&id) else { return set_not_found(id) };
        let Some(session) = &set.session else { return set_not_found(id) };
        let url = format!("{origin}/_services/queue/{id}/messages?sessionId={}", session.id);
        let body = WireSession {
            session_id: session.id.clone(),
            owner_name: session.owner.clone(),
            runner_scale_set: self.wire_set(set, origin),
            message_queue_url: url,
            message_queue_access_token: token,
            statistics,
        };
        json(200, &body)
    }
}

fn session_not_found(session: &str) -> HttpResponse {
    let shown: String = session.chars().take(64).collect();
    SESSION_NOT_FOUND.reply(&format!("The session {shown} was not found."))
}
