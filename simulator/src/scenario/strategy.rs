//! Scenarios as a proptest strategy draws them: the same data as a seed's, and what fails shrinks to a short story that
//! is kept as a file for `poolkeeper-sim fuzz FILE`.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use poolkeeper_core::short_text::ShortText;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{TestError, TestRunner};

use super::{Demand, Knobs, PoolPlan, Scenario, Timed, What};
use crate::world::{FaultAction, Weather};

const MINUTE_MS: u64 = 60_000;
/// The shortest and the longest time for which things go wrong.
const SPAN_MS: (u64, u64) = (10 * MINUTE_MS, 20 * MINUTE_MS);
/// The most pools.
const MOST_POOLS: usize = 3;
/// The most events.
const MOST_EVENTS: usize = 12;
const CALLS: [&str; 8] =
    ["github", "poll", "create_session", "acknowledge", "acquire", "aws", "SetDesiredCapacity", "refresh_session"];

/// Any scenario: up to three pools and a dozen events. It shrinks to fewer of both, and to the usual knobs.
pub fn scenario() -> impl Strategy<Value = Scenario> {
    let pools = proptest::collection::vec(plan(), 1..=MOST_POOLS);
    let events = proptest::collection::vec(timed(), 0..=MOST_EVENTS);
    (any::<u64>(), SPAN_MS.0..SPAN_MS.1, knobs(), pools, events).prop_map(|(seed, span_ms, knobs, plans, events)| {
        let pools = plans.into_iter().enumerate().map(|(n, plan)| named(n, plan)).collect();
        Scenario { knobs, events, ..Scenario::quiet(seed, span_ms, pools) }
    })
}

/// One pool; its names follow from its place.
fn plan() -> impl Strategy<Value = PoolPlan> {
    (1..10_u32, 0..2_u32, 0..2_u32).prop_map(|(max, size_min, idle)| PoolPlan {
        group: ShortText::default(),
        org: "org1".to_owned(),
        pool: String::new(),
        min: 0,
        max,
        size_min,
        size_max: max,
        idle,
        unprotected: false,
        warm: 0,
        hook: false,
    })
}

fn named(number: usize, plan: PoolPlan) -> PoolPlan {
    PoolPlan { group: format!("asg-{number}").into(), pool: format!("p{number}"), ..plan }
}

/// What differs from the usual; each knob shrinks to the usual.
fn knobs() -> impl Strategy<Value = Knobs> {
    let latency = select(vec![(5, 50), (1, 5), (200, 4000)]);
    let grace = select(vec![90_000_u64, 0, 10_000]);
    let lag = select(vec![0_u64, 3000]);
    let token = select(vec![3600_u64, 90]);
    (any::<bool>(), latency, grace, lag, token).prop_map(|(enterprise, latency_ms, idle_grace_ms, lag, token)| Knobs {
        enterprise,
        latency_ms,
        idle_grace_ms,
        describe_lag_ms: lag,
        queue_token_s: token,
        ..Knobs::default()
    })
}

fn timed() -> impl Strategy<Value = Timed> {
    (0..SPAN_MS.1, what()).prop_map(|(at_ms, what)| Timed { at_ms, what })
}

fn group() -> impl Strategy<Value = ShortText> {
    (0..MOST_POOLS).prop_map(|n| format!("asg-{n}").into())
}

fn for_ms() -> impl Strategy<Value = u64> {
    1000..5 * MINUTE_MS
}

fn what() -> impl Strategy<Value = What> {
    let demand = (group(), 1..20_u64, 0..5000_u64, 1000..120_000_u64).prop_map(|(group, jobs, gap_ms, longest)| {
        What::Jobs(Demand { group, jobs, gap_ms, runs_ms: (1000, longest), canceled_percent: 0 })
    });
    let weather =
        (for_ms(), select(CALLS.to_vec()), 50..1000_u64, action()).prop_map(|(for_ms, call, per_mille, action)| {
            What::Weather { for_ms, weather: Weather { call: call.to_owned(), per_mille, action } }
        });
    let crash = (for_ms(), any::<bool>(), proptest::option::of(0..4_usize))
        .prop_map(|(down_ms, forget, in_step)| What::Crash { daemon: 0, down_ms, forget, in_step });
    let bounds = (group(), 0..3_u32, 1..10_u32).prop_map(|(group, min, more)| What::SetBounds {
        group,
        min,
        max: min.saturating_add(more),
    });
    let hide = (for_ms(), any::<bool>(), group())
        .prop_map(|(for_ms, all, group)| What::Hide { groups: if all { Vec::new() } else { vec![group] }, for_ms });
    prop_oneof![
        6 => demand,
        4 => weather,
        2 => crash,
        1 => bounds,
        1 => hide,
        1 => group().prop_map(|group| What::EndSession { group }),
        1 => Just(What::ExpireTokens {}),
        1 => for_ms().prop_map(|for_ms| What::LaggingStatistics { for_ms }),
        1 => for_ms().prop_map(|for_ms| What::Redeliver { for_ms }),
        1 => (group(), 0..10_u32).prop_map(|(group, to)| What::SetDesired { group, to }),
        1 => (group(), 1..3_u32).prop_map(|(group, instances)| What::Reclaim { group, instances }),
        1 => for_ms().prop_map(|down_ms| What::Stop { daemon: 0, down_ms }),
        1 => for_ms().prop_map(|for_ms| What::SecondDaemon { for_ms }),
        1 => (-7_200_000..7_200_000_i64).prop_map(|by_ms| What::JumpClock { by_ms }),
    ]
}

