//! What AWS and GitHub refuse of a managed instance, and replies that never come: each is handled, and nothing oscillates.

use std::collections::BTreeMap;

use poolkeeper_core::aws::AwsError;
use poolkeeper_core::short_text::ShortText;

use super::managed::{calls, instances, key, managed, until};
use super::*;
use crate::aws::action::GroupChange;
use crate::world::{FaultAction, Weather};

const TERMINATE: &str = "TerminateInstanceInAutoScalingGroup";
const LOOK_UP: &str = "runner_by_name";
const ISSUE: &str = "jit_config";
const SET_DESIRED: &str = "SetDesiredCapacity";
const JOB: Duration = Duration::from_secs(30);
const MINUTE: Duration = Duration::from_secs(60);

fn queue(simulation: &mut Simulation, jobs: usize) {
    for _ in 0..jobs {
        simulation.act(|world, at| world.queue_job(at, &key(), JobPlan::success(JOB)).unwrap());
    }
}

fn desired(simulation: &Simulation) -> u32 {
    simulation.world().aws_model().groups().map(|group| group.desired).sum()
}

fn group_name(simulation: &Simulation) -> ShortText {
    simulation.world().aws_model().groups().next().unwrap().name.clone()
}

/// Everything that is asked of a peer for so long is answered like this.
pub(super) fn weather(simulation: &mut Simulation, call: &str, span: Duration, action: FaultAction) {
    let weather = Weather { call: call.to_owned(), per_mille: 1000, action };
    assert!(simulation.act(|world, at| world.set_weather(at.now.mono + span, weather)));
}

pub(super) fn refusal(code: u16, body: &str) -> FaultAction {
    FaultAction::Status { code, body: body.to_owned(), headers: BTreeMap::new() }
}

fn has_instances(count: usize) -> impl Fn(&Simulation) -> bool {
    move |simulation| instances(simulation).len() == count
}

fn ended_well(count: u64) -> impl Fn(&Simulation) -> bool {
    move |simulation| simulation.world().ledger().totals_ref().ended_well == count
}

fn is_unknown(error: &AwsError) -> bool {
    matches!(error, AwsError::Validation { message } if message.contains("not found"))
}

fn about_to_end(seed: u64) -> Simulation {
    about_to_end_with(managed("0"), seed)
}

/// Two instances that had their jobs, and the moment before they are ended. They do not end themselves.
fn about_to_end_with(mut config: SimulationConfig, seed: u64) -> Simulation {
    config.world.runners.leave = LONG;
    let mut simulation = Simulation::new(config, seed);
    queue(&mut simulation, 2);
    until(&mut simulation, "both jobs ended", ended_well(2));
    assert_eq!((instances(&simulation).len(), calls(&simulation, "aws", TERMINATE)), (2, 0));
    simulation
}

fn at_peace(simulation: &Simulation) {
    assert!(simulation.violations().is_empty(), "{:?}", simulation.violations());
    assert_eq!(simulation.world().ledger().totals_ref().killed, 0);
}

#[test]
fn an_instance_that_min_size_holds_a_place_for_is_ended_without_the_place() {
    for seed in SEEDS {
        let mut simulation = about_to_end(seed);
        let had = instances(&simulation);
        let change = GroupChange {
            name: group_name(&simulation),
            min_size: Some(2),
            max_size: Some(3),
            ..GroupChange::default()
        };
        simulation.act(|world, at| world.aws_model_mut().update_group(at.now, &change).unwrap());
        until(&mut simulation, "both are gone", |simulation| {
            let now = instances(simulation);
            had.iter().all(|id| !now.contains(id))
        });
        simulation.run_for(LONG);
        assert_eq!((desired(&simulation), instances(&simulation).len()), (2, 2), "each was replaced once");
        let asked = calls(&simulation, "aws", TERMINATE);
        assert!((2..=4).contains(&asked), "{asked} terminations: at most one refusal each, and then without");
        at_peace(&simulation);
    }
}

