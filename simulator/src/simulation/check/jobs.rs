//! Jobs, and the messages about them.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::event::Effect;
use poolkeeper_core::github::message::{JobMessageKind, Statistics};
use poolkeeper_core::github::request::CallKind;
use poolkeeper_core::notice::{Notice, PoolFact};

use super::model;
use super::{Asked, Checker, Moment, Observed};
use crate::github::JobResult;

/// Every job ends, and ends as it should.
#[derive(Debug)]
pub struct JobsEnd;

impl Checker for JobsEnd {
    fn name(&self) -> &'static str {
        "jobs_end"
    }

    fn contract(&self) -> &'static str {
        "every job ends, and as it should, unless its machine was taken or nobody could run it for too long"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let Some(world) = moment.observed.world else { return Ok(()) };
        let totals = world.ledger().totals_ref();
        if totals.ended == totals.ended_well {
            return Ok(());
        }
        // Who took the machine of a job that was lost is another checker's business.
        let of = |result: JobResult| totals.results.get(&result).copied().unwrap_or(0);
        let excused = of(JobResult::Lost) + of(JobResult::Abandoned);
        let wrongly = (totals.ended - totals.ended_well).saturating_sub(excused);
        if wrongly == 0 { Ok(()) } else { Err(format!("{wrongly} of {} ended wrongly", totals.ended)) }
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let world = observed.world?;
        let open = world.github_model().open_jobs();
        (!world.is_quiet()).then(|| format!("{open} jobs have not ended, or will come"))
    }
}

/// What became of the message of a set that was delivered last.
#[derive(Debug, Default)]
struct InHand {
    message: u64,
    /// The newest of the session: what comes again after it was dealt with when it came first.
    newest: u64,
    absorbed: bool,
    /// Jobs that were offered and not yet asked for.
    offers: BTreeSet<u64>,
    /// How many acquires were sent since.
    acquires: u32,
}

/// After so many acquires the rest of a message's offers is left to the list of acquirable jobs.
const ACQUIRES_A_MESSAGE: u32 = 8;

/// Messages are acknowledged last.
#[derive(Debug, Default)]
pub struct AckLast {
    in_hand: BTreeMap<u64, InHand>,
}

impl Checker for AckLast {
    fn name(&self) -> &'static str {
        "ack_last"
    }

    fn contract(&self) -> &'static str {
        "a message is acknowledged once it was absorbed and its offers dealt with, and each one is in the end"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        self.heard(moment);
        for effect in moment.effects {
            match effect {
                Effect::Note(Notice::Pool { group, fact, .. }) => self.told(moment, group, fact),
                Effect::GitHub { call: CallKind::Acknowledge, request, .. } => {
                    let set = super::wire::set_in(&request.url).unwrap_or(0);
                    self.acknowledges(moment, set, message_of(&request.url).unwrap_or(0))?;
                }
                Effect::GitHub { call: CallKind::Acquire, request, .. } => {
                    let set = super::wire::set_in(&request.url).unwrap_or(0);
                    let asked: Vec<u64> = super::ids_in(request);
                    if let Some(in_hand) = self.in_hand.get_mut(&set) {
                        in_hand.offers.retain(|offer| !asked.contains(offer));
                        in_hand.acquires += 1;
                    }
                }
                Effect::GitHub { .. }
                | Effect::Aws { .. }
                | Effect::Cancel { .. }
                | Effect::Remember { .. }
                | Effect::Drop(_)
                | Effect::Note(_)
                | Effect::Exit(_) => {}
            }
        }
        Ok(())
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let (world, machine) = (observed.world?, observed.machine?);
        let served = model::driven(world, machine.config());
        let sets = served.iter().filter_map(|(_, key, _)| world.github_model().set(key));
        let set = sets.into_iter().find(|set| set.unacknowledged > 0)?;
        Some(format!("{} has {} unacknowledged messages", set.key, set.unacknowledged))
    }
}

impl AckLast {
    fn heard(&mut self, moment: &Moment<'_>) {
        let Some(Asked::GitHub { set, call }) = moment.wire.ended().map(|flight| &flight.asked) else { return };
        if *call == CallKind::CreateSession {
            // Another session's queue begins anew.
            self.in_hand.remove(set);
        }
        let Some(message) = moment.wire.message() else { return };
        let in_hand = self.in_hand.entry(*set).or_default();
        if in_hand.message == message.id && in_hand.absorbed {
            return;
        }
        let offered = message.jobs.iter().filter(|job| job.kind == JobMessageKind::Available);
        let offers = offered.map(|job| job.job.request_id).filter(|id| *id != 0);
        let again = message.id <= in_hand.newest && message.id != in_hand.message;
        let offers = if again { BTreeSet::new() } else { offers.collect() };
        let newest = message.id.max(in_hand.newest);
        *in_hand = InHand { message: message.id, newest, absorbed: false, offers, acquires: 0 };
    }

    fn told(&mut self, moment: &Moment<'_>, group: &str, fact: &PoolFact) {
        let (PoolFact::Message { message, .. } | PoolFact::Redelivered { message }) = fact else { return };
        let Some(set) = moment.wire.group(group).map(|seen| seen.set) else { return };
        if let Some(in_hand) = self.in_hand.get_mut(&set).filter(|in_hand| in_hand.message == *message) {
            in_hand.absorbed = true;
        }
    }

