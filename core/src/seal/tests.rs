use alloc::format;
use alloc::string::ToString;
use alloc::vec;

use super::*;

const SLOT: Slot = Slot(crate::github::request::RequestId(7));
/// 2026-05-01T10:00:00Z.
const DATE: &str = "Fri, 01 May 2026 10:00:00 GMT";
const DATE_S: u64 = 1_777_629_600;
const SENT: &str = "sent-secret";

fn sealed(call: CallKind, status: u16, body: &str) -> (Body, Option<String>) {
    let headers = ReplyHeaders { date: Some(DATE.into()), ..ReplyHeaders::default() };
    let raw = RawReply { status, headers, body: body.as_bytes().to_vec() };
    let (reply, secret) = seal(call, SLOT, raw, &Secret::new(SENT.to_string()));
    assert_eq!(reply.status, status);
    (reply.body, secret.map(|secret| secret.reveal().to_string()))
}

fn token(len: u32, lifetime_s: Option<u64>) -> SealedSecret {
    SealedSecret { slot: SLOT, len, lifetime_s }
}

fn jwt(claims: &str) -> String {
    format!("head.{}.signature", URL_SAFE_NO_PAD.encode(claims))
}

#[test]
fn every_call_that_brings_a_secret_has_a_parser_and_no_other() {
    for call in CallKind::ALL {
        assert_eq!(parser(call).is_some(), call.is_sealed(), "{call:?}");
    }
}

