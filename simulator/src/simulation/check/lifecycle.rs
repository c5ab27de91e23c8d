//! Sessions, scale sets and groups: what is remembered, what is made anew, what is let go.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::aws::AwsReply;
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::request::{CallKind, Request, RequestId};
use poolkeeper_core::notice::{Notice, PoolFact};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};
use serde::Deserialize;

use super::wire::GroupSeen;
use super::{Asked, Checker, Heard, Moment};
use crate::github::SetKey;
use crate::runners;

/// A session that is open is remembered.
#[derive(Debug)]
pub struct Remembers;

impl Checker for Remembers {
    fn name(&self) -> &'static str {
        "remembers"
    }

    fn contract(&self) -> &'static str {
        "a session is remembered in the step that learns of it, so that a restart can end it"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let ended = moment.wire.ended().map(|flight| &flight.asked);
        let Some(Asked::GitHub { call: CallKind::CreateSession, set }) = ended else { return Ok(()) };
        let Some(session_id) = moment.wire.set(*set).and_then(|set| set.session.as_ref()) else { return Ok(()) };
        let remembers = |effect: &Effect| {
            matches!(effect, Effect::Remember { key, value: Some(value) }
                if key.starts_with("session/") && value == session_id)
        };
        if moment.effects.iter().any(remembers) { Ok(()) } else { Err(format!("{session_id} is not remembered")) }
    }
}

/// How often GitHub must say that a set is gone before another is made.
const PROOFS: u32 = 3;
/// Over how long it must say so.
const PROVED_FOR: Duration = Duration::from_secs(120);

/// What is known of a scale set by its name.
#[derive(Clone, Copy, Debug, Default)]
struct Named {
    id: u64,
    /// Whether the last look by name found nothing, and nothing was made since.
    absent: bool,
}

/// A scale set is made only when there is none.
#[derive(Debug, Default)]
pub struct ProvedGone {
    named: BTreeMap<String, Named>,
    asked: BTreeMap<RequestId, (String, CallKind)>,
}

impl Checker for ProvedGone {
    fn name(&self) -> &'static str {
        "proved_gone"
    }

    fn contract(&self) -> &'static str {
        "a scale set is made after a look by name found none, and made again after GitHub missed it 3 times over 2 min"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, result } = heard.event
            && let Some((name, call)) = self.asked.remove(id)
            && let Ok(reply) = result
        {
            if reply.status == 401 && call == CallKind::CreateScaleSet {
                // It was not let in, so nothing was made: the same call may follow with another token.
                self.named.entry(name).or_default().absent = true;
            } else if (200..300).contains(&reply.status)
                && let poolkeeper_core::github::reply::Body::Raw(body) = &reply.body
            {
                self.answered(name, super::wire::without_mark(&body.0));
            }
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for effect in moment.effects {
            let (id, call, request) = match effect {
                Effect::GitHub { id, call, request } => (id, call, request),
                Effect::Remember { key, value: None } => {
                    self.let_go(key);
                    continue;
                }
                Effect::Remember { .. }
                | Effect::Aws { .. }
                | Effect::Cancel { .. }
                | Effect::Drop(_)
                | Effect::Note(_)
                | Effect::Exit(_) => continue,
            };
            match call {
                CallKind::ScaleSetByName => {
                    self.asked.insert(*id, (name_in_query(request), *call));
                }
                CallKind::CreateScaleSet => {
                    let name = name_in_body(request);
                    self.makes(moment, &name)?;
                    self.asked.insert(*id, (name, *call));
                }
                CallKind::DeleteScaleSet => self.deletes(super::wire::set_in(&request.url)),
                CallKind::Installation
                | CallKind::AccessToken
                | CallKind::RegistrationToken
                | CallKind::AdminConnection
                | CallKind::RunnerGroup
                | CallKind::ScaleSets
                | CallKind::ScaleSet
                | CallKind::UpdateScaleSet
                | CallKind::CreateSession
                | CallKind::RefreshSession
                | CallKind::DeleteSession
                | CallKind::Poll
                | CallKind::Acknowledge
                | CallKind::Acquire
                | CallKind::AcquirableJobs
                | CallKind::JitConfig
                | CallKind::RunnerByName
                | CallKind::Runner
                | CallKind::Runners
                | CallKind::RemoveRunner => {}
            }
        }
        Ok(())
    }
}

