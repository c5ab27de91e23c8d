//! Bringing a pool's scale set into being, and keeping it as it is wanted.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::backoff::Backoff;
use crate::config::Defences;
use crate::context::Turn;
use crate::github::answer::{Answer, Label, RunnerSetting, ScaleSet};
use crate::github::call::{Call, NewScaleSet, already_gone};
use crate::github::error::{CallError, CallErrorKind, misbehaved};
use crate::github::message::Statistics;
use crate::github::request::CallKind;
use crate::notice::PoolFact;
use crate::spec::PoolSpec;
use crate::time::{Duration, Instant};

const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(60);
/// A scale set counts as vanished only when GitHub said so this often…
const MISSING_TIMES: u32 = 3;
/// …over at least this long.
const MISSING_FOR: Duration = Duration::from_secs(120);
/// The counts of a set are read again this often, should a message ever have been lost.
const RE_READ_EVERY: Duration = Duration::from_secs(600);

/// A pool's scale set: what we know of it, and the one call about it that may be in flight.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ScaleSetKeeper {
    step: Step,
    asked: Option<CallKind>,
    runner_group_id: Option<u64>,
    found: Option<ScaleSet>,
    updated: bool,
    missing: u32,
    missing_since: Instant,
    re_read_at: Instant,
    retry_at: Instant,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Step {
    FindRunnerGroup,
    Find,
    Create,
    Ready,
    Delete,
    Deleted,
}

/// What an answer brought.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Learned {
    pub(crate) facts: Vec<PoolFact>,
    pub(crate) statistics: Option<Statistics>,
    pub(crate) error: Option<String>,
}

impl ScaleSetKeeper {
    pub(crate) fn new() -> Self {
        Self {
            step: Step::FindRunnerGroup,
            asked: None,
            runner_group_id: None,
            found: None,
            updated: false,
            missing: 0,
            missing_since: Instant::default(),
            re_read_at: Instant::default(),
            retry_at: Instant::default(),
            backoff: Backoff::new(RETRY_FIRST, RETRY_CAP),
        }
    }

    /// The id of the set, once it is known to exist.
    pub(crate) fn id(&self) -> Option<u64> {
        match self.step {
            Step::Ready => self.found.as_ref().map(|set| set.id),
            Step::FindRunnerGroup | Step::Find | Step::Create | Step::Delete | Step::Deleted => None,
        }
    }

    /// The id it was last known by.
    pub(crate) fn last_id(&self) -> Option<u64> {
        self.found.as_ref().map(|set| set.id)
    }

    pub(crate) const fn is_deleted(&self) -> bool {
        matches!(self.step, Step::Deleted)
    }

    /// Whether a call about the set is in flight.
    pub(crate) const fn is_calling(&self) -> bool {
        self.asked.is_some()
    }

    /// The tags ask for other labels.
    pub(crate) const fn wishes_changed(&mut self) {
        self.updated = false;
    }

    /// The group is gone, and the set is to go with it.
    pub(crate) fn delete(&mut self) {
        if !matches!(self.step, Step::Delete | Step::Deleted) {
            self.step = if self.found.is_some() { Step::Delete } else { Step::Deleted };
            self.retry_at = Instant::default();
        }
    }

    /// Something made the counts doubtful: read them again soon.
    pub(crate) fn re_read_soon(&mut self, at: Instant) {
        self.re_read_at = self.re_read_at.min(at);
    }

