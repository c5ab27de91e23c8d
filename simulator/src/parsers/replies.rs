//! GitHub's replies: sealed, then read by the connection that asked.

use poolkeeper_core::config::{Build, ConnectionConfig, CredentialKind};
use poolkeeper_core::connection::{Caller, Connection, ConnectionEffect, ConnectionEvent};
use poolkeeper_core::context::{Context, RequestIds};
use poolkeeper_core::github::answer::{Label, Queue, RunnerSetting};
use poolkeeper_core::github::call::{Call, NewScaleSet};
use poolkeeper_core::github::message::Message;
use poolkeeper_core::github::reply::{Reply, ReplyHeaders};
use poolkeeper_core::github::request::{CallKind, RequestId, Slot};
use poolkeeper_core::github::scope::Scope;
use poolkeeper_core::limiter::{GITHUB, Limiter};
use poolkeeper_core::rng::Rng;
use poolkeeper_core::seal::{RawReply, Secret, seal};
use poolkeeper_core::time::Instant;

use super::{Parser, length};

/// The steps of the token chain before any call, and the call.
const MOST_STEPS: usize = 8;
const STATUSES: [u16; 16] = [200, 200, 200, 200, 200, 200, 201, 202, 204, 299, 400, 401, 403, 404, 429, 503];

/// A connection that waits for the reply to one request.
#[derive(Clone)]
struct Waiting {
    connection: Connection,
    limiter: Limiter,
    ids: RequestIds,
    rng: Rng,
    id: RequestId,
}

pub(super) fn all() -> Result<Vec<Parser>, String> {
    let mut parsers = Vec::new();
    for kind in CallKind::ALL {
        let waiting = Waiting::for_call(kind)?;
        let feed = move |bytes: &[u8]| waiting.clone().read(kind, bytes);
        parsers.push(Parser::new(format!("reply of {}", kind.as_str()), &samples(kind), feed));
    }
    parsers.push(Parser::new("message", &samples(CallKind::Poll), |bytes| length(&Message::parse(bytes))));
    Ok(parsers)
}

impl Waiting {
    fn for_call(kind: CallKind) -> Result<Self, String> {
        let config = ConnectionConfig {
            url: "https://github.test".into(),
            credential: CredentialKind::App { installation: None },
            orgs: vec!["acme".into()],
            runner_group: "default".into(),
            force_ghes: false,
        };
        let scope = Scope::Organization("acme".into());
        let connection =
            Connection::new("main", &config, scope, &Build::default()).map_err(|error| error.to_string())?;
        let (limiter, ids) = (Limiter::new(GITHUB), RequestIds::default());
        let mut waiting = Self { connection, limiter, ids, rng: Rng::new(1), id: RequestId(0) };
        let mut event = ConnectionEvent::Call { caller: Caller::Operator, call: call(kind) };
        for _ in 0..MOST_STEPS {
            let mut asked = None;
            for effect in waiting.handle(event) {
                if let ConnectionEffect::Request { id, call, .. } = effect {
                    asked = Some((id, call));
                }
            }
            let Some((id, asked)) = asked else { break };
            waiting.id = id;
            if asked == kind {
                return Ok(waiting);
            }
            let sample = samples(asked).first().map_or(&b""[..], |sample| sample.as_bytes());
            event = ConnectionEvent::Reply { id, result: Ok(sealed(asked, id, 200, sample)) };
        }
        Err(format!("nobody asks for {}", kind.as_str()))
    }

    fn handle(&mut self, event: ConnectionEvent) -> Vec<ConnectionEffect> {
        let Self { connection, limiter, ids, rng, .. } = self;
        let mut cx = Context { now: Instant::from_millis(60_000), rng, ids, limiter };
        let mut effects = Vec::new();
        connection.handle(&mut cx, event, &mut effects);
        effects
    }

