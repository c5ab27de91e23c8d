//! Peers that refuse, lie, hang or go away.

use std::collections::BTreeMap;

use poolkeeper_core::notice::{Notice, PoolFact};
use poolkeeper_core::time::Duration;

use super::super::Simulation;
use super::{LONG, SEEDS, config, demand, quiet, sets, simulation};
use crate::aws::Rate;
use crate::world::{Fault, FaultAction};

const AT_THE_START: [&str; 6] = [
    "registration_token",
    "admin_connection",
    "runner_group",
    "scale_set_by_name",
    "create_scale_set",
    "create_session",
];

fn break_calls(simulation: &mut Simulation, call: &str, times: u32, action: FaultAction) {
    let fault = Fault { call: call.to_owned(), times, action };
    assert!(simulation.act(|world, _| world.inject(fault)));
}

fn status(code: u16, headers: &[(&str, &str)]) -> FaultAction {
    let headers: BTreeMap<_, _> = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    FaultAction::Status { code, body: "{\"message\":\"broken\"}".to_owned(), headers }
}

fn under(call: &str, times: u32, action: &FaultAction) {
    for seed in SEEDS {
        let mut simulation = simulation(seed);
        demand(&mut simulation, 30, Duration::from_secs(1));
        simulation.run_for(Duration::from_millis(3000 + seed * 700));
        break_calls(&mut simulation, call, times, action.clone());
        if let Err(pending) = simulation.run_until_quiet(LONG) {
            panic!("{action:?} on {call}, seed {seed}: {pending}");
        }
    }
}

#[test]
fn tokens_that_end_are_renewed() {
    let mut config = config();
    config.world.github.admin_token_life = Duration::from_secs(180);
    config.world.github.queue_token_life = Duration::from_secs(120);
    config.world.github.registration_token_life = Duration::from_secs(90);
    let mut simulation = Simulation::new(config, 1);
    demand(&mut simulation, 30, Duration::from_secs(30));
    quiet(&mut simulation, 1);
}

#[test]
fn tokens_that_are_revoked_are_replaced() {
    for seed in SEEDS {
        let mut simulation = simulation(seed);
        demand(&mut simulation, 30, Duration::from_secs(1));
        for _ in 0..3 {
            simulation.run_for(Duration::from_millis(5000 + seed * 300));
            simulation.act(|world, at| world.expire_tokens(at));
        }
        quiet(&mut simulation, seed);
    }
}

#[test]
fn a_rate_limit_is_waited_out() {
    for action in [status(429, &[("retry-after", "7")]), status(403, &[("retry-after", "5")]), status(429, &[])] {
        under("github", 20, &action);
    }
}

#[test]
fn aws_that_throttles_is_asked_less() {
    let mut config = config();
    config.world.aws.rate = Some(Rate { burst: 3, per_second: 1 });
    let mut simulation = Simulation::new(config, 2);
    demand(&mut simulation, 40, Duration::from_millis(500));
    quiet(&mut simulation, 2);
}

#[test]
fn an_outage_of_github_is_outlived() {
    for action in [status(503, &[]), FaultAction::Close, FaultAction::Hang] {
        under("github", 30, &action);
    }
}

#[test]
fn an_outage_of_aws_is_outlived() {
    let internal = status(500, &[]);
    let throttled = FaultAction::Status { code: 400, body: "Throttling".to_owned(), headers: BTreeMap::new() };
    for action in [internal, throttled, FaultAction::Close] {
        under("aws", 15, &action);
    }
}

#[test]
fn lost_replies_are_made_up_for() {
    for call in ["poll", "acknowledge", "SetDesiredCapacity", "DescribeAutoScalingGroups"] {
        under(call, 3, &FaultAction::LoseReply);
    }
}

#[test]
fn lost_replies_at_the_start_are_made_up_for() {
    for call in AT_THE_START {
        let mut simulation = simulation(3);
        break_calls(&mut simulation, call, 3, FaultAction::LoseReply);
        demand(&mut simulation, 20, Duration::from_secs(1));
        quiet(&mut simulation, 3);
    }
}

#[test]
fn replies_that_make_no_sense_are_survived() {
    for action in [
        FaultAction::EmptyOk,
        FaultAction::Html,
        FaultAction::Truncated,
        FaultAction::Bom,
        FaultAction::UnknownMessageType,
        FaultAction::CutShort,
        FaultAction::Big,
    ] {
        under("poll", 4, &action);
    }
}

#[test]
fn a_success_that_is_none_leaves_no_message_unacknowledged() {
    for action in [FaultAction::EmptyOk, FaultAction::Html] {
        under("acknowledge", 4, &action);
    }
}

#[test]
fn replies_that_make_no_sense_at_the_start_are_survived() {
    for call in AT_THE_START {
        for action in [FaultAction::EmptyOk, FaultAction::Html, FaultAction::Truncated] {
            let mut simulation = simulation(6);
            break_calls(&mut simulation, call, 2, action);
            demand(&mut simulation, 5, Duration::from_secs(1));
            quiet(&mut simulation, 6);
        }
    }
}

#[test]
fn every_call_survives_every_refusal() {
    for code in [400, 401, 403, 404, 409, 500, 502] {
        under("github", 6, &status(code, &[]));
    }
}

#[test]
fn all_zero_statistics_beside_jobs_do_not_lower_capacity() {
    for seed in SEEDS {
        let mut simulation = simulation(seed);
        simulation.run_until_quiet(LONG).unwrap();
        break_calls(&mut simulation, "poll", 6, FaultAction::ZeroStatistics);
        demand(&mut simulation, 20, Duration::from_millis(200));
        quiet(&mut simulation, seed);
        let distrusted = |n: &Notice| matches!(n, Notice::Pool { fact: PoolFact::StatisticsDistrusted, .. });
        assert!(simulation.notices().iter().any(distrusted), "seed {seed}");
    }
}

#[test]
fn a_hung_poll_is_given_up_and_asked_again() {
    let mut simulation = simulation(4);
    simulation.run_until_quiet(LONG).unwrap();
    break_calls(&mut simulation, "poll", 3, FaultAction::Hang);
    simulation.run_for(Duration::from_secs(300));
    let polls = simulation.world().github_model().held_polls();
    assert_eq!(polls, sets().len());
    demand(&mut simulation, 10, Duration::from_secs(1));
    quiet(&mut simulation, 4);
}
