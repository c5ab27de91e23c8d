//! What goes wrong in a sample, each at its place in the whole.

use std::collections::{BTreeMap, VecDeque};

use poolkeeper_core::aws::LifecycleState;
use poolkeeper_core::rng::Rng;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};

use crate::github::SetKey;
use crate::simulation::Simulation;
use crate::world::{Fault, FaultAction};

/// For how long things stay broken, at most.
const LONGEST: Duration = Duration::from_secs(12 * 60);
const DOWN: Duration = Duration::from_secs(20);

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Act {
    /// AWS throttles the next calls.
    Throttle,
    /// GitHub answers nothing but 503.
    GitHubDown,
    /// All that was broken is mended.
    Heal,
    /// Somebody sets a group's desired capacity.
    Meddle(ShortText),
    /// AWS has room for no more than two instances of a group.
    NoRoom(ShortText),
    /// It has room again.
    Room(ShortText),
    /// GitHub ends a set's session.
    Evict(SetKey),
    /// The daemon dies and comes back without its state directory.
    Crash,
    /// The next polls bring statistics of nothing but zeros.
    ZeroStatistics,
    /// GitHub deletes a set.
    Retire(SetKey),
    /// Instances of a group are reclaimed.
    Reclaim(ShortText),
    /// GitHub says that it is too much.
    RateLimit,
    /// Polls that are never answered.
    Hang,
}

/// What is still to come.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    acts: VecDeque<(Instant, Act)>,
}

impl Trouble {
    /// Troubles spread over the whole, so that an hour has as many as a day.
    pub(super) fn new(span: Duration, groups: &[ShortText], sets: &[SetKey], seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let group = |rng: &mut Rng| pick(rng, groups).cloned().unwrap_or_default();
        let set = |rng: &mut Rng| pick(rng, sets).cloned().unwrap_or_else(|| SetKey::new("none", "none"));
        let at = |hundredths: u64| Instant::from_millis(span.as_millis() / 100 * hundredths);
        let while_broken = Duration::from_millis(span.as_millis() / 40).min(LONGEST);
        let roomless = group(&mut rng);
        let mut acts = vec![
            (at(12), Act::Throttle),
            (at(22), Act::Evict(set(&mut rng))),
            (at(30), Act::GitHubDown),
            (at(30) + while_broken, Act::Heal),
            (at(40), Act::Meddle(group(&mut rng))),
            (at(46), Act::NoRoom(roomless.clone())),
            (at(52), Act::Room(roomless)),
            (at(55), Act::ZeroStatistics),
            (at(60), Act::Crash),
            (at(68), Act::Retire(set(&mut rng))),
            (at(74), Act::Reclaim(group(&mut rng))),
            (at(80), Act::RateLimit),
            (at(86), Act::Hang),
            (at(90), Act::Meddle(group(&mut rng))),
            (at(94), Act::Evict(set(&mut rng))),
        ];
        acts.sort_by_key(|(at, _)| *at);
        Self { acts: acts.into() }
    }

    /// Lets what is due happen.
    pub(super) fn come(&mut self, simulation: &mut Simulation) {
        while let Some((_, act)) = self.acts.pop_front_if(|(at, _)| *at <= simulation.at()) {
            happen(simulation, act);
        }
    }
}

fn happen(simulation: &mut Simulation, act: Act) {
    match act {
        Act::Throttle => inject(simulation, "aws", 60, refusal(400, "Throttling", None)),
        Act::GitHubDown => inject(simulation, "github", u32::MAX, refusal(503, "Service Unavailable", None)),
        Act::RateLimit => inject(simulation, "acknowledge", 2, refusal(429, "slow down", Some("20"))),
        Act::Hang => inject(simulation, "poll", 3, FaultAction::Hang),
        Act::ZeroStatistics => inject(simulation, "poll", 40, FaultAction::ZeroStatistics),
        Act::Heal => simulation.act(|world, _| world.heal()),
        Act::Meddle(group) => simulation.act(|world, now| {
            let aws = world.aws_model_mut();
            let wanted = aws.group(&group).map_or(0, |group| (group.desired + 3).min(group.max_size));
            // A refusal is as good: people are refused too.
            drop(aws.set_desired(now.now, &group, wanted));
        }),
        Act::NoRoom(group) => simulation.act(|world, now| world.aws_model_mut().set_room(now.now, &group, Some(2))),
        Act::Room(group) => simulation.act(|world, now| world.aws_model_mut().set_room(now.now, &group, None)),
        Act::Evict(set) => {
            simulation.act(|world, now| world.end_session(now, &set));
        }
        Act::Retire(set) => {
            simulation.act(|world, now| world.retire_set(now, &set));
        }
        Act::Reclaim(group) => reclaim(simulation, &group),
        Act::Crash => {
            simulation.crash();
            simulation.forget();
            simulation.run_for(DOWN);
            simulation.start();
        }
    }
}

fn inject(simulation: &mut Simulation, call: &str, times: u32, action: FaultAction) {
    let fault = Fault { call: call.to_owned(), times, action };
    simulation.act(|world, _| world.inject(fault));
}

fn refusal(code: u16, body: &str, retry_after_s: Option<&str>) -> FaultAction {
    let headers: BTreeMap<_, _> =
        retry_after_s.map(|wait| ("retry-after".to_owned(), wait.to_owned())).into_iter().collect();
    FaultAction::Status { code, body: body.to_owned(), headers }
}

fn reclaim(simulation: &mut Simulation, group: &str) {
    simulation.act(|world, now| {
        let serving = |group: &poolkeeper_core::aws::Group| -> Vec<ShortText> {
            let instances = group.instances.iter().filter(|i| i.state == LifecycleState::InService);
            instances.map(|i| i.id.clone()).take(2).collect()
        };
        for id in world.aws_model().group(group).map(serving).unwrap_or_default() {
            // An instance that went by itself meanwhile needs no more.
            drop(world.aws_model_mut().terminate_instance(now.now, &id, false));
        }
    });
}

fn pick<'a, T>(rng: &mut Rng, from: &'a [T]) -> Option<&'a T> {
    let nth = rng.below(u64::try_from(from.len()).unwrap_or(u64::MAX));
    from.get(usize::try_from(nth).ok()?)
}
