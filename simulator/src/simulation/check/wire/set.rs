//! A scale set, as seen on the wire.

use poolkeeper_core::github::error::{CallError, CallErrorKind};
use poolkeeper_core::github::message::{JobMessageKind, Message, Statistics};
use poolkeeper_core::github::reply::{Body, Reply};
use poolkeeper_core::github::request::CallKind;
use poolkeeper_core::seal::Sealed;
use poolkeeper_core::time::Instant;
use serde::Deserialize;

/// A scale set, as seen on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetSeen {
    /// The session that was opened and not given up since.
    pub session: Option<String>,
    /// What GitHub last said in a session or a message.
    pub told: Option<Statistics>,
    /// What GitHub has said of the set itself since then, each with how many jobs were acquired since.
    pub reads: Vec<(Statistics, u32)>,
    /// What the last poll said there can be.
    pub capacity: u32,
    /// How many jobs were acquired since the last counts of a session or a message.
    pub acquired: u32,
    /// How many jobs may have been acquired besides, by calls that ended in doubt.
    pub perhaps_acquired: u32,
    /// Whether an acquire ended in doubt, and none was answered since: an answer that none is left proves nothing.
    in_doubt: bool,
    /// How many the acquire that was sent last asks for.
    pub asked: u32,
    /// The newest message.
    pub message: u64,
    /// How often in a row GitHub said that there is no such set, and since when.
    pub missing: Option<(u32, Instant)>,
    /// The newest moment at which GitHub said so.
    pub missing_at: Instant,
}

/// The most readings that are kept: a machine may pass over one that was asked for too early.
const MOST_READS: usize = 8;

impl SetSeen {
    /// The least number of assigned jobs that can be believed.
    #[must_use]
    pub fn least_assigned(&self) -> Option<u32> {
        let newest = self.reads.last().map(|(statistics, _)| *statistics);
        [self.told, newest].into_iter().flatten().map(|statistics| statistics.assigned).min()
    }

    /// A call ended without an answer that makes sense.
    pub(super) fn ended_in_doubt(&mut self, call: CallKind) {
        if call == CallKind::Acquire {
            self.perhaps_acquired = self.perhaps_acquired.saturating_add(self.asked);
            self.in_doubt = true;
        }
    }

    /// An acquire was answered. After one in doubt what it did not get may have been had by that one: the counts of a
    /// message that was queued before cannot tell.
    fn acquire_answered(&mut self, got: u32) {
        if std::mem::take(&mut self.in_doubt) {
            self.perhaps_acquired = self.perhaps_acquired.max(self.asked.saturating_sub(got));
        }
        self.acquired = self.acquired.saturating_add(got);
        for (_, since) in &mut self.reads {
            *since = since.saturating_add(got);
        }
    }

    pub(super) fn answered(&mut self, since: Instant, call: CallKind, reply: &Reply, message: Option<&Message>) {
        if call == CallKind::CreateSession && is_conflict(reply) {
            self.missing = None;
        }
        if is_set_missing(reply) {
            let (times, first) = self.missing.unwrap_or((0, since));
            self.missing = Some((times + 1, first));
            self.missing_at = since;
        }
        if !(200..300).contains(&reply.status) {
            if !(400..500).contains(&reply.status) {
                self.ended_in_doubt(call);
            } else if call == CallKind::Acquire && is_refusal(reply) {
                self.acquire_answered(0);
            }
            return;
        }
        match (call, &reply.body) {
            (CallKind::CreateSession, Body::Sealed(Sealed::Session { session_id, statistics, .. })) => {
                *self = Self { session: Some(session_id.clone()), told: *statistics, ..Self::default() };
            }
            (CallKind::ScaleSet, Body::Raw(body)) => {
                #[derive(Deserialize)]
                struct Set {
                    statistics: Option<Statistics>,
                }
                if let Ok(Set { statistics }) = serde_json::from_slice(super::without_mark(&body.0)) {
                    self.reads.extend(statistics.map(|statistics| (statistics, 0)));
                    if self.reads.len() > MOST_READS {
                        self.reads.remove(0);
                    }
                    self.missing = None;
                }
            }
            (CallKind::Acquire, Body::Raw(body)) => {
                #[derive(Deserialize)]
                struct Acquired {
                    value: Vec<u64>,
                }
                let Ok(acquired) = serde_json::from_slice::<Acquired>(super::without_mark(&body.0)) else {
                    return self.ended_in_doubt(call);
                };
                self.acquire_answered(u32::try_from(acquired.value.len()).unwrap_or(u32::MAX));
            }
            (_, Body::Raw(_) | Body::Sealed(_)) => {}
        }
        if let Some(message) = message.filter(|message| message.id > self.message) {
            self.message = message.id;
            self.heard(message);
        }
    }