#[test]
fn a_token_leaves_its_length_and_its_life_by_the_peers_own_clock() {
    let body = r#"{"token":"abcdefgh","expires_at":"2026-05-01T11:00:00Z"}"#;
    for call in [CallKind::AccessToken, CallKind::RegistrationToken] {
        let (kept, secret) = sealed(call, 201, body);
        assert_eq!(kept, Body::Sealed(Sealed::Token { token: token(8, Some(3600)) }));
        assert_eq!(secret.as_deref(), Some("abcdefgh"));
    }
    let (kept, _) = sealed(CallKind::AccessToken, 201, r#"{"token":"abcdefgh"}"#);
    assert_eq!(kept, Body::Sealed(Sealed::Token { token: token(8, None) }));
    let (kept, secret) = sealed(CallKind::AccessToken, 201, r#"{"token":""}"#);
    assert_eq!((kept, secret), (Body::Sealed(Sealed::Unparsed { len: 12 }), None));
}

#[test]
fn a_jwt_tells_its_own_life() {
    let life = |claims: &str| {
        let jwt = jwt(claims);
        let body = format!(r#"{{"url":"https://pipelines","token":"{jwt}"}}"#);
        let (kept, secret) = sealed(CallKind::AdminConnection, 200, &body);
        assert_eq!(secret.as_deref(), Some(jwt.as_str()));
        let Body::Sealed(Sealed::AdminConnection { url, token }) = kept else { panic!("{kept:?}") };
        assert_eq!((url.as_str(), usize::try_from(token.len).unwrap()), ("https://pipelines", jwt.len()));
        token.lifetime_s
    };
    assert_eq!(life(r#"{"exp":1000,"iat":400}"#), Some(600));
    assert_eq!(life(r#"{"exp":400,"iat":400}"#), Some(0));
    let until = |exp: u64, rest: &str| life(&format!(r#"{{"exp":{exp}{rest}}}"#));
    assert_eq!(until(DATE_S + 90, ""), Some(90), "without its beginning, by the reply's date");
    assert_eq!(until(DATE_S + 90, &format!(r#","iat":{}"#, DATE_S + 91)), Some(90), "ends before it begins");
    assert_eq!(until(DATE_S - 5, ""), Some(0));
    assert_eq!(life(r#"{"iat":400}"#), None);
}

#[test]
fn a_connection_without_a_place_is_none() {
    let (kept, secret) = sealed(CallKind::AdminConnection, 200, r#"{"url":"","token":"abcdefgh"}"#);
    assert_eq!((kept, secret), (Body::Sealed(Sealed::Unparsed { len: 29 }), None));
}

#[test]
fn a_session_keeps_all_but_its_token() {
    let body = r#"{"sessionId":"s-1","messageQueueUrl":"https://queue","messageQueueAccessToken":"abcdefgh"}"#;
    for call in [CallKind::CreateSession, CallKind::RefreshSession] {
        let (kept, secret) = sealed(call, 200, body);
        let session = Sealed::Session {
            session_id: "s-1".into(),
            message_queue_url: "https://queue".into(),
            token: token(8, None),
            statistics: None,
        };
        assert_eq!((kept, secret.as_deref()), (Body::Sealed(session), Some("abcdefgh")));
    }
    assert_eq!(sealed(CallKind::CreateSession, 200, r#"{"sessionId":""}"#).1, None);
}

#[test]
fn a_config_leaves_its_runner() {
    let body = r#"{"runner":{"id":5,"name":"i-1","runnerScaleSetId":2},"encodedJITConfig":"abcdefgh"}"#;
    let (kept, secret) = sealed(CallKind::JitConfig, 200, body);
    let runner = Runner { id: 5, name: "i-1".into(), runner_scale_set_id: 2, ..Runner::default() };
    assert_eq!(kept, Body::Sealed(Sealed::JitConfig { runner, config: token(8, None) }));
    assert_eq!(secret.as_deref(), Some("abcdefgh"));
}

#[test]
fn a_refusal_keeps_what_it_says_and_no_more_than_that() {
    let long = "x".repeat(MESSAGE_CHARS + 9);
    let body = format!(r#"{{"typeName":"SomeException","message":"{long}","token":"abcdefgh"}}"#);
    let (kept, secret) = sealed(CallKind::JitConfig, 409, &body);
    let message = "x".repeat(MESSAGE_CHARS);
    assert_eq!(kept, Body::Sealed(Sealed::Error { type_name: "SomeException".into(), message }));
    assert_eq!(secret, None);
    assert_eq!(sealed(CallKind::JitConfig, 502, "<html>").0, Body::Sealed(Sealed::Unparsed { len: 6 }));
}

#[test]
fn a_mark_before_the_body_is_no_matter() {
    let (_, secret) = sealed(CallKind::AccessToken, 201, "\u{feff}{\"token\":\"abcdefgh\"}");
    assert_eq!(secret.as_deref(), Some("abcdefgh"));
}

fn echoed(sent: &str, body: &[u8], activity: &str) -> (Vec<u8>, Option<String>) {
    let headers = ReplyHeaders { activity_id: Some(activity.into()), ..ReplyHeaders::default() };
    let raw = RawReply { status: 200, headers, body: body.to_vec() };
    let (reply, _) = seal(CallKind::Poll, SLOT, raw, &Secret::new(sent.to_string()));
    let Body::Raw(Bytes(body)) = reply.body else { panic!("a poll is not sealed") };
    (body, reply.headers.activity_id)
}

#[test]
fn what_was_sent_is_taken_out_wherever_it_is_echoed() {
    let (body, header) = echoed(SENT, b"you sent sent-secret, sent-secret", "of sent-secret");
    assert_eq!(body, b"you sent [redacted], [redacted]");
    assert_eq!(header.as_deref(), Some("of [redacted]"));
    assert_eq!(echoed(SENT, SENT.as_bytes(), SENT), (REDACTED.into(), Some(REDACTED.into())));
    let (body, _) = echoed(SENT, b"\xff sent-secret", "");
    assert_eq!(body, "\u{fffd} [redacted]".as_bytes());
}

#[test]
fn what_holds_no_secret_stays_as_it_is() {
    let untouched = |sent: &str, body: &[u8], header: &str| {
        assert_eq!(echoed(sent, body, header), (body.to_vec(), Some(header.into())), "{sent}");
    };
    untouched(SENT, b"nothing of it in here", "nor in this header");
    untouched(SENT, b"\xff\xfe not even text", "x");
    untouched(SENT, b"short", "");
    // Seven characters are no secret; eight are.
    untouched("1234567", b"1234567", "1234567");
    assert_eq!(echoed("12345678", b"12345678", "x").0, REDACTED.as_bytes());
    untouched("", b"", "");
}

/// Its end may stand in front of it, or begin within itself.
#[test]
fn a_secret_is_found_wherever_its_end_recurs() {
    let unlike = |n: usize| [format!("x{}", "a".repeat(n)), format!("{}b", "a".repeat(n)), "ab".repeat(n / 2)];
    for secret in [30, 31, 32, 33, 100].into_iter().flat_map(unlike) {
        let half = secret.len() / 2;
        for before in ["", "a", "b", "x", &secret[1..], &secret[half..], &secret[..half], &"a".repeat(200)] {
            let (body, _) = echoed(&secret, format!("{before}{secret}!").as_bytes(), "");
            let body = String::from_utf8(body).expect("text");
            assert!(body.contains(REDACTED) && !body.contains(&secret), "{before}: {body}");
        }
        let (all_but, rest) = (&secret[..secret.len() - 1], &secret[1..]);
        let (body, _) = echoed(&secret, format!("{all_but}!{rest}").as_bytes(), "");
        assert!(!String::from_utf8_lossy(&body).contains(REDACTED), "no secret: {secret}");
    }
}

#[test]
fn a_secret_prints_as_nothing() {
    let secrets = vec![Secret::new(SENT.to_string())];
    assert_eq!(format!("{secrets:?}"), "[[redacted]]");
    assert_eq!(secrets[0].reveal(), SENT);
}
