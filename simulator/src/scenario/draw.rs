//! Scenarios drawn from a seed: each turns some kinds of trouble on and leaves the others off, so that rare ones meet.

use poolkeeper_core::rng::Rng;
use poolkeeper_core::short_text::ShortText;

use super::event::{Demand, Timed, What};
use super::faults::KINDS;
use super::{Knobs, PoolPlan, Scenario};

const MINUTE_MS: u64 = 60_000;
/// Things go wrong for an hour, and a little more.
const SPAN_MS: (u64, u64) = (60 * MINUTE_MS, 65 * MINUTE_MS);
/// The most jobs of a scenario, roughly.
const MOST_JOBS: u64 = 400;

impl Scenario {
    /// The scenario of a seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let pools = pools(&mut dice);
        let span_ms = dice.between(SPAN_MS.0, SPAN_MS.1);
        let mut scenario = Self { seed: dice.next(), ..Self::quiet(0, span_ms, pools) };
        scenario.knobs = knobs(&mut dice);
        demand(&mut dice, &mut scenario);
        let heat = dice.pick(&[0, 10, 20, 35, 60]);
        for kind in KINDS {
            if dice.chance(heat) {
                let times = dice.pick(&[1, 1, 2, 4]);
                for _ in 0..times {
                    kind(&mut dice, &mut scenario);
                }
            }
        }
        leave_out_two_masters(&mut scenario);
        stand_by(&mut dice, &mut scenario);
        scenario.events.sort_by_key(|event| event.at_ms);
        scenario
    }
}

/// Two daemons that serve one group for two scale sets, each by the tags of its time, cannot know of each other: each
/// proves that its own runner on an instance is idle. That is known, and told of in `docs/managed-runners.md`.
fn leave_out_two_masters(scenario: &mut Scenario) {
    let second = scenario.events.iter().any(|event| matches!(event.what, What::SecondDaemon { .. }));
    if scenario.knobs.managed && second {
        let retags =
            |what: &What| matches!(what, What::SetTag { key, .. } if key == "runs-on-org" || key == "runs-on-pool");
        scenario.events.retain(|event| !retags(&event.what));
    }
}

/// Some managed pools have warm pools, and launch hooks.
fn stand_by(dice: &mut Dice, scenario: &mut Scenario) {
    if !scenario.knobs.managed {
        return;
    }
    for pool in &mut scenario.pools {
        pool.warm = if dice.chance(20) { dice.small(1, 4) } else { 0 };
        pool.hook = dice.chance(10);
    }
}

/// What chance says.
#[derive(Debug)]
pub(super) struct Dice(Rng);

impl Dice {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        // Seeds in a row begin alike.
        let mixed = rng.next();
        Self(Rng::new(mixed))
    }

    pub(super) const fn next(&mut self) -> u64 {
        self.0.next()
    }

    pub(super) const fn chance(&mut self, percent: u64) -> bool {
        self.0.below(100) < percent
    }

    /// Both ends are included.
    pub(super) const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.0.below(most - least + 1)
    }

    pub(super) fn small(&mut self, least: u32, most: u32) -> u32 {
        u32::try_from(self.between(least.into(), most.into())).unwrap_or(least)
    }

    pub(super) fn pick<T: Copy + Default>(&mut self, of: &[T]) -> T {
        let count = u64::try_from(of.len()).unwrap_or(1);
        let nth = usize::try_from(self.0.below(count)).unwrap_or(0);
        of.get(nth).copied().unwrap_or_default()
    }

    /// A pool's group.
    pub(super) fn group(&mut self, scenario: &Scenario) -> ShortText {
        let count = u64::try_from(scenario.pools.len()).unwrap_or(1);
        let nth = usize::try_from(self.0.below(count)).unwrap_or(0);
        scenario.pools.get(nth).map(|pool| pool.group.clone()).unwrap_or_default()
    }

    /// A moment while things go wrong.
    pub(super) fn moment(&mut self, scenario: &Scenario) -> u64 {
        self.between(0, scenario.span_ms.saturating_sub(1))
    }

    /// Seconds to minutes, short ones more often.
    pub(super) fn a_while(&mut self, longest_ms: u64) -> u64 {
        let scale = self.pick(&[20, 5, 2, 1]);
        self.between(1000, (longest_ms / scale).max(1001))
    }

    /// Lets something happen at some moment.
    pub(super) fn happens(&mut self, scenario: &mut Scenario, what: What) {
        let at_ms = self.moment(scenario);
        scenario.events.push(Timed { at_ms, what });
    }
}

fn pools(dice: &mut Dice) -> Vec<PoolPlan> {
    // Few pools find what many find, in less time: the many are for what they share.
    let count = dice.pick(&[1, 1, 1, 2, 2, 3, 4, 6, 10, 20]);
    let orgs = dice.between(1, 3);
    (0..count).map(|n| pool(dice, n, orgs)).collect()
}