fn action() -> impl Strategy<Value = FaultAction> {
    let status = select(vec![401_u16, 403, 404, 409, 429, 500, 503]).prop_map(|code| FaultAction::Status {
        code,
        body: String::new(),
        headers: Default::default(),
    });
    prop_oneof![status, Just(FaultAction::EmptyOk), Just(FaultAction::Html)]
}

/// A scenario that does not hold, as short as it became.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    /// The scenario.
    pub scenario: Scenario,
    /// What is wrong with it.
    pub problem: String,
    /// The file that it was kept in.
    pub file: PathBuf,
}

impl fmt::Display for Story {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        writeln!(f, "{}\nagain: poolkeeper-sim fuzz {file}", self.problem)?;
        f.write_str(&self.scenario.to_json())
    }
}

impl std::error::Error for Story {}

/// Holds scenarios to what `judge` says of them; the first that fails is shrunk and kept in `dir`.
///
/// # Errors
/// The shortest story that fails.
///
/// # Panics
/// When `dir` cannot be written to, or the run was given up for another reason than a failure.
pub fn hold(
    config: ProptestConfig,
    dir: &Path,
    judge: impl Fn(&Scenario) -> Result<(), String>,
) -> Result<(), Box<Story>> {
    let problem = RefCell::new(String::new());
    let test = |scenario: Scenario| {
        judge(&scenario).map_err(|what| {
            problem.replace(what.clone());
            TestCaseError::fail(what)
        })
    };
    match TestRunner::new(config).run(&scenario(), test) {
        Ok(()) => Ok(()),
        Err(TestError::Fail(_, scenario)) => {
            let problem = judge(&scenario).err().unwrap_or_else(|| problem.take());
            let kept = keep(&scenario, &problem, dir);
            let file = kept.unwrap_or_else(|error| panic!("the story cannot be kept in {}: {error}", dir.display()));
            Err(Box::new(Story { scenario, problem, file }))
        }
        Err(TestError::Abort(reason)) => panic!("the run was given up: {reason}"),
    }
}

fn keep(scenario: &Scenario, problem: &str, dir: &Path) -> io::Result<PathBuf> {
    let line = problem.lines().next().unwrap_or_default().to_owned();
    let file = dir.join(format!("story-{}.json", scenario.seed));
    std::fs::create_dir_all(dir)?;
    std::fs::write(&file, Scenario { story: line, ..scenario.clone() }.to_json())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use proptest::test_runner::RngSeed;
    use tempfile::TempDir;

    use super::*;
    use crate::scenario::run;

    const SEED: u64 = 0x5ce3;

    fn settings(cases: u32) -> ProptestConfig {
        ProptestConfig {
            cases,
            rng_seed: RngSeed::Fixed(SEED),
            failure_persistence: None,
            max_shrink_iters: 400,
            ..ProptestConfig::default()
        }
    }

    #[test]
    fn drawn_scenarios_hold() {
        let dir = TempDir::new().unwrap();
        let judge = |scenario: &Scenario| match run(scenario).failure {
            None => Ok(()),
            Some(failure) => Err(format!("{}: {}", failure.checker, failure.what)),
        };
        hold(settings(3), dir.path(), judge).unwrap_or_else(|story| panic!("{story}"));
    }

    /// A checker that is wrong: it objects to every job that ends in a story with a crash.
    #[test]
    fn what_a_wrong_checker_objects_to_shrinks_to_a_short_story_that_still_fails() {
        let dir = TempDir::new().unwrap();
        let crashes = |scenario: &Scenario| scenario.events.iter().any(|at| matches!(at.what, What::Crash { .. }));
        let judge = |scenario: &Scenario| {
            let objects = crashes(scenario) && run(scenario).stats.jobs > 0;
            if objects { Err("a job ended".to_owned()) } else { Ok(()) }
        };
        let story = hold(settings(20), dir.path(), judge).unwrap_err();
        assert_eq!(story.scenario.events.len(), 1, "the crash alone is left, as the last jobs end anyhow: {story}");
        assert_eq!(story.scenario.pools.len(), 1, "{story}");
        let read = Scenario::load(&story.file).unwrap();
        assert_eq!(read.events, story.scenario.events);
        assert!(judge(&read).is_err(), "the file fails as the story does");
    }
}
