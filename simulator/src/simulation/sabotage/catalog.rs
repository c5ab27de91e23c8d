//! Who can be let loose, and which checker is to notice.

use poolkeeper_core::github::request::CallKind;

use super::capacity::{Bends, Lazy, Meddles, Repeats, Yields, least_while_serving, less_while_pending, one_more};
use super::managed::{OpensTheGate, Vouches, is_removal};
use super::messages::{AcksAhead, AcksFirst, Greedy, Rewrites, one_job};
use super::traffic::{
    Doubles, Drops, Exits, Late, Leaks, Loops, NeverAgain, Recalls, admin_came, conflict, empty_success, is_drop,
    is_memory, is_poll, is_word_of_labels, limit_came, session_came, stop_came,
};
use super::{Forger, Saboteur, Together};
use crate::scenario::{Scenario, Timed, What};
use crate::world::{FaultAction, WaitHeader, Weather};

/// A sabotage, and the checker that is to notice it.
pub struct Sabotage {
    /// The checker's name.
    pub checker: &'static str,
    /// What is done, in a sentence.
    pub story: &'static str,
    /// Does it; nobody where a defence of the machine is off instead.
    pub saboteur: fn() -> Box<dyn Saboteur>,
    /// Makes sure that a scenario gives an occasion.
    pub occasion: fn(&mut Scenario),
}

impl std::fmt::Debug for Sabotage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sabotage").field("checker", &self.checker).field("story", &self.story).finish_non_exhaustive()
    }
}

/// One that is caught by each checker.
#[must_use]
pub fn all() -> Vec<Sabotage> {
    let on = |checker, story, saboteur, occasion| Sabotage { checker, story, saboteur, occasion };
    vec![
        on("no_secret", "a token is sent in a body", || Box::new(Leaks), as_it_is),
        on("ends_once", "an acknowledge goes out twice under one number", || acknowledges_twice(true), as_it_is),
        on("one_session", "each poll has a second one beside it", || polls_twice(), as_it_is),
        on(
            "renewals",
            "the admin token is asked for again as it comes",
            || Box::new(Recalls::new(CallKind::AdminConnection, admin_came)),
            as_it_is,
        ),
        on("timers", "every timer is five seconds late", || Box::new(Late), as_it_is),
        on("bounded", "no secret is ever dropped", || Box::new(Drops(is_drop)), short_tokens),
        on("effort", "each describe is made a hundred times", || Box::new(Loops::default()), as_it_is),
        on("patient", "GitHub's wish to wait is not heard", impatient, rate_limits),
        on("bounds", "one more is written than was decided", || Box::new(Bends(|n| n + 1)), as_it_is),
        on("news_only", "each write is made again once it was taken", || Box::new(Repeats::default()), as_it_is),
        on(
            "safe_lowering",
            "capacity is lowered while an instance comes up",
            || Box::new(Meddles::new(less_while_pending)),
            as_it_is,
        ),
        on("passive", "capacity is written before there is a session", || Box::new(Meddles::new(one_more)), as_it_is),
        on("held_target", "half of what was decided is written", || Box::new(Bends(|n| n / 2)), as_it_is),
        on("ack_last", "the message after the one that came is acknowledged", || Box::new(AcksAhead), as_it_is),
        on("ack_last", "a message is acknowledged before its offers are acquired", acks_first, enterprise),
        on("acquisition", "a hundred jobs too many are acquired", || Box::new(Greedy), enterprise),
        on("remembers", "no session is remembered", || Box::new(Drops(is_memory)), as_it_is),
        on(
            "proved_gone",
            "a scale set is made again while it stands",
            || Box::new(Recalls::new(CallKind::CreateScaleSet, session_came)),
            as_it_is,
        ),
        on("keeps_pools", "the brake on mass disappearance is off", || nobody(), vanish_unbraked),
        on(
            "stops_quietly",
            "a poll is begun after the stop",
            || Box::new(Recalls::new(CallKind::Poll, stop_came)),
            stop,
        ),
        on(
            "no_victim",
            "capacity is lowered to the least while jobs run",
            || Box::new(Meddles::new(least_while_serving)),
            unprotected,
        ),
        on("jobs_end", "no write ever reaches AWS", || Box::new(Lazy), as_it_is),
        on("stays_up", "the process ends at a poll's empty answer", exits_on_an_empty_success, empty_polls),
        on("tells_labels", "nothing is said of labels that GitHub did not take", says_nothing_of_labels, relabelled),
        on("target", "one more is written than was decided", || Box::new(Bends(|n| n + 1)), as_it_is),
        on("protected_first", "every instance is said to be protected", || Box::new(Vouches), managed_and_unprotected),
        on("out_first", "writes wait until an instance is ended", || Box::new(Yields::default()), managed),
        on(
            "proven_free",
            "runners that GitHub does not remove count as removed",
            || Box::new(OpensTheGate::default()),
            managed,
        ),
        on(
            "no_victim",
            "runners that GitHub does not remove count as removed",
            || Box::new(OpensTheGate::default()),
            managed,
        ),
        on("nothing_left", "no runner is ever removed", || Box::new(Drops(is_removal)), managed_and_broken),
        on("listening", "no poll is ever sent", || Box::new(Drops(is_poll)), as_it_is),
    ]
}

