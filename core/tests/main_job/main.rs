//! The main job against peers that answer at once: groups in, capacity out.

use poolkeeper_core::Machine;
use poolkeeper_core::event::Event;
use poolkeeper_core::notice::PoolId;
use poolkeeper_core::view::SessionView;

mod peer;

use peer::{Peer, config, github_event, message};

fn started(pools: usize) -> (Peer, Machine) {
    let mut peer = Peer::new(pools);
    let mut machine = Machine::new(config(), 7);
    peer.run(&mut machine, Event::Start { remembered: Vec::new() });
    (peer, machine)
}

fn poll_reply(peer: &mut Peer, machine: &mut Machine, set: u64, id: u64, assigned: u32) {
    let poll = peer.polls.remove(&set).expect("the set is polled");
    peer.run(machine, github_event(poll, message(id, assigned, 2)));
}

#[test]
fn every_tagged_group_gets_a_scale_set_and_listens() {
    let (mut peer, mut machine) = started(250);
    peer.run_until(&mut machine, 100);
    assert_eq!(machine.summary().open, 250);
    assert_eq!(peer.polls.len(), 250);
    assert!(peer.writes.is_empty());
    machine.check();
}

#[test]
fn demand_becomes_capacity_and_is_lowered_after_the_grace() {
    let (mut peer, mut machine) = started(1);
    peer.run_until(&mut machine, 1000);
    poll_reply(&mut peer, &mut machine, 1, 1, 3);
    assert_eq!(peer.writes, [("asg-0".into(), 3)]);
    assert_eq!(peer.polls.len(), 1, "it polls again");
    peer.run_until(&mut machine, 10_000);
    poll_reply(&mut peer, &mut machine, 1, 2, 1);
    peer.run_until(&mut machine, 60_000);
    assert_eq!(peer.writes.len(), 1, "the surplus has not lasted yet");
    peer.run_until(&mut machine, 110_000);
    assert_eq!(peer.writes.last(), Some(&("asg-0".into(), 1)));
}

#[test]
fn a_stop_closes_every_session_and_exits() {
    let (mut peer, mut machine) = started(5);
    peer.run_until(&mut machine, 100);
    peer.run(&mut machine, Event::Stop);
    assert!(peer.exited, "{:?}", peer.notices);
    assert_eq!(machine.poll_timeout(), None);
}

#[test]
fn a_vanished_group_is_closed_only_after_repeated_listings() {
    let (mut peer, mut machine) = started(20);
    peer.run_until(&mut machine, 100);
    peer.groups.remove("asg-3");
    peer.run_until(&mut machine, 130_000);
    assert_eq!(machine.summary().pools, 20);
    peer.run_until(&mut machine, 200_000);
    assert_eq!(machine.summary().pools, 19);
    assert_eq!(machine.summary().open, 19);
}

#[test]
fn a_mass_disappearance_closes_nothing() {
    let (mut peer, mut machine) = started(20);
    peer.run_until(&mut machine, 100);
    peer.groups.clear();
    peer.run_until(&mut machine, 600_000);
    assert_eq!(machine.summary().open, 20);
    assert!(peer.notices.iter().any(|notice| notice.contains("MassDisappearance")));
}

#[test]
fn a_machine_survives_its_own_recording() {
    let (mut peer, mut machine) = started(3);
    peer.run_until(&mut machine, 100);
    poll_reply(&mut peer, &mut machine, 2, 1, 4);
    let json = serde_json::to_string(&machine).unwrap();
    let copy: Machine = serde_json::from_str(&json).unwrap();
    assert_eq!(copy, machine);
    assert_eq!(copy.pool(PoolId(2)).map(|pool| pool.session), Some(SessionView::Open));
}
