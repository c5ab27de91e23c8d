//! The story of one pool.

use std::collections::BTreeMap;

use poolkeeper_core::Machine;
use poolkeeper_core::aws::{AwsCall, InstanceCall};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::notice::{AwsFact, Notice, PoolFact, PoolId, Proof, RunnerFact};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::Now;
use poolkeeper_core::view::PoolView;

use super::log::Log;
use super::standing::standing;
use super::subject::{Names, is_named};
use super::words::termination;
use super::{Taken, Teller};
use crate::notice_text::tell;

/// The most instances whose proof is kept until their termination.
const MAX_PROOFS: usize = 10_000;

/// Collects what concerns one pool.
pub(super) struct PoolTeller {
    name: String,
    names: Names,
    pool: Option<PoolId>,
    view: Option<PoolView>,
    proofs: BTreeMap<ShortText, (Proof, u64)>,
}

impl PoolTeller {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), names: Names::default(), pool: None, view: None, proofs: BTreeMap::new() }
    }

    /// Finds the pool among those that the step touched, and tells what its operator changed.
    fn look(&mut self, step: &Taken<'_>, log: &mut Log) {
        for view in step.machine.settled().iter().filter_map(|id| step.machine.pool(*id)) {
            if Some(view.id) == self.pool || (self.pool.is_none() && is_named(&view, &self.name)) {
                self.names.forget();
                self.pool = Some(view.id);
                if let Some(text) = self.view.as_ref().and_then(|before| bounds_changed(before, &view)) {
                    log.tell(step.now.unix_ms, text);
                }
                self.view = Some(view);
            } else if self.view.is_none() {
                self.names.meet_pool(&view);
            }
        }
    }

    fn noted(&mut self, step: &Taken<'_>, notice: &Notice, log: &mut Log) {
        let now_ms = step.now.unix_ms;
        let concerns = match notice {
            Notice::Pool { pool, .. } => Some(*pool) == self.pool,
            Notice::Connection { connection, scope, .. } => {
                self.view.as_ref().is_some_and(|view| view.connection == *connection && view.scope == *scope)
            }
            Notice::Aws(AwsFact::Listed { .. }) => false,
            Notice::Aws(_) | Notice::Reconfigured | Notice::Stopping => self.view.is_some(),
            Notice::StrayReply { .. } | Notice::NotRemembered { .. } => false,
        };
        if !concerns {
            return;
        }
        if let Notice::Pool { fact: PoolFact::Runner(RunnerFact::Free { instance, proof }), .. } = notice
            && self.proofs.len() < MAX_PROOFS
        {
            self.proofs.insert(instance.clone(), (*proof, now_ms));
        }
        let mut text = tell(notice).text;
        match notice {
            Notice::Pool { fact: PoolFact::Scaling(_), .. } => return,
            Notice::Pool { pool, fact: PoolFact::Message { .. }, .. } => {
                if let Some(counts) = step.machine.grounds(*pool).and_then(|grounds| grounds.statistics) {
                    text = format!("{text}; {} assigned, {} running", counts.assigned, counts.running);
                }
            }
            Notice::Pool { .. }
            | Notice::Connection { .. }
            | Notice::Aws(_)
            | Notice::StrayReply { .. }
            | Notice::NotRemembered { .. }
            | Notice::Reconfigured
            | Notice::Stopping => {}
        }
        log.tell(now_ms, text);
    }

    fn asks(&self, now: Now, effect: &Effect, log: &mut Log) {
        let Effect::Aws {
            call: AwsCall::Instances { group, call: InstanceCall::Terminate { instance, decrement } },
            ..
        } = effect
        else {
            return;
        };
        if self.view.as_ref().is_none_or(|view| view.group != *group) {
            return;
        }
        let proof = self.proofs.get(instance).copied();
        log.tell(now.unix_ms, termination(instance, *decrement, proof));
    }
}

impl Teller for PoolTeller {
    fn hear(&mut self, now: Now, event: &Event, log: &mut Log) {
        if matches!(event, Event::Start { .. }) {
            self.pool = None;
            self.proofs.clear();
            if self.view.is_some() {
                log.tell(now.unix_ms, "the daemon starts again");
            }
        }
    }

    fn see(&mut self, step: &Taken<'_>, log: &mut Log) {
        self.look(step, log);
        for notice in step.notices() {
            self.noted(step, notice, log);
        }
        for change in step.changes.iter().filter(|change| Some(change.pool()) == self.pool) {
            log.tell(step.now.unix_ms, change.told());
        }
        for effect in step.effects {
            self.asks(step.now, effect, log);
        }
    }

    fn title(&self) -> Result<String, &Names> {
        let view = self.view.as_ref().ok_or(&self.names)?;
        Ok(if view.scale_set.is_empty() {
            format!("pool of group {}", view.group)
        } else {
            format!("pool {} of group {}", view.scale_set, view.group)
        })
    }

    fn closing(&self, end: Now, machine: Option<&Machine>) -> Vec<String> {
        let now_there = self.pool.and_then(|pool| machine?.pool(pool));
        let Some(view) = now_there else {
            return vec!["As the journal ends, the pool is not there.".to_owned()];
        };
        let mut lines = vec!["As the journal ends:".to_owned()];
        lines.extend(standing(&view, end.mono).into_iter().map(|line| format!("  {line}")));
        lines
    }
}

/// What changed of a pool's bounds, if anything.
fn bounds_changed(was: &PoolView, is: &PoolView) -> Option<String> {
    let numbers = |view: &PoolView| {
        [
            ("MinSize", view.group_min),
            ("MaxSize", view.group_max),
            ("the pool's least", view.size_min),
            ("the pool's most", view.size_max),
        ]
    };
    let changed = numbers(was).into_iter().zip(numbers(is)).filter(|((_, was), (_, is))| was != is);
    let mut parts: Vec<String> = changed.map(|((what, was), (_, is))| format!("{what} {was} -> {is}")).collect();
    if was.paused != is.paused {
        parts.push(if is.paused { "paused" } else { "not paused any more" }.to_owned());
    }
    (!parts.is_empty()).then(|| parts.join(", "))
}
