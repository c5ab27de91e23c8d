use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;

use poolkeeper_core::github::message::Statistics;
use poolkeeper_core::notice::Verdict;
use poolkeeper_core::time::Instant;
use poolkeeper_core::view::SessionView;

use super::*;
use crate::testing::at;

/// How long a test waits for an answer.
const DEADLINE: Duration = Duration::from_secs(10);

fn pool(id: u32) -> PoolView {
    PoolView {
        id: PoolId(id),
        group: format!("group-{id}").into(),
        arn: format!("arn:{id}"),
        connection: "main".to_owned(),
        scope: "acme".to_owned(),
        runner_group: "default".to_owned(),
        scale_set: format!("acme-{id}"),
        scale_set_id: Some(u64::from(id)),
        verdict: Verdict::Driven,
        paused: false,
        session: SessionView::Open,
        statistics: Some(Statistics { assigned: 3, ..Statistics::default() }),
        group_min: 0,
        group_max: 9,
        size_min: 1,
        size_max: 8,
        desired: 4,
        target: 3,
        capacity: 10,
        managed: false,
        warm: None,
        launches_held: false,
        in_service: 2,
        pending: 2,
        described_at: None,
        polled_at: Some(Instant::from_millis(1_000)),
        polls: 5,
        messages: 2,
        error: None,
    }
}

fn summary(pools: &BTreeMap<u32, PoolView>) -> Summary {
    let pools = u32::try_from(pools.len()).unwrap();
    Summary { listed: true, pools, ..Summary::default() }
}

fn answer(pools: &BTreeMap<u32, PoolView>, summary: Summary, now: Now, query: Query) {
    let Query { after, limit, reply } = query;
    let first = after.map_or(0, |id| id.0 + 1);
    let mut page: Vec<_> = pools.range(first..).take(limit + 1).map(|(_, p)| p.clone()).collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| more).map(|pool| pool.id);
    reply.try_send(Page { now, summary, pools: page, next }).unwrap();
}

fn serve(pools: Vec<PoolView>, change: impl Fn(&mut Summary), now: Now) -> StatusServer {
    let pools: BTreeMap<_, _> = pools.into_iter().map(|pool| (pool.id.0, pool)).collect();
    let mut whole = summary(&pools);
    change(&mut whole);
    let ask: Ask = Box::new(move |query| {
        answer(&pools, whole, now, query);
        true
    });
    start(ask)
}

fn start(ask: Ask) -> StatusServer {
    let telemetry = Arc::new(Telemetry::new("prod"));
    StatusServer::start("127.0.0.1:0".parse().unwrap(), ask, telemetry).unwrap()
}

