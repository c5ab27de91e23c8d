//! One session against scripted answers.

use alloc::vec;

use super::*;
use crate::github::answer::Queue;
use crate::github::message::{Job, JobMessage, JobMessageKind, Message};
use crate::github::request::{RequestId, Slot};
use crate::rng::Rng;

struct Script {
    session: Session,
    now_ms: u64,
    rng: Rng,
}

impl Script {
    fn new() -> Self {
        let mut session = Session::new("host");
        session.set_capacity(5);
        Self { session, now_ms: 1000, rng: Rng::new(3) }
    }

    fn handle(&mut self, event: SessionEvent) -> Vec<SessionEffect> {
        let now = Instant::from_millis(self.now_ms);
        let mut cx = Turn { now, rng: &mut self.rng, discards_wait: false, configs_wait: false };
        let mut effects = Vec::new();
        self.session.handle(&mut cx, event, &mut effects);
        effects
    }

    /// What was to be remembered is kept.
    fn kept(&mut self) -> Vec<SessionEffect> {
        self.handle(SessionEvent::Remembered)
    }

    fn answer(&mut self, answer: Answer) -> Vec<SessionEffect> {
        self.handle(SessionEvent::Called(Ok(answer)))
    }

    fn fail(&mut self, kind: CallErrorKind, status: u16) -> Vec<SessionEffect> {
        self.handle(SessionEvent::Called(Err(CallError { kind, ..misbehaved(status, "scripted") })))
    }

    /// Waits for the timer, and ticks.
    fn wait(&mut self) -> Vec<SessionEffect> {
        self.now_ms = self.session.poll_timeout().expect("a timer").as_millis();
        self.handle(SessionEvent::Tick)
    }

    /// A session that polls, with the given counts.
    fn open(statistics: Statistics) -> Self {
        let mut script = Self::new();
        script.handle(SessionEvent::Open { scale_set: 9, left: None });
        script.answer(session(1, Some(statistics)));
        script.kept();
        script
    }
}

fn session(slot: u64, statistics: Option<Statistics>) -> Answer {
    let queue = Queue { url: "https://q/9?k=1".into(), token: Slot(RequestId(slot)) };
    Answer::Session(OpenedSession { id: "s-1".into(), queue, lifetime_s: Some(3600), statistics })
}

fn message(id: u64, offers: &[u64], statistics: Statistics) -> Answer {
    let offer = |request_id: &u64| JobMessage {
        kind: JobMessageKind::Available,
        job: Job { request_id: *request_id, ..Job::default() },
        ..JobMessage::default()
    };
    let jobs = offers.iter().map(offer).collect();
    Answer::Message(Some(Message { id, statistics: Some(statistics), jobs, unknown: 0 }))
}

fn call(effects: &[SessionEffect]) -> Option<&Call> {
    effects.iter().find_map(|effect| if let SessionEffect::Call(call) = effect { Some(call) } else { None })
}

fn called(effects: &[SessionEffect]) -> Option<CallKind> {
    call(effects).map(Call::kind)
}

#[test]
fn a_left_session_is_deleted_before_a_new_one_is_asked_for() {
    let mut script = Script::new();
    let effects = script.handle(SessionEvent::Open { scale_set: 9, left: Some("old".into()) });
    assert_eq!(effects, [SessionEffect::Call(Call::DeleteSession { scale_set: 9, session: "old".into() })]);
    let effects = script.fail(CallErrorKind::NotFound, 404);
    assert!(matches!(effects[..], [SessionEffect::Call(Call::CreateSession { .. })]), "{effects:?}");
}

#[test]
fn an_opened_session_is_remembered_tells_its_counts_and_polls_once_it_is_kept() {
    let mut script = Script::new();
    script.handle(SessionEvent::Open { scale_set: 9, left: None });
    let counts = Statistics { assigned: 2, ..Statistics::default() };
    let effects = script.answer(session(1, Some(counts)));
    assert_eq!(effects[0], SessionEffect::Remember("s-1".into()));
    assert_eq!(effects[1], SessionEffect::Opened { session: "s-1".into(), statistics: Some(counts) });
    assert!(script.session.is_open());
    assert_eq!((called(&effects), called(&script.kept())), (None, Some(CallKind::Poll)));
    assert_eq!(script.kept(), [], "another memory means nothing");
}