#[test]
fn an_instance_that_aws_does_not_know_any_more_has_ended() {
    for seed in SEEDS {
        let mut config = managed("0");
        config.world.aws.lag = MINUTE;
        let mut simulation = about_to_end_with(config, seed);
        // Done, but the daemon does not hear of it, and describes do not show it.
        weather(&mut simulation, TERMINATE, Duration::from_secs(20), FaultAction::LoseReply);
        let unknown = |simulation: &Simulation| {
            let steps = simulation.recent().iter().rev().take(20);
            steps
                .filter(|step| matches!(&step.event, Event::AwsReply { result: Err(error), .. } if is_unknown(error)))
                .count()
                > 0
        };
        until(&mut simulation, "AWS says that it knows none", unknown);
        let asked = calls(&simulation, "aws", TERMINATE);
        simulation.run_for(LONG);
        let later = calls(&simulation, "aws", TERMINATE);
        assert!(later <= asked + 1, "{asked} terminations, and {later} after that was told for the first");
        assert_eq!((desired(&simulation), instances(&simulation).len()), (0, 0));
        at_peace(&simulation);
    }
}

#[test]
fn a_runner_that_another_process_made_in_between_is_adopted() {
    for seed in SEEDS {
        let mut simulation = Simulation::new(managed("0"), seed);
        queue(&mut simulation, 1);
        until(&mut simulation, "its runner was looked up", |simulation| calls(simulation, "github", LOOK_UP) == 1);
        let instance = instances(&simulation).remove(0);
        assert!(simulation.act(|world, _| world.github_model_mut().connect_runner(&key(), &instance)));
        until(&mut simulation, "the job ended", ended_well(1));
        assert_eq!(calls(&simulation, "github", ISSUE), 1, "AgentExists, and then the other's counts");
        assert_eq!(calls(&simulation, "aws", "PutParameter"), 0);
        until(&mut simulation, "its instance is gone", has_instances(0));
        simulation.run_until_quiet(LONG).unwrap();
        assert_eq!((desired(&simulation), instances(&simulation).len()), (0, 0));
        at_peace(&simulation);
    }
}

#[test]
fn replies_that_are_lost_cost_no_job_and_leave_nothing() {
    let lost = [
        ("jit_config", 1),
        ("runner_by_name", 1),
        ("remove_runner", 1),
        ("PutParameter", 1),
        ("DeleteParameter", 1),
        ("SetInstanceProtection", 1),
        (TERMINATE, 1),
    ];
    for (call, seed) in lost {
        let mut simulation = Simulation::new(managed("0"), seed);
        weather(&mut simulation, call, Duration::from_secs(300), FaultAction::LoseReply);
        queue(&mut simulation, 3);
        simulation.run_for(LONG);
        assert_eq!(simulation.world().ledger().totals_ref().ended_well, 3, "{call}");
        assert_eq!((desired(&simulation), instances(&simulation).len()), (0, 0), "{call}");
        simulation.run_until_quiet(LONG).unwrap();
        at_peace(&simulation);
    }
}

#[test]
fn terminations_that_are_denied_for_twenty_minutes_are_tried_ever_less_and_then_done() {
    for seed in SEEDS {
        let mut simulation = about_to_end(seed);
        let writes = calls(&simulation, "aws", SET_DESIRED);
        weather(&mut simulation, TERMINATE, Duration::from_secs(20 * 60), refusal(403, "AccessDenied"));
        simulation.run_for(Duration::from_secs(20 * 60));
        let denied = calls(&simulation, "aws", TERMINATE);
        assert!((8..=24).contains(&denied), "{denied} terminations of two instances");
        assert_eq!(calls(&simulation, "aws", SET_DESIRED), writes, "capacity stays as it is");
        assert_eq!((desired(&simulation), instances(&simulation).len()), (2, 2));
        until(&mut simulation, "both are gone", has_instances(0));
        assert_eq!(desired(&simulation), 0);
        simulation.run_until_quiet(LONG).unwrap();
        at_peace(&simulation);
    }
}

#[test]
fn a_job_that_comes_while_terminations_are_denied_has_an_instance_of_its_own() {
    for seed in SEEDS {
        let mut simulation = about_to_end(seed);
        weather(&mut simulation, TERMINATE, Duration::from_secs(20 * 60), refusal(403, "AccessDenied"));
        simulation.run_for(MINUTE);
        queue(&mut simulation, 1);
        until(&mut simulation, "it has run", ended_well(3));
        assert!(calls(&simulation, "aws", TERMINATE) > 0);
        assert_eq!(instances(&simulation).len(), 3, "in the room that MaxSize leaves");
        at_peace(&simulation);
    }
}