    /// When [`Self::next`] may want a call by the passage of time alone.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.asked.is_some() {
            return None;
        }
        match self.step {
            Step::FindRunnerGroup | Step::Find | Step::Create | Step::Delete => Some(self.retry_at),
            Step::Ready => Some(self.re_read_at.max(self.retry_at)),
            Step::Deleted => None,
        }
    }

    /// The call that is to be made now; `session_open` says whether we hold the set's session.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        spec: &PoolSpec,
        session_open: bool,
        defences: Defences,
    ) -> Option<Call> {
        if self.asked.is_some() || now < self.retry_at {
            return None;
        }
        let name = || spec.key.name.clone();
        let call = match (self.step, self.runner_group_id, self.last_id()) {
            (Step::FindRunnerGroup, _, _) | (Step::Find | Step::Create, None, _) => {
                Call::RunnerGroup { name: spec.key.runner_group.clone() }
            }
            (Step::Find, Some(runner_group_id), _) => Call::ScaleSetByName { runner_group_id, name: name() },
            (Step::Create, Some(id), _) => Call::CreateScaleSet { set: wanted(spec, id) },
            (Step::Ready, Some(group), Some(id)) if session_open && !self.updated && self.differs(spec) => {
                self.updated = true;
                Call::UpdateScaleSet { id, set: wanted(spec, group) }
            }
            (Step::Ready, _, Some(id)) if session_open && now >= self.re_read_at && defences.read_statistics_again => {
                Call::ScaleSet { id }
            }
            (Step::Delete, _, Some(id)) => Call::DeleteScaleSet { id },
            (Step::Ready | Step::Delete | Step::Deleted, _, _) => return None,
        };
        self.asked = Some(call.kind());
        Some(call)
    }

    pub(crate) fn answered(
        &mut self,
        cx: &mut Turn<'_>,
        spec: &PoolSpec,
        result: Result<Answer, CallError>,
    ) -> Learned {
        let Some(call) = self.asked.take() else { return Learned::default() };
        let mut learned = Learned::default();
        match self.absorb(cx.now, call, spec, result, &mut learned) {
            Ok(()) => self.backoff.reset(),
            Err(error) => self.failed(cx, call, error, &mut learned),
        }
        learned
    }

    /// GitHub answered a session's call with "no such scale set".
    pub(crate) fn missing(&mut self, now: Instant, defences: Defences) -> Option<PoolFact> {
        if self.step != Step::Ready {
            return None;
        }
        if self.missing == 0 {
            self.missing_since = now;
        }
        self.missing += 1;
        let proved = self.missing >= MISSING_TIMES && now.since(self.missing_since) >= MISSING_FOR;
        if (proved || !defences.prove_sets_missing) && defences.make_missing_sets_again {
            self.step = Step::Find;
            self.retry_at = now;
        }
        Some(PoolFact::ScaleSetMissing { times: self.missing })
    }

    /// GitHub knows the set.
    pub(crate) const fn seen(&mut self) {
        self.missing = 0;
    }

    fn absorb(
        &mut self,
        now: Instant,
        call: CallKind,
        spec: &PoolSpec,
        result: Result<Answer, CallError>,
        learned: &mut Learned,
    ) -> Result<(), CallError> {
        match (call, result) {
            (CallKind::RunnerGroup, Ok(Answer::RunnerGroup(Some(group)))) => {
                self.runner_group_id = Some(group.id);
                self.step = Step::Find;
            }
            (CallKind::RunnerGroup, Ok(_)) => {
                let message =
                    alloc::format!("no runner group \"{}\": create it, or name another", spec.key.runner_group);
                return Err(CallError { kind: CallErrorKind::NotFound, ..misbehaved(200, &message) });
            }
            (CallKind::ScaleSetByName, Ok(Answer::ScaleSet(Some(set)))) => {
                self.ready(now, set, spec, false, learned);
            }
            (CallKind::ScaleSetByName, Ok(_)) => self.step = Step::Create,
            (CallKind::CreateScaleSet, Ok(Answer::ScaleSet(Some(set)))) => {
                self.ready(now, set, spec, true, learned);
            }
            (CallKind::CreateScaleSet, Err(error)) if error.kind == CallErrorKind::Conflict => {
                self.step = Step::Find;
                return Err(error);
            }
            (CallKind::UpdateScaleSet, Ok(Answer::ScaleSet(Some(set)))) => {
                learned.facts.push(PoolFact::ScaleSetUpdated);
                learned.facts.extend(labels_differ(&set, spec));
                self.found = Some(set);
            }
            (CallKind::ScaleSet, Ok(Answer::ScaleSet(Some(set)))) => {
                self.re_read_at = now + RE_READ_EVERY;
                self.seen();
                learned.statistics = set.statistics;
            }
            (CallKind::DeleteScaleSet, Ok(_)) => self.deleted(learned),
            (CallKind::DeleteScaleSet, Err(error)) if already_gone(&error) => self.deleted(learned),
            (_, Ok(_)) => return Err(misbehaved(200, "an answer to another question")),
            (_, Err(error)) => return Err(error),
        }
        Ok(())
    }

    fn failed(&mut self, cx: &mut Turn<'_>, call: CallKind, error: CallError, learned: &mut Learned) {
        match (self.step, call) {
            (Step::Create, CallKind::CreateScaleSet) => self.step = Step::Find,
            (Step::Find | Step::Create, _) if error.kind == CallErrorKind::NotFound => {
                self.step = Step::FindRunnerGroup;
                self.runner_group_id = None;
            }
            (Step::Ready, CallKind::UpdateScaleSet) if may_pass(error.kind) => self.updated = false,
            (Step::FindRunnerGroup | Step::Find | Step::Create | Step::Ready | Step::Delete | Step::Deleted, _) => {}
        }
        let retry_in = self.backoff.fail(cx.rng, error.retry_after);
        self.retry_at = cx.now + retry_in;
        learned.error = Some(alloc::format!("{}: {error}", call.as_str()));
        learned.facts.push(PoolFact::CallFailed { call, error, retry_in });
    }

    fn ready(&mut self, now: Instant, set: ScaleSet, spec: &PoolSpec, created: bool, learned: &mut Learned) {
        learned.facts.push(PoolFact::ScaleSetReady { scale_set: set.id, name: set.name.clone(), created });
        if created {
            learned.facts.extend(labels_differ(&set, spec));
        }
        self.step = Step::Ready;
        self.updated = created;
        self.missing = 0;
        self.re_read_at = now + RE_READ_EVERY;
        self.found = Some(set);
    }

    fn deleted(&mut self, learned: &mut Learned) {
        self.step = Step::Deleted;
        learned.facts.push(PoolFact::ScaleSetDeleted);
    }

    fn differs(&self, spec: &PoolSpec) -> bool {
        self.found.as_ref().is_some_and(|set| {
            labels_differ(set, spec).is_some() || set.runner_setting != RunnerSetting { disable_update: true }
        })
    }
}

