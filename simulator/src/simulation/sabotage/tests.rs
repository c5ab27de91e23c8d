use super::{Sabotage, all};
use crate::scenario::{Scenario, run_prepared};
use crate::simulation::check;

/// A checker that notices nothing in so many scenarios would hardly notice a fault of ours.
const SEEDS: u64 = 2000;
/// Scenarios of a test end early: what is to be noticed happens soon.
const SPAN_MS: u64 = 20 * 60_000;

/// The first seed whose scenario lets the checker notice.
fn noticed(sabotage: &Sabotage) -> Option<u64> {
    (0..SEEDS).find(|seed| {
        let mut scenario = Scenario::from_seed(*seed);
        scenario.span_ms = SPAN_MS;
        scenario.pools.truncate(4);
        scenario.events.clear();
        (sabotage.occasion)(&mut scenario);
        scenario.events.extend(Scenario::from_seed(*seed).events);
        let verdict = run_prepared(&scenario, |simulation| {
            simulation.judge_by(sabotage.checker);
            simulation.sabotage((sabotage.saboteur)());
        });
        verdict.failure.is_some_and(|failure| failure.checker == sabotage.checker)
    })
}

#[test]
fn each_checker_notices_a_sabotage() {
    let sabotages = all();
    let unwatched: Vec<_> = check::all()
        .iter()
        .map(|checker| checker.name())
        .filter(|name| !sabotages.iter().any(|sabotage| sabotage.checker == *name))
        .collect();
    assert!(unwatched.is_empty(), "no sabotage shows that these can fail: {unwatched:?}");
    let unnoticed: Vec<_> = sabotages.iter().filter(|sabotage| noticed(sabotage).is_none()).collect();
    assert!(unnoticed.is_empty(), "not noticed in {SEEDS} seeds: {unnoticed:#?}");
}

#[test]
fn without_sabotage_the_same_scenarios_pass() {
    for sabotage in all() {
        let mut scenario = Scenario::from_seed(1);
        scenario.span_ms = SPAN_MS;
        scenario.pools.truncate(4);
        (sabotage.occasion)(&mut scenario);
        scenario.knobs.defences = poolkeeper_core::config::Defences::default();
        let verdict = run_prepared(&scenario, |simulation| simulation.judge_by(sabotage.checker));
        assert_eq!(verdict.failure, None, "{}: {}", sabotage.checker, sabotage.story);
    }
}