#[test]
fn a_session_whose_id_nobody_keeps_polls_after_a_while_all_the_same() {
    let mut script = Script::new();
    script.handle(SessionEvent::Open { scale_set: 9, left: None });
    script.answer(session(1, None));
    let begun_ms = script.now_ms;
    assert_eq!(called(&script.wait()), Some(CallKind::Poll));
    assert_eq!(script.now_ms - begun_ms, REMEMBER_WAIT.as_millis());
}

#[test]
fn a_message_that_could_not_be_acknowledged_is_asked_for_again() {
    let mut script = Script::open(Statistics::default());
    script.answer(message(7, &[], Statistics::default()));
    let effects = script.fail(CallErrorKind::NotFound, 404);
    assert!(matches!(call(&effects), Some(Call::Poll { last_message: 7, .. })), "newer ones are not held up");
    script.now_ms += 60_000;
    let effects = script.answer(Answer::Message(None));
    assert!(matches!(call(&effects), Some(Call::Poll { last_message: 0, .. })));
    script.answer(message(7, &[], Statistics::default()));
    assert!(matches!(call(&script.wait()), Some(Call::Acknowledge { message: 7, .. })));
    let effects = script.answer(Answer::Done);
    assert!(matches!(call(&effects), Some(Call::Poll { last_message: 0, .. })), "there may be more of them");
    script.now_ms += 50_000;
    let effects = script.answer(Answer::Message(None));
    assert!(matches!(call(&effects), Some(Call::Poll { last_message: 7, .. })));
}

#[test]
fn an_empty_answer_to_who_asks_for_the_oldest_message_proves_nothing() {
    let mut script = Script::open(Statistics::default());
    script.answer(message(7, &[], Statistics::default()));
    script.fail(CallErrorKind::NotFound, 404);
    script.now_ms += open::LOOK_BACK_AFTER.as_millis();
    let effects = script.answer(Answer::Message(None));
    assert!(matches!(call(&effects), Some(Call::Poll { last_message: 0, .. })));
    script.answer(Answer::EmptyReply);
    let effects = script.wait();
    assert!(matches!(call(&effects), Some(Call::Poll { last_message: 0, .. })), "it is asked for again");
}

#[test]
fn a_conflict_is_waited_out_for_ever() {
    let mut script = Script::new();
    script.handle(SessionEvent::Open { scale_set: 9, left: None });
    for _ in 0..50 {
        let effects = script.fail(CallErrorKind::SessionConflict, 409);
        assert!(matches!(effects[..], [SessionEffect::Standby(wait)] if wait <= STANDBY_CAP), "{effects:?}");
        assert_eq!(script.session.view(), SessionView::Standby);
        assert_eq!(called(&script.wait()), Some(CallKind::CreateSession));
    }
    script.answer(session(1, None));
    assert_eq!(called(&script.kept()), Some(CallKind::Poll));
}

#[test]
fn a_message_is_told_before_it_is_acknowledged_and_polling_goes_on_behind_it() {
    let mut script = Script::open(Statistics::default());
    let effects = script.answer(message(7, &[], Statistics::default()));
    assert!(matches!(effects[0], SessionEffect::Message(_)));
    assert!(matches!(call(&effects), Some(Call::Acknowledge { message: 7, .. })));
    let effects = script.answer(Answer::Done);
    assert!(matches!(call(&effects), Some(Call::Poll { last_message: 7, .. })));
}

