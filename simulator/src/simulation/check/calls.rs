//! Calls: how many, and which ones not together.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::request::{CallKind, RequestId};

use super::{Checker, Moment};

/// Never are two sessions asked for at once for one scale set.
#[derive(Debug, Default)]
pub struct OneCreation {
    urls: BTreeMap<RequestId, String>,
    open: BTreeSet<String>,
}

impl Checker for OneCreation {
    fn contract(&self) -> &'static str {
        "one session is asked for at a time"
    }

    fn started(&mut self) {
        self.urls.clear();
        self.open.clear();
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        if let Event::GitHubReply { id, .. } = moment.event
            && let Some(url) = self.urls.remove(id)
        {
            self.open.remove(&url);
        }
        for effect in moment.effects {
            if let Effect::GitHub { id, call: CallKind::CreateSession, request } = effect {
                if !self.open.insert(request.url.clone()) {
                    return Err(format!("two creations at once: {}", request.url));
                }
                self.urls.insert(*id, request.url.clone());
            }
        }
        Ok(())
    }
}

/// A step wants few things, a minute holds few calls, and secrets do not pile up.
#[derive(Debug, Default)]
pub struct BoundedEffects {
    minute: u64,
    calls: usize,
    most_pools: u32,
}

/// Effects a step may have, beside those for each pool.
const EFFECTS_A_STEP: usize = 64;
/// Effects a step may have for each pool.
const EFFECTS_A_POOL: usize = 4;
/// Calls a minute may hold, beside those for each pool.
const CALLS_A_MINUTE: usize = 200;
/// Calls a minute may hold for each pool.
const CALLS_A_POOL: usize = 240;
/// Secrets that may be kept, beside those of each pool.
const SECRETS: usize = 64;
/// Secrets that may be kept for each pool.
const SECRETS_A_POOL: usize = 3;

impl Checker for BoundedEffects {
    fn contract(&self) -> &'static str {
        "effects a step, calls a minute and secrets kept are bounded"
    }

    fn started(&mut self) {
        self.calls = 0;
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let summary = moment.observed.machine.map(|machine| machine.summary()).unwrap_or_default();
        // A daemon that has just started knows none yet.
        self.most_pools = self.most_pools.max(summary.pools);
        let pools = usize::try_from(self.most_pools).unwrap_or(usize::MAX);
        let effects = moment.effects.len();
        if effects > EFFECTS_A_STEP + EFFECTS_A_POOL * pools {
            return Err(format!("{effects} effects in one step"));
        }
        if moment.observed.secrets > SECRETS + SECRETS_A_POOL * pools {
            return Err(format!("{} secrets are kept", moment.observed.secrets));
        }
        let minute = moment.observed.at.as_millis() / 60_000;
        if minute != self.minute {
            (self.minute, self.calls) = (minute, 0);
        }
        self.calls +=
            moment.effects.iter().filter(|effect| matches!(effect, Effect::GitHub { .. } | Effect::Aws { .. })).count();
        if self.calls > CALLS_A_MINUTE + CALLS_A_POOL * pools {
            return Err(format!("{} calls in one minute", self.calls));
        }
        Ok(())
    }
}
