//! The shell's half in a simulation: it carries out effects, keeps secrets, and brings replies when they are due.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::aws::{AwsCall, AwsError, InstanceCall};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{ReplyHeaders, TransportError, TransportErrorKind};
use poolkeeper_core::github::request::{Auth, CallKind, Request, RequestId, Slot};
use poolkeeper_core::rng::Rng;
use poolkeeper_core::seal::{RawReply, Secret, seal};
use poolkeeper_core::time::{Duration, Instant};

use crate::http::{Header, HttpRequest, HttpResponse, Served, Ticket};
use crate::world::{World, WorldNow};

/// A call to GitHub that has not ended.
#[derive(Debug)]
struct Flight {
    call: CallKind,
    sent: Secret,
    max_body: u32,
    ends: Instant,
    ticket: Option<Ticket>,
}

/// Something that will reach the machine.
#[derive(Debug)]
enum Arrival {
    Reply(RequestId, HttpResponse),
    Event(Box<Event>),
}

/// Carries out effects against a world.
#[derive(Debug)]
pub struct Shell {
    pat: Secret,
    latency: (Duration, Duration),
    rng: Rng,
    vault: BTreeMap<Slot, Secret>,
    flights: BTreeMap<RequestId, Flight>,
    tickets: BTreeMap<Ticket, RequestId>,
    deadlines: BTreeSet<(Instant, RequestId)>,
    inbox: BTreeMap<(Instant, u64), Arrival>,
    arrivals: u64,
}

impl Shell {
    /// A shell whose every connection uses the PAT.
    #[must_use]
    pub fn new(pat: String, latency: (Duration, Duration), seed: u64) -> Self {
        Self {
            pat: Secret::new(pat),
            latency,
            rng: Rng::new(seed),
            vault: BTreeMap::new(),
            flights: BTreeMap::new(),
            tickets: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            inbox: BTreeMap::new(),
            arrivals: 0,
        }
    }

    /// Carries out a call, a cancellation or the end of a secret; other effects are not its business.
    pub fn execute(&mut self, world: &mut World, at: WorldNow, effect: &Effect) {
        match effect {
            Effect::GitHub { id, call, request } => self.send(world, at, *id, *call, request),
            Effect::Aws { id, call } => {
                let config = match call {
                    AwsCall::Instances { call: InstanceCall::PutConfig { config, .. }, .. } => self.vault.get(config),
                    AwsCall::Instances { .. } | AwsCall::DescribeGroups { .. } | AwsCall::SetDesiredCapacity { .. } => {
                        None
                    }
                };
                let (delay, result) = world.aws_call_in_time(at, call, config.map(Secret::reveal));
                let way = match &result {
                    Err(AwsError::Transport { .. }) => self.latency.1,
                    Ok(_) | Err(_) => self.some_latency(),
                };
                let wait = way + delay;
                self.arrive(at.now.mono + wait, Event::AwsReply { id: *id, result });
            }
            Effect::Cancel { id } => self.cancel(world, at.now.mono, *id),
            Effect::Drop(slot) => drop(self.vault.remove(slot)),
            Effect::Remember { .. } | Effect::Note(_) | Effect::Exit(_) => {}
        }
    }

    /// A memory was written, or could not be.
    pub fn remembered(&mut self, now: Instant, key: &str, ok: bool) {
        self.arrive(now, Event::Remembered { key: key.to_owned(), ok });
    }

    /// Breaks every open connection; the world is to forget the tickets.
    pub fn disconnect(&mut self, now: Instant) -> Vec<Ticket> {
        let held = std::mem::take(&mut self.tickets);
        for id in held.values() {
            self.take_flight(*id);
            self.fail(now, *id, TransportErrorKind::Broken);
        }
        held.into_keys().collect()
    }

    /// Whether the held request is one of ours.
    #[must_use]
    pub fn awaits(&self, ticket: Ticket) -> bool {
        self.tickets.contains_key(&ticket)
    }

    /// A held request was answered.
    pub fn replied(&mut self, now: Instant, ticket: Ticket, reply: HttpResponse) {
        if let Some(id) = self.tickets.remove(&ticket) {
            self.reply_in_flight(now, id, reply);
        }
    }

    /// Gives up requests whose time is over; the world is to forget the tickets.
    pub fn expire(&mut self, now: Instant) -> Vec<Ticket> {
        let mut given_up = Vec::new();
        while let Some((ends, id)) = self.deadlines.first().copied()
            && ends <= now
        {
            self.deadlines.remove(&(ends, id));
            let Some(flight) = self.flights.remove(&id) else { continue };
            given_up.extend(flight.ticket.filter(|ticket| self.tickets.remove(ticket).is_some()));
            self.fail(now, id, TransportErrorKind::TimedOut);
        }
        given_up
    }

    /// The next event that is due.
    pub fn arrival(&mut self, now: Instant) -> Option<Event> {
        let entry = self.inbox.first_entry().filter(|entry| entry.key().0 <= now)?;
        match entry.remove() {
            Arrival::Event(event) => Some(*event),
            Arrival::Reply(id, reply) => Some(self.deliver(id, reply)),
        }
    }

