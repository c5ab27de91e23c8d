//! The kinds of trouble that a drawn scenario may turn on.

use std::collections::BTreeMap;

use poolkeeper_core::short_text::ShortText;

use super::Scenario;
use super::draw::{Dice, pool};
use super::event::{Timed, What};
use crate::world::{FaultAction, WaitHeader, Weather};

const MINUTE_MS: u64 = 60_000;

/// Adds one piece of trouble to a scenario.
pub(super) type Kind = fn(&mut Dice, &mut Scenario);

/// All kinds.
pub(super) const KINDS: &[Kind] = &[
    flaky_github,
    flaky_github,
    garbage_of_github,
    lost_replies,
    late_replies,
    github_down,
    aws_down,
    flaky_aws,
    rate_limited,
    throttled,
    false_404,
    conflicts,
    refused_tokens,
    evicted,
    ended_tokens,
    zero_statistics,
    lagging_statistics,
    redelivered,
    retired_set,
    hidden_groups,
    deleted_group,
    added_group,
    retagged,
    changed_bounds,
    changed_desired,
    changed_protection,
    suspended,
    no_room,
    failed_boots,
    reclaimed,
    failed_machines,
    crashes,
    crashes_in_a_step,
    stops,
    unwritable_state,
    disconnected,
    second_daemon,
    clock_jumps,
    reloads,
];

const CALLS: &[&str] = &[
    "github",
    "poll",
    "poll",
    "acknowledge",
    "create_session",
    "refresh_session",
    "delete_session",
    "acquire",
    "acquirable_jobs",
    "registration_token",
    "admin_connection",
    "runner_group",
    "scale_set_by_name",
    "scale_set",
    "create_scale_set",
    "update_scale_set",
    "delete_scale_set",
    "jit_config",
    "runner_by_name",
    "remove_runner",
];
const AWS_CALLS: &[&str] = &[
    "aws",
    "DescribeAutoScalingGroups",
    "SetDesiredCapacity",
    "SetInstanceProtection",
    "TerminateInstanceInAutoScalingGroup",
    "PutParameter",
    "DeleteParameter",
    "CompleteLifecycleAction",
    "DescribeWarmPool",
];
const STATUSES: &[u16] = &[400, 401, 403, 404, 409, 410, 429, 500, 501, 502, 503, 504, 204, 302];
const EXCEPTIONS: &[&str] = &[
    "",
    "RunnerScaleSetNotFoundException",
    "RunnerScaleSetSessionConflictException",
    "RunnerScaleSetExistsException",
    "AgentNotFoundException",
    "AgentExistsException",
    "JobStillRunningException",
    "VssServiceException",
];

fn exception(name: &str) -> String {
    if name.is_empty() {
        return "no healthy upstream".to_owned();
    }
    format!(
        "{{\"typeName\":\"GitHub.Actions.Runtime.WebApi.{name}, GitHub.Actions.Runtime.WebApi\",\"message\":\"x\"}}"
    )
}

fn status(code: u16, body: String) -> FaultAction {
    FaultAction::Status { code, body, headers: BTreeMap::new() }
}

fn weather(dice: &mut Dice, scenario: &mut Scenario, call: &str, per_mille: u64, longest_ms: u64, action: FaultAction) {
    let for_ms = dice.a_while(longest_ms);
    let weather = Weather { call: call.to_owned(), per_mille, action };
    dice.happens(scenario, What::Weather { for_ms, weather });
}

fn flaky_github(dice: &mut Dice, scenario: &mut Scenario) {
    let call = dice.pick(CALLS);
    let (code, body) = (dice.pick(STATUSES), exception(dice.pick(EXCEPTIONS)));
    let per_mille = dice.between(20, 500);
    weather(dice, scenario, call, per_mille, 15 * MINUTE_MS, status(code, body));
}

fn garbage_of_github(dice: &mut Dice, scenario: &mut Scenario) {
    let call = dice.pick(CALLS);
    let action = match dice.between(0, 8) {
        0 => FaultAction::EmptyOk,
        1 => FaultAction::Html,
        2 => FaultAction::Truncated,
        3 => FaultAction::Bom,
        4 => FaultAction::UnknownMessageType,
        5 => FaultAction::EmptyList,
        6 => FaultAction::NoQueue,
        7 => FaultAction::Big,
        _ => FaultAction::CutShort,
    };
    let most = if action == FaultAction::Big { 50 } else { 400 };
    let per_mille = dice.between(10, most);
    weather(dice, scenario, call, per_mille, 15 * MINUTE_MS, action);
}