impl ProvedGone {
    fn answered(&mut self, name: String, body: &[u8]) {
        #[derive(Deserialize)]
        struct Set {
            id: u64,
        }
        #[derive(Deserialize)]
        struct List {
            value: Vec<Set>,
        }
        let found = match serde_json::from_slice::<List>(body) {
            Ok(List { value }) => value.first().map(|set| set.id),
            Err(_) => match serde_json::from_slice::<Set>(body) {
                Ok(set) => Some(set.id),
                Err(_) => return,
            },
        };
        let named = self.named.entry(name).or_default();
        match found {
            Some(id) => *named = Named { id, absent: false },
            None => named.absent = true,
        }
    }

    /// Of a set that no pool is tied to any more nothing is known: GitHub may retire it unseen.
    fn let_go(&mut self, key: &str) {
        let Some(name) = key.strip_prefix("binding/").and_then(|set| set.rsplit('/').next()) else { return };
        for (_, named) in self.named.iter_mut().filter(|(known, _)| known.rsplit(' ').next() == Some(name)) {
            named.id = 0;
        }
    }

    /// A set that we delete ourselves needs no proof.
    fn deletes(&mut self, set: Option<u64>) {
        for named in self.named.values_mut().filter(|named| Some(named.id) == set) {
            named.id = 0;
        }
    }

    fn makes(&mut self, moment: &Moment<'_>, name: &str) -> Result<(), String> {
        let named = self.named.entry(name.to_owned()).or_default();
        if !named.absent {
            return Err(format!("{name} is made, and no look by name found that it is absent"));
        }
        named.absent = false;
        if let Some(seen) = moment.wire.set(named.id).filter(|_| named.id != 0) {
            let (times, since) = seen.missing.unwrap_or((0, moment.observed.at));
            let span = moment.observed.at.since(since);
            if times < PROOFS || span < PROVED_FOR {
                let ms = span.as_millis();
                return Err(format!("{name} is made again after GitHub missed it {times} times in {ms} ms"));
            }
        }
        Ok(())
    }
}

/// The service's address and the name of the set: sets of several scopes may have one name.
fn name_in_query(request: &Request) -> String {
    let (base, query) = request.url.split_once("/_apis/").unwrap_or((&request.url, ""));
    let name = query.split(['?', '&']).find_map(|part| part.strip_prefix("name=")).unwrap_or_default();
    let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
    format!("{base} {name}")
}

fn name_in_body(request: &Request) -> String {
    #[derive(Deserialize)]
    struct Body {
        name: String,
    }
    let (base, _) = request.url.split_once("/_apis/").unwrap_or((&request.url, ""));
    let body: Option<Body> = serde_json::from_str(request.body.as_deref().unwrap_or_default()).ok();
    format!("{base} {}", body.map(|body| body.name).unwrap_or_default())
}

/// A group is gone when this many listings in a row lacked it…
const GONE_AFTER: u32 = 3;
/// …over at least this long.
const GONE_FOR: Duration = Duration::from_secs(120);
/// When more than one in this many are missing, none is gone.
const BRAKE_SHARE: usize = 5;

/// How a group that is missing was missed.
#[derive(Clone, Copy, Debug)]
struct Missed {
    since: Instant,
    times: u32,
    /// Whether a listing that lacked it, often enough, lacked few others.
    calmly: bool,
}

/// Groups are let go with care. A group that is made anew under an old name is another one, so they go by ARN.
#[derive(Debug, Default)]
pub struct KeepsPools {
    /// The name of each.
    known: BTreeMap<String, ShortText>,
    /// The sets that a group of each name ever asked for.
    asked_for: BTreeMap<ShortText, BTreeSet<SetKey>>,
    listing: BTreeMap<String, ShortText>,
    missed: BTreeMap<String, Missed>,
}

impl Checker for KeepsPools {
    fn name(&self) -> &'static str {
        "keeps_pools"
    }

    fn contract(&self) -> &'static str {
        "a group is let go after 3 listings over 2 min without it, and none while more than a fifth are missing"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        self.listed(heard);
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for effect in moment.effects {
            let Effect::Note(Notice::Pool { group, fact: PoolFact::Gone, .. }) = effect else { continue };
            let named = moment.observed.machine.is_some_and(|machine| machine.config().pools.contains_key(group));
            let namesake = self.let_go_of_namesake(moment, group);
            let missed = if namesake { None } else { self.let_go(group) };
            let proved = namesake || missed.is_some_and(|missed| missed.calmly) || self.is_replaced(moment, group);
            if !proved && !named {
                return Err(format!("{group} is let go, having been missed like this: {missed:?}"));
            }
        }
        Ok(())
    }
}

