use alloc::vec;

use super::*;
use crate::aws::Instance;

/// A group of two that has had one too many for longer than the grace, and was described just now.
fn surplus(change: impl Fn(&mut Instance)) -> Option<Decision> {
    let instance = |id: &str| Instance {
        id: id.into(),
        state: LifecycleState::InService,
        healthy: true,
        protected: true,
        waits: false,
    };
    let mut group = Group { max_size: 9, desired: 2, ..Group::default() };
    group.instances = vec![instance("i-1"), instance("i-2")];
    group.instances.iter_mut().take(1).for_each(&change);
    let grace = Duration::from_secs(90);
    let wanted = Wanted {
        assigned: 1,
        size_max: 9,
        room: u32::MAX,
        idle_grace: grace,
        boot_deadline: Duration::from_secs(600),
        may_raise: true,
        may_lower: true,
        ..Wanted::default()
    };
    let mut scaler = Scaler::default();
    let start = Instant::from_millis(1000);
    for now in [start, start + grace] {
        let shown = Shown { group: &group, asked_at: now, member_left: false, unseen_decrements: 0 };
        scaler.count(now, &group, wanted.boot_deadline, |_| Judgement::Serves);
        scaler.described(now, &shown, Defences::default());
        scaler.watch_surplus(now, &wanted);
    }
    scaler.decide(start + grace, &wanted)
}

#[test]
fn a_lasting_surplus_is_lowered() {
    assert_eq!(surplus(|_| ()).map(|decision| (decision.from, decision.to)), Some((2, 1)));
}

#[test]
fn each_write_is_counted() {
    let wanted = |assigned| Wanted { assigned, size_max: 9, room: u32::MAX, may_raise: true, ..Wanted::default() };
    let group = Group { max_size: 9, ..Group::default() };
    let now = Instant::from_millis(1000);
    let mut scaler = Scaler::default();
    scaler.described(
        now,
        &Shown { group: &group, asked_at: now, member_left: false, unseen_decrements: 0 },
        Defences::default(),
    );
    for writes in 0..3 {
        assert_eq!(scaler.writes_made(), writes);
        let decision = scaler.decide(now, &wanted(u32::try_from(writes).unwrap() + 1)).unwrap();
        scaler.writes(decision);
        assert!(scaler.wrote(now));
    }
    assert_eq!(scaler.writes_made(), 3);
}

#[test]
fn nothing_is_lowered_while_that_could_pick_a_victim() {
    assert_eq!(surplus(|first| first.protected = false), None);
    assert_eq!(surplus(|first| first.state = LifecycleState::Pending), None);
}

/// A scaler that saw an empty group of nine places, and wants so many instances.
fn described(desired: u32) -> Scaler {
    let mut scaler = Scaler::default();
    look(&mut scaler, NOW, desired);
    scaler
}

fn look(scaler: &mut Scaler, at: Instant, desired: u32) {
    let group = Group { max_size: 9, desired, ..Group::default() };
    let shown = Shown { group: &group, asked_at: at, member_left: false, unseen_decrements: 0 };
    scaler.described(at, &shown, Defences::default());
}

const NOW: Instant = Instant::from_millis(1_000_000);

fn wants(assigned: u32) -> Wanted {
    Wanted { assigned, size_max: 9, room: u32::MAX, may_raise: true, ..Wanted::default() }
}

#[test]
fn an_end_takes_desired_down_until_it_is_refused() {
    let mut scaler = described(3);
    scaler.shrinks();
    assert_eq!(scaler.desired(), 2);
    scaler.shrink_refused();
    assert_eq!(scaler.desired(), 3);
}

#[test]
fn an_end_that_is_refused_during_a_write_changes_what_is_left_if_that_is_refused() {
    let mut scaler = described(3);
    scaler.shrinks();
    let raise = scaler.decide(NOW, &wants(5)).unwrap();
    assert_eq!((raise.from, raise.to), (2, 5));
    scaler.writes(raise);
    scaler.shrink_refused();
    assert_eq!(scaler.desired(), 5);
    scaler.refused(NOW, &AwsError::Throttled, &mut Rng::new(1));
    assert_eq!(scaler.desired(), 3);
}