fn lost_replies(dice: &mut Dice, scenario: &mut Scenario) {
    let of_aws = dice.chance(40);
    let call = if of_aws { dice.pick(AWS_CALLS) } else { dice.pick(CALLS) };
    let linger = FaultAction::Linger { ms: dice.between(1000, 2 * MINUTE_MS) };
    let action = if dice.chance(30) { linger } else { FaultAction::LoseReply };
    let per_mille = dice.between(20, 400);
    weather(dice, scenario, call, per_mille, 20 * MINUTE_MS, action);
}

fn late_replies(dice: &mut Dice, scenario: &mut Scenario) {
    let of_aws = dice.chance(40);
    let call = if of_aws { dice.pick(AWS_CALLS) } else { dice.pick(CALLS) };
    let action = FaultAction::Delay { ms: dice.a_while(90_000) };
    let per_mille = dice.between(20, 600);
    weather(dice, scenario, call, per_mille, 20 * MINUTE_MS, action);
}

/// How a peer that is down answers.
fn away(dice: &mut Dice) -> FaultAction {
    match dice.between(0, 4) {
        0 => FaultAction::Close,
        1 => FaultAction::Hang,
        2 => status(503, String::new()),
        3 => status(502, "<html>Bad Gateway</html>".to_owned()),
        _ => status(500, exception("VssServiceException")),
    }
}

fn github_down(dice: &mut Dice, scenario: &mut Scenario) {
    let (at_ms, for_ms) = (dice.moment(scenario), dice.a_while(10 * MINUTE_MS));
    let weather = Weather { call: "github".to_owned(), per_mille: 1000, action: away(dice) };
    scenario.events.push(Timed { at_ms, what: What::Weather { for_ms, weather } });
    if dice.chance(50) {
        scenario.events.push(Timed { at_ms, what: What::Disconnect { daemon: 0 } });
    }
}

fn aws_down(dice: &mut Dice, scenario: &mut Scenario) {
    let action = away(dice);
    weather(dice, scenario, "aws", 1000, 10 * MINUTE_MS, action);
}

fn flaky_aws(dice: &mut Dice, scenario: &mut Scenario) {
    let call = dice.pick(AWS_CALLS);
    let code = dice.pick(&["Throttling", "AccessDenied", "ResourceContention", "ValidationError", "InternalFailure"]);
    let action = match code {
        "AccessDenied" => status(403, code.to_owned()),
        "InternalFailure" => status(500, code.to_owned()),
        _ => status(400, code.to_owned()),
    };
    let action = if dice.chance(15) { FaultAction::Html } else { action };
    let per_mille = dice.between(20, 600);
    weather(dice, scenario, call, per_mille, 15 * MINUTE_MS, action);
}

fn rate_limited(dice: &mut Dice, scenario: &mut Scenario) {
    let call = dice.pick(CALLS);
    let header = match dice.between(0, 2) {
        0 => WaitHeader::None,
        1 => WaitHeader::RetryAfter,
        _ => WaitHeader::Reset,
    };
    let (code, wait_s) = (dice.pick(&[429, 403]), dice.between(1, 300));
    let per_mille = dice.between(50, 1000);
    weather(dice, scenario, call, per_mille, 5 * MINUTE_MS, FaultAction::RateLimit { code, wait_s, header });
}

fn throttled(dice: &mut Dice, scenario: &mut Scenario) {
    let (burst, per_second, for_ms) = (dice.small(1, 10), dice.small(1, 3), dice.a_while(20 * MINUTE_MS));
    dice.happens(scenario, What::Throttle { burst, per_second, for_ms });
}

fn false_404(dice: &mut Dice, scenario: &mut Scenario) {
    let call = dice.pick(&["poll", "create_session", "scale_set", "acknowledge", "acquire", "refresh_session"]);
    let body = exception(dice.pick(&["RunnerScaleSetNotFoundException", ""]));
    let per_mille = dice.between(200, 1000);
    weather(dice, scenario, call, per_mille, 10 * MINUTE_MS, status(404, body));
}

fn conflicts(dice: &mut Dice, scenario: &mut Scenario) {
    let body = exception("RunnerScaleSetSessionConflictException");
    weather(dice, scenario, "create_session", 1000, 10 * MINUTE_MS, status(409, body));
    let group = dice.group(scenario);
    dice.happens(scenario, What::EndSession { group });
}

