//! Whatever comes in, the model answers.

use poolkeeper_core::rng::Rng;
use poolkeeper_core::time::Now;

use super::client::Client;
use crate::http::{HttpRequest, Served};

const PIECES: &[&str] = &[
    "_services",
    "pipelines",
    "queue",
    "tenant0001",
    "_apis",
    "runtime",
    "runnerscalesets",
    "api",
    "v3",
    "orgs",
    "acme",
    "messages",
    "sessions",
    "1",
    "0",
    "18446744073709551615",
    "-1",
    "%",
    "%ff",
    "..",
    "",
    "?",
    "&",
    "=",
    "lastMessageId=x",
    "api-version=6.0-preview",
    "generatejitconfig",
    "acquirejobs",
    "distributedtask",
    "pools",
    "agents",
    "actions",
    "runner-registration",
    "\u{0}",
    "é",
];

#[test]
fn garbage_is_refused_with_a_client_error() {
    let mut client = Client::connected("acme");
    let set = client.create_set("linux");
    let session = client.open_session(set);
    let mut rng = Rng::new(11);
    let tokens = [client.admin.clone(), session.token, "nope".to_owned(), String::new()];
    let pick = |rng: &mut Rng, from: usize| usize::try_from(rng.below(u64::try_from(from).unwrap())).unwrap();
    for _ in 0..20_000 {
        let count = pick(&mut rng, 9);
        let parts: Vec<_> = (0..count).map(|_| PIECES[pick(&mut rng, PIECES.len())]).collect();
        let request = HttpRequest {
            method: ["GET", "POST", "PATCH", "DELETE", "PUT", ""][pick(&mut rng, 6)].into(),
            origin: ["http://x", "http://api.x", ""][pick(&mut rng, 3)].to_owned(),
            target: format!("/{}", parts.join("/")),
            headers: vec![
                ("authorization".into(), format!("Bearer {}", tokens[pick(&mut rng, 4)]).into()),
                ("x-scalesetmaxcapacity".into(), "-4".into()),
            ],
            body: PIECES[pick(&mut rng, PIECES.len())].as_bytes().to_vec(),
        };
        match client.github.serve(Now::default(), &request) {
            Served::Reply(reply) => {
                let fine = (400..500).contains(&reply.status) || reply.status == 200;
                assert!(fine, "{request:?} {}", reply.status);
            }
            other @ (Served::Held(_) | Served::Close | Served::CutShort(_)) => {
                panic!("{request:?} {other:?}")
            }
        }
    }
}

#[test]
fn bodies_that_are_no_json_are_refused() {
    let mut client = Client::connected("acme");
    let set = client.create_set("linux");
    let base = client.base.clone();
    let auth = format!("Bearer {}", client.admin);
    for path in ["runnerscalesets".to_owned(), format!("runnerscalesets/{set}/generatejitconfig")] {
        let url = format!("{base}_apis/runtime/{path}?api-version=6.0-preview");
        for body in ["\u{feff}", "text", "[]"] {
            let body = Some(serde_json::Value::String(body.to_owned()));
            let reply = client.send("POST", &url, &[("authorization", &auth)], body);
            assert_eq!(reply.status, 400, "{path}");
        }
    }
}

#[test]
fn a_poll_must_be_one() {
    let mut client = Client::connected("acme");
    let set = client.create_set("linux");
    let session = client.open_session(set);
    let auth = format!("Bearer {}", session.token);
    let accept = ("accept", "application/json; api-version=6.0-preview");
    let good = ("authorization", auth.as_str());
    let plain = client.send("GET", &session.url, &[good], None);
    assert_eq!(plain.status, 400, "no Accept");
    let negative = [good, accept, ("x-scalesetmaxcapacity", "-1")];
    assert_eq!(client.send("GET", &session.url, &negative, None).status, 400, "capacity");
    let stranger = session.url.replace("sessionId=", "sessionId=0");
    assert_eq!(client.send("GET", &stranger, &[good, accept], None).status, 404, "session");
    let odd = format!("{}&lastMessageId=one", session.url);
    assert_eq!(client.send("GET", &odd, &[good, accept], None).status, 400, "lastMessageId");
    let bare = client.send("GET", &session.url, &[accept], None);
    assert_eq!(bare.status, 401, "no token");
}