#[test]
fn offers_are_acquired_up_to_the_room_before_the_message_is_acknowledged() {
    let mut script = Script::open(Statistics::default());
    let counts = Statistics { assigned: 2, acquired: 1, available: 4, ..Statistics::default() };
    let effects = script.answer(message(1, &[10, 11, 12, 13], counts));
    assert!(matches!(call(&effects), Some(Call::Acquire { request_ids, .. }) if *request_ids == [10, 11]));
    let effects = script.answer(Answer::Acquired(vec![10]));
    assert_eq!(effects[0], SessionEffect::Acquired { asked: 2, got: 1 });
    assert!(matches!(call(&effects), Some(Call::Acquire { request_ids, .. }) if *request_ids == [12]), "room is left");
    let effects = script.answer(Answer::Acquired(vec![12]));
    assert_eq!(called(&effects), Some(CallKind::Acknowledge), "13 is left for lack of room");
}

#[test]
fn waiting_jobs_are_listed_and_acquired_once_in_a_while() {
    let mut script = Script::new();
    script.handle(SessionEvent::Open { scale_set: 9, left: None });
    let counts = Statistics { available: 3, ..Statistics::default() };
    script.answer(session(1, Some(counts)));
    assert_eq!(called(&script.kept()), Some(CallKind::AcquirableJobs));
    let effects = script.answer(Answer::AcquirableJobs(vec![4, 5]));
    assert!(matches!(call(&effects), Some(Call::Acquire { request_ids, .. }) if *request_ids == [4, 5]));
    assert_eq!(called(&script.answer(Answer::Acquired(vec![4, 5]))), Some(CallKind::Poll));
}

#[test]
fn a_refused_acquire_does_not_hold_the_message_back() {
    let mut script = Script::open(Statistics::default());
    script.answer(message(1, &[10], Statistics::default()));
    assert_eq!(called(&script.fail(CallErrorKind::Refused, 400)), Some(CallKind::Acknowledge));
}

#[test]
fn an_acquire_that_may_succeed_later_is_tried_again_before_the_acknowledge() {
    let mut script = Script::open(Statistics::default());
    script.answer(message(1, &[10], Statistics::default()));
    let effects = script.fail(CallErrorKind::ServerError, 503);
    assert_eq!(called(&effects), None);
    assert_eq!(called(&script.wait()), Some(CallKind::Acquire));
}

#[test]
fn an_ended_token_is_refreshed_and_the_same_call_made_again() {
    let mut script = Script::open(Statistics::default());
    script.answer(message(3, &[], Statistics::default()));
    assert_eq!(called(&script.fail(CallErrorKind::Denied, 401)), Some(CallKind::RefreshSession));
    let effects = script.answer(session(2, None));
    assert_eq!(effects[0], SessionEffect::Drop(Slot(RequestId(1))));
    assert!(matches!(call(&effects), Some(Call::Acknowledge { message: 3, .. })));
}

#[test]
fn a_fresh_token_that_is_refused_too_means_that_the_session_is_lost() {
    let mut script = Script::open(Statistics::default());
    script.fail(CallErrorKind::Denied, 401);
    script.answer(session(2, None));
    let effects = script.fail(CallErrorKind::Denied, 401);
    assert!(matches!(effects[0], SessionEffect::Lost(_)), "{effects:?}");
    assert!(!script.session.is_open());
    assert_eq!(called(&script.wait()), Some(CallKind::DeleteSession));
}

#[test]
fn a_session_is_refreshed_before_its_token_ends() {
    let mut script = Script::open(Statistics::default());
    script.now_ms += 2_880_000;
    assert_eq!(called(&script.answer(Answer::Message(None))), Some(CallKind::RefreshSession));
}

#[test]
fn an_evicted_session_is_replaced_and_messages_begin_again() {
    let mut script = Script::open(Statistics::default());
    script.answer(message(8, &[], Statistics::default()));
    script.answer(Answer::Done);
    script.now_ms += LASTING.as_millis();
    let effects = script.fail(CallErrorKind::NotFound, 404);
    assert!(matches!(effects[0], SessionEffect::Lost(_)));
    assert_eq!(called(&effects), Some(CallKind::DeleteSession));
    assert_eq!(called(&script.fail(CallErrorKind::NotFound, 404)), Some(CallKind::CreateSession));
    script.answer(session(4, None));
    assert!(matches!(call(&script.kept()), Some(Call::Poll { last_message: 0, .. })));
}