    fn heard(&mut self, message: &Message) {
        let Some(statistics) = message.statistics else { return };
        let assigned = message.jobs.iter().any(|job| job.kind == JobMessageKind::Assigned);
        // All zero beside assigned jobs tells nothing: actions/actions-runner-controller#3204.
        if statistics != Statistics::default() || !assigned {
            self.perhaps_acquired = 0;
            self.told = Some(statistics);
            self.reads.clear();
            self.acquired = 0;
        }
    }
}

/// Whether the call itself was refused: it is not made again as it was.
fn is_refusal(reply: &Reply) -> bool {
    let kind = CallError::from_reply(reply).kind;
    matches!(kind, CallErrorKind::NotFound | CallErrorKind::Refused | CallErrorKind::Conflict)
}

/// Whether another session stands in the way. After a 401 the call is made again with another token, whatever else the
/// reply says.
fn is_conflict(reply: &Reply) -> bool {
    reply.status != 401 && CallError::from_reply(reply).kind == CallErrorKind::SessionConflict
}

fn is_set_missing(reply: &Reply) -> bool {
    const NAME: &[u8] = b"RunnerScaleSetNotFoundException";
    let names_it = |text: &[u8]| reply.status >= 400 && text.windows(NAME.len()).any(|window| window == NAME);
    match &reply.body {
        Body::Raw(body) => names_it(&body.0),
        Body::Sealed(Sealed::Error { type_name, .. }) => names_it(type_name.as_bytes()),
        Body::Sealed(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use poolkeeper_core::github::reply::{Bytes, ReplyHeaders};

    use super::*;

    fn reply(status: u16, body: &str) -> Reply {
        Reply { status, headers: ReplyHeaders::default(), body: Body::Raw(Bytes(body.into())) }
    }

    /// What may have been had of eight jobs, when an acquire in doubt, and a message that was queued before it, come
    /// before this answer to its repetition.
    fn perhaps_acquired(in_doubt: bool, answer: &Reply) -> u32 {
        let mut seen = SetSeen { asked: 8, ..SetSeen::default() };
        if in_doubt {
            seen.ended_in_doubt(CallKind::Acquire);
        }
        let none = Statistics::default();
        seen.heard(&Message { id: 1, statistics: Some(none), jobs: Vec::new(), unknown: 0 });
        assert_eq!(seen.perhaps_acquired, 0);
        seen.answered(Instant::default(), CallKind::Acquire, answer, None);
        seen.perhaps_acquired
    }

    #[test]
    fn what_the_repetition_of_an_acquire_in_doubt_does_not_get_may_be_ours() {
        assert_eq!(perhaps_acquired(true, &reply(200, r#"{"value":[]}"#)), 8);
        assert_eq!(perhaps_acquired(true, &reply(200, r#"{"value":[1,2,3]}"#)), 5);
        assert_eq!(perhaps_acquired(true, &reply(404, "")), 8);
    }

    #[test]
    fn an_answer_without_a_doubt_before_is_the_truth() {
        assert_eq!(perhaps_acquired(false, &reply(200, r#"{"value":[]}"#)), 0);
        assert_eq!(perhaps_acquired(false, &reply(404, "")), 0);
    }

    #[test]
    fn a_refused_token_leaves_the_doubt() {
        let mut seen = SetSeen { asked: 8, in_doubt: true, ..SetSeen::default() };
        seen.answered(Instant::default(), CallKind::Acquire, &reply(401, ""), None);
        assert_eq!((seen.perhaps_acquired, seen.in_doubt), (0, true));
    }
}