impl KeepsPools {
    /// Whether another group asks for a set that this one asked for: then it was made anew under another name.
    fn is_replaced(&self, moment: &Moment<'_>, group: &str) -> bool {
        let Some(sets) = self.asked_for.get(group) else { return false };
        let set_now = |name: &str| moment.wire.group(name).and_then(|seen| runners::set_of(&seen.tags));
        moment.wire.group_names().filter(|other| *other != group).filter_map(set_now).any(|set| sets.contains(&set))
    }

    /// Forgets a group of this name, if the name was last seen to be another's.
    fn let_go_of_namesake(&mut self, moment: &Moment<'_>, group: &str) -> bool {
        let Some(arn_now) = moment.wire.group(group).map(GroupSeen::arn) else { return false };
        let mut others = self.known.iter().filter(|(arn, name)| *name == group && *arn != arn_now);
        let Some(arn) = others.next().map(|(arn, _)| arn.clone()) else { return false };
        self.known.remove(&arn);
        self.missed.remove(&arn);
        true
    }

    /// Forgets the group of this name that was missed longest.
    fn let_go(&mut self, group: &str) -> Option<Missed> {
        let named = self.known.iter().filter(|(_, name)| *name == group).map(|(arn, _)| arn);
        let arn = named.max_by_key(|arn| self.missed.get(*arn).map_or(0, |missed| missed.times)).cloned()?;
        self.known.remove(&arn);
        self.missed.remove(&arn)
    }

    fn listed(&mut self, heard: &Heard<'_>) {
        let listing = matches!(heard.wire.ended().map(|flight| &flight.asked), Some(Asked::Describe { listing: true }));
        let Event::AwsReply { result, .. } = heard.event else { return };
        if !listing {
            return;
        }
        let Ok(AwsReply::Groups { groups, next_token }) = result else {
            self.listing.clear();
            return;
        };
        for group in groups {
            if let Some(set) = runners::set_of(&group.tags) {
                self.asked_for.entry(group.name.clone()).or_default().insert(set);
            }
        }
        self.listing.extend(groups.iter().map(|group| (group.arn.clone(), group.name.clone())));
        if next_token.is_none() {
            self.complete(heard.observed.at);
        }
    }

    fn complete(&mut self, now: Instant) {
        let listing = std::mem::take(&mut self.listing);
        // Whoever was gone stays so when it comes back: the old pool may still be closing.
        self.missed.retain(|arn, missed| missed.calmly || !listing.contains_key(arn));
        let missing: Vec<_> = self.known.keys().filter(|arn| !listing.contains_key(*arn)).cloned().collect();
        self.known.extend(listing);
        let many = missing.len() >= 2 && missing.len() * BRAKE_SHARE > self.known.len();
        for arn in missing {
            let missed = self.missed.entry(arn).or_insert(Missed { since: now, times: 0, calmly: false });
            missed.times += 1;
            missed.calmly |= !many && missed.times >= GONE_AFTER && now.since(missed.since) >= GONE_FOR;
        }
    }
}

/// After a stop nothing new is begun.
#[derive(Debug, Default)]
pub struct StopsQuietly {
    stopping: bool,
    /// What was under way at the stop: it may be sent again with another token.
    under_way: Vec<(CallKind, u64)>,
}

impl Checker for StopsQuietly {
    fn name(&self) -> &'static str {
        "stops_quietly"
    }

    fn contract(&self) -> &'static str {
        "after a stop no session or set is asked for, no poll begun and no capacity written"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        if matches!(heard.event, Event::Stop) && !self.stopping {
            self.stopping = true;
            let asked = heard.wire.flights().values().map(|flight| &flight.asked);
            self.under_way = asked.filter_map(Asked::of_github).collect();
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        if !self.stopping {
            return Ok(());
        }
        let again = |call: CallKind, url: &str| {
            let set = super::wire::set_in(url).unwrap_or(0);
            call != CallKind::Poll && self.under_way.contains(&(call, set))
        };
        let begun = moment.effects.iter().find_map(|effect| match effect {
            Effect::GitHub {
                call: call @ (CallKind::CreateSession | CallKind::CreateScaleSet | CallKind::Poll),
                request,
                ..
            } if !again(*call, &request.url) => Some(call.as_str()),
            Effect::Aws { .. } => Some("a call to AWS"),
            Effect::GitHub { .. }
            | Effect::Cancel { .. }
            | Effect::Remember { .. }
            | Effect::Drop(_)
            | Effect::Note(_)
            | Effect::Exit(_) => None,
        });
        begun.map_or(Ok(()), |what| Err(format!("{what} after the stop")))
    }
}