#[test]
fn polls_that_end_at_once_are_slowed_down() {
    let mut script = Script::open(Statistics::default());
    let mut polls = 0;
    while script.now_ms < 61_000 {
        let effects = script.answer(Answer::Message(None));
        polls += 1;
        if called(&effects).is_none() {
            script.wait();
        }
    }
    assert!(polls < 12, "{polls} polls in a minute");
}

#[test]
fn a_redelivered_message_is_acknowledged_and_changes_nothing() {
    let mut script = Script::open(Statistics::default());
    script.answer(message(2, &[], Statistics::default()));
    script.answer(Answer::Done);
    let effects = script.answer(message(2, &[5], Statistics::default()));
    assert_eq!(effects, [SessionEffect::Redelivered(2)]);
    assert!(matches!(call(&script.wait()), Some(Call::Acknowledge { message: 2, .. })));
}

#[test]
fn closing_while_a_message_is_in_hand_acknowledges_it_first() {
    let mut script = Script::open(Statistics::default());
    script.answer(message(2, &[], Statistics::default()));
    assert_eq!(script.handle(SessionEvent::Close), []);
    assert_eq!(called(&script.answer(Answer::Done)), Some(CallKind::DeleteSession));
    let effects = script.answer(Answer::Done);
    assert_eq!(effects, [SessionEffect::Forget, SessionEffect::Closed]);
    assert!(script.session.is_closed());
}

#[test]
fn closing_while_polling_gives_the_poll_up() {
    let mut script = Script::open(Statistics::default());
    assert_eq!(script.handle(SessionEvent::Close), [SessionEffect::Cancel]);
    let effects = script.fail(CallErrorKind::Cancelled, 0);
    assert!(matches!(effects[..], [SessionEffect::Drop(_), SessionEffect::Call(Call::DeleteSession { .. })]));
}

#[test]
fn closing_refreshes_an_ended_token_to_acknowledge_the_message_in_hand() {
    let mut script = Script::open(Statistics::default());
    script.answer(message(2, &[], Statistics::default()));
    script.handle(SessionEvent::Close);
    assert_eq!(called(&script.fail(CallErrorKind::Denied, 401)), Some(CallKind::RefreshSession));
    assert_eq!(called(&script.answer(session(2, None))), Some(CallKind::Acknowledge));
    assert_eq!(called(&script.answer(Answer::Done)), Some(CallKind::DeleteSession));
}

#[test]
fn a_session_that_cannot_be_deleted_is_given_up_after_some_tries_and_stays_remembered() {
    let mut script = Script::open(Statistics::default());
    script.handle(SessionEvent::Close);
    script.fail(CallErrorKind::Cancelled, 0);
    for _ in 0..TRIES {
        let effects = script.fail(CallErrorKind::ServerError, 503);
        assert!(matches!(effects[..], [SessionEffect::Failed { call: CallKind::DeleteSession, .. }]), "{effects:?}");
        assert_eq!(called(&script.wait()), Some(CallKind::DeleteSession));
    }
    assert_eq!(script.fail(CallErrorKind::ServerError, 503), [SessionEffect::Closed]);
}

#[test]
fn a_closing_session_that_is_gone_already_is_forgotten() {
    let mut script = Script::open(Statistics::default());
    script.handle(SessionEvent::Close);
    script.fail(CallErrorKind::Cancelled, 0);
    assert_eq!(script.fail(CallErrorKind::NotFound, 404), [SessionEffect::Forget, SessionEffect::Closed]);
}

