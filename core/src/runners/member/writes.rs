//! Ends of calls to AWS about an instance.

use alloc::vec::Vec;

use super::{Doing, Member, Stage, TIDY_TRIES};
use crate::aws::AwsError;
use crate::context::Turn;
use crate::notice::RunnerFact;
use crate::runners::RunnersEffect;

impl Member {
    /// A call to AWS ended.
    pub(in crate::runners) fn wrote(
        &mut self,
        cx: &mut Turn<'_>,
        result: Result<(), AwsError>,
        effects: &mut Vec<RunnersEffect>,
    ) {
        match (self.doing.take(), result) {
            (Some(Doing::Store), Ok(())) => {
                self.retries.reset();
                self.stored_at = Some(cx.now);
                self.was_served = true;
                if let Stage::Issued { runner, config } = self.stage {
                    effects.push(RunnersEffect::Drop(config));
                    self.stage = Stage::Served { runner, at: cx.now };
                    effects.push(RunnersEffect::Note(RunnerFact::Served { instance: self.instance.clone(), runner }));
                }
            }
            (Some(Doing::Hook), Ok(())) => {
                self.retries.reset();
                self.life.hook_completed_at = Some(cx.now);
                effects.push(RunnersEffect::Note(RunnerFact::HookCompleted { instance: self.instance.clone() }));
            }
            (Some(Doing::Discard), Ok(())) => {
                self.retries.reset();
                self.stored_at = None;
            }
            (Some(Doing::Discard), Err(_)) if self.is_gone && self.tidied >= TIDY_TRIES => self.stored_at = None,
            (Some(Doing::Terminate | Doing::Terminating), Ok(())) => {
                self.ends.reset();
                self.ending_since = Some(cx.now);
            }
            (Some(Doing::Terminate | Doing::Terminating), Err(error)) => self.not_ended(cx, error, effects),
            (Some(doing), Err(error)) => {
                if doing == Doing::Store && is_in_doubt(&error) {
                    self.stored_at = Some(cx.now);
                }
                self.tidied += u32::from(self.is_gone);
                effects.push(RunnersEffect::Note(RunnerFact::AwsFailed { instance: self.instance.clone(), error }));
                self.retry(cx, None);
            }
            (Some(_), Ok(())) | (None, _) => {}
        }
    }

    fn not_ended(&mut self, cx: &mut Turn<'_>, error: AwsError, effects: &mut Vec<RunnersEffect>) {
        let decrement = core::mem::take(&mut self.took_desired);
        if decrement {
            // One that was seen to leave by itself meanwhile may have taken its place along.
            let in_doubt = is_in_doubt(&error) || !self.is_alive();
            let refused = RunnersEffect::ShrinkRefused { writes: self.shrunk_in };
            effects.push(if in_doubt { RunnersEffect::ShrinkInDoubt } else { refused });
        }
        match &error {
            AwsError::Validation { message } if is_unknown_instance(message) => {
                // The goal is reached.
                self.ending_since = Some(cx.now);
            }
            AwsError::Validation { .. } if decrement => self.keeps_desired = true,
            AwsError::Validation { .. }
            | AwsError::Throttled
            | AwsError::Denied { .. }
            | AwsError::Contention
            | AwsError::Misbehaved { .. }
            | AwsError::Transport { .. } => {
                self.not_before = cx.now + self.ends.fail(cx.rng, None);
            }
        }
        effects.push(RunnersEffect::Note(RunnerFact::NotEnded { instance: self.instance.clone(), error }));
    }
}

/// Whether a call that failed so may have been carried out.
const fn is_in_doubt(error: &AwsError) -> bool {
    matches!(error, AwsError::Misbehaved { .. } | AwsError::Transport { .. })
}

/// Whether AWS refused because it knows no such instance in any group.
fn is_unknown_instance(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    message.contains("not found") || message.contains("no managed instance")
}