fn refused_tokens(dice: &mut Dice, scenario: &mut Scenario) {
    let (call, code) = (dice.pick(CALLS), dice.pick(&[401, 401, 403]));
    let per_mille = dice.between(100, 1000);
    weather(dice, scenario, call, per_mille, 5 * MINUTE_MS, status(code, exception("UnauthorizedRequestException")));
}

fn evicted(dice: &mut Dice, scenario: &mut Scenario) {
    let group = dice.group(scenario);
    dice.happens(scenario, What::EndSession { group });
}

fn ended_tokens(dice: &mut Dice, scenario: &mut Scenario) {
    dice.happens(scenario, What::ExpireTokens {});
}

fn zero_statistics(dice: &mut Dice, scenario: &mut Scenario) {
    let per_mille = dice.between(50, 600);
    let call = dice.pick(&["poll", "poll", "create_session", "scale_set"]);
    weather(dice, scenario, call, per_mille, 20 * MINUTE_MS, FaultAction::ZeroStatistics);
}

fn lagging_statistics(dice: &mut Dice, scenario: &mut Scenario) {
    let for_ms = dice.a_while(20 * MINUTE_MS);
    dice.happens(scenario, What::LaggingStatistics { for_ms });
}

fn redelivered(dice: &mut Dice, scenario: &mut Scenario) {
    let for_ms = dice.a_while(20 * MINUTE_MS);
    dice.happens(scenario, What::Redeliver { for_ms });
    weather(dice, scenario, "acknowledge", 500, 10 * MINUTE_MS, FaultAction::LoseReply);
}

fn retired_set(dice: &mut Dice, scenario: &mut Scenario) {
    let group = dice.group(scenario);
    dice.happens(scenario, What::RetireSet { group });
}

fn hidden_groups(dice: &mut Dice, scenario: &mut Scenario) {
    let groups = if dice.chance(50) { Vec::new() } else { vec![dice.group(scenario)] };
    let for_ms = dice.a_while(15 * MINUTE_MS);
    dice.happens(scenario, What::Hide { groups, for_ms });
}

fn deleted_group(dice: &mut Dice, scenario: &mut Scenario) {
    let (group, at_ms) = (dice.group(scenario), dice.moment(scenario));
    let again = scenario.pools.iter().find(|pool| pool.group == group).cloned();
    scenario.events.push(Timed { at_ms, what: What::DeleteGroup { group } });
    if let Some(plan) = again.filter(|_| dice.chance(50)) {
        let at_ms = at_ms + dice.a_while(20 * MINUTE_MS);
        scenario.events.push(Timed { at_ms, what: What::AddGroup(plan) });
    }
}

fn added_group(dice: &mut Dice, scenario: &mut Scenario) {
    let number = 100 + dice.between(0, 899);
    let mut plan = pool(dice, number, 3);
    // Some claim the set of another.
    if dice.chance(30)
        && let Some(other) = scenario.pools.first()
    {
        (plan.org, plan.pool) = (other.org.clone(), other.pool.clone());
    }
    dice.happens(scenario, What::AddGroup(plan));
}

fn retagged(dice: &mut Dice, scenario: &mut Scenario) {
    let (group, at_ms) = (dice.group(scenario), dice.moment(scenario));
    let (key, value) = match dice.between(0, 6) {
        0 => ("runs-on-pool", "other"),
        1 => ("runs-on-org", "org2"),
        2 => ("runs-on-size-max", "3"),
        3 => ("runs-on-paused", "true"),
        4 => ("runs-on-pool", ""),
        5 => ("runs-on-stack", "another"),
        _ => ("runs-on-labels", "big fast"),
    };
    let tag = |group: ShortText, value: &str| What::SetTag { group, key: key.into(), value: value.into() };
    let pool = scenario.pools.iter().find(|pool| pool.group == group);
    let before = pool.and_then(|pool| pool.tags().into_iter().find(|tag| tag.key == key)).map(|tag| tag.value);
    scenario.events.push(Timed { at_ms, what: tag(group.clone(), value) });
    if dice.chance(50) {
        let at_ms = at_ms + dice.a_while(20 * MINUTE_MS);
        scenario.events.push(Timed { at_ms, what: tag(group, &before.unwrap_or_default()) });
    }
}

