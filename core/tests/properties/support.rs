//! What the properties share: settings, spans of time, and errors of every kind.

use poolkeeper_core::context::{Context, RequestIds, Turn};
use poolkeeper_core::github::answer::Runner;
use poolkeeper_core::github::error::{CallError, CallErrorKind};
use poolkeeper_core::github::reply::{Body, Bytes, Reply, ReplyHeaders};
use poolkeeper_core::github::request::{CallKind, RequestId, Slot};
use poolkeeper_core::limiter::{GITHUB, Limiter, Limits};
use poolkeeper_core::rng::Rng;
use poolkeeper_core::seal::{Sealed, SealedSecret};
use poolkeeper_core::time::{Duration, Instant};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

const SEED: u64 = 0x9001;

/// A run of `cases` that draws the same cases each time, unless the environment says otherwise.
pub(crate) fn settings(cases: u32) -> ProptestConfig {
    let told = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { told.cases } else { cases };
    let rng_seed = match told.rng_seed {
        RngSeed::Random => RngSeed::Fixed(SEED),
        fixed @ RngSeed::Fixed(_) => fixed,
    };
    ProptestConfig { cases, rng_seed, failure_persistence: None, ..told }
}

/// Time, and all that a machine may use beside it.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) now: Instant,
    pub(crate) limiter: Limiter,
    rng: Rng,
    ids: RequestIds,
}

impl Surroundings {
    pub(crate) fn new() -> Self {
        Self::limited(GITHUB)
    }

    pub(crate) fn limited(limits: Limits) -> Self {
        let now = Instant::from_millis(1000);
        Self { now, limiter: Limiter::new(limits), rng: Rng::new(3), ids: RequestIds::default() }
    }

    pub(crate) fn context(&mut self) -> Context<'_> {
        Context { now: self.now, rng: &mut self.rng, ids: &mut self.ids, limiter: &mut self.limiter }
    }

    pub(crate) fn turn(&mut self) -> Turn<'_> {
        Turn { now: self.now, rng: &mut self.rng, discards_wait: false, configs_wait: false }
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now = self.now + Duration::from_millis(ms);
    }
}

/// A span in milliseconds: none, some, or long.
pub(crate) fn span_ms() -> impl Strategy<Value = u64> {
    prop_oneof![3 => Just(0), 4 => 1..3_000u64, 4 => 3_000..70_000u64, 1 => 70_000..7_200_000u64]
}

/// Any way in which a call can fail.
pub(crate) fn call_error() -> impl Strategy<Value = CallError> {
    use CallErrorKind as Kind;
    let kinds = vec![
        (Kind::Unreachable, None),
        (Kind::OutcomeUnknown, None),
        (Kind::RateLimited, Some(429)),
        (Kind::ServerError, Some(503)),
        (Kind::Misbehaved, Some(200)),
        (Kind::Denied, Some(403)),
        (Kind::Denied, Some(401)),
        (Kind::ScaleSetNotFound, Some(404)),
        (Kind::NotFound, Some(404)),
        (Kind::SessionConflict, Some(409)),
        (Kind::Conflict, Some(409)),
        (Kind::RunnerExists, Some(409)),
        (Kind::JobStillRunning, Some(400)),
        (Kind::RunnerNotFound, Some(404)),
        (Kind::Refused, Some(400)),
        (Kind::Cancelled, None),
    ];
    (proptest::sample::select(kinds), proptest::option::weighted(0.2, 0..200u64)).prop_map(
        |((kind, status), wait_s)| {
            let retry_after = wait_s.map(Duration::from_secs);
            CallError { kind, status, message: "scripted".into(), retry_after, activity_id: None }
        },
    )
}

/// The value as a recording brings it back.
pub(crate) fn recorded<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    let text = serde_json::to_string(value).expect("state serialises");
    serde_json::from_str(&text).expect("state deserialises")
}

pub(crate) fn reply(status: u16, body: Body) -> Reply {
    Reply { status, headers: ReplyHeaders::default(), body }
}

pub(crate) fn text(status: u16, text: &str) -> Reply {
    reply(status, Body::Raw(Bytes(text.as_bytes().to_vec())))
}

const RUNNER: &str = r#"{"id":17,"name":"i-1","runnerScaleSetId":4,"status":"online","busy":true}"#;

/// What the call asks for, sealed.
pub(crate) fn good_reply(id: RequestId, kind: CallKind, lifetime_s: Option<u64>) -> Reply {
    let token = SealedSecret { slot: Slot(id), len: 40, lifetime_s };
    let sealed = |sealed| reply(200, Body::Sealed(sealed));
    let set = r#"{"id":4,"name":"acme-linux"}"#;
    match kind {
        CallKind::Installation => text(200, r#"{"id":42}"#),
        CallKind::AccessToken | CallKind::RegistrationToken => sealed(Sealed::Token { token }),
        CallKind::AdminConnection => sealed(Sealed::AdminConnection { url: "https://actions.test/t/".into(), token }),
        CallKind::RunnerGroup => text(200, r#"{"count":1,"value":[{"id":1,"name":"default"}]}"#),
        CallKind::ScaleSets | CallKind::ScaleSetByName => text(200, &format!(r#"{{"count":1,"value":[{set}]}}"#)),
        CallKind::ScaleSet | CallKind::CreateScaleSet | CallKind::UpdateScaleSet => text(200, set),
        CallKind::CreateSession | CallKind::RefreshSession => sealed(Sealed::Session {
            session_id: format!("s-{id}"),
            message_queue_url: "https://q.test/1?k=2".into(),
            token,
            statistics: None,
        }),
        CallKind::DeleteScaleSet | CallKind::DeleteSession | CallKind::Acknowledge | CallKind::RemoveRunner => {
            text(204, "")
        }
        CallKind::RunnerByName | CallKind::Runners => text(200, &format!(r#"{{"value":[{RUNNER}]}}"#)),
        CallKind::Runner => text(200, RUNNER),
        CallKind::Poll => text(202, ""),
        CallKind::Acquire => text(200, r#"{"value":[1]}"#),
        CallKind::AcquirableJobs => text(200, r#"{"value":[{"runnerRequestId":3}]}"#),
        CallKind::JitConfig => sealed(Sealed::JitConfig { runner: Runner::default(), config: token }),
    }
}