fn send(server: &StatusServer, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// The status code and the body.
fn fetch(server: &StatusServer, path: &str) -> (u16, String) {
    let reply = send(server, format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes());
    let (head, body) = reply.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{head}");
    (head[9..12].parse().unwrap(), body.to_owned())
}

#[test]
fn pools_come_in_pages() {
    let server = serve((0..250).map(pool).collect(), |_| (), at(0));
    let mut seen = Vec::new();
    let mut path = "/api/pools".to_owned();
    loop {
        let (status, body) = fetch(&server, &path);
        assert_eq!(status, 200);
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        seen.extend(page["pools"].as_array().unwrap().iter().map(|p| p["id"].as_u64().unwrap()));
        let Some(next) = page["next"].as_u64() else { break };
        path = format!("/api/pools?limit=90&after={next}");
    }
    assert_eq!(seen, (0..250).collect::<Vec<_>>());
}

#[test]
fn bad_parameters_are_refused() {
    let server = serve(Vec::new(), |_| (), at(0));
    for path in ["/api/pools?after=x", "/api/pools?limit=-1", "/api/pools?page=2"] {
        assert_eq!(fetch(&server, path).0, 400, "{path}");
    }
}

#[test]
fn metrics_cover_every_pool_and_follow_the_format() {
    let server = serve((0..150).map(pool).collect(), |_| (), at(3_500));
    let (status, body) = fetch(&server, "/metrics");
    assert_eq!(status, 200);
    let labels = "enterprise=\"\",organization=\"acme\",repository=\"\",name=\"acme-149\",\
                  namespace=\"prod\"";
    for line in [
        format!("gha_assigned_jobs{{{labels}}} 3\n"),
        format!("gha_desired_runners{{{labels}}} 3\n"),
        format!("gha_max_runners{{{labels}}} 8\n"),
        "poolkeeper_pool_desired{group=\"group-7\"} 4\n".to_owned(),
        "poolkeeper_pool_last_poll_age_seconds{group=\"group-7\"} 2.5\n".to_owned(),
        "poolkeeper_pools 150\n".to_owned(),
    ] {
        assert!(body.contains(&line), "{line}");
    }
    let mut families: Vec<_> = body.lines().filter(|l| l.starts_with("# TYPE")).collect();
    let all = families.len();
    families.sort_unstable();
    families.dedup();
    assert_eq!(families.len(), all, "each family appears once");
    let is_sample = |line: &str| line.rsplit_once(' ').is_some_and(|(_, v)| v.parse::<f64>().is_ok());
    assert!(body.lines().all(|line| line.starts_with("# ") || is_sample(line)));
}

#[test]
fn readiness_follows_what_is_heard() {
    let deaf = |error: Option<&str>, session, polled_at: Option<u64>| PoolView {
        error: error.map(str::to_owned),
        session,
        polled_at: polled_at.map(Instant::from_millis),
        ..pool(1)
    };
    let open = SessionView::Open;
    let late = at(1_000_000);
    let cases = [
        ("recent poll", vec![pool(1)], at(2_000), 200, "1 of 1"),
        (
            "one of two hears",
            vec![pool(1), PoolView { id: PoolId(2), ..deaf(None, SessionView::Standby, None) }],
            at(0),
            200,
            "1 of 2",
        ),
        ("first poll is held", vec![deaf(None, open, None)], late, 200, "1 of 1"),
        ("old poll", vec![pool(1)], late, 503, "group-1: session open"),
        ("first poll failed", vec![deaf(Some("unreachable"), open, None)], at(0), 503, "unreachable"),
        ("standby", vec![deaf(None, SessionView::Standby, None)], at(0), 503, "standby"),
        ("no pool at all", vec![], at(0), 200, "no pool"),
    ];
    for (case, pools, now, status, part) in cases {
        let (got, body) = fetch(&serve(pools, |_| (), now), "/readyz");
        assert_eq!(got, status, "{case}: {body}");
        assert!(body.contains(part), "{case}: {body}");
    }
    let (status, body) = fetch(&serve(vec![], |s| s.listed = false, at(0)), "/readyz");
    assert_eq!((status, body.contains("first listing")), (503, true), "{body}");
    let (status, body) = fetch(&serve(vec![pool(1)], |s| s.stopping = true, at(0)), "/readyz");
    assert_eq!((status, body.contains("stopping")), (503, true), "{body}");
}

#[test]
fn a_machine_that_takes_no_questions_is_unavailable_but_alive() {
    let server = start(Box::new(|_| false));
    assert_eq!(fetch(&server, "/readyz").0, 503);
    assert_eq!(fetch(&server, "/metrics").0, 503);
    assert_eq!(fetch(&server, "/healthz").0, 200);
}

#[test]
fn the_page_is_self_contained() {
    let (status, body) = fetch(&serve(Vec::new(), |_| (), at(0)), "/");
    assert_eq!(status, 200);
    assert!(body.starts_with("<!doctype html>"));
    assert!(!body.contains("http://") && !body.contains("https://") && !body.contains("src="));
}

#[test]
fn requests_that_make_no_sense_get_an_error() {
    let server = serve(Vec::new(), |_| (), at(0));
    let large = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(10_000));
    let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    for (request, status) in [
        ("GET /nowhere HTTP/1.1\r\n\r\n", "404"),
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("\u{0}\u{1}\u{2}\r\n\r\n", "400"),
        (large.as_str(), "431"),
        (many.as_str(), "431"),
    ] {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        stream.read_exact(&mut head).unwrap();
        assert_eq!(&head[9..], status.as_bytes(), "{request}");
    }
    let head_only = send(&server, b"HEAD /healthz HTTP/1.1\r\n\r\n");
    assert!(head_only.ends_with("\r\n\r\n"), "{head_only}");
}

#[test]
fn a_client_that_hangs_up_harms_nobody() {
    let server = serve(Vec::new(), |_| (), at(0));
    for _ in 0..10 {
        let mut stream = TcpStream::connect(server.local_addr()).unwrap();
        stream.write_all(b"GET /met").unwrap();
        stream.shutdown(Shutdown::Both).unwrap();
    }
    assert_eq!(fetch(&server, "/healthz").0, 200);
}

#[test]
fn the_port_is_free_again_when_the_server_is_dropped() {
    let server = serve(Vec::new(), |_| (), at(0));
    let address = server.local_addr();
    drop(server);
    assert!(TcpListener::bind(address).is_ok());
}