#[test]
fn a_list_that_cannot_be_had_is_told_and_left_alone_for_a_while() {
    let mut script = Script::new();
    script.handle(SessionEvent::Open { scale_set: 9, left: None });
    let counts = Statistics { available: 3, ..Statistics::default() };
    script.answer(session(1, Some(counts)));
    assert_eq!(called(&script.kept()), Some(CallKind::AcquirableJobs));
    let effects = script.fail(CallErrorKind::ServerError, 503);
    let told = SessionEffect::Failed {
        call: CallKind::AcquirableJobs,
        error: CallError { kind: CallErrorKind::ServerError, ..misbehaved(503, "scripted") },
        retry_in: LIST_AGAIN_AFTER,
    };
    assert_eq!(effects[0], told);
    assert_eq!(called(&effects), Some(CallKind::Poll));
    script.now_ms += 59_000;
    assert_eq!(called(&script.answer(Answer::Message(None))), Some(CallKind::Poll));
    script.now_ms += 2_000;
    assert_eq!(called(&script.answer(Answer::Message(None))), Some(CallKind::AcquirableJobs));
}

#[test]
fn a_refused_token_is_no_failure_to_tell() {
    let mut script = Script::open(Statistics::default());
    let effects = script.fail(CallErrorKind::Denied, 401);
    assert!(matches!(effects[..], [SessionEffect::Call(Call::RefreshSession { .. })]), "{effects:?}");
}

#[test]
fn an_acknowledge_that_keeps_failing_ends_the_session_and_a_poll_never_does() {
    let mut script = Script::open(Statistics::default());
    for _ in 0..3 * TRIES {
        assert!(matches!(script.fail(CallErrorKind::ServerError, 503)[..], [SessionEffect::Failed { .. }]));
        assert_eq!(called(&script.wait()), Some(CallKind::Poll));
    }
    script.answer(message(2, &[], Statistics::default()));
    for _ in 0..TRIES {
        assert!(matches!(script.fail(CallErrorKind::ServerError, 503)[..], [SessionEffect::Failed { .. }]));
        assert_eq!(called(&script.wait()), Some(CallKind::Acknowledge));
    }
    assert!(matches!(script.fail(CallErrorKind::ServerError, 503)[0], SessionEffect::Lost(_)));
}

#[test]
fn a_session_lost_with_its_set_says_so() {
    let mut script = Script::open(Statistics::default());
    let effects = script.fail(CallErrorKind::ScaleSetNotFound, 404);
    assert!(effects.contains(&SessionEffect::ScaleSetMissing), "{effects:?}");
    let mut script = Script::open(Statistics::default());
    let effects = script.fail(CallErrorKind::NotFound, 404);
    assert!(!effects.contains(&SessionEffect::ScaleSetMissing), "{effects:?}");
}

#[test]
fn losses_one_after_the_other_are_mended_ever_later_until_a_session_lasts() {
    let mut script = Script::open(Statistics::default());
    let mut waits = Vec::new();
    for _ in 0..6 {
        script.fail(CallErrorKind::NotFound, 404);
        waits.push(script.session.poll_timeout().unwrap().since(Instant::from_millis(script.now_ms)));
        script.wait();
        script.answer(Answer::Done);
        script.answer(session(1, None));
        script.kept();
        script.answer(message(1, &[], Statistics::default()));
        script.answer(Answer::Done);
    }
    assert!(waits[5] >= Duration::from_secs(15), "{waits:?}");
    script.now_ms += LASTING.as_millis();
    assert_eq!(called(&script.fail(CallErrorKind::NotFound, 404)), Some(CallKind::DeleteSession));
    script.answer(Answer::Done);
    script.answer(session(1, None));
    script.kept();
    script.fail(CallErrorKind::NotFound, 404);
    let wait = script.session.poll_timeout().unwrap().since(Instant::from_millis(script.now_ms));
    assert!(wait <= RETRY_FIRST, "{wait:?}");
}

#[test]
fn a_session_without_a_queue_is_deleted_and_asked_for_again() {
    let mut script = Script::new();
    script.handle(SessionEvent::Open { scale_set: 9, left: None });
    let Answer::Session(mut empty) = session(1, None) else { panic!("a session") };
    empty.queue.url.clear();
    let effects = script.answer(Answer::Session(empty));
    assert!(effects.contains(&SessionEffect::Remember("s-1".into())));
    assert_eq!(called(&script.wait()), Some(CallKind::DeleteSession));
}