#[test]
fn an_end_in_doubt_makes_desired_uncertain_until_a_newer_describe() {
    let mut scaler = described(3);
    assert!(scaler.is_certain());
    scaler.shrinks();
    scaler.shrink_in_doubt(NOW);
    assert!(!scaler.is_certain());
    assert_eq!(scaler.decide(NOW, &wants(9)), None);
    let before = Instant::from_millis(NOW.as_millis() - 1);
    look(&mut scaler, before, 3);
    assert!(!scaler.is_certain());
    assert_eq!(scaler.desired(), 2);
    look(&mut scaler, NOW, 3);
    assert!(scaler.is_certain());
    assert_eq!(scaler.desired(), 3);
}

#[test]
fn a_write_on_its_way_makes_desired_uncertain() {
    let mut scaler = described(3);
    let raise = scaler.decide(NOW, &wants(5)).unwrap();
    scaler.writes(raise);
    assert!(!scaler.is_certain());
    assert!(scaler.wrote(NOW));
    assert!(scaler.is_certain());
}

#[test]
fn a_describe_is_fresh_for_so_long() {
    assert!(!Scaler::default().is_fresh(NOW));
    let scaler = described(3);
    assert!(scaler.is_fresh(NOW));
    assert!(!scaler.is_fresh(NOW + FRESH));
}

#[test]
fn only_a_write_that_adds_capacity_raises_it() {
    let mut scaler = described(3);
    let raise = scaler.decide(NOW, &wants(5)).unwrap();
    scaler.writes(Decision { to: 3, ..raise });
    assert!(!scaler.wrote(NOW));
}

/// What is counted of one instance that is told to leave.
fn leaving(state: LifecycleState, protected: bool) -> Counts {
    let instance = Instance { id: "i-1".into(), state, healthy: true, protected, waits: false };
    let group = Group { max_size: 9, desired: 1, instances: vec![instance], ..Group::default() };
    let mut scaler = Scaler::default();
    scaler.count(NOW, &group, Duration::from_secs(600), |_| Judgement::Leaves);
    scaler.counts()
}

#[test]
fn an_instance_that_is_told_to_leave_is_on_its_way_out_and_may_be_picked() {
    let leaves = Counts { terminating: 1, ..Counts::default() };
    let exposed = Counts { unprotected: 1, ..leaves };
    assert_eq!(leaving(LifecycleState::InService, true), leaves);
    assert_eq!(leaving(LifecycleState::InService, false), exposed);
    assert_eq!(leaving(LifecycleState::Pending, false), leaves);
    assert_eq!(leaving(LifecycleState::Terminating, false), leaves);
}

#[test]
fn an_instance_is_late_by_when_it_was_first_pending_whatever_others_do() {
    let instance = |id: &str, state| Instance { id: id.into(), state, healthy: true, protected: true, waits: false };
    let (boots, deadline) = (instance("i-1", LifecycleState::Pending), Duration::from_secs(600));
    let others = [LifecycleState::Pending, LifecycleState::InService, LifecycleState::Terminating];
    let mut scaler = Scaler::default();
    for (n, state) in (0..).zip(others) {
        let group = Group { instances: vec![boots.clone(), instance("i-2", state)], ..Group::default() };
        scaler.count(NOW + Duration::from_secs(300).times(n), &group, deadline, |_| Judgement::Serves);
        assert_eq!(scaler.counts().unusable, 0);
        assert_eq!(scaler.pending_since.len(), if n == 0 { 2 } else { 1 }, "what is not pending is forgotten");
    }
    let group = Group { instances: vec![boots], ..Group::default() };
    scaler.count(NOW + deadline.times(2), &group, deadline, |_| Judgement::Serves);
    assert_eq!(scaler.counts().unusable, 1);
}
