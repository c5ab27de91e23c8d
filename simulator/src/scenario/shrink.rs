//! Making a failing scenario smaller: whatever can go without the failure going with it, goes.

use super::run::{Verdict, run};
use super::{PoolPlan, Scenario, What};

/// The most runs that shrinking takes.
pub const MOST_RUNS: usize = 2000;
/// A span is not cut closer than this.
const FINEST_MS: u64 = 60_000;

/// What shrinking came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The smallest scenario that was found.
    pub scenario: Scenario,
    /// How it fails.
    pub verdict: Verdict,
    /// How many scenarios were run.
    pub runs: usize,
}

/// Makes a scenario smaller for as long as the same checker objects; none when nobody objects to it.
///
/// `tell` hears of each smaller one.
pub fn shrink(scenario: &Scenario, tell: impl FnMut(&Scenario, usize)) -> Option<Shrunk> {
    shrink_by(scenario, run, tell)
}

/// As [`shrink`], with another way to run a scenario.
pub fn shrink_by(
    scenario: &Scenario,
    run: impl Fn(&Scenario) -> Verdict,
    tell: impl FnMut(&Scenario, usize),
) -> Option<Shrunk> {
    let verdict = run(scenario);
    let checker = verdict.failure.as_ref()?.checker.clone();
    let mut search = Search { best: scenario.clone(), verdict, checker, runs: 1, run, tell };
    loop {
        let before = search.best.clone();
        search.fewer_events();
        search.fewer_pools();
        search.usual_knobs();
        search.less_demand();
        search.shorter();
        if search.best == before || search.runs >= MOST_RUNS {
            break;
        }
    }
    let Search { best, verdict, runs, .. } = search;
    Some(Shrunk { scenario: best, verdict, runs })
}

struct Search<Run, Tell> {
    best: Scenario,
    verdict: Verdict,
    checker: String,
    runs: usize,
    run: Run,
    tell: Tell,
}

impl<Run: Fn(&Scenario) -> Verdict, Tell: FnMut(&Scenario, usize)> Search<Run, Tell> {
    /// Takes a smaller scenario when it fails in the same way.
    fn attempt(&mut self, smaller: Scenario) -> bool {
        if self.runs >= MOST_RUNS || smaller == self.best {
            return false;
        }
        self.runs += 1;
        let verdict = (self.run)(&smaller);
        let same = verdict.failure.as_ref().is_some_and(|failure| failure.checker == self.checker);
        if same {
            (self.best, self.verdict) = (smaller, verdict);
            (self.tell)(&self.best, self.runs);
        }
        same
    }

    /// Leaves out runs of events, long ones first.
    fn fewer_events(&mut self) {
        let mut chunk = self.best.events.len();
        while chunk > 0 {
            let mut from = 0;
            while from < self.best.events.len() {
                let mut smaller = self.best.clone();
                let to = (from + chunk).min(smaller.events.len());
                smaller.events.drain(from..to);
                if !self.attempt(smaller) {
                    from += chunk;
                }
            }
            chunk /= 2;
        }
    }

    fn fewer_pools(&mut self) {
        let mut nth = 0;
        while nth < self.best.pools.len() && self.best.pools.len() > 1 {
            let mut smaller = self.best.clone();
            smaller.pools.remove(nth);
            if !self.attempt(smaller) {
                nth += 1;
            }
        }
        for nth in 0..self.best.pools.len() {
            let mut smaller = self.best.clone();
            let Some(pool) = smaller.pools.get_mut(nth) else { return };
            let PoolPlan { min, size_min, idle, unprotected, .. } = pool;
            (*min, *size_min, *idle, *unprotected) = (0, 0, 0, false);
            self.attempt(smaller);
        }
    }

    fn usual_knobs(&mut self) {
        let names: Vec<String> = self.best.knobs.unusual().keys().cloned().collect();
        for name in names {
            let knobs = self.best.knobs.without(&name);
            self.attempt(Scenario { knobs, ..self.best.clone() });
        }
    }

    /// Fewer jobs, for less long.
    fn less_demand(&mut self) {
        for nth in 0..self.best.events.len() {
            for jobs in [1, 2, 4, 8, 16] {
                let mut smaller = self.best.clone();
                let Some(event) = smaller.events.get_mut(nth) else { break };
                let What::Jobs(demand) = &mut event.what else { break };
                if demand.jobs <= jobs {
                    break;
                }
                (demand.jobs, demand.canceled_percent) = (jobs, 0);
                if self.attempt(smaller) {
                    break;
                }
            }
        }
    }

    fn shorter(&mut self) {
        let last_ms = self.best.events.iter().map(|event| event.at_ms).max().unwrap_or(0);
        let fitting = last_ms.saturating_add(FINEST_MS);
        for span_ms in [fitting, self.best.span_ms / 2] {
            if span_ms >= FINEST_MS && span_ms < self.best.span_ms {
                self.attempt(Scenario { span_ms, ..self.best.clone() });
            }
        }
        let first_ms = self.best.events.iter().map(|event| event.at_ms).min().unwrap_or(0);
        if first_ms > FINEST_MS {
            let mut smaller = self.best.clone();
            for event in &mut smaller.events {
                event.at_ms -= first_ms - FINEST_MS;
            }
            smaller.span_ms -= first_ms - FINEST_MS;
            self.attempt(smaller);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Failure, Phase, Stats, Timed};
    use super::*;

    /// Fails when the daemon crashes and the clock jumps.
    fn fails(scenario: &Scenario) -> Verdict {
        let has = |wanted: fn(&What) -> bool| scenario.events.iter().any(|event| wanted(&event.what));
        let bad = has(|what| matches!(what, What::Crash { .. })) && has(|what| matches!(what, What::JumpClock { .. }));
        let failure = bad.then(|| Failure {
            checker: "test".to_owned(),
            contract: String::new(),
            what: String::new(),
            phase: Phase::Faults,
            at_ms: 0,
            step: 0,
            daemon: 0,
        });
        Verdict { failure, stats: Stats::default() }
    }

    #[test]
    fn only_what_the_failure_needs_is_left() {
        let mut scenario = Scenario::from_seed(7);
        let crash = What::Crash { daemon: 0, down_ms: 1000, forget: false, in_step: None };
        scenario.events.insert(0, Timed { at_ms: 600_000, what: crash });
        scenario.events.push(Timed { at_ms: 700_000, what: What::JumpClock { by_ms: 1 } });
        let shrunk = shrink_by(&scenario, fails, |_, _| ()).unwrap();
        assert_eq!(shrunk.scenario.events.len(), 2, "{}", shrunk.scenario.to_json());
        assert_eq!((shrunk.scenario.pools.len(), shrunk.scenario.knobs.is_default()), (1, true));
        assert!(shrunk.scenario.span_ms <= 300_000 && shrunk.runs < 200, "{shrunk:?}");
    }

    #[test]
    fn what_does_not_fail_is_not_shrunk() {
        assert_eq!(shrink_by(&Scenario::quiet(1, 1000, Vec::new()), fails, |_, _| ()), None);
    }
}