#[test]
fn closing_while_a_lost_session_waits_to_be_replaced_deletes_it() {
    let mut script = Script::open(Statistics::default());
    script.fail(CallErrorKind::NotFound, 404);
    assert_eq!(called(&script.handle(SessionEvent::Close)), Some(CallKind::DeleteSession));
    assert_eq!(script.answer(Answer::Done), [SessionEffect::Forget, SessionEffect::Closed]);
}

#[test]
fn a_session_without_a_queue_that_is_no_longer_wanted_is_deleted() {
    let mut script = Script::new();
    script.handle(SessionEvent::Open { scale_set: 9, left: None });
    script.handle(SessionEvent::Close);
    let Answer::Session(mut empty) = session(1, None) else { panic!("a session") };
    empty.queue.url.clear();
    assert_eq!(called(&script.answer(Answer::Session(empty))), Some(CallKind::DeleteSession));
}

#[test]
fn each_acquire_is_counted_when_it_begins_and_when_it_ends() {
    let mut script = Script::open(Statistics::default());
    assert_eq!(script.session.acquires(), 0);
    script.answer(message(1, &[10], Statistics::default()));
    assert_eq!(script.session.acquires(), 1);
    script.answer(Answer::Acquired(vec![10]));
    assert_eq!(script.session.acquires(), 2);
    script.answer(Answer::Done);
    assert_eq!(script.session.acquires(), 2, "an acknowledge is none");
    script.answer(message(2, &[11], Statistics::default()));
    script.fail(CallErrorKind::Refused, 400);
    assert_eq!(script.session.acquires(), 4);
}

#[test]
fn what_nobody_understands_has_waiting_jobs_listed_at_once() {
    for (unknown, next) in [(1, CallKind::AcquirableJobs), (0, CallKind::Poll)] {
        let mut script = Script::new();
        script.handle(SessionEvent::Open { scale_set: 9, left: None });
        let waiting = Statistics { available: 3, ..Statistics::default() };
        script.answer(session(1, Some(waiting)));
        assert_eq!(called(&script.kept()), Some(CallKind::AcquirableJobs));
        script.answer(Answer::AcquirableJobs(vec![]));
        let message = Message { id: 7, statistics: Some(waiting), jobs: vec![], unknown };
        script.answer(Answer::Message(Some(message)));
        assert_eq!(called(&script.answer(Answer::Done)), Some(next), "{unknown} unknown");
    }
}

#[test]
fn a_poll_of_a_whole_second_is_quiet_and_a_shorter_one_is_not() {
    for (lasted_ms, next) in [(999, None), (1000, Some(CallKind::Poll))] {
        let mut script = Script::open(Statistics::default());
        script.now_ms += lasted_ms;
        assert_eq!(called(&script.answer(Answer::Message(None))), next, "after {lasted_ms} ms");
    }
}

#[test]
fn what_was_kept_already_does_not_end_another_rest() {
    let mut script = Script::open(Statistics::default());
    assert_eq!(script.answer(Answer::Message(None)), [], "too quick: it rests");
    let until = script.session.poll_timeout();
    assert_eq!(script.kept(), []);
    assert_eq!(script.session.poll_timeout(), until);
}

#[test]
fn a_message_whose_offers_are_gone_is_acknowledged_after_some_tries() {
    let offers: Vec<u64> = (1..=20).collect();
    let mut script = Script::open(Statistics::default());
    script.session.set_capacity(1);
    let mut next = called(&script.answer(message(7, &offers, Statistics::default())));
    let mut tries = 0;
    while next == Some(CallKind::Acquire) {
        tries += 1;
        next = called(&script.answer(Answer::Acquired(Vec::new())));
    }
    assert_eq!((tries, next), (open::ACQUIRES_A_POLL, Some(CallKind::Acknowledge)));
    assert_eq!(called(&script.answer(Answer::Done)), Some(CallKind::Poll));
    let again = script.answer(message(8, &[21], Statistics::default()));
    assert_eq!(called(&again), Some(CallKind::Acquire), "another message is another matter");
}
