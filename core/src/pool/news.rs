//! What GitHub says to a pool: ends of its calls, and messages.

use alloc::string::ToString;
use alloc::vec::Vec;

use super::{HOLD_TARGET, Held, LEAVING, Pool, PoolEffect, RE_READ_SOON};
use crate::config::Config;
use crate::connection::Caller;
use crate::context::Turn;
use crate::github::answer::Answer;
use crate::github::error::{CallError, CallErrorKind};
use crate::github::message::{JobMessageKind, Message};
use crate::notice::PoolFact;
use crate::session::{SessionEffect, SessionEvent};
use crate::time::Instant;

impl Pool {
    /// A call of the session, or about the scale set, ended.
    pub(crate) fn called(
        &mut self,
        cx: &mut Turn<'_>,
        caller: Caller,
        result: Result<Answer, CallError>,
        config: &Config,
        effects: &mut Vec<PoolEffect>,
    ) {
        match caller {
            Caller::Session(_) => {
                self.session_event(cx, SessionEvent::Called(result), config, effects);
            }
            Caller::Runner(_, member) => self.called_runner(cx, member, result, effects),
            Caller::Census => self.counted(cx, &result),
            Caller::Pool(_) | Caller::Operator => {
                let Some(spec) = &self.spec else { return };
                let learned = self.scale_set.answered(cx, spec, result);
                effects.extend(learned.facts.into_iter().map(PoolEffect::Note));
                self.error = learned.error;
                match learned.statistics {
                    Some(statistics) if self.read_at_news == self.news() => {
                        self.held = None;
                        self.session.set_counts(statistics);
                        self.statistics = Some(statistics);
                    }
                    // The answer is too old to end the doubt that it was asked for.
                    Some(_) if self.held.is_some() => self.scale_set.re_read_soon(cx.now + RE_READ_SOON),
                    Some(_) | None => {}
                }
            }
        }
    }

    /// The id of its session is kept, or cannot be.
    pub(crate) fn remembered(&mut self, cx: &mut Turn<'_>, config: &Config, effects: &mut Vec<PoolEffect>) {
        self.session_event(cx, SessionEvent::Remembered, config, effects);
    }

    pub(super) fn session_event(
        &mut self,
        cx: &mut Turn<'_>,
        event: SessionEvent,
        config: &Config,
        effects: &mut Vec<PoolEffect>,
    ) {
        self.session.set_capacity(self.capacity(cx.now));
        self.session.set_defences(config.defences);
        let mut out = Vec::new();
        self.session.handle(cx, event, &mut out);
        for effect in out {
            self.absorb(cx.now, effect, config, effects);
        }
    }

    fn absorb(&mut self, now: Instant, effect: SessionEffect, config: &Config, effects: &mut Vec<PoolEffect>) {
        let fact = match effect {
            SessionEffect::Call(call) => {
                return effects.push(PoolEffect::Call(Caller::Session(self.id), call));
            }
            SessionEffect::Cancel => return effects.push(PoolEffect::Cancel),
            SessionEffect::Remember(session) => {
                return effects.push(PoolEffect::Remember(Some(session)));
            }
            SessionEffect::Forget => return effects.push(PoolEffect::Remember(None)),
            SessionEffect::Drop(slot) => return effects.push(PoolEffect::Drop(slot)),
            SessionEffect::Opened { session, statistics } => {
                self.scale_set.seen();
                self.runners.took_over(now);
                self.error = None;
                match statistics {
                    Some(_) if config.defences.act_on_first_statistics => self.statistics = statistics,
                    Some(_) => {}
                    None => self.scale_set.re_read_soon(now),
                }
                effects.push(PoolEffect::Note(PoolFact::SessionOpened { session }));
                return effects.push(PoolEffect::Absorbed);
            }
            SessionEffect::Message(message) => {
                return self.absorb_message(now, message, config, effects);
            }
            SessionEffect::Redelivered(message) => PoolFact::Redelivered { message },
            SessionEffect::EmptyReply => PoolFact::EmptyReply,
            SessionEffect::Acquired { asked, got } => PoolFact::Acquired { asked, got },
            SessionEffect::Standby(retry_in) => {
                // A set whose session another holds is there.
                self.scale_set.seen();
                PoolFact::Standby { retry_in }
            }
            SessionEffect::ScaleSetMissing => {
                return effects.extend(self.scale_set.missing(now, config.defences).map(PoolEffect::Note));
            }
            SessionEffect::Lost(error) => {
                self.error = Some(error.to_string());
                PoolFact::SessionLost(error)
            }
            SessionEffect::Closed => PoolFact::SessionClosed,
            SessionEffect::Failed { call, error, retry_in } => {
                self.error = Some(alloc::format!("{}: {error}", call.as_str()));
                if error.kind == CallErrorKind::Misbehaved {
                    self.scale_set.re_read_soon(now + RE_READ_SOON);
                }
                PoolFact::CallFailed { call, error, retry_in }
            }
        };
        effects.push(PoolEffect::Note(fact));
    }

    fn absorb_message(&mut self, now: Instant, message: Message, config: &Config, effects: &mut Vec<PoolEffect>) {
        self.messages += 1;
        self.error = None;
        match message.statistics {
            Some(_) if message.denies_its_jobs() && config.defences.distrust_zero_statistics => {
                let assigned = self.assigned(now).max(1);
                self.held = Some(Held { assigned, until: now + HOLD_TARGET });
                self.scale_set.re_read_soon(now + RE_READ_SOON);
                effects.push(PoolEffect::Note(PoolFact::StatisticsDistrusted));
            }
            Some(statistics) => {
                self.held = None;
                self.statistics = Some(statistics);
            }
            None => self.scale_set.re_read_soon(now + RE_READ_SOON),
        }
        if message.jobs.iter().any(|job| job.kind == JobMessageKind::Completed) {
            self.scaler.instance_leaves();
            self.leaving_until = Some(now + LEAVING);
        }
        if self.is_managed() {
            message.jobs.iter().for_each(|job| self.runners.heard(now, job));
        }
        effects.push(PoolEffect::Absorbed);
        let Message { id, jobs, unknown, .. } = message;
        effects.push(PoolEffect::Note(PoolFact::Message { message: id, jobs, unknown }));
    }
}