fn changed_bounds(dice: &mut Dice, scenario: &mut Scenario) {
    let (group, max) = (dice.group(scenario), dice.small(0, 30));
    let min = if dice.chance(40) { dice.small(0, max) } else { 0 };
    dice.happens(scenario, What::SetBounds { group, min, max });
}

fn changed_desired(dice: &mut Dice, scenario: &mut Scenario) {
    let (group, to) = (dice.group(scenario), dice.small(0, 20));
    dice.happens(scenario, What::SetDesired { group, to });
}

fn changed_protection(dice: &mut Dice, scenario: &mut Scenario) {
    let (group, new, all) = (dice.group(scenario), dice.chance(50), dice.chance(50));
    dice.happens(scenario, What::SetProtection { group, new, all });
}

fn suspended(dice: &mut Dice, scenario: &mut Scenario) {
    let (group, for_ms) = (dice.group(scenario), dice.a_while(20 * MINUTE_MS));
    let process = ShortText::from(dice.pick(&["Launch", "Terminate", "HealthCheck"]));
    dice.happens(scenario, What::Suspend { group, process, for_ms });
}

fn no_room(dice: &mut Dice, scenario: &mut Scenario) {
    let (group, instances, for_ms) = (dice.group(scenario), dice.small(0, 3), dice.a_while(20 * MINUTE_MS));
    dice.happens(scenario, What::Room { group, instances, for_ms });
}

fn failed_boots(dice: &mut Dice, scenario: &mut Scenario) {
    let (percent, for_ms) = (dice.between(5, 90), dice.a_while(15 * MINUTE_MS));
    dice.happens(scenario, What::FailBoots { percent, for_ms });
}

fn reclaimed(dice: &mut Dice, scenario: &mut Scenario) {
    let (group, instances) = (dice.group(scenario), dice.small(1, 5));
    dice.happens(scenario, What::Reclaim { group, instances });
}

fn failed_machines(dice: &mut Dice, scenario: &mut Scenario) {
    let (group, instances) = (dice.group(scenario), dice.small(1, 5));
    dice.happens(scenario, What::Fail { group, instances });
}

fn crashes(dice: &mut Dice, scenario: &mut Scenario) {
    let (down_ms, forget) = (dice.a_while(15 * MINUTE_MS), dice.chance(30));
    dice.happens(scenario, What::Crash { daemon: 0, down_ms, forget, in_step: None });
}

fn crashes_in_a_step(dice: &mut Dice, scenario: &mut Scenario) {
    let in_step = usize::try_from(dice.between(0, 3)).ok();
    let (down_ms, forget) = (dice.a_while(5 * MINUTE_MS), dice.chance(20));
    dice.happens(scenario, What::Crash { daemon: 0, down_ms, forget, in_step });
}

fn stops(dice: &mut Dice, scenario: &mut Scenario) {
    let down_ms = dice.a_while(10 * MINUTE_MS);
    dice.happens(scenario, What::Stop { daemon: 0, down_ms });
}

fn unwritable_state(dice: &mut Dice, scenario: &mut Scenario) {
    let for_ms = dice.a_while(30 * MINUTE_MS);
    dice.happens(scenario, What::Unwritable { for_ms });
}

fn disconnected(dice: &mut Dice, scenario: &mut Scenario) {
    dice.happens(scenario, What::Disconnect { daemon: 0 });
}

fn second_daemon(dice: &mut Dice, scenario: &mut Scenario) {
    let stays = dice.chance(30);
    let for_ms = if stays { 2 * scenario.span_ms } else { dice.a_while(30 * MINUTE_MS) };
    dice.happens(scenario, What::SecondDaemon { for_ms });
    if dice.chance(50) {
        let down_ms = dice.a_while(5 * MINUTE_MS);
        dice.happens(scenario, What::Crash { daemon: 0, down_ms, forget: false, in_step: None });
    }
}

fn clock_jumps(dice: &mut Dice, scenario: &mut Scenario) {
    let by_ms = dice.pick(&[-86_400_000, -3_600_000, -5000, 1000, 3_600_000, 31_536_000_000]);
    dice.happens(scenario, What::JumpClock { by_ms });
}

fn reloads(dice: &mut Dice, scenario: &mut Scenario) {
    let idle_grace_ms = dice.pick(&[0, 30_000, 90_000, 600_000]);
    dice.happens(scenario, What::Reload { idle_grace_ms });
}
