//! How a pool stands, and why: in words, from its view alone.

use poolkeeper_core::notice::Verdict;
use poolkeeper_core::time::Instant;
use poolkeeper_core::view::{PoolView, SessionView};

use super::words::{count, span};

/// Instances are on their way.
const STARTING: &str = "starting";

/// What stands in a pool's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hindrance {
    /// One word for its kind.
    pub(super) kind: &'static str,
    /// What it is.
    pub(super) text: String,
}

/// Says how a pool stands and why its desired capacity is what it is, a sentence a line.
#[must_use]
pub fn standing(pool: &PoolView, now: Instant) -> Vec<String> {
    let PoolView { group, scale_set, connection, scope, verdict, .. } = pool;
    let named = if scale_set.is_empty() {
        format!("group {group}")
    } else {
        format!("{scale_set} (group {group}, {scope} on connection {connection})")
    };
    let treated = match verdict {
        Verdict::Driven => "is driven: capacity follows demand".to_owned(),
        Verdict::Refused { problem, mend } => format!("is refused, nothing is done for it: {problem}; {mend}"),
        Verdict::ScaleOutOnly { problem, mend } => format!("is raised and never lowered: {problem}; {mend}"),
        Verdict::Draining { problem, mend } => format!("drains, nothing new is asked for: {problem}; {mend}"),
    };
    let mut lines = vec![format!("{named} {treated}.")];
    if matches!(verdict, Verdict::Refused { .. }) {
        return lines;
    }
    lines.push(heard(pool, now));
    lines.push(wanted(pool));
    lines.push(there(pool, now));
    let in_its_way = hindrances(pool).into_iter().filter(|hindrance| hindrance.kind != STARTING);
    lines.extend(in_its_way.map(|hindrance| format!("In its way: {}.", hindrance.text)));
    lines.extend(
        pool.error.as_ref().map(|error| format!("The last failure, after which nothing went well yet: {error}.")),
    );
    lines
}

fn heard(pool: &PoolView, now: Instant) -> String {
    let PoolView { polls, messages, .. } = pool;
    let last = pool.polled_at.map_or_else(
        || "no poll has ended well yet".to_owned(),
        |at| format!("the last poll ended well {} ago", span(now.since(at).as_millis())),
    );
    let heard = format!("{last}, {} and {} so far", count(*polls, "poll"), count(*messages, "message"));
    match pool.session {
        SessionView::Open => format!("It listens to GitHub: {heard}."),
        SessionView::None | SessionView::Opening | SessionView::Standby | SessionView::Closing => {
            format!("It does not listen to GitHub: {heard}.")
        }
    }
}

fn wanted(pool: &PoolView) -> String {
    let PoolView { desired, target, group_min, group_max, size_min, size_max, .. } = pool;
    let bounds = format!("group {group_min} to {group_max}, pool {size_min} to {size_max}");
    let Some(counts) = pool.statistics else {
        return format!("Desired capacity is {desired}; GitHub has told no counts yet ({bounds}).");
    };
    let jobs = count(counts.assigned.into(), "job");
    let compared = match desired.cmp(target) {
        std::cmp::Ordering::Equal => "which is the target",
        std::cmp::Ordering::Less => "which is below the target",
        std::cmp::Ordering::Greater if pool.managed => {
            "which is above the target: an instance is ended once it is proven that no job runs on it"
        }
        std::cmp::Ordering::Greater => {
            "which is above the target: it is lowered after the grace, when that can end no job"
        }
    };
    format!(
        "Desired capacity is {desired}, {compared}. The target is {target}: {jobs} assigned ({} running) and those that \
         stand by, within {bounds}.",
        counts.running
    )
}

fn there(pool: &PoolView, now: Instant) -> String {
    let PoolView { in_service, pending, capacity, .. } = pool;
    let age = pool.described_at.map_or_else(
        || "never described".to_owned(),
        |at| format!("described {} ago", span(now.since(at).as_millis())),
    );
    format!("{in_service} in service, {pending} pending ({age}); GitHub is told of room for {capacity}.")
}

/// What keeps a pool from serving the jobs that it has.
pub(super) fn hindrances(pool: &PoolView) -> Vec<Hindrance> {
    let mut found = Vec::new();
    let mut add = |kind, text: String| found.push(Hindrance { kind, text });
    match pool.session {
        SessionView::Open => {}
        SessionView::Standby => add("standby", "another session lives on the scale set: it waits for its end".into()),
        SessionView::None => add("deaf", "no session is asked for, as the scale set is not ready".into()),
        SessionView::Opening => add("deaf", "its session is being opened".into()),
        SessionView::Closing => add("deaf", "its session is being closed".into()),
    }
    if let Verdict::Draining { problem, .. } | Verdict::Refused { problem, .. } = &pool.verdict {
        add("verdict", format!("nothing new is asked for, as {problem}"));
    }
    if pool.paused {
        add("paused", "its tag runs-on-paused is set".into());
    }
    if pool.launches_held {
        add("held", "no instance is launched for a while, as too many in a row never came up".into());
    }
    let assigned = pool.statistics.map_or(0, |counts| counts.assigned);
    if assigned > pool.target {
        let (jobs, target) = (count(assigned.into(), "job"), pool.target);
        let (group_max, size_max) = (pool.group_max, pool.size_max);
        add(
            "full",
            format!("{jobs} assigned and no more than {target} allowed (MaxSize {group_max}, pool's most {size_max})"),
        );
    }
    if pool.desired > pool.in_service && pool.session == SessionView::Open {
        let (desired, up) = (pool.desired, pool.in_service);
        add(STARTING, format!("{up} of {desired} instances are in service, {} pending", pool.pending));
    }
    found
}
