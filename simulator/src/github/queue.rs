//! A scale set's message queue: polls that are held, messages that stay until they are acknowledged.

use poolkeeper_core::time::Instant;

use super::reply::{BAD_ARGUMENT, SESSION_NOT_FOUND, UNAUTHORIZED, empty, json_bytes};
use super::rest::bearer;
use super::route::query_value;
use super::scale_set::ScaleSet;
use super::token::Grant;
use super::wire::WireMessage;
use super::{GitHub, Timer};
use crate::http::{HttpRequest, HttpResponse, Ticket};

/// The most job messages in one message.
const MAX_ELEMENTS: usize = 50;
/// The most polls held for one queue: an older one is answered with nothing.
const MAX_POLLS: usize = 4;
const MESSAGE_TYPE: &str = "RunnerScaleSetJobMessages";
const ACCEPT: &str = "api-version=6.0-preview";

#[derive(Clone, Copy, Debug)]
pub(super) struct HeldPoll {
    pub(super) ticket: Ticket,
    pub(super) ends: Instant,
    last_message: u64,
}

pub(super) enum Poll {
    Reply(HttpResponse),
    Held(Ticket),
}

impl GitHub {
    pub(super) fn poll(&mut self, request: &HttpRequest, id: u64) -> Poll {
        let (last_message, capacity) = match self.check_poll(request, id) {
            Ok(checked) => checked,
            Err(refusal) => return Poll::Reply(refusal),
        };
        let now = self.now.mono;
        if let Some(set) = self.sets.get_mut(&id) {
            if let Some(session) = &mut set.session {
                session.last_seen = now;
            }
            if capacity.is_some() && set.capacity != capacity {
                set.capacity = capacity;
                self.assign_jobs(id);
            }
        }
        if let Some(message) = self.next_message(id, last_message) {
            return Poll::Reply(json_bytes(200, message));
        }
        Poll::Held(self.hold_poll(id, last_message))
    }

    pub(super) fn acknowledge(&mut self, request: &HttpRequest, id: u64, message: u64) -> HttpResponse {
        if let Err(refusal) = self.enter_queue(request, id) {
            return refusal;
        }
        let now = self.now.mono;
        if let Some(set) = self.sets.get_mut(&id) {
            if set.queue.remove(&message).is_some() {
                set.acknowledged += 1;
            }
            if let Some(session) = &mut set.session {
                session.last_seen = now;
            }
        }
        empty(204)
    }

    /// Whether the queue's token opens this queue, and the session it was made for still lives.
    pub(super) fn enter_queue(&self, request: &HttpRequest, id: u64) -> Result<(), HttpResponse> {
        let granted = bearer(request).and_then(|token| self.tokens.grant(token, self.now.mono));
        let session = self.sets.get(&id).and_then(|set| set.session.as_ref()).map(|s| s.number);
        match granted {
            Some(Grant::Queue { set, session: of }) if *set == id && Some(*of) == session => Ok(()),
            Some(_) | None => Err(UNAUTHORIZED.reply("The token is unknown or has ended.")),
        }
    }

    fn check_poll(&self, request: &HttpRequest, id: u64) -> Result<(u64, Option<u64>), HttpResponse> {
        self.enter_queue(request, id)?;
        if !request.header("accept").is_some_and(|accept| accept.contains(ACCEPT)) {
            return Err(BAD_ARGUMENT.reply("Accept must name api-version=6.0-preview."));
        }
        let (_, query) = request.path_and_query();
        let session = self.sets.get(&id).and_then(|set| set.session.as_ref());
        if query_value(query, "sessionId").as_deref() != session.map(|s| s.id.as_str()) {
            return Err(SESSION_NOT_FOUND.reply("The queue belongs to another session."));
        }
        let last_message = match query_value(query, "lastMessageId") {
            Some(text) => text.parse().map_err(|_| BAD_ARGUMENT.reply("lastMessageId must be a number."))?,
            None => 0,
        };
        let capacity = match request.header("x-scalesetmaxcapacity") {
            Some(text) => Some(
                text.trim()
                    .parse()
                    .map_err(|_| BAD_ARGUMENT.reply("X-ScaleSetMaxCapacity must be a number, 0 or more."))?,
            ),
            None => None,
        };
        Ok((last_message, capacity))
    }

    fn hold_poll(&mut self, id: u64, last_message: u64) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let ends = self.now.mono + self.config.poll_hold;
        let mut oldest = None;
        if let Some(set) = self.sets.get_mut(&id) {
            set.polls.push_back(HeldPoll { ticket, ends, last_message });
            if set.polls.len() > MAX_POLLS {
                oldest = set.polls.front().map(|poll| poll.ticket);
            }
        }
        self.polls.insert(ticket, id);
        self.timers.insert((ends, Timer::Poll(ticket)));
        if let Some(oldest) = oldest {
            self.end_poll_empty(oldest);
        }
        ticket
    }

    pub(super) fn end_poll_empty(&mut self, ticket: Ticket) {
        if self.release_poll(ticket) {
            let reply = self.stamped(empty(202));
            self.ready.push((ticket, reply));
        }
    }

    /// Forgets a held poll; whether there was one.
    pub(super) fn release_poll(&mut self, ticket: Ticket) -> bool {
        let Some(id) = self.polls.remove(&ticket) else { return false };
        let now = self.now.mono;
        if let Some(set) = self.sets.get_mut(&id) {
            if let Some(at) = set.polls.iter().position(|poll| poll.ticket == ticket)
                && let Some(poll) = set.polls.remove(at)
            {
                self.timers.remove(&(poll.ends, Timer::Poll(ticket)));
            }
            if let Some(session) = &mut set.session {
                session.last_seen = now;
            }
        }
        true
    }

    /// Gives messages to the polls that wait for them.
    pub(super) fn answer_stirred(&mut self) {
        while let Some(id) = self.stirred.pop_first() {
            let polls: Vec<HeldPoll> =
                self.sets.get(&id).map(|set| set.polls.iter().copied().collect()).unwrap_or_default();
            for poll in polls {
                if let Some(message) = self.next_message(id, poll.last_message) {
                    self.release_poll(poll.ticket);
                    let reply = self.stamped(json_bytes(200, message));
                    self.ready.push((poll.ticket, reply));
                }
            }
        }
    }

    /// The oldest message after `last`, made now if elements wait for one.
    fn next_message(&mut self, id: u64, last: u64) -> Option<Vec<u8>> {
        let offers = self.offers();
        let redeliver = self.config.redeliver;
        let set = self.sets.get_mut(&id)?;
        let from = if redeliver || last > set.last_message { 0 } else { last.saturating_add(1) };
        if let Some((_, message)) = set.queue.range(from..).next() {
            return Some(message.clone());
        }
        if set.outbox.is_empty() {
            return None;
        }
        set.last_message += 1;
        let message = make_message(set, offers, self.lag_statistics);
        set.queue.insert(set.last_message, message.clone());
        Some(message)
    }
}

fn make_message(set: &mut ScaleSet, offers: bool, lag: bool) -> Vec<u8> {
    let count = set.outbox.len().min(MAX_ELEMENTS);
    let elements: Vec<_> = set.outbox.drain(..count).collect();
    let message = WireMessage {
        message_id: set.last_message,
        message_type: MESSAGE_TYPE,
        body: serde_json::to_string(&elements).unwrap_or_default(),
        statistics: set.tell_statistics(offers, lag),
    };
    serde_json::to_vec(&message).unwrap_or_default()
}
