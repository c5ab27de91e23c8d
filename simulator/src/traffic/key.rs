//! What makes two requests alike, so that one may be answered as the other was: the call, and whom it is for.

use std::collections::BTreeMap;

use poolkeeper_core::github::reply::{Body, Reply, TransportError};
use poolkeeper_core::github::request::{CallKind, Request};
use poolkeeper_core::seal::Sealed;
use serde::Deserialize;

/// A call, and the scale set, scope or name it is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) call: CallKind,
    pub(super) whom: String,
}

/// Whose each queue is, as the sessions told that named them.
#[derive(Clone, Debug, Default)]
pub(super) struct Queues(BTreeMap<String, String>);

impl Queues {
    pub(super) fn key(&self, call: CallKind, request: &Request) -> Key {
        let url = request.url.as_str();
        let whom = match call {
            CallKind::Poll => self.owner(polled(url)),
            CallKind::Acknowledge => self.owner(acknowledged(url)),
            CallKind::ScaleSet
            | CallKind::UpdateScaleSet
            | CallKind::DeleteScaleSet
            | CallKind::CreateSession
            | CallKind::RefreshSession
            | CallKind::DeleteSession
            | CallKind::Acquire
            | CallKind::AcquirableJobs
            | CallKind::JitConfig => scale_set(url),
            CallKind::CreateScaleSet => format!("{} {}", path(url), name(request.body.as_deref().unwrap_or_default())),
            CallKind::AdminConnection => format!("{url} {}", request.body.as_deref().unwrap_or_default()),
            CallKind::Installation
            | CallKind::AccessToken
            | CallKind::RegistrationToken
            | CallKind::RunnerGroup
            | CallKind::ScaleSets
            | CallKind::ScaleSetByName
            | CallKind::RunnerByName
            | CallKind::Runner
            | CallKind::Runners
            | CallKind::RemoveRunner => url.to_owned(),
        };
        Key { call, whom }
    }

    /// Remembers whose queue a session named.
    pub(super) fn learn(&mut self, key: &Key, result: &Result<Reply, TransportError>) {
        if let Ok(Reply { body: Body::Sealed(Sealed::Session { message_queue_url, .. }), .. }) = result {
            self.0.insert(message_queue_url.clone(), key.whom.clone());
        }
    }

    fn owner(&self, queue: String) -> String {
        self.0.get(&queue).cloned().unwrap_or(queue)
    }
}

/// The queue's own URL behind that of a poll.
fn polled(url: &str) -> String {
    const LAST: &str = "lastMessageId=";
    match url.rsplit_once(LAST) {
        Some((queue, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => {
            queue.trim_end_matches(['?', '&']).to_owned()
        }
        Some(_) | None => url.to_owned(),
    }
}

/// The queue's own URL behind that of an acknowledge.
fn acknowledged(url: &str) -> String {
    let (path, query) = url.split_once('?').map_or((url, None), |(path, query)| (path, Some(query)));
    let queue = path.rsplit_once('/').map_or(path, |(queue, _)| queue);
    query.map_or_else(|| queue.to_owned(), |query| format!("{queue}?{query}"))
}

/// The message that an acknowledge names.
pub(super) fn message_of(url: &str) -> Option<u64> {
    path(url).rsplit_once('/')?.1.parse().ok()
}

/// A scale set's URL within one that continues it.
fn scale_set(url: &str) -> String {
    const SETS: &str = "/runnerscalesets/";
    let path = path(url);
    let Some((base, rest)) = path.split_once(SETS) else { return path.to_owned() };
    let id = rest.split('/').next().unwrap_or_default();
    format!("{base}{SETS}{id}")
}

fn path(url: &str) -> &str {
    url.split('?').next().unwrap_or(url)
}

fn name(body: &str) -> String {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    serde_json::from_str(body).map_or_else(|_| body.to_owned(), |named: Named| named.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_found_behind_polls_and_acknowledges() {
        for queue in ["https://q.test/2/messages?sessionId=a-b", "https://q.test/2/messages"] {
            let and = if queue.contains('?') { '&' } else { '?' };
            assert_eq!(polled(queue), queue);
            assert_eq!(polled(&format!("{queue}{and}lastMessageId=17")), queue);
        }
        assert_eq!(
            acknowledged("https://q.test/2/messages/17?sessionId=a-b"),
            "https://q.test/2/messages?sessionId=a-b"
        );
        assert_eq!(acknowledged("https://q.test/2/messages/17"), "https://q.test/2/messages");
        assert_eq!(message_of("https://q.test/2/messages/17?sessionId=a-b"), Some(17));
    }

    #[test]
    fn calls_about_a_scale_set_share_its_url() {
        let set = "https://a.test/x/_apis/runtime/runnerscalesets/5";
        for rest in ["", "/sessions", "/sessions/abc", "/acquirejobs"] {
            assert_eq!(scale_set(&format!("{set}{rest}?api-version=6.0-preview")), set);
        }
    }
}
