//! Jobs and the messages about them.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::message::Message;
use poolkeeper_core::github::reply::Body;
use poolkeeper_core::github::request::{CallKind, RequestId};

use super::{Checker, Moment, Observed};

/// Every job ends, and ends as it should.
#[derive(Debug)]
pub struct JobsEnd;

impl Checker for JobsEnd {
    fn contract(&self) -> &'static str {
        "every job ends, and ends as it should"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let totals = moment.observed.world.ledger().totals_ref();
        if totals.ended == totals.ended_well {
            return Ok(());
        }
        Err(format!("{} of {} ended wrongly", totals.ended - totals.ended_well, totals.ended))
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let open = observed.world.github_model().open_jobs();
        (!observed.world.is_quiet()).then(|| format!("{open} jobs have not ended, or will come"))
    }
}

/// Only messages that were delivered are acknowledged, and in the end each one is.
#[derive(Debug, Default)]
pub struct AllAcknowledged {
    /// The queue of each poll in flight.
    polls: BTreeMap<RequestId, String>,
    delivered: BTreeSet<(String, u64)>,
}

impl Checker for AllAcknowledged {
    fn contract(&self) -> &'static str {
        "a message is acknowledged after it was delivered, and each one is in the end"
    }

    fn started(&mut self) {
        self.polls.clear();
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, result } = moment.event
            && let Some(queue) = self.polls.remove(id)
            && let Ok(reply) = result
            && let Body::Raw(body) = &reply.body
            && let Ok(message) = Message::parse(body.0.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&body.0))
        {
            self.delivered.insert((queue, message.id));
        }
        for effect in moment.effects {
            let Effect::GitHub { id, call, request } = effect else { continue };
            match call {
                CallKind::Poll => {
                    self.polls.insert(*id, queue_of(&request.url));
                }
                CallKind::Acknowledge => {
                    let message = message_of(&request.url);
                    let key = (queue_of(&request.url), message.unwrap_or_default());
                    if !self.delivered.contains(&key) {
                        return Err(format!("message {message:?} was never delivered"));
                    }
                }
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
                | CallKind::CreateSession
                | CallKind::RefreshSession
                | CallKind::DeleteSession
                | CallKind::Acquire
                | CallKind::AcquirableJobs
                | CallKind::JitConfig => {}
            }
        }
        Ok(())
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let set = observed.world.github_model().sets().find(|set| set.unacknowledged > 0)?;
        Some(format!("{} has {} unacknowledged messages", set.key, set.unacknowledged))
    }
}

fn queue_of(url: &str) -> String {
    url.split_once("/messages").map_or(url, |(queue, _)| queue).to_owned()
}

fn message_of(url: &str) -> Option<u64> {
    let (_, rest) = url.split_once("/messages/")?;
    rest.split('?').next()?.parse().ok()
}

/// In the end a poll is held for every scale set that a group stands behind.
#[derive(Debug)]
pub struct Listening;

impl Checker for Listening {
    fn contract(&self) -> &'static str {
        "in the end a poll is held for every scale set with a group"
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let Some(machine) = observed.machine else { return Some("the daemon is down".to_owned()) };
        let summary = machine.summary();
        let wanted = summary.pools - summary.refused;
        let held = observed.world.github_model().held_polls();
        let held_enough = u32::try_from(held).is_ok_and(|held| held >= wanted);
        (!summary.listed || !held_enough).then(|| format!("{held} polls are held for {wanted} pools; {summary:?}"))
    }
}