/// Whether the same call may succeed later.
const fn may_pass(kind: CallErrorKind) -> bool {
    matches!(
        kind,
        CallErrorKind::Unreachable
            | CallErrorKind::OutcomeUnknown
            | CallErrorKind::RateLimited
            | CallErrorKind::ServerError
            | CallErrorKind::Cancelled
    )
}

fn wanted(spec: &PoolSpec, runner_group_id: u64) -> NewScaleSet {
    NewScaleSet {
        name: spec.key.name.clone(),
        runner_group_id,
        labels: spec.labels.iter().map(|label| Label::system(label)).collect(),
        runner_setting: RunnerSetting { disable_update: true },
    }
}

fn labels_differ(set: &ScaleSet, spec: &PoolSpec) -> Option<PoolFact> {
    let has = |name: &str| set.labels.iter().any(|label| label.name.eq_ignore_ascii_case(name));
    let missing: Vec<_> = spec.labels.iter().filter(|name| !has(name)).cloned().collect();
    let wants = |name: &str| spec.labels.iter().any(|label| label.eq_ignore_ascii_case(name));
    let extra: Vec<_> = set.labels.iter().filter(|l| !wants(&l.name)).map(|l| l.name.clone()).collect();
    (!missing.is_empty() || !extra.is_empty()).then_some(PoolFact::LabelsDiffer { missing, extra })
}
