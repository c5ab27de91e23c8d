//! Who waits for capacity comes first.

use std::collections::BTreeSet;

use poolkeeper_core::aws::{AwsCall, InstanceCall};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::notice::{Notice, PoolFact, Verdict};
use poolkeeper_core::short_text::ShortText;

use super::model::{self, Wish};
use super::wire::GroupSeen;
use super::{Asked, Checker, Heard, Moment};

/// OUT never waits behind REAP.
///
/// A group counts from the message that tells of more jobs than it has capacity for, until that is written. Of one that
/// had a call fail, only the machine knows when its turn is, until a write to it was taken.
#[derive(Debug, Default)]
pub struct OutFirst {
    waiting: BTreeSet<ShortText>,
    troubled: BTreeSet<ShortText>,
}

impl Checker for OutFirst {
    fn name(&self) -> &'static str {
        "out_first"
    }

    fn contract(&self) -> &'static str {
        "no instance is ended or protected while capacity that a message asked for waits to be written"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        let Event::AwsReply { result, .. } = heard.event else { return Ok(()) };
        match heard.wire.ended().map(|flight| &flight.asked) {
            Some(Asked::Write { group, .. }) if result.is_ok() => drop(self.troubled.remove(group)),
            Some(Asked::Write { group, .. } | Asked::Instances { group, .. }) if result.is_err() => {
                self.waiting.remove(group);
                self.troubled.insert(group.clone());
            }
            Some(Asked::Write { .. } | Asked::Instances { .. } | Asked::Describe { .. } | Asked::GitHub { .. })
            | None => {}
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        self.waiting.retain(|group| lacks(moment, group) && may_raise(moment, group));
        for effect in moment.effects {
            if let Effect::Note(Notice::Pool { group, fact: PoolFact::Message { .. }, .. }) = effect
                && !self.troubled.contains(group)
                && lacks(moment, group)
                && may_raise(moment, group)
            {
                self.waiting.insert(group.clone());
            }
        }
        for effect in moment.effects {
            let Effect::Aws { call, .. } = effect else { continue };
            match call {
                AwsCall::SetDesiredCapacity { group, .. } => drop(self.waiting.remove(group)),
                AwsCall::Instances { call: InstanceCall::Terminate { .. } | InstanceCall::Protect { .. }, group } => {
                    if let Some(waits) = self.waiting.first() {
                        return Err(format!("{} of {group} leaves while {waits} waits", call.action()));
                    }
                }
                AwsCall::Instances { .. } | AwsCall::DescribeGroups { .. } => {}
            }
        }
        Ok(())
    }
}

/// Whether a group surely desires less than the jobs that GitHub told of, and no write is on its way.
fn lacks(moment: &Moment<'_>, group: &str) -> bool {
    let Some(seen) = moment.wire.group(group) else { return false };
    let Some(jobs) = moment.wire.set(seen.set).filter(|set| set.session.is_some()).and_then(|set| set.least_assigned())
    else {
        return false;
    };
    let Some(wish) = wish(moment, seen) else { return false };
    let wanted = jobs.min(model::most(&wish, seen.min_size, seen.max_size));
    let short = !seen.plausible.is_empty() && seen.plausible.iter().all(|now| *now < wanted);
    let writes = |asked: &Asked| matches!(asked, Asked::Write { group: written, .. } if written == group);
    short && !moment.wire.flights().values().any(|flight| writes(&flight.asked))
}

/// What the tags of a group ask for, where nothing but them decides.
fn wish(moment: &Moment<'_>, seen: &GroupSeen) -> Option<Wish> {
    let config = moment.observed.machine?.config();
    let walled = config.orgs.values().any(|org| org.max_runners.is_some()) || !config.pools.is_empty();
    model::wish(&seen.tags, config).filter(|wish| !wish.paused && !walled)
}

/// Whether nothing keeps the machine from raising a group's capacity by a describe of any age.
fn may_raise(moment: &Moment<'_>, group: &str) -> bool {
    let Some(seen) = moment.wire.group(group).filter(|seen| seen.unprotected == 0) else { return false };
    let pool = moment.observed.machine.and_then(|machine| machine.pool_of_set(seen.set));
    // A group made anew under its old name waits until the one before is let go.
    let mut pool = pool.into_iter().filter(|pool| pool.group == group && pool.arn == seen.arn());
    pool.any(|pool| pool.verdict == Verdict::Driven && !pool.paused && !pool.launches_held)
}