    fn acknowledges(&mut self, moment: &Moment<'_>, set: u64, message: u64) -> Result<(), String> {
        let Some(in_hand) = self.in_hand.get_mut(&set).filter(|in_hand| in_hand.message == message) else {
            return Err(format!("message {message} of set {set} is not the one that was delivered last"));
        };
        // The step's notice of a message follows its acknowledge only where nothing else was to be done.
        let absorbed_now = moment.wire.message().is_some_and(|now| now.id == message)
            && moment.effects.iter().any(|effect| {
                matches!(effect, Effect::Note(Notice::Pool {
                    fact: PoolFact::Message { message: m, .. } | PoolFact::Redelivered { message: m }, ..
                }) if *m == message)
            });
        if !in_hand.absorbed && !absorbed_now {
            return Err(format!("message {message} of set {set} was not absorbed"));
        }
        let has_tried = in_hand.acquires >= ACQUIRES_A_MESSAGE;
        if in_hand.offers.is_empty() || has_tried || !has_room(moment, set, in_hand.offers.len()) {
            // Delivered once more it offers nothing new: what is left is read again when there is room.
            in_hand.offers.clear();
            return Ok(());
        }
        Err(format!("message {message} of set {set}: the offers {:?} were not dealt with", in_hand.offers))
    }
}

/// Whether there is still room, when so many offers were left.
fn has_room(moment: &Moment<'_>, set: u64, left: usize) -> bool {
    let Some(seen) = moment.wire.set(set) else { return false };
    let (_, taken) = taken(seen);
    // Many offers may be acquired by a few calls; the rest of this step's message is left to the next.
    let room = room_for(moment, set).min(seen.capacity).saturating_sub(taken);
    room > 0 && left > 0
}

/// How many jobs there are, by what a session told and by what was read beside it since: the least and the most.
fn taken(seen: &super::SetSeen) -> (u32, u32) {
    let by = |counts: Statistics, since: u32| counts.assigned.saturating_add(counts.acquired).saturating_add(since);
    let told = by(seen.told.unwrap_or_default(), seen.acquired);
    let reads = seen.reads.iter().map(|(counts, since)| by(*counts, *since));
    let (least, most) = reads.fold((told, told), |(least, most), read| (least.min(read), most.max(read)));
    (least, most.saturating_add(seen.perhaps_acquired))
}

/// How many runners the pool behind a set may have, as the machine sees the group.
fn room_for(moment: &Moment<'_>, set: u64) -> u32 {
    let Some(machine) = moment.observed.machine else { return 0 };
    let Some(pool) = machine.pool_of_set(set) else { return 0 };
    let drains = matches!(pool.verdict, poolkeeper_core::notice::Verdict::Draining { .. });
    if pool.paused || drains {
        return 0;
    }
    let most = pool.size_max.min(pool.group_max).max(pool.group_min);
    // While instances do not come up, no more jobs are taken on than those that are there can run.
    if pool.launches_held { most.min(pool.capacity) } else { most }
}

/// Room behind an organization's wall that others took in the same step, when it was decided already what to acquire.
fn taken_by_others(effects: &[Effect]) -> u32 {
    let raise = |effect: &Effect| {
        if let Effect::Note(Notice::Pool { fact: PoolFact::Scaling(decision), .. }) = effect {
            decision.to.saturating_sub(decision.from)
        } else {
            0
        }
    };
    effects.iter().map(raise).fold(0, u32::saturating_add)
}

fn message_of(url: &str) -> Option<u64> {
    let (_, rest) = url.split_once("/messages/")?;
    rest.split('?').next()?.parse().ok()
}

/// Nothing is acquired that cannot be run.
#[derive(Debug, Default)]
pub struct Acquisition {
    /// The room of a set when its session last decided what to ask for: the call may wait for GitHub's limits.
    decided: BTreeMap<u64, u32>,
}

impl Checker for Acquisition {
    fn name(&self) -> &'static str {
        "acquisition"
    }

    fn contract(&self) -> &'static str {
        "no more jobs are acquired than capacity leaves room for when that is decided"
    }

    fn started(&mut self) {
        self.decided.clear();
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let room_of = |set: u64| {
            let (taken, _) = moment.wire.set(set).map_or((0, 0), taken);
            room_for(moment, set).saturating_sub(taken)
        };
        let ended = moment.wire.ended().and_then(|flight| flight.asked.of_github());
        if let Some((call, set)) = ended.filter(|(call, _)| call.is_of_session()) {
            let offers = call != CallKind::Poll || moment.wire.message().is_some();
            self.decided.insert(set, if offers { room_of(set) } else { 0 });
        }
        for effect in moment.effects {
            let Effect::GitHub { call: CallKind::Acquire, request, .. } = effect else { continue };
            let set = super::wire::set_in(&request.url).unwrap_or(0);
            if moment.wire.set(set).is_none() {
                continue;
            }
            let asked = super::ids_in(request).len();
            let room = room_of(set).max(self.decided.get(&set).copied().unwrap_or(0));
            let room = room.saturating_add(taken_by_others(moment.effects));
            if u32::try_from(asked).unwrap_or(u32::MAX) > room {
                return Err(format!("{asked} jobs of set {set} with room for {room}"));
            }
        }
        Ok(())
    }
}

/// In the end somebody listens everywhere.
#[derive(Debug)]
pub struct Listening;

impl Checker for Listening {
    fn name(&self) -> &'static str {
        "listening"
    }

    fn contract(&self) -> &'static str {
        "in the end a poll is held for every driven group's scale set"
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        let world = observed.world?;
        let Some(machine) = observed.machine else { return Some("the daemon is down".to_owned()) };
        let summary = machine.summary();
        if !summary.listed {
            return Some("the groups have not been listed".to_owned());
        }
        let served = model::driven(world, machine.config());
        let deaf = served.iter().find(|(_, key, _)| world.github_model().set(key).is_none_or(|set| set.polls == 0));
        deaf.map(|(group, key, _)| format!("no poll is held for {key} of {}; {summary:?}", group.name))
    }
}
