use poolkeeper_core::github::error::{CallError, CallErrorKind};
use poolkeeper_core::github::message::{JobMessage, JobMessageKind};
use poolkeeper_core::github::request::CallKind;
use poolkeeper_core::notice::{PoolFact, PoolId, Verdict};

use super::*;

fn pool_text(fact: PoolFact) -> Told {
    tell(&Notice::Pool { pool: PoolId(1), group: "g".into(), fact })
}

#[test]
fn a_refusal_says_what_and_how_to_mend() {
    let verdict = Verdict::Refused { problem: "tag runs-on-org is missing".to_owned(), mend: "add it".to_owned() };
    let told = pool_text(PoolFact::Verdict(verdict));
    assert_eq!((told.level, told.kind), (Level::ERROR, "refused"));
    assert_eq!(told.text, "nothing is done for this group: tag runs-on-org is missing; add it");
}

#[test]
fn a_message_is_summed_up() {
    let job = |kind| JobMessage { kind, ..JobMessage::default() };
    let jobs = vec![job(JobMessageKind::Started), job(JobMessageKind::Started), job(JobMessageKind::Completed)];
    let told = pool_text(PoolFact::Message { message: 9, jobs, unknown: 1 });
    assert_eq!(told.text, "message 9: 2 started, 1 completed, 1 of unknown type");
    let empty = pool_text(PoolFact::Message { message: 9, jobs: Vec::new(), unknown: 0 });
    assert_eq!(empty.text, "message 9: counts only");
}

#[test]
fn a_failed_call_names_githubs_id_and_the_next_attempt() {
    let error = CallError {
        kind: CallErrorKind::ServerError,
        status: Some(503),
        message: "busy".to_owned(),
        retry_after: None,
        activity_id: Some("abc".to_owned()),
    };
    let retry_in = Duration::from_millis(1_500);
    let told = pool_text(PoolFact::CallFailed { call: CallKind::Poll, error, retry_in });
    assert_eq!(told.text, "poll failed: server_error (HTTP 503): busy [activity abc]; tried again in 1 s");
}

#[test]
fn labels_that_differ_say_which_jobs_hang() {
    let fact =
        PoolFact::LabelsDiffer { missing: vec!["gpu".to_owned(), "big".to_owned()], extra: vec!["old".to_owned()] };
    let text = pool_text(fact).text;
    assert!(text.contains("jobs that ask for gpu, big will wait for ever"), "{text}");
    assert!(text.ends_with("it also has old"), "{text}");
}

#[test]
fn no_group_at_all_is_a_warning_that_says_which_tags_to_set() {
    let told = tell(&Notice::Aws(AwsFact::Listed { groups: 0 }));
    assert_eq!(told.level, Level::WARN);
    assert!(told.text.contains("runs-on-stack"), "{}", told.text);
}

#[test]
fn spans_are_read_easily() {
    let shown = [5, 1_999, 119_000, 120_000, 7_200_000].map(|ms| span(Duration::from_millis(ms)));
    assert_eq!(shown, ["5 ms", "1 s", "119 s", "2 min", "2 h"]);
}
