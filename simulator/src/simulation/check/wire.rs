//! What somebody knows who reads along between machine and peers.

mod group;
mod set;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, GroupQuery, InstanceCall};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::message::Message;
use poolkeeper_core::github::reply::{Body, Reply};
use poolkeeper_core::github::request::{CallKind, HeaderName, Request, RequestId};
use poolkeeper_core::notice::{Notice, PoolFact, PoolId};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Instant;

pub use group::GroupSeen;
pub use set::SetSeen;

/// A call that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flight {
    /// When.
    pub since: Instant,
    /// What.
    pub asked: Asked,
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A call to GitHub.
    GitHub {
        /// Its kind.
        call: CallKind,
        /// The scale set it is about; 0 when about none.
        set: u64,
    },
    /// A describe.
    Describe {
        /// Whether it is a page of the listing of all groups.
        listing: bool,
    },
    /// A call about instances.
    Instances {
        /// The group.
        group: ShortText,
        /// The call.
        call: InstanceCall,
    },
    /// A write of desired capacity.
    Write {
        /// The group.
        group: ShortText,
        /// The capacity.
        desired: u32,
    },
}

impl Asked {
    /// The call and the scale set it is about, if it went to GitHub.
    #[must_use]
    pub const fn of_github(&self) -> Option<(CallKind, u64)> {
        match self {
            Self::GitHub { call, set } => Some((*call, *set)),
            Self::Describe { .. } | Self::Instances { .. } | Self::Write { .. } => None,
        }
    }
}

/// All that went between machine and peers in one life of the daemon, as far as it matters.
#[derive(Debug, Default)]
pub struct Wire {
    flights: BTreeMap<RequestId, Flight>,
    ended: Option<Flight>,
    message: Option<Message>,
    sets: BTreeMap<u64, SetSeen>,
    groups: BTreeMap<ShortText, GroupSeen>,
    /// Instances that run or come up, in all groups.
    instances: usize,
    /// The scale set that a pool was last tied to: two pools may have had groups of one name.
    pools: BTreeMap<PoolId, u64>,
}

impl Wire {
    /// The call that this step's event ends, if any.
    #[must_use]
    pub const fn ended(&self) -> Option<&Flight> {
        self.ended.as_ref()
    }

