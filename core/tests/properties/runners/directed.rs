//! Stories of single instances.

use super::*;

fn ended_in_words_only(has_gate: bool) {
    let mut world = World::new();
    (world.has_gate, world.group.desired, world.desired, world.target) = (has_gate, 1, 1, 1);
    let well = Op::Answer { n: 0, how: How::Well };
    let ops = [Op::Launch, Op::Boot(0), Op::Describe, well, well, well, Op::TakeConfig(0)];
    ops.into_iter().for_each(|op| world.apply(op));
    assert_eq!(world.runners.values().filter(|runner| runner.online).count(), 1);
    let ops = [Op::StartJob { n: 0, told: true }, Op::FalseEnd(0), Op::Describe, well, well, Op::Describe, well, well];
    ops.into_iter().for_each(|op| world.apply(op));
    assert_eq!((world.ended, world.group.instances.len()), (0, 1), "it works on");
}

#[test]
fn a_job_that_ended_in_words_only_keeps_its_instance() {
    ended_in_words_only(true);
}

#[test]
#[should_panic(expected = "a busy instance is ended")]
fn without_the_gate_it_would_lose_it() {
    ended_in_words_only(false);
}

#[test]
fn a_runner_that_is_said_to_be_gone_once_keeps_its_instance() {
    let mut world = World::new();
    (world.group.desired, world.desired, world.target) = (1, 1, 1);
    let well = Op::Answer { n: 0, how: How::Well };
    let ops = [Op::Launch, Op::Boot(0), Op::Describe, well, well, well, Op::TakeConfig(0), Op::Wait(200_000)];
    ops.into_iter().for_each(|op| world.apply(op));
    [Op::StartJob { n: 0, told: true }, Op::FalseEnd(0), Op::Describe].into_iter().for_each(|op| world.apply(op));
    world.apply(Op::Answer { n: 0, how: How::FalselyGone });
    assert_eq!(world.machine.judge("i-1"), Judgement::CannotServe, "another one is launched in its place");
    for _ in 0..20 {
        [Op::Wait(5_000), Op::Describe, well].into_iter().for_each(|op| world.apply(op));
    }
    assert_eq!((world.ended, world.machine.judge("i-1")), (0, Judgement::Serves), "asked again, it is there");
}

#[test]
fn instances_that_take_long_to_come_up_are_waited_for_while_jobs_wait() {
    let mut world = World::new();
    (world.group.desired, world.desired, world.target, world.jobs_wait) = (1, 1, 1, true);
    let well = Op::Answer { n: 0, how: How::Well };
    world.apply(Op::Launch);
    for _ in 0..60 {
        [Op::Describe, well, Op::Wait(4_000)].into_iter().for_each(|op| world.apply(op));
    }
    world.apply(Op::Boot(0));
    for _ in 0..10 {
        [Op::Describe, well, Op::Wait(4_000)].into_iter().for_each(|op| world.apply(op));
    }
    assert_eq!((world.ended, world.stored.len()), (0, 1), "its config waits for it: {:?}", world.machine);
    [Op::TakeConfig(0), Op::StartJob { n: 0, told: true }].into_iter().for_each(|op| world.apply(op));
    assert_eq!(world.runners.values().filter(|runner| runner.busy).count(), 1);
}

#[test]
fn what_was_in_service_before_the_pool_was_ours_is_left_alone() {
    let mut world = World::new();
    world.machine = Runners::default();
    (world.group.desired, world.desired, world.target) = (1, 1, 1);
    [Op::Launch, Op::Boot(0)].into_iter().for_each(|op| world.apply(op));
    for _ in 0..200 {
        [Op::Wait(8_000), Op::Describe, Op::Answer { n: 0, how: How::Well }].into_iter().for_each(|op| world.apply(op));
    }
    assert_eq!(world.machine.judge("i-1"), Judgement::CannotServe, "another one is launched in its place");
    assert_eq!((world.ended, world.stored.len(), world.runners.len()), (0, 0, 0), "{:?}", world.machine);
    assert!(!world.machine.knows_all(), "a stranger is there");
    [Op::Vanish(0), Op::Describe].into_iter().for_each(|op| world.apply(op));
    assert!(world.machine.knows_all(), "none is left: {:?}", world.machine);
    assert!(!world.machine.knows_all(), "that is told once");
}

/// A world of one instance whose job has ended, and whose runner GitHub has removed with it.
fn job_done() -> World {
    let mut world = World::new();
    (world.group.desired, world.desired, world.target) = (1, 1, 1);
    let well = Op::Answer { n: 0, how: How::Well };
    let ops = [Op::Launch, Op::Boot(0), Op::Describe, well, well, well, Op::TakeConfig(0)];
    ops.into_iter().for_each(|op| world.apply(op));
    world.apply(Op::Want { target: 0, jobs_wait: false });
    let ops = [Op::StartJob { n: 0, told: true }, Op::EndJob { n: 0, told: true }, Op::Describe];
    ops.into_iter().for_each(|op| world.apply(op));
    world
}

#[test]
fn an_instance_that_leaves_by_itself_is_not_ended() {
    let mut world = job_done();
    world.group.instances[0].state = LifecycleState::Terminating;
    for _ in 0..20 {
        [Op::Wait(5_000), Op::Describe, Op::Answer { n: 0, how: How::Well }].into_iter().for_each(|op| world.apply(op));
    }
    assert_eq!((world.ended, world.group.desired), (0, 1), "{:?}", world.machine);
}

#[test]
fn a_describe_that_still_shows_an_instance_we_end_says_one_too_many() {
    let mut world = job_done();
    let shown = world.group.clone();
    for _ in 0..20 {
        [Op::Wait(2_000), Op::Describe, Op::Answer { n: 0, how: How::Well }].into_iter().for_each(|op| world.apply(op));
        if world.ended == 1 {
            break;
        }
    }
    assert_eq!((world.ended, world.group.desired), (1, 0), "its place goes with it");
    world.machine.described(world.around.now, &shown, &Origin::default());
    assert_eq!(world.machine.unseen_decrements(), 1, "it is shown as alive, and desired as before");
    world.machine.described(world.around.now, &world.group, &Origin::default());
    assert_eq!(world.machine.unseen_decrements(), 0);
}

#[test]
fn a_runner_that_no_list_names_is_asked_for_at_the_gate() {
    let mut world = World::new();
    (world.group.desired, world.desired, world.target) = (1, 1, 1);
    let well = Op::Answer { n: 0, how: How::Well };
    let ops = [Op::Launch, Op::Boot(0), Op::Describe, well, well, well, Op::TakeConfig(0)];
    ops.into_iter().for_each(|op| world.apply(op));
    world.apply(Op::StartJob { n: 0, told: false });
    let mut at_the_gate = 0;
    for _ in 0..400 {
        [Op::Wait(5_000), Op::Describe].into_iter().for_each(|op| world.apply(op));
        let asks_the_gate = matches!(world.asked.first(), Some(Asked::GitHub(_, Call::RemoveRunner { .. })));
        at_the_gate += u32::from(asks_the_gate);
        world.apply(Op::Answer { n: 0, how: if asks_the_gate { How::Well } else { How::FalselyGone } });
    }
    assert_eq!(world.ended, 0, "it works on");
    assert!(at_the_gate > 0, "{:?}", world.machine);
}
