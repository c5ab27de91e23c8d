//! Both peers at once, as small as they can be: every call is answered at once and well.

use std::collections::BTreeMap;

use poolkeeper_core::Machine;
use poolkeeper_core::aws::{AwsCall, AwsReply, Group, GroupQuery, Instance, LifecycleState, Tag};
use poolkeeper_core::config::{Config, ConnectionConfig, CredentialKind, RawConfig};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::message::Statistics;
use poolkeeper_core::github::reply::{Body, Bytes, Reply, ReplyHeaders};
use poolkeeper_core::github::request::{CallKind, Request, RequestId, Slot};
use poolkeeper_core::seal::{Sealed, SealedSecret};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Instant, Now};

/// A config of one connection that may serve any organization.
pub(crate) fn config() -> Config {
    let connection = ConnectionConfig {
        url: "https://github.test".into(),
        credential: CredentialKind::Pat,
        orgs: vec!["*".into()],
        runner_group: "default".into(),
        force_ghes: false,
    };
    let raw = RawConfig {
        stack: "prod".into(),
        owner: "host".into(),
        connections: BTreeMap::from([("main".into(), connection)]),
        ..RawConfig::default()
    };
    Config::try_from(raw).expect("a legal config")
}

/// A group of the pool `pool-N` of one of three organizations.
pub(crate) fn group(n: usize) -> Group {
    let tag = |key: &str, value: String| Tag { key: key.into(), value: value.into() };
    Group {
        arn: format!("arn:aws:autoscaling:eu-west-1:1:autoScalingGroup:{n:08}:autoScalingGroupName/asg-{n}"),
        name: format!("asg-{n}").into(),
        max_size: 50,
        new_instances_protected: true,
        suspended_processes: vec!["AZRebalance".into()],
        tags: vec![
            tag("runs-on-stack", "prod".into()),
            tag("runs-on-org", format!("org{}", n % 3)),
            tag("runs-on-pool", format!("pool-{n}")),
        ],
        ..Group::default()
    }
}

/// The world: groups, scale sets, and the polls that are held.
pub(crate) struct Peer {
    pub(crate) now_ms: u64,
    pub(crate) groups: BTreeMap<ShortText, Group>,
    pub(crate) polls: BTreeMap<u64, RequestId>,
    pub(crate) sets: BTreeMap<String, u64>,
    pub(crate) writes: Vec<(ShortText, u32)>,
    pub(crate) notices: Vec<String>,
    pub(crate) exited: bool,
}

impl Peer {
    pub(crate) fn new(pools: usize) -> Self {
        let groups = (0..pools).map(|n| (format!("asg-{n}").into(), group(n))).collect();
        Self {
            now_ms: 0,
            groups,
            polls: BTreeMap::new(),
            sets: BTreeMap::new(),
            writes: Vec::new(),
            notices: Vec::new(),
            exited: false,
        }
    }

    pub(crate) fn now(&self) -> Now {
        Now { mono: Instant::from_millis(self.now_ms), unix_ms: 1_777_629_600_000 + self.now_ms }
    }

    /// Hands the event to the machine, and goes on until nothing but polls is in flight.
    pub(crate) fn run(&mut self, machine: &mut Machine, event: Event) {
        let mut events = vec![event];
        let mut effects = Vec::new();
        while let Some(event) = events.pop() {
            machine.handle(self.now(), event, &mut effects);
            for effect in effects.drain(..) {
                events.extend(self.answer(effect));
            }
        }
    }

    /// Ticks up to the given time.
    pub(crate) fn run_until(&mut self, machine: &mut Machine, until_ms: u64) {
        while let Some((at, _)) = machine.poll_timeout().filter(|(at, _)| at.as_millis() <= until_ms) {
            self.now_ms = self.now_ms.max(at.as_millis());
            self.run(machine, Event::Tick);
        }
        self.now_ms = until_ms;
    }

