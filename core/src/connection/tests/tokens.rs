//! When tokens are asked for again, to the millisecond, and what a refusal costs.

use super::*;

const LIFETIME_MS: u64 = 3_600_000;
const EARLY_MS: u64 = LIFETIME_MS / 5 * 4;

impl Script {
    fn sent_kinds(&self) -> Vec<CallKind> {
        self.sent.iter().map(|(_, call, _)| *call).collect()
    }

    fn token(&mut self) -> CallKind {
        self.reply(sealed(|token| Sealed::Token { token })).0
    }

    fn renew_admin(&mut self) {
        assert_eq!(self.token(), CallKind::RegistrationToken);
        assert_eq!(self.reply(sealed(admin)).0, CallKind::AdminConnection);
    }

    /// An App's connection whose registration token is asked for next.
    fn installed() -> Self {
        let mut script = Self::new(CredentialKind::App { installation: None });
        script.ask(Call::ScaleSets);
        script.reply(text(r#"{"id":42}"#));
        assert_eq!(script.token(), CallKind::AccessToken);
        assert_eq!(script.sent_kinds(), [CallKind::RegistrationToken]);
        script
    }
}

#[test]
fn a_token_is_renewed_at_four_fifths_of_its_life_and_no_sooner() {
    let mut script = Script::connected();
    script.now_ms += EARLY_MS - 1;
    script.ask(Call::ScaleSets);
    assert_eq!(script.sent_kinds(), [CallKind::ScaleSets]);
    script.reply(text(r#"{"count":0,"value":[]}"#));
    script.now_ms += 1;
    script.ask(Call::ScaleSets);
    assert_eq!(script.sent_kinds(), [CallKind::RegistrationToken, CallKind::ScaleSets]);
}

#[test]
fn a_token_whose_life_is_over_opens_nothing() {
    let mut script = Script::connected();
    script.now_ms += LIFETIME_MS - 1;
    script.ask(Call::ScaleSets);
    assert_eq!(script.sent_kinds(), [CallKind::RegistrationToken, CallKind::ScaleSets]);
    let mut script = Script::connected();
    script.now_ms += LIFETIME_MS;
    script.ask(Call::ScaleSets);
    assert_eq!(script.sent_kinds(), [CallKind::RegistrationToken]);
}

#[test]
fn an_access_token_is_renewed_at_four_fifths_of_its_life() {
    for (age_ms, asked) in [(EARLY_MS - 1, CallKind::RegistrationToken), (EARLY_MS, CallKind::AccessToken)] {
        let mut script = Script::installed();
        script.reply(status(500));
        script.now_ms += age_ms;
        script.handle(ConnectionEvent::Tick);
        assert_eq!(script.sent_kinds(), [asked]);
    }
}

#[test]
fn a_call_that_an_old_token_was_refused_for_is_made_with_the_new_one() {
    let mut script = Script::connected();
    script.now_ms += EARLY_MS;
    script.ask(Call::ScaleSets);
    let asked = script.sent.pop_back().expect("the call went out with the old token");
    assert_eq!(script.token(), CallKind::RegistrationToken);
    script.ask(group("other"));
    let new = script.sent.front().map(|(id, _, _)| *id).expect("the admin token is asked for");
    assert_eq!(script.reply(sealed(admin)).0, CallKind::AdminConnection);
    script.sent.clear();
    script.sent.push_front(asked);
    script.reply(status(401));
    let (_, call, request) = script.sent.front().expect("it goes out again at once");
    assert_eq!((*call, request.auth), (CallKind::ScaleSets, Auth::Bearer(Slot(new))));
    assert!(!script.dropped.contains(&Slot(new)));
}

#[test]
fn half_a_minute_after_a_token_came_it_is_renewed_again() {
    let mut script = Script::connected();
    script.now_ms += RENEW_AT_MOST_EVERY_MS;
    script.ask(Call::ScaleSets);
    script.reply(status(401));
    assert_eq!(script.sent_kinds(), [CallKind::RegistrationToken]);
}

#[test]
fn a_call_is_made_twice_and_no_more_however_old_the_second_token_is() {
    let mut script = Script::connected();
    script.now_ms += 60_000;
    script.ask(Call::ScaleSets);
    script.reply(status(401));
    script.renew_admin();
    script.now_ms += 60_000;
    assert_eq!(script.reply(status(401)).0, CallKind::ScaleSets);
    assert_eq!(script.called.last().unwrap().as_ref().unwrap_err().kind, CallErrorKind::Denied);
    assert!(script.sent.is_empty());
}

#[test]
fn a_refused_registration_costs_the_access_token_and_an_outage_does_not() {
    for (refusal, next) in [(403, CallKind::AccessToken), (500, CallKind::RegistrationToken)] {
        let mut script = Script::installed();
        assert_eq!(script.reply(status(refusal)).0, CallKind::RegistrationToken);
        assert_eq!(script.dropped.len(), usize::from(refusal == 403));
        script.wait();
        assert_eq!(script.sent_kinds(), [next], "after {refusal}");
    }
}

#[test]
fn a_refused_access_token_costs_the_installation_that_was_looked_up() {
    let found = CredentialKind::App { installation: None };
    let told = CredentialKind::App { installation: Some(42) };
    let cases =
        [(found, 404, CallKind::Installation), (found, 500, CallKind::AccessToken), (told, 404, CallKind::AccessToken)];
    for (credential, refusal, next) in cases {
        let mut script = Script::new(credential);
        script.ask(Call::ScaleSets);
        if credential == found {
            script.reply(text(r#"{"id":42}"#));
        }
        assert_eq!(script.reply(status(refusal)).0, CallKind::AccessToken);
        script.wait();
        assert_eq!(script.sent_kinds(), [next], "{credential:?} after {refusal}");
    }
}

#[test]
fn what_a_token_is_read_from_may_be_a_mebibyte() {
    let mut script = Script::new(CredentialKind::Pat);
    script.ask(Call::ScaleSets);
    let (_, request) = script.reply(sealed(|token| Sealed::Token { token }));
    assert_eq!((request.max_body, request.timeout), (1_048_576, Duration::from_secs(30)));
}