    /// The message that this step's event brings, if any.
    #[must_use]
    pub const fn message(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    /// The calls that had not ended before this step's effects.
    #[must_use]
    pub const fn flights(&self) -> &BTreeMap<RequestId, Flight> {
        &self.flights
    }

    /// A scale set, once anything was asked about it.
    #[must_use]
    pub fn set(&self, id: u64) -> Option<&SetSeen> {
        self.sets.get(&id)
    }

    /// A group, once it was described.
    #[must_use]
    pub fn group(&self, name: &str) -> Option<&GroupSeen> {
        self.groups.get(name)
    }

    /// Whether an instance was seen in service, healthy and protected.
    #[must_use]
    pub fn is_ready(&self, instance: &str) -> bool {
        self.groups.values().any(|seen| seen.is_ready(instance))
    }

    /// How many groups were ever described.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The names of the groups that were ever described.
    pub fn group_names(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(ShortText::as_str)
    }

    /// Instances that run or come up, in all groups.
    #[must_use]
    pub const fn instances(&self) -> usize {
        self.instances
    }

    pub(super) fn started(&mut self) {
        *self = Self::default();
    }

    pub(super) fn event(&mut self, at: Instant, event: &Event) {
        self.ended = None;
        self.message = None;
        match event {
            Event::GitHubReply { id, result } => {
                self.ended = self.flights.remove(id);
                if let (Some(Flight { since, asked: Asked::GitHub { call, set } }), Ok(reply)) = (&self.ended, result) {
                    let (since, call, set) = (*since, *call, *set);
                    self.answered(since, call, set, reply);
                } else if let Some((call, set)) = self.ended.as_ref().and_then(|flight| flight.asked.of_github())
                    && let Some(seen) = self.sets.get_mut(&set)
                {
                    seen.ended_in_doubt(call);
                }
            }
            Event::AwsReply { id, result } => {
                self.ended = self.flights.remove(id);
                match (&self.ended, result) {
                    (Some(Flight { since, asked: Asked::Describe { .. } }), Ok(AwsReply::Groups { groups, .. })) => {
                        for group in groups {
                            match self.groups.get_mut(&group.name) {
                                Some(seen) => seen.described(*since, group),
                                None => drop(self.groups.insert(group.name.clone(), GroupSeen::new(*since, group))),
                            }
                        }
                        let live = |seen: &GroupSeen| usize::try_from(seen.live).unwrap_or(usize::MAX);
                        self.instances = self.groups.values().map(live).sum();
                    }
                    (Some(Flight { asked: Asked::Write { group, desired }, .. }), result) => {
                        if let Some(seen) = self.groups.get_mut(group) {
                            seen.wrote(at, *desired, result.is_ok());
                        }
                    }
                    (Some(Flight { asked: Asked::Instances { group, call }, .. }), result) => {
                        let seen = self.groups.get_mut(group);
                        match (call, seen, result) {
                            (InstanceCall::Protect { instances }, Some(seen), Ok(_)) => seen.protected(instances),
                            (InstanceCall::Terminate { instance, .. }, Some(seen), Err(error)) => {
                                seen.did_not_shrink(instance, !matches!(error, AwsError::Transport { .. }));
                            }
                            (_, _, _) => {}
                        }
                    }
                    (_, Ok(_) | Err(_)) => {}
                }
            }
            Event::Start { .. } | Event::Tick | Event::Remembered { .. } | Event::Reconfigure(_) | Event::Stop => {}
        }
    }

    /// Notes what a step's effects make of what is known, once the checkers have seen them.
    pub(super) fn effects(&mut self, at: Instant, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::GitHub { id, call, request } => {
                    let set = set_in(&request.url).unwrap_or(0);
                    self.flights.insert(*id, Flight { since: at, asked: Asked::GitHub { call: *call, set } });
                    self.asked(*call, set, request);
                }
                Effect::Aws { id, call } => {
                    let asked = self.asked_aws(at, call);
                    self.flights.insert(*id, Flight { since: at, asked });
                }
                Effect::Note(Notice::Pool { pool, group, fact }) => self.told(*pool, group, fact),
                Effect::Cancel { .. }
                | Effect::Remember { .. }
                | Effect::Drop(_)
                | Effect::Note(_)
                | Effect::Exit(_) => {}
            }
        }
    }

    fn answered(&mut self, since: Instant, call: CallKind, set: u64, reply: &Reply) {
        if call == CallKind::Poll
            && reply.status == 200
            && let Body::Raw(body) = &reply.body
        {
            self.message = Message::parse(without_mark(&body.0)).ok();
        }
        if set != 0 {
            self.sets.entry(set).or_default().answered(since, call, reply, self.message.as_ref());
        }
    }

    fn asked(&mut self, call: CallKind, set: u64, request: &Request) {
        if set == 0 {
            return;
        }
        let seen = self.sets.entry(set).or_default();
        match call {
            CallKind::Poll => {
                let header = request.headers.iter().find(|header| header.name == HeaderName::MaxCapacity);
                seen.capacity = header.and_then(|header| header.value.parse().ok()).unwrap_or(0);
            }
            CallKind::CreateSession | CallKind::DeleteSession => seen.session = None,
            CallKind::Acquire => seen.asked = u32::try_from(super::ids_in(request).len()).unwrap_or(u32::MAX),
            CallKind::Installation
            | CallKind::AccessToken
            | CallKind::RegistrationToken
            | CallKind::AdminConnection
            | CallKind::RunnerGroup
            | CallKind::ScaleSets
            | CallKind::ScaleSetByName
            | CallKind::ScaleSet
            | CallKind::CreateScaleSet
            | CallKind::UpdateScaleSet
            | CallKind::DeleteScaleSet
            | CallKind::RefreshSession
            | CallKind::Acknowledge
            | CallKind::AcquirableJobs
            | CallKind::JitConfig
            | CallKind::RunnerByName
            | CallKind::Runner
            | CallKind::Runners
            | CallKind::RemoveRunner => {}
        }
    }

    fn asked_aws(&mut self, at: Instant, call: &AwsCall) -> Asked {
        match call {
            AwsCall::DescribeGroups { query, .. } => {
                Asked::Describe { listing: matches!(query, GroupQuery::Tagged { .. }) }
            }
            AwsCall::SetDesiredCapacity { group, desired } => {
                if let Some(seen) = self.groups.get_mut(group) {
                    seen.writes(at, *desired);
                }
                Asked::Write { group: group.clone(), desired: *desired }
            }
            AwsCall::Instances { group, call } => {
                if let (InstanceCall::Terminate { instance, decrement: true }, Some(seen)) =
                    (call, self.groups.get_mut(group))
                {
                    seen.shrinks(instance);
                }
                Asked::Instances { group: group.clone(), call: call.clone() }
            }
        }
    }

    fn told(&mut self, pool: PoolId, group: &str, fact: &PoolFact) {
        if let PoolFact::ScaleSetReady { scale_set, .. } = fact {
            self.pools.insert(pool, *scale_set);
            if let Some(seen) = self.groups.get_mut(group) {
                seen.set = *scale_set;
            }
        }
        if matches!(fact, PoolFact::SessionLost(_) | PoolFact::SessionClosed)
            && let Some(set) = self.pools.get(&pool).and_then(|set| self.sets.get_mut(set))
        {
            set.session = None;
        }
    }
}

/// A body without the byte order mark that it may begin with.
pub(super) fn without_mark(body: &[u8]) -> &[u8] {
    body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body)
}

/// The scale set that a URL is about.
pub(super) fn set_in(url: &str) -> Option<u64> {
    static PLACES: LazyLock<[Finder<'static>; 2]> = LazyLock::new(|| ["/runnerscalesets/", "/queue/"].map(Finder::new));
    let after = |place: &Finder<'_>| place.find(url.as_bytes()).and_then(|at| url.get(at + place.needle().len()..));
    let rest = PLACES.iter().find_map(after)?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    rest.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_set_is_read_from_the_url() {
        let service = "https://pipelines.github.com/x/_apis/runtime/runnerscalesets";
        assert_eq!(set_in(&format!("{service}/17/sessions/ab?api-version=6.0-preview")), Some(17));
        assert_eq!(set_in("https://queue.github.com/_services/queue/4/messages/9?sessionId=a"), Some(4));
        assert_eq!(set_in(&format!("{service}?name=17")), None);
    }
}
