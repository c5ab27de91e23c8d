//! Why a job may have to wait: facts that hold up its pool.

use std::collections::{BTreeMap, VecDeque};

use poolkeeper_core::notice::{AwsFact, ConnectionFact, Notice, PoolFact, PoolId, RunnerFact};

use crate::notice_text::tell;

/// How many troubles of one pool are kept, before it is known whose job is asked for.
const KEPT: usize = 8;

/// Whether a notice may say why jobs of a pool wait: one about it, or about all.
pub(super) fn holds_up(notice: &Notice, pool: Option<PoolId>) -> bool {
    match notice {
        Notice::Pool { pool: of, fact, .. } => pool.is_none_or(|pool| pool == *of) && pool_waits(fact),
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
        | PoolFact::Scaling(_) => false,
    }
}

const fn runner_waits(fact: &RunnerFact) -> bool {
    match fact {
        RunnerFact::Foreign { .. }
        | RunnerFact::Stranger { .. }
        | RunnerFact::Served { .. }
        | RunnerFact::NotIssued { .. }
        | RunnerFact::AwsFailed { .. }
        | RunnerFact::ProtectionFailed { .. }
        | RunnerFact::LaunchesHeld { .. } => true,
        RunnerFact::Adopted { .. }
        | RunnerFact::Free { .. }
        | RunnerFact::NotEnded { .. }
        | RunnerFact::Vanished { .. }
        | RunnerFact::LeftBehind { .. } => false,
    }
}

/// What held up each pool of late, and all of them.
#[derive(Debug, Default)]
pub(super) struct Troubles(BTreeMap<Option<PoolId>, VecDeque<(u64, String)>>);

impl Troubles {
    pub(super) fn note(&mut self, unix_ms: u64, notice: &Notice) {
        if !holds_up(notice, None) {
            return;
        }
        let of = if let Notice::Pool { pool, .. } = notice { Some(*pool) } else { None };
        let kept = self.0.entry(of).or_default();
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back((unix_ms, tell(notice).text));
    }

    /// What held up the pool since then, in order; nothing of it is kept.
    pub(super) fn since(&mut self, pool: PoolId, unix_ms: u64) -> Vec<(u64, String)> {
        let mut of_pool: Vec<_> = self.0.remove(&Some(pool)).into_iter().flatten().collect();
        of_pool.extend(self.0.remove(&None).into_iter().flatten());
        of_pool.retain(|(at_ms, _)| *at_ms >= unix_ms);
        of_pool.sort();
        self.forget();
        of_pool
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}