    /// The reply to an effect, except for polls: these are held.
    pub(crate) fn answer(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::GitHub { id, call, request } => {
                self.github(id, call, &request).map(|reply| github_event(id, reply))
            }
            Effect::Aws { id, call } => Some(Event::AwsReply { id, result: Ok(self.aws(call)) }),
            Effect::Cancel { id } => {
                self.polls.retain(|_, poll| *poll != id);
                let kind = poolkeeper_core::github::reply::TransportErrorKind::Cancelled;
                let error = poolkeeper_core::github::reply::TransportError { kind, detail: String::new() };
                Some(Event::GitHubReply { id, result: Err(error) })
            }
            Effect::Remember { key, .. } => Some(Event::Remembered { key, ok: true }),
            Effect::Note(notice) => {
                self.notices.push(format!("{notice:?}"));
                None
            }
            Effect::Exit(_) => {
                self.exited = true;
                None
            }
            Effect::Drop(_) => None,
        }
    }

    fn github(&mut self, id: RequestId, call: CallKind, request: &Request) -> Option<Reply> {
        let secret = SealedSecret { slot: Slot(id), len: 40, lifetime_s: Some(1_000_000) };
        let last = request.url.split('?').next().unwrap_or_default().rsplit('/').next().unwrap_or_default();
        Some(match call {
            CallKind::RegistrationToken | CallKind::AccessToken => sealed(Sealed::Token { token: secret }),
            CallKind::AdminConnection => {
                sealed(Sealed::AdminConnection { url: "https://actions.test/tenant/".into(), token: secret })
            }
            CallKind::RunnerGroup => text(r#"{"count":1,"value":[{"id":1,"name":"default"}]}"#),
            CallKind::ScaleSetByName => text(r#"{"count":0,"value":[]}"#),
            CallKind::CreateScaleSet => {
                let set: serde_json::Value = serde_json::from_str(request.body.as_deref().unwrap_or_default()).ok()?;
                let name = set.get("name")?.as_str()?;
                let id = u64::try_from(self.sets.len()).ok()? + 1;
                self.sets.insert(name.into(), id);
                text(&format!(r#"{{"id":{id},"name":"{name}","labels":[{{"name":"{name}"}}]}}"#))
            }
            CallKind::CreateSession => {
                let set = request.url.split("runnerscalesets/").nth(1)?.split('/').next()?;
                sealed(Sealed::Session {
                    session_id: format!("session-{set}-{id}"),
                    message_queue_url: format!("https://queue.test/{set}?k=1"),
                    token: secret,
                    statistics: Some(Statistics::default()),
                })
            }
            CallKind::Poll => {
                self.polls.insert(last.parse().ok()?, id);
                return None;
            }
            CallKind::Acknowledge | CallKind::DeleteSession => Reply { status: 204, ..text("") },
            CallKind::ScaleSet => text(&format!(r#"{{"id":{last},"name":"again","statistics":{{}}}}"#)),
            CallKind::Installation
            | CallKind::ScaleSets
            | CallKind::UpdateScaleSet
            | CallKind::DeleteScaleSet
            | CallKind::RefreshSession
            | CallKind::Acquire
            | CallKind::AcquirableJobs
            | CallKind::JitConfig
            | CallKind::RunnerByName
            | CallKind::Runner
            | CallKind::Runners
            | CallKind::RemoveRunner => panic!("nobody asked for {call:?}"),
        })
    }

    fn aws(&mut self, call: AwsCall) -> AwsReply {
        match call {
            AwsCall::SetDesiredCapacity { group, desired } => {
                self.writes.push((group.clone(), desired));
                if let Some(group) = self.groups.get_mut(&group) {
                    group.desired = desired;
                    let instance = |n| Instance {
                        id: format!("i-{n:017x}").into(),
                        state: LifecycleState::InService,
                        healthy: true,
                        protected: true,
                        waits: false,
                    };
                    group.instances = (0..desired).map(instance).collect();
                }
                AwsReply::Done
            }
            AwsCall::Instances { .. } => panic!("nobody manages instances here: {call:?}"),
            AwsCall::DescribeGroups { query: GroupQuery::Tagged { .. }, next_token } => {
                let start: usize = next_token.map_or(0, |token| token.parse().expect("our own token"));
                let groups: Vec<_> = self.groups.values().skip(start).take(100).cloned().collect();
                let end = start + groups.len();
                AwsReply::Groups { groups, next_token: (end < self.groups.len()).then(|| end.to_string()) }
            }
            AwsCall::DescribeGroups { query: GroupQuery::Named(names), .. } => {
                let groups = names.iter().filter_map(|name| self.groups.get(name)).cloned().collect();
                AwsReply::Groups { groups, next_token: None }
            }
        }
    }
}

/// The event that ends a call to GitHub well.
pub(crate) fn github_event(id: RequestId, reply: Reply) -> Event {
    Event::GitHubReply { id, result: Ok(reply) }
}

/// A 200 of text.
pub(crate) fn text(body: &str) -> Reply {
    Reply { status: 200, headers: ReplyHeaders::default(), body: Body::Raw(Bytes(body.as_bytes().to_vec())) }
}

/// A poll's 200 with `jobs` job messages.
pub(crate) fn message(id: u64, assigned: u32, jobs: usize) -> Reply {
    let job = |n: usize| {
        format!(
            r#"{{"messageType":"JobAssigned","runnerRequestId":{n},"repositoryName":"web","ownerName":"acme","jobId":"7f0e9f7c-0000-4000-8000-{n:012}","jobWorkflowRef":"acme/web/.github/workflows/ci.yml@refs/heads/main","jobDisplayName":"build ({n})","workflowRunId":{n},"eventName":"push","requestLabels":["linux"],"queueTime":"2026-05-01T10:00:00Z","scaleSetAssignTime":"2026-05-01T10:00:01Z","runnerAssignTime":"0001-01-01T00:00:00Z","finishTime":"0001-01-01T00:00:00Z"}}"#
        )
    };
    let body = format!("[{}]", (0..jobs).map(job).collect::<Vec<_>>().join(","));
    let message = serde_json::json!({
        "messageId": id,
        "messageType": "RunnerScaleSetJobMessages",
        "body": body,
        "statistics": {"totalAvailableJobs": 0, "totalAcquiredJobs": 0, "totalAssignedJobs": assigned, "totalRunningJobs": 0,
            "totalRegisteredRunners": 0, "totalBusyRunners": 0, "totalIdleRunners": 0},
    });
    text(&message.to_string())
}

fn sealed(sealed: Sealed) -> Reply {
    Reply { status: 200, headers: ReplyHeaders::default(), body: Body::Sealed(sealed) }
}