    /// Status and headers follow from the body, so that an input is its bytes alone.
    fn read(mut self, kind: CallKind, bytes: &[u8]) -> usize {
        let sum = bytes.iter().fold(7_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
        let status = STATUSES.get(sum % STATUSES.len()).copied().unwrap_or(200);
        let reply = sealed(kind, self.id, status, bytes);
        let kept = length(&reply);
        let id = self.id;
        kept.saturating_add(length(&self.handle(ConnectionEvent::Reply { id, result: Ok(reply) })))
    }
}

fn sealed(kind: CallKind, id: RequestId, status: u16, body: &[u8]) -> Reply {
    let head = body.get(..body.len().min(40)).unwrap_or_default();
    let text = || Some(String::from_utf8_lossy(head).into_owned());
    let headers = match body.len() % 4 {
        0 => ReplyHeaders { date: text(), retry_after: text(), ..ReplyHeaders::default() },
        1 => ReplyHeaders {
            date: Some("Fri, 01 May 2026 10:00:00 GMT".into()),
            rate_limit_remaining: Some("0".into()),
            rate_limit_reset: text(),
            ..ReplyHeaders::default()
        },
        _ => ReplyHeaders { activity_id: text(), ..ReplyHeaders::default() },
    };
    let raw = RawReply { status, headers, body: body.to_vec() };
    seal(kind, Slot(id), raw, &Secret::new("a-secret-that-went-out".into())).0
}

/// A call that leads to a request of that kind.
fn call(kind: CallKind) -> Call {
    let queue = || Queue { url: "https://q.test/1?k=2".into(), token: Slot(RequestId(9)) };
    let set = || NewScaleSet {
        name: "acme-linux".into(),
        runner_group_id: 1,
        labels: vec![Label::system("linux")],
        runner_setting: RunnerSetting { disable_update: true },
    };
    match kind {
        CallKind::Installation
        | CallKind::AccessToken
        | CallKind::RegistrationToken
        | CallKind::AdminConnection
        | CallKind::ScaleSets => Call::ScaleSets,
        CallKind::RunnerGroup => Call::RunnerGroup { name: "default".into() },
        CallKind::ScaleSetByName => Call::ScaleSetByName { runner_group_id: 1, name: "acme-linux".into() },
        CallKind::ScaleSet => Call::ScaleSet { id: 4 },
        CallKind::CreateScaleSet => Call::CreateScaleSet { set: set() },
        CallKind::UpdateScaleSet => Call::UpdateScaleSet { id: 4, set: set() },
        CallKind::DeleteScaleSet => Call::DeleteScaleSet { id: 4 },
        CallKind::CreateSession => Call::CreateSession { scale_set: 4, owner: "host".into() },
        CallKind::RefreshSession => Call::RefreshSession { scale_set: 4, session: "s".into() },
        CallKind::DeleteSession => Call::DeleteSession { scale_set: 4, session: "s".into() },
        CallKind::Poll => Call::Poll { scale_set: 4, queue: queue(), last_message: 3, max_capacity: 2 },
        CallKind::Acknowledge => Call::Acknowledge { scale_set: 4, queue: queue(), message: 3 },
        CallKind::Acquire => Call::Acquire { scale_set: 4, token: Slot(RequestId(9)), request_ids: vec![1, 2] },
        CallKind::AcquirableJobs => Call::AcquirableJobs { scale_set: 4 },
        CallKind::JitConfig => Call::JitConfig { scale_set: 4, runner: "i-1".into() },
        CallKind::RunnerByName => Call::RunnerByName { name: "i-1".into() },
        CallKind::Runner => Call::Runner { id: 17 },
        CallKind::Runners => Call::Runners,
        CallKind::RemoveRunner => Call::RemoveRunner { id: 17 },
    }
}

const ERROR: &str = r#"{"$id":"1","innerException":null,"message":"No runner scale set found with identifier 4.","typeName":"GitHub.Actions.Runtime.WebApi.RunnerScaleSetNotFoundException, GitHub.Actions.Runtime.WebApi","typeKey":"RunnerScaleSetNotFoundException","errorCode":0,"eventId":3000}"#;
const SET: &str = r#"{"id":4,"name":"acme-linux","runnerGroupId":1,"runnerGroupName":"Default","labels":[{"id":1,"name":"linux","type":"System"}],"RunnerSetting":{"disableUpdate":true},"createdOn":"2026-05-01T10:00:00Z","statistics":{"totalAvailableJobs":0,"totalAcquiredJobs":1,"totalAssignedJobs":2,"totalRunningJobs":1,"totalRegisteredRunners":2,"totalBusyRunners":1,"totalIdleRunners":1}}"#;
const LIST: &str = r#"{"count":1,"value":[{"id":4,"name":"acme-linux","runnerGroupId":1,"runnerGroupName":"Default","labels":[{"id":1,"name":"linux","type":"System"}],"RunnerSetting":{"disableUpdate":true},"createdOn":"2026-05-01T10:00:00Z","statistics":{"totalAvailableJobs":0,"totalAcquiredJobs":1,"totalAssignedJobs":2,"totalRunningJobs":1,"totalRegisteredRunners":2,"totalBusyRunners":1,"totalIdleRunners":1}}]}"#;
const CONNECTION: &str = r#"{"url":"https://actions.test/tenant/","token_schema":"OAuthAccessToken","token":"eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3Nzc2MzMyMDAsImlhdCI6MTc3NzYyOTYwMH0.c2ln"}"#;
const RUNNER: &str = r#"{"id":17,"name":"i-1","runnerScaleSetId":4,"status":"online","busy":true,"version":"2.330.0"}"#;
const RUNNERS: &str = r#"{"count":1,"value":[{"id":17,"name":"i-1","runnerScaleSetId":4,"status":"offline","busy":false,"version":"2.330.0"}]}"#;
const SESSION: &str = r#"{"sessionId":"3b2d1f0e-1111-4222-8333-944455566677","ownerName":"host","runnerScaleSet":{"id":4,"name":"acme-linux","runnerGroupId":1,"runnerGroupName":"Default","labels":[{"id":1,"name":"linux","type":"System"}],"RunnerSetting":{"disableUpdate":true},"createdOn":"2026-05-01T10:00:00Z","statistics":{"totalAvailableJobs":0,"totalAcquiredJobs":1,"totalAssignedJobs":2,"totalRunningJobs":1,"totalRegisteredRunners":2,"totalBusyRunners":1,"totalIdleRunners":1}},"messageQueueUrl":"https://q.test/4?k=2","messageQueueAccessToken":"eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjE3Nzc2MzMyMDAsImlhdCI6MTc3NzYyOTYwMH0.c2ln","statistics":{"totalAvailableJobs":0,"totalAssignedJobs":2}}"#;
const TOKEN: &str = r#"{"token":"ghs_sample","expires_at":"2026-05-01T11:00:00Z","permissions":{"organization_self_hosted_runners":"write"}}"#;
const MESSAGE: &str = r#"{"messageId":7,"messageType":"RunnerScaleSetJobMessages","body":"[{\"messageType\":\"JobAvailable\",\"acquireJobUrl\":\"https://x\",\"runnerRequestId\":11,\"repositoryName\":\"web\",\"ownerName\":\"acme\",\"jobId\":\"7f0e9f7c-0000-4000-8000-000000000001\",\"jobWorkflowRef\":\"acme/web/.github/workflows/ci.yml@refs/heads/main\",\"jobDisplayName\":\"b\\u00fcild\",\"workflowRunId\":12,\"eventName\":\"push\",\"requestLabels\":[\"linux\"],\"queueTime\":\"2026-05-01T10:00:00.1234567Z\",\"scaleSetAssignTime\":\"0001-01-01T00:00:00Z\"},{\"messageType\":\"JobCompleted\",\"result\":\"succeeded\",\"runnerId\":3,\"runnerName\":\"i-1\",\"finishTime\":\"2026-05-01T10:05:00Z\"}]","statistics":{"totalAvailableJobs":1,"totalAcquiredJobs":0,"totalAssignedJobs":3,"totalRunningJobs":1,"totalRegisteredRunners":2,"totalBusyRunners":1,"totalIdleRunners":1}}"#;

/// What the call answers, then what it refuses with.
fn samples(kind: CallKind) -> Vec<&'static str> {
    let good = match kind {
        CallKind::Installation => r#"{"id":42,"account":{"login":"acme"},"app_id":7}"#,
        CallKind::AccessToken | CallKind::RegistrationToken => TOKEN,
        CallKind::AdminConnection => CONNECTION,
        CallKind::RunnerGroup => r#"{"count":1,"value":[{"id":1,"name":"Default","size":2,"isDefaultGroup":true}]}"#,
        CallKind::ScaleSets | CallKind::ScaleSetByName => LIST,
        CallKind::ScaleSet | CallKind::CreateScaleSet | CallKind::UpdateScaleSet => SET,
        CallKind::CreateSession | CallKind::RefreshSession => SESSION,
        CallKind::Poll => MESSAGE,
        CallKind::DeleteScaleSet | CallKind::DeleteSession | CallKind::Acknowledge | CallKind::RemoveRunner => "",
        CallKind::RunnerByName | CallKind::Runners => RUNNERS,
        CallKind::Runner => RUNNER,
        CallKind::Acquire => r#"{"count":2,"value":[1,2]}"#,
        CallKind::AcquirableJobs => {
            r#"{"count":1,"value":[{"acquireJobUrl":"https://x","messageType":"","runnerRequestId":11,"repositoryName":"web","ownerName":"acme","requestLabels":["linux"]}]}"#
        }
        CallKind::JitConfig => {
            r#"{"runner":{"id":17,"name":"i-1","runnerScaleSetId":4},"encodedJITConfig":"eyIucnVubmVyIjoiZXlKQloyVnVkRWxrSWpvaU1UY2lmUT09In0="}"#
        }
    };
    vec![good, ERROR, "<html><body>503 Service Unavailable</body></html>", "\u{feff}{}"]
}