    /// When something is next due.
    #[must_use]
    pub fn next_wakeup(&self) -> Option<Instant> {
        let arrival = self.inbox.keys().next().map(|(at, _)| *at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        [arrival, deadline].into_iter().flatten().min()
    }

    /// The requests that are held.
    #[must_use]
    pub fn tickets(&self) -> Vec<Ticket> {
        self.tickets.keys().copied().collect()
    }

    /// How many secrets are kept.
    #[must_use]
    pub fn secrets(&self) -> usize {
        self.vault.len()
    }

    fn send(&mut self, world: &mut World, at: WorldNow, id: RequestId, call: CallKind, request: &Request) {
        let now = at.now.mono;
        let Some(sent) = self.secret(request.auth) else {
            return self.fail(now, id, TransportErrorKind::NotSent);
        };
        let Some(http) = on_the_wire(request, &sent) else {
            return self.fail(now, id, TransportErrorKind::NotSent);
        };
        let ends = now + request.timeout;
        let flight = Flight { call, sent, max_body: request.max_body, ends, ticket: None };
        self.flights.insert(id, flight);
        self.deadlines.insert((ends, id));
        match world.github(at, http) {
            Served::Reply(reply) => {
                let due = now + self.some_latency();
                self.reply_in_flight(due, id, reply);
            }
            Served::Held(ticket) => {
                self.tickets.insert(ticket, id);
                if let Some(flight) = self.flights.get_mut(&id) {
                    flight.ticket = Some(ticket);
                }
            }
            Served::Close | Served::CutShort(_) => {
                self.take_flight(id);
                let due = now + self.some_latency();
                self.fail(due, id, TransportErrorKind::Broken);
            }
        }
    }

    fn cancel(&mut self, world: &mut World, now: Instant, id: RequestId) {
        let Some(ticket) = self.flights.get(&id).and_then(|flight| flight.ticket) else { return };
        if self.tickets.remove(&ticket).is_none() {
            return;
        }
        self.take_flight(id);
        world.cancel(ticket);
        self.fail(now, id, TransportErrorKind::Cancelled);
    }

    fn deliver(&mut self, id: RequestId, reply: HttpResponse) -> Event {
        let Some(flight) = self.take_flight(id) else { return Event::Tick };
        let max_body = usize::try_from(flight.max_body).unwrap_or(usize::MAX);
        if reply.body.len() > max_body {
            return failed(id, TransportErrorKind::TooLarge);
        }
        let HttpResponse { status, headers, body } = reply;
        let raw = RawReply { status, headers: allowed_headers(headers), body };
        let slot = Slot(id);
        let (reply, secret) = seal(flight.call, slot, raw, &flight.sent);
        if let Some(secret) = secret {
            self.vault.insert(slot, secret);
        }
        Event::GitHubReply { id, result: Ok(reply) }
    }

    fn reply_in_flight(&mut self, due: Instant, id: RequestId, reply: HttpResponse) {
        // The deadline is for the whole reply: one that is on its way and late is lost.
        if self.flights.get(&id).is_some_and(|flight| due < flight.ends) {
            self.arrivals += 1;
            self.inbox.insert((due, self.arrivals), Arrival::Reply(id, reply));
        }
    }

    fn take_flight(&mut self, id: RequestId) -> Option<Flight> {
        let flight = self.flights.remove(&id)?;
        self.deadlines.remove(&(flight.ends, id));
        Some(flight)
    }

    fn fail(&mut self, due: Instant, id: RequestId, kind: TransportErrorKind) {
        self.arrive(due, failed(id, kind));
    }

    fn arrive(&mut self, due: Instant, event: Event) {
        self.arrivals += 1;
        self.inbox.insert((due, self.arrivals), Arrival::Event(Box::new(event)));
    }

    fn secret(&self, auth: Auth) -> Option<Secret> {
        match auth {
            Auth::Credential => Some(self.pat.clone()),
            Auth::Bearer(slot) | Auth::RemoteAuth(slot) => self.vault.get(&slot).cloned(),
        }
    }

    fn some_latency(&mut self) -> Duration {
        let (shortest, longest) = self.latency;
        let spread = (longest - shortest).as_millis();
        shortest + Duration::from_millis(self.rng.below(spread.saturating_add(1)))
    }
}

fn failed(id: RequestId, kind: TransportErrorKind) -> Event {
    let error = TransportError { kind, detail: "simulated".to_owned() };
    Event::GitHubReply { id, result: Err(error) }
}

fn on_the_wire(request: &Request, secret: &Secret) -> Option<HttpRequest> {
    let (scheme, rest) = request.url.split_once("://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let kind = match request.auth {
        Auth::Credential | Auth::Bearer(_) => "Bearer",
        Auth::RemoteAuth(_) => "RemoteAuth",
    };
    let authorization = [kind, " ", secret.reveal()].concat();
    let mut headers: Vec<Header> = vec![("authorization".into(), authorization.into())];
    headers.extend(request.headers.iter().map(|header| (header.name.as_str().into(), header.value.clone())));
    Some(HttpRequest {
        method: request.method.as_str().into(),
        origin: [scheme, "://", host].concat(),
        target: ["/", path].concat(),
        headers,
        body: request.body.clone().unwrap_or_default().into_bytes(),
    })
}

fn allowed_headers(headers: Vec<Header>) -> ReplyHeaders {
    let mut allowed = ReplyHeaders::default();
    for (name, value) in headers {
        let header = match name.as_ref() {
            "date" => &mut allowed.date,
            "retry-after" => &mut allowed.retry_after,
            "x-ratelimit-remaining" => &mut allowed.rate_limit_remaining,
            "x-ratelimit-reset" => &mut allowed.rate_limit_reset,
            "activityid" => &mut allowed.activity_id,
            "x-github-request-id" => &mut allowed.github_request_id,
            _ => continue,
        };
        header.get_or_insert_with(|| value.into_owned());
    }
    allowed
}
