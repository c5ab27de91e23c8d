//! Short texts: times, addresses, tags, and the lines of a recording.

use std::collections::BTreeMap;

use poolkeeper_core::Machine;
use poolkeeper_core::aws::{AwsReply, Group, LifecycleState, Tag};
use poolkeeper_core::config::{Config, ConnectionConfig, CredentialKind, RawConfig};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::scope::{Scope, ServerUrl};
use poolkeeper_core::recording::{Header, Step};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant, Now, unix_ms_from_rfc3339, unix_s_from_http_date, unix_s_from_rfc3339};

use super::{Parser, length};

const TIMES: [&str; 6] = [
    "2026-05-01T10:00:00.1234567Z",
    "2026-05-01T10:00:00+02:00",
    "0001-01-01T00:00:00Z",
    "Tue, 15 Nov 1994 08:12:31 GMT",
    "90s",
    "250ms",
];
const URLS: [&str; 6] =
    ["https://github.com", "http://ghes.corp:8080/", "https://sub.ghe.com", "acme", "acme/web", "enterprises/big"];
const TAGS: [&str; 2] = [
    "runs-on-stack=prod\nruns-on-org=acme\nruns-on-pool=linux\nruns-on-size-max=9\nruns-on-boot-deadline=10m\nruns-on-labels=linux x64",
    "runs-on-stack=prod\nruns-on-repo=acme/web\nruns-on-pool=gpu\nruns-on-github=main\nruns-on-runner-group=default\nruns-on-size-min=1\nruns-on-idle=2\nruns-on-paused=false",
];

pub(super) fn all() -> Vec<Parser> {
    let machine = listing();
    let step = step(&machine);
    let config = json(machine.config());
    let header = json(&Header {
        format: poolkeeper_core::recording::FORMAT,
        version: poolkeeper_core::recording::VERSION.to_owned(),
        segment: 0,
        seed: 7,
        config: machine.config().clone(),
        state: machine.clone(),
    });
    vec![
        Parser::new("times", &TIMES, times),
        Parser::new("addresses", &URLS, addresses),
        Parser::new("tags", &TAGS, move |bytes| tags(&machine, bytes)),
        Parser::new("config in a recording", &[&config], |bytes| {
            length(&serde_json::from_slice::<Config>(bytes).map_err(|error| error.to_string()))
        }),
        Parser::new("header of a recording", &[&header], |bytes| {
            length(&serde_json::from_slice::<Header>(bytes).map_err(|error| error.to_string()))
        }),
        Parser::new("step of a recording", &[&step], |bytes| {
            length(&serde_json::from_slice::<Step>(bytes).map_err(|error| error.to_string()))
        }),
        Parser::new("lifecycle state", &["InService", "Pending:Wait", "Warmed:Stopped"], |bytes| {
            length(&LifecycleState::from(ShortText::from(String::from_utf8_lossy(bytes))))
        }),
    ]
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).unwrap_or_else(|error| unreachable!("our own state serialises: {error}"))
}

fn times(bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let times = (unix_s_from_rfc3339(&text), unix_ms_from_rfc3339(&text), unix_s_from_http_date(&text));
    length(&(times, Duration::parse(&text)))
}

fn addresses(bytes: &[u8]) -> usize {
    let text = String::from_utf8_lossy(bytes);
    let scope = Scope::parse(&text);
    let paths = scope.as_ref().ok().map(|s| [s.path(), s.registration_token_path(), s.installation_path()]);
    let longest = paths.iter().flatten().map(String::len).max().unwrap_or(0);
    longest.max(length(&(ServerUrl::parse(&text, false), ServerUrl::parse(&text, true)))).max(length(&scope))
}

/// A machine whose first listing is asked for.
pub(super) fn listing() -> Machine {
    let connection = ConnectionConfig {
        url: "https://github.test".into(),
        credential: CredentialKind::Pat,
        orgs: vec!["acme".into()],
        runner_group: "default".into(),
        force_ghes: false,
    };
    let raw = RawConfig {
        stack: "prod".into(),
        owner: "host".into(),
        connections: BTreeMap::from([("main".into(), connection)]),
        ..RawConfig::default()
    };
    let config = Config::try_from(raw).unwrap_or_else(|error| unreachable!("a legal config: {error}"));
    let mut machine = Machine::new(config, 7);
    machine.handle(now(), Event::Start { remembered: Vec::new() }, &mut Vec::new());
    machine
}

fn now() -> Now {
    Now { mono: Instant::from_millis(1000), unix_ms: 1_777_629_600_000 }
}

fn step(machine: &Machine) -> String {
    let mut effects = Vec::new();
    let event = described("runs-on-org=acme\nruns-on-pool=linux");
    machine.clone().handle(now(), event.clone(), &mut effects);
    json(&Step { now: now(), event, effects: Some(effects) })
}

fn described(text: &str) -> Event {
    let tags = text.lines().filter_map(|line| line.split_once('='));
    let group = Group {
        arn: "arn:1".into(),
        name: "asg-1".into(),
        max_size: 9,
        tags: tags.map(|(key, value)| Tag { key: key.into(), value: value.into() }).collect(),
        ..Group::default()
    };
    let reply = AwsReply::Groups { groups: vec![group], next_token: None };
    Event::AwsReply { id: poolkeeper_core::github::request::RequestId(1), result: Ok(reply) }
}

fn tags(machine: &Machine, bytes: &[u8]) -> usize {
    let mut effects: Vec<Effect> = Vec::new();
    machine.clone().handle(now(), described(&String::from_utf8_lossy(bytes)), &mut effects);
    length(&effects)
}
