use poolkeeper_core::github::reply::TransportErrorKind;
use poolkeeper_core::github::request::Auth;
use poolkeeper_shell::transport::Peer;

use super::*;
use crate::inbox::{Inbox, Message};
use crate::testing::{LONG, Server, config, get};

const ID: RequestId = RequestId(7);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";

fn vault() -> Arc<Vault> {
    Arc::new(Vault::open_with(&config(), |_| Some("ghp_MARKED0123456789".to_owned())).unwrap())
}

fn github(vault: &Arc<Vault>) -> GitHub {
    GitHub::open(&config().github, &Dns::new(), vault, &Arc::new(Telemetry::new("test"))).unwrap()
}

/// Puts a token into the slot of a call.
fn keep_token(vault: &Vault, id: RequestId) -> Slot {
    let headers = ReplyHeaders::default();
    let body = br#"{"token":"ghs_KEPT0123456789","expires_at":"2099-01-01T00:00:00Z"}"#.to_vec();
    let raw = RawReply { status: 201, headers, body };
    let _reply = vault.seal(CallKind::AccessToken, id, "main", raw, &Secret::new(String::new()), 0);
    assert_eq!(vault.slots(), 1);
    Slot(id)
}

fn caller(github: &GitHub) -> Caller {
    let settings = config().github.remove("main").unwrap();
    Caller::new(wires(&settings, &github.common.dns).unwrap(), github.common.clone(), true)
}

#[test]
fn a_call_that_waits_for_a_thread_goes_out_with_its_token_though_the_slot_was_dropped() {
    let server = Server::start();
    let vault = vault();
    let github = github(&vault);
    let (inbox, _answers) = Inbox::new();
    let start = |number, auth| {
        let (promise, _recall) = inbox.promise(Peer::GitHub(RequestId(number))).unwrap();
        github.start(RequestId(number), CallKind::ScaleSet, get(&server.url, auth), promise);
    };
    let at_work = u64::from(limiter::GITHUB.in_flight);
    let slot = keep_token(&vault, RequestId(1000));
    (0..at_work).for_each(|number| start(number, Auth::Credential));
    let held: Vec<_> = (0..at_work).map(|_| server.asked()).collect();

    start(at_work, Auth::Bearer(slot));
    vault.drop_slot(slot);
    for mut asked in held {
        asked.answer(OK);
    }

    let waited = server.asked();
    assert!(waited.head.contains("Bearer ghs_KEPT0123456789"), "{}", waited.head);
}

#[test]
fn a_call_that_is_called_off_ends_at_once_and_is_not_counted_as_broken() {
    let server = Server::start();
    let vault = vault();
    let github = github(&vault);
    let (inbox, answers) = Inbox::new();
    let (promise, recall) = inbox.promise(Peer::GitHub(ID)).unwrap();
    let mut caller = caller(&github);
    let request = get(&server.url, Auth::Credential);
    let call = Call { id: ID, kind: CallKind::Poll, request, kept: None, promise, held: None };
    let thread = std::thread::spawn(move || caller.carry(call));
    let _held = server.asked();

    recall.call_off();

    thread.join().unwrap();
    let Message::Event(event) = answers.recv_timeout(LONG).unwrap() else { panic!("no answer") };
    assert!(
        matches!(&*event, Event::GitHubReply { result: Err(error), .. } if error.kind == TransportErrorKind::Cancelled)
    );
    let mut metrics = String::new();
    github.common.telemetry.render(&mut metrics);
    assert!(!metrics.contains("outcome=\"broken\""), "{metrics}");
}

#[test]
fn a_secret_that_comes_after_its_call_was_called_off_is_not_kept() {
    let vault = vault();
    let github = github(&vault);
    let (inbox, _answers) = Inbox::new();
    let (promise, recall) = inbox.promise(Peer::GitHub(ID)).unwrap();
    keep_token(&vault, ID);

    recall.call_off();

    assert!(!caller(&github).hand_in(ID, promise, Err(not_sent("stands for any reply"))));
    assert_eq!(vault.slots(), 0);
}

#[test]
fn an_agent_serves_one_scheme_as_its_proxy_does() {
    let mut caller = caller(&github(&vault()));

    caller.agent(true);
    caller.agent(false);

    assert!(caller.agent.is_some_and(|kept| !kept.https));
}