/// A saboteur by the name that incidents call it by.
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Saboteur>> {
    Some(match name {
        "exits_on_a_conflict" => Box::new(Exits { when: conflict, now: false }),
        "exits_on_an_empty_success" => exits_on_an_empty_success(),
        "opens_the_gate" => Box::new(OpensTheGate::default()),
        "never_opens_a_session_again" => Box::new(NeverAgain::new(CallKind::CreateSession)),
        "says_nothing_of_labels" => says_nothing_of_labels(),
        "tells_jobs_apart_by_request_id" => Box::new(Rewrites(one_job)),
        _ => return None,
    })
}

fn nobody() -> Box<dyn Saboteur> {
    Box::new(Together(Vec::new()))
}

fn acknowledges_twice(same_number: bool) -> Box<dyn Saboteur> {
    Box::new(Doubles { call: CallKind::Acknowledge, same_number, forger: Forger::default() })
}

fn polls_twice() -> Box<dyn Saboteur> {
    Box::new(Doubles { call: CallKind::Poll, same_number: false, forger: Forger::default() })
}

fn acks_first() -> Box<dyn Saboteur> {
    Box::new(AcksFirst::default())
}

fn exits_on_an_empty_success() -> Box<dyn Saboteur> {
    Box::new(Exits { when: empty_success, now: false })
}

fn says_nothing_of_labels() -> Box<dyn Saboteur> {
    Box::new(Drops(is_word_of_labels))
}

fn impatient() -> Box<dyn Saboteur> {
    Box::new(Recalls::new(CallKind::CreateSession, limit_came))
}

const fn as_it_is(_: &mut Scenario) {}

fn enterprise(scenario: &mut Scenario) {
    scenario.knobs.enterprise = true;
}

fn short_tokens(scenario: &mut Scenario) {
    scenario.knobs.queue_token_s = 60;
}

fn unprotected(scenario: &mut Scenario) {
    for pool in &mut scenario.pools {
        pool.unprotected = true;
    }
}

const fn managed(scenario: &mut Scenario) {
    scenario.knobs.managed = true;
}

fn managed_and_unprotected(scenario: &mut Scenario) {
    managed(scenario);
    unprotected(scenario);
}

const fn managed_and_broken(scenario: &mut Scenario) {
    managed(scenario);
    scenario.knobs.broken_percent = 30;
}

fn stop(scenario: &mut Scenario) {
    happens(scenario, What::Stop { daemon: 0, down_ms: 20_000 });
}

fn vanish_unbraked(scenario: &mut Scenario) {
    scenario.knobs.defences.brake_on_mass_disappearance = false;
    happens(scenario, What::Hide { groups: Vec::new(), for_ms: 600_000 });
}

fn rate_limits(scenario: &mut Scenario) {
    let action = FaultAction::RateLimit { code: 429, wait_s: 30, header: WaitHeader::RetryAfter };
    let weather = Weather { call: "create_session".to_owned(), per_mille: 500, action };
    scenario.events.push(Timed { at_ms: 0, what: What::Weather { for_ms: scenario.span_ms, weather } });
}

fn empty_polls(scenario: &mut Scenario) {
    let weather = Weather { call: "poll".to_owned(), per_mille: 500, action: FaultAction::EmptyOk };
    scenario.events.push(Timed { at_ms: 0, what: What::Weather { for_ms: scenario.span_ms, weather } });
}

fn relabelled(scenario: &mut Scenario) {
    scenario.knobs.labels_create_only = true;
    let Some(pool) = scenario.pools.first() else { return };
    let (group, key, value) = (pool.group.clone(), "runs-on-labels".into(), "big fast".into());
    happens(scenario, What::SetTag { group, key, value });
}

/// It happens in the middle of the scenario.
fn happens(scenario: &mut Scenario, what: What) {
    scenario.events.push(Timed { at_ms: scenario.span_ms / 2, what });
}
