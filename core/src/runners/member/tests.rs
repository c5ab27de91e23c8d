use super::*;

#[test]
fn an_instance_takes_up_its_place_until_its_termination_goes_out() {
    let mut member = Member::new("i-1", Instant::default(), &Origin::default());
    member.stage = Stage::Free;
    member.begins(Doing::Terminate);
    assert_eq!(member.judge(), Judgement::CannotServe);
    member.doing = Some(Doing::Terminating);
    assert_eq!(member.judge(), Judgement::Leaves);
}

#[test]
fn only_who_serves_and_has_no_config_waits_for_one() {
    let mut member = Member::new("i-1", Instant::default(), &Origin::default());
    assert!(!member.waits_for_config(), "it comes up");
    member.state = LifecycleState::InService;
    assert!(member.waits_for_config());
    member.stage = Stage::Served { runner: 1, at: Instant::default() };
    assert!(!member.waits_for_config());
}
