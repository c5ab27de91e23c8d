//! Who can be let loose, and which checker is to notice.

use std::collections::BTreeSet;

use poolkeeper_core::github::request::CallKind;

use super::capacity::{Bends, Lazy, Meddles, Repeats, least_while_serving, less_while_pending, one_more};
use super::messages::{
    AcksAhead, AcksFirst, EmptyQueue, Greedy, IgnoresFirstCounts, Rewrites, hollow, one_job, without_offers,
};
use super::traffic::{
    Deaf, Doubles, Drops, Exits, Late, Leaks, Loops, NeverAgain, Recalls, admin_came, empty_success, is_drop,
    is_memory, is_poll, is_second_look, is_word_of_labels, limit_came, session_came, stop_came,
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
        on("target", "one more is written than was decided", || Box::new(Bends(|n| n + 1)), as_it_is),
        on("listening", "no poll is ever sent", || Box::new(Drops(is_poll)), as_it_is),
    ]
}

/// A saboteur by the name that incidents call it by.
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Saboteur>> {
    let never_again = |call| Box::new(NeverAgain { call, seen: BTreeSet::new() });
    Some(match name {
        "deaf_after_a_hung_poll" => Box::new(Deaf::default()),
        "exits_on_an_empty_success" => Box::new(Exits { when: empty_success, now: false }),
        "never_makes_a_set_again" => never_again(CallKind::CreateScaleSet),
        "never_opens_a_session_again" => never_again(CallKind::CreateSession),
        "makes_a_set_at_the_first_miss" => Box::new(Recalls::new(CallKind::CreateScaleSet, set_missed)),
        "ignores_first_counts" => Box::new(IgnoresFirstCounts),
        "acquires_beyond_capacity" => Box::new(Greedy),
        "drops_offers" => Box::new(Rewrites(without_offers)),
        "acknowledges_first" => acks_first(),
        "tells_jobs_apart_by_request_id" => Box::new(Rewrites(one_job)),
        "says_nothing_of_labels" => Box::new(Drops(is_word_of_labels)),
        "never_reads_again" => Box::new(Drops(is_second_look)),
        "does_not_wait" => impatient(),
        "hollow_messages" => Box::new(Rewrites(hollow)),
        "empty_queue_url" => Box::new(EmptyQueue(1)),
        _ => return None,
    })
}

fn set_missed(event: &poolkeeper_core::event::Event) -> bool {
    matches!(event, poolkeeper_core::event::Event::GitHubReply { result: Ok(reply), .. } if reply.status == 404)
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

/// It happens in the middle of the scenario.
fn happens(scenario: &mut Scenario, what: What) {
    scenario.events.push(Timed { at_ms: scenario.span_ms / 2, what });
}
