//! Why a job may have to wait: facts that hold up its pool.

use std::collections::{BTreeMap, VecDeque};

use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::Body;
use poolkeeper_core::notice::{AwsFact, ConnectionFact, Notice, PoolFact, PoolId, RunnerFact};
use poolkeeper_core::time::unix_ms_from_rfc3339;
use poolkeeper_core::view::PoolView;
use serde::Deserialize;

use super::Taken;
use super::subject::is_id;
use crate::notice_text::tell;

/// How many troubles of one pool are kept, before it is known whose job is asked for.
const KEPT: usize = 8;

/// Whom a notice is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whom {
    All,
    Pool(PoolId),
    /// A connection and a scope.
    Connection(String, String),
}

impl Whom {
    pub(super) fn of(notice: &Notice) -> Self {
        match notice {
            Notice::Pool { pool, .. } => Self::Pool(*pool),
            Notice::Connection { connection, scope, .. } => Self::Connection(connection.clone(), scope.clone()),
            Notice::Aws(_)
            | Notice::StrayReply { .. }
            | Notice::NotRemembered { .. }
            | Notice::Reconfigured
            | Notice::Stopping => Self::All,
        }
    }

    /// All that a notice may be about which concerns a pool.
    pub(super) fn concerning(pool: &PoolView) -> [Self; 3] {
        [Self::All, Self::Pool(pool.id), Self::Connection(pool.connection.clone(), pool.scope.clone())]
    }
}

/// Whether a notice may say why jobs wait.
pub(super) fn holds_up(notice: &Notice) -> bool {
    match notice {
        Notice::Pool { fact, .. } => pool_waits(fact),
        Notice::Connection { fact, .. } => match fact {
            ConnectionFact::TokenFailed { .. }
            | ConnectionFact::RateLimited { .. }
            | ConnectionFact::Overdue { .. } => true,
            ConnectionFact::Connected { .. } => false,
        },
        Notice::Aws(fact) => match fact {
            AwsFact::DescribeFailed { .. } | AwsFact::MassDisappearance { .. } | AwsFact::Throttled { .. } => true,
            AwsFact::Listed { .. } | AwsFact::NamedGroupMissing { .. } => false,
        },
        Notice::Stopping => true,
        Notice::StrayReply { .. } | Notice::NotRemembered { .. } | Notice::Reconfigured => false,
    }
}

fn pool_waits(fact: &PoolFact) -> bool {
    match fact {
        PoolFact::Verdict(_)
        | PoolFact::Gone
        | PoolFact::RetagWaits
        | PoolFact::LabelsDiffer { .. }
        | PoolFact::ScaleSetMissing { .. }
        | PoolFact::ScaleSetDeleted
        | PoolFact::SessionOpened { .. }
        | PoolFact::Standby { .. }
        | PoolFact::SessionLost(_)
        | PoolFact::SessionClosed
        | PoolFact::StatisticsDistrusted
        | PoolFact::Acquired { .. }
        | PoolFact::ScalingFailed { .. }
        | PoolFact::DesiredChanged { .. }
        | PoolFact::CallFailed { .. } => true,
        PoolFact::Runner(fact) => runner_waits(fact),
        PoolFact::ScaleSetReady { .. }
        | PoolFact::ScaleSetUpdated
        | PoolFact::Message { .. }
        | PoolFact::Redelivered { .. }
        | PoolFact::EmptyReply
        | PoolFact::WarmPoolDenied { .. }
        | PoolFact::Scaling(_) => false,
    }
}

const fn runner_waits(fact: &RunnerFact) -> bool {
    match fact {
        RunnerFact::Foreign { .. }
        | RunnerFact::Stranger { .. }
        | RunnerFact::NotIssued { .. }
        | RunnerFact::AwsFailed { .. }
        | RunnerFact::ProtectionFailed { .. }
        | RunnerFact::LaunchesHeld { .. } => true,
        RunnerFact::Adopted { .. }
        | RunnerFact::Up { .. }
        | RunnerFact::HookCompleted { .. }
        | RunnerFact::JobTooLong { .. }
        | RunnerFact::Served { .. }
        | RunnerFact::Free { .. }
        | RunnerFact::NotEnded { .. }
        | RunnerFact::Vanished { .. }
        | RunnerFact::LeftBehind { .. } => false,
    }
}

/// What held up each pool of late, and all of them.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<Whom, VecDeque<(u64, String)>>);

impl Troubles {
    pub(super) fn note(&mut self, unix_ms: u64, notice: &Notice) {
        if !holds_up(notice) {
            return;
        }
        let kept = self.0.entry(Whom::of(notice)).or_default();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((unix_ms, tell(notice).text));
    }

    /// What held them up since then; nothing of it is kept.
    pub(super) fn since(&mut self, whom: &[Whom], unix_ms: u64) -> Vec<(u64, String)> {
        let mut troubles: Vec<_> = whom.iter().filter_map(|whom| self.0.remove(whom)).flatten().collect();
        troubles.retain(|(at_ms, _)| *at_ms >= unix_ms);
        self.forget();
        troubles
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Since when, and until when of late, as many jobs were assigned to a pool as GitHub was told that it can run: GitHub
/// assigns no more then.
#[derive(Debug, Default)]
pub(super) struct Full(BTreeMap<PoolId, Span>);

#[derive(Clone, Copy, Debug)]
struct Span {
    since_ms: u64,
    /// `None` as long as it lasts.
    until_ms: Option<u64>,
    capacity: u32,
}

impl Full {
    /// Looks at the pools that a step touched.
    pub(super) fn look(&mut self, step: &Taken<'_>) {
        let now_ms = step.now.unix_ms;
        for id in step.machine.settled() {
            let Some(PoolView { statistics: Some(counts), capacity, .. }) = step.machine.pool(*id) else { continue };
            let lasts = self.0.get_mut(id).filter(|span| span.until_ms.is_none());
            match (counts.assigned >= capacity, lasts) {
                (true, Some(span)) => span.capacity = capacity,
                (true, None) => {
                    self.0.insert(*id, Span { since_ms: now_ms, until_ms: None, capacity });
                }
                (false, Some(span)) => span.until_ms = Some(now_ms),
                (false, None) => {}
            }
        }
    }

    /// When a pool was full within a span, from when on, and how many jobs GitHub was told that it can run.
    pub(super) fn within(&self, pool: PoolId, from_ms: u64, to_ms: u64) -> Option<(u64, u32)> {
        let Span { since_ms, until_ms, capacity } = *self.0.get(&pool)?;
        let overlaps = since_ms < to_ms && until_ms.is_none_or(|until| until > from_ms);
        overlaps.then_some((since_ms.max(from_ms), capacity))
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// When the job was queued at GitHub, as a message tells that has a word of it.
pub(super) fn queued_ms(event: &Event, name: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        body: std::borrow::Cow<'a, str>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    #[derive(Default)]
    struct Element {
        job_id: String,
        runner_request_id: u64,
        queue_time: String,
    }
    let Event::GitHubReply { result: Ok(reply), .. } = event else { return None };
    let Body::Raw(bytes) = &reply.body else { return None };
    let message: Message<'_> = serde_json::from_slice(&bytes.0).ok()?;
    let elements: Vec<Element> = serde_json::from_str(&message.body).ok()?;
    let own = elements.iter().find(|element| is_id(&element.job_id, element.runner_request_id, name))?;
    unix_ms_from_rfc3339(&own.queue_time)
}