/// One pool; its number makes its names its own.
pub(super) fn pool(dice: &mut Dice, number: u64, orgs: u64) -> PoolPlan {
    let max = dice.small(1, 30);
    let min = if dice.chance(15) { dice.small(1, 3).min(max) } else { 0 };
    let size_max = if dice.chance(30) { dice.small(1, max) } else { max };
    let size_min = if dice.chance(15) { dice.small(1, 3).min(size_max) } else { 0 };
    PoolPlan {
        group: format!("asg-{number}").into(),
        org: format!("org{}", dice.between(1, orgs)),
        pool: format!("p{number}"),
        min,
        max,
        size_min,
        size_max,
        idle: if dice.chance(20) { dice.small(1, 3) } else { 0 },
        unprotected: dice.chance(5),
        warm: 0,
        hook: false,
    }
}

fn knobs(dice: &mut Dice) -> Knobs {
    let usual = Knobs::default();
    let (fastest, boot) = (dice.pick(&[1, 5, 50, 200]), dice.pick(&[2000, 15_000, 60_000, 180_000]));
    Knobs {
        enterprise: dice.chance(25),
        managed: dice.chance(50),
        latency_ms: (fastest, fastest * dice.pick(&[1, 5, 20])),
        boot_ms: (boot, boot * dice.pick(&[1, 2, 4])),
        shutdown_ms: dice.pick(&[1000, 5000, 60_000]),
        describe_lag_ms: if dice.chance(30) { dice.pick(&[500, 3000, 15_000]) } else { 0 },
        idle_grace_ms: dice.pick(&[0, 10_000, 90_000, 90_000, 300_000]),
        boot_deadline_ms: dice.pick(&[120_000, 600_000, 600_000]),
        delete_sets: dice.chance(15),
        max_runners: if dice.chance(10) { dice.small(2, 40) } else { 0 },
        registration_token_s: if dice.chance(20) { dice.between(30, 600) } else { usual.registration_token_s },
        admin_token_s: if dice.chance(30) { dice.between(60, 1200) } else { usual.admin_token_s },
        queue_token_s: if dice.chance(30) { dice.between(60, 1200) } else { usual.queue_token_s },
        // Short polls make most steps of a scenario and find little.
        poll_hold_ms: dice.pick(&[50_000, 50_000, 50_000, 50_000, 50_000, 50_000, 50_000, 70_000, 70_000, 5000]),
        session_idle_ms: dice.pick(&[60_000, 60_000, 120_000, 300_000]),
        pickup_ms: dice.pick(&[600_000, 600_000, 120_000]),
        labels_create_only: dice.chance(20),
        zero_request_ids: dice.chance(20),
        clock_offset_ms: if dice.chance(15) { dice.pick(&[-7_200_000, -30_000, 90_000, 86_400_000]) } else { 0 },
        register_ms: dice.pick(&[200, 2000, 10_000]),
        leave_ms: dice.pick(&[100, 1000, 15_000]),
        broken_percent: if dice.chance(15) { dice.between(1, 30) } else { 0 },
        ..usual
    }
}

fn demand(dice: &mut Dice, scenario: &mut Scenario) {
    let groups: Vec<ShortText> = scenario.pools.iter().map(|pool| pool.group.clone()).collect();
    let share = (MOST_JOBS / u64::try_from(groups.len()).unwrap_or(1)).max(4);
    for group in groups {
        let longest = dice.pick(&[5000, 30_000, 120_000, 600_000]);
        let runs_ms = (longest / 10, longest);
        let canceled_percent = dice.pick(&[0, 0, 10, 50]);
        let jobs = |jobs, gap_ms| Demand { group: group.clone(), jobs, gap_ms, runs_ms, canceled_percent };
        match dice.between(0, 3) {
            0 => {}
            1 => {
                let trickle = dice.between(1, share.min(30));
                let gap_ms = scenario.span_ms / trickle;
                scenario.events.push(Timed { at_ms: 0, what: What::Jobs(jobs(trickle, gap_ms)) });
            }
            2 => {
                for _ in 0..dice.between(1, 4) {
                    let burst = dice.between(1, share.min(60));
                    let gap_ms = dice.pick(&[0, 100, 2000]);
                    dice.happens(scenario, What::Jobs(jobs(burst, gap_ms)));
                }
            }
            _ => {
                for _ in 0..dice.between(2, 8) {
                    let few = dice.between(1, 3);
                    dice.happens(scenario, What::Jobs(jobs(few, 500)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_draws_the_same_scenario_again_and_it_survives_a_file() {
        for seed in 0..200 {
            let scenario = Scenario::from_seed(seed);
            assert_eq!(scenario, Scenario::from_seed(seed));
            let text = scenario.to_json();
            assert_eq!(Scenario::parse(text.as_bytes()), Ok(scenario), "{text}");
        }
    }
}
