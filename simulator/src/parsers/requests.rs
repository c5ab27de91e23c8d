//! Requests to the sandbox, which any client may send.

use poolkeeper_core::time::{Instant, Now};
use serde::Deserialize;

use super::{Parser, length};
use crate::aws::query;
use crate::aws::{Aws, AwsConfig};
use crate::github::{GitHub, GitHubConfig};
use crate::http::{HttpRequest, Served};

const AUTHORIZATION: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20260101/eu-west-1/autoscaling/aws4_request, \
    SignedHeaders=content-type;host;x-amz-date, \
    Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7";
const ORIGIN: &str = "http://127.0.0.1:8080";
const CREATE: &str = "Action=CreateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName=ci&MinSize=0&MaxSize=4\
    &NewInstancesProtectedFromScaleIn=true&Tags.member.1.Key=runs-on-stack&Tags.member.1.Value=prod";
const FORMS: [&str; 6] = [
    "Action=DescribeAutoScalingGroups&Version=2011-01-01&Filters.member.1.Name=tag%3Aruns-on-stack\
    &Filters.member.1.Values.member.1=prod&MaxRecords=100",
    "Action=SetDesiredCapacity&Version=2011-01-01&AutoScalingGroupName=ci&DesiredCapacity=2&HonorCooldown=false",
    CREATE,
    "Action=UpdateAutoScalingGroup&Version=2011-01-01&AutoScalingGroupName=ci&MinSize=1&MaxSize=3",
    "Action=TerminateInstanceInAutoScalingGroup&InstanceId=i-1&ShouldDecrementDesiredCapacity=true",
    "Action=CreateOrUpdateTags&Tags.member.1.ResourceId=ci&Tags.member.1.Key=a&Tags.member.1.Value=b",
];
const REGISTRATION: &str = "POST /api/v3/orgs/acme/actions/runners/registration-token\n";
const CONNECTION: &str =
    "POST /api/v3/actions/runner-registration\n{\"url\":\"http://127.0.0.1:8080/acme\",\"runner_event\":\"register\"}";
const REQUESTS: [&str; 7] = [
    REGISTRATION,
    CONNECTION,
    "POST BASE/_apis/runtime/runnerscalesets?api-version=6.0-preview\n{\"name\":\"acme-linux\",\"runnerGroupId\":1,\"labels\":[{\"name\":\"linux\",\"type\":\"System\"}],\"RunnerSetting\":{\"disableUpdate\":true}}",
    "GET BASE/_apis/runtime/runnergroups/?groupName=default&api-version=6.0-preview\n",
    "POST BASE/_apis/runtime/runnerscalesets/1/sessions?api-version=6.0-preview\n{\"ownerName\":\"host\"}",
    "POST BASE/_apis/runtime/runnerscalesets/1/acquirejobs?api-version=6.0-preview\n[1,2]",
    "POST BASE/_apis/runtime/runnerscalesets/1/generatejitconfig?api-version=6.0-preview\n{\"name\":\"i-1\",\"workFolder\":\"_work\"}",
];

pub(super) fn all() -> Vec<Parser> {
    let mut aws = Aws::new(AwsConfig::default(), 7);
    let _created = query::serve(&mut aws, now(), &form("POST", CREATE.as_bytes()));
    let post = aws.clone();
    vec![
        Parser::new("AWS query in a body", &FORMS, move |bytes| {
            length(&query::serve(&mut post.clone(), now(), &form("POST", bytes)))
        }),
        Parser::new("AWS query in a URL", &FORMS, move |bytes| {
            length(&query::serve(&mut aws.clone(), now(), &form("GET", bytes)))
        }),
        Parser::new("request to GitHub", &REQUESTS, ask_github),
    ]
}

fn now() -> Now {
    Now { mono: Instant::from_millis(1000), unix_ms: 1_767_225_600_000 }
}

fn form(method: &str, bytes: &[u8]) -> HttpRequest {
    let header = |name: &'static str, value: &'static str| (name.into(), value.into());
    HttpRequest {
        method: method.to_owned().into(),
        origin: ORIGIN.to_owned(),
        target: if method == "GET" { format!("/?{}", String::from_utf8_lossy(bytes)) } else { "/".to_owned() },
        headers: vec![header("authorization", AUTHORIZATION), header("x-amz-date", "20260101T000000Z")],
        body: bytes.to_vec(),
    }
}

fn request(method: &str, target: &str, authorization: String, body: &[u8]) -> HttpRequest {
    HttpRequest {
        method: method.to_owned().into(),
        origin: ORIGIN.to_owned(),
        target: target.to_owned(),
        headers: vec![("authorization".into(), authorization.into())],
        body: body.to_vec(),
    }
}

#[derive(Deserialize)]
struct Token {
    token: String,
    #[serde(default)]
    url: String,
}

/// The first line is method and target, `BASE` standing for the service's address; the rest is the body.
fn ask_github(bytes: &[u8]) -> usize {
    let mut github = GitHub::new(GitHubConfig::default(), 7);
    let pat = github.config().pat.clone().unwrap_or_default();
    let registration = token(&mut github, REGISTRATION, format!("Bearer {pat}"));
    let admin = token(&mut github, CONNECTION, format!("RemoteAuth {}", registration.token));
    let base = admin.url.strip_prefix(ORIGIN).unwrap_or_default().trim_end_matches('/').to_owned();
    let line_end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(line_end);
    let line = String::from_utf8_lossy(line);
    let (method, target) = line.split_once(' ').unwrap_or((&line, "/"));
    let body = rest.strip_prefix(b"\n").unwrap_or(rest);
    let target = target.replacen("BASE", &base, 1);
    let secret = if target.starts_with(&base) { admin.token } else { pat };
    let served = github.serve(now(), &request(method, &target, format!("Bearer {secret}"), body));
    length(&served)
}

fn token(github: &mut GitHub, sample: &str, authorization: String) -> Token {
    let (line, body) = sample.split_once('\n').unwrap_or((sample, ""));
    let (method, target) = line.split_once(' ').unwrap_or((line, "/"));
    match github.serve(now(), &request(method, target, authorization, body.as_bytes())) {
        Served::Reply(reply) => serde_json::from_slice(&reply.body)
            .unwrap_or_else(|error| unreachable!("the model answers its own sample: {error}")),
        Served::Held(_) | Served::Close | Served::CutShort(_) => unreachable!("the model answers at once"),
    }
}
