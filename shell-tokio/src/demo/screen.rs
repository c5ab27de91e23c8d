//! The demo while it runs: a live table on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use poolkeeper_simulator::github::SetKey;
use poolkeeper_simulator::world::{GroupState, PoolCounts, WorldState};

/// How often a plain line is written.
const LINE_EVERY: Duration = Duration::from_secs(2);
/// The most pools a live table shows: it has to fit on the screen.
const ROWS_MAX: usize = 32;

pub(super) struct Screen {
    live: bool,
    /// The lines of the table that stands on the screen.
    drawn: usize,
    next_line: Duration,
}

impl Screen {
    /// A live screen on a terminal, unless a machine reads.
    pub(super) fn new(json: bool) -> Self {
        let live = !json && io::stdout().is_terminal();
        Self { live, drawn: 0, next_line: Duration::ZERO }
    }

    pub(super) fn say(&mut self, line: &str) -> io::Result<()> {
        self.drawn = 0;
        writeln!(io::stdout().lock(), "{line}")
    }

    pub(super) fn draw(
        &mut self,
        at: Duration,
        state: &WorldState,
        pools: &BTreeMap<SetKey, PoolCounts>,
        last: bool,
    ) -> io::Result<()> {
        if self.live {
            let table = table(state, pools);
            let mut out = io::stdout().lock();
            if self.drawn > 0 {
                write!(out, "\x1b[{}A\x1b[J", self.drawn)?;
            }
            self.drawn = table.lines().count();
            write!(out, "{table}")?;
            return out.flush();
        }
        if at < self.next_line && !last {
            return Ok(());
        }
        self.next_line = at + LINE_EVERY;
        writeln!(io::stdout().lock(), "{:>4} s  {}", at.as_secs(), summary(state, pools))
    }
}

fn summary(state: &WorldState, pools: &BTreeMap<SetKey, PoolCounts>) -> String {
    let (mut waiting, mut running, mut ended) = (0, 0, 0);
    for counts in pools.values() {
        waiting += counts.waiting;
        running += counts.running;
        ended += counts.ended;
    }
    let desired: u32 = state.groups.iter().map(|group| group.desired).sum();
    let in_service: usize = state.groups.iter().map(|group| group.in_service).sum();
    format!(
        "jobs: {waiting} waiting, {running} running, {ended} ended; capacity: {desired} desired, \
         {in_service} in service"
    )
}

fn table(state: &WorldState, pools: &BTreeMap<SetKey, PoolCounts>) -> String {
    let mut text = format!(
        "{:<28}{:>8}{:>8}{:>8}{:>9}{:>9}{:>9}\n",
        "group", "waiting", "running", "ended", "desired", "booting", "serving"
    );
    for group in state.groups.iter().take(ROWS_MAX) {
        let GroupState { name, set, desired, in_service, pending, .. } = group;
        let counts = set.as_ref().and_then(|set| pools.get(set)).copied().unwrap_or_default();
        let PoolCounts { waiting, running, ended } = counts;
        let _infallible =
            writeln!(text, "{name:<28}{waiting:>8}{running:>8}{ended:>8}{desired:>9}{pending:>9}{in_service:>9}");
    }
    if state.groups.len() > ROWS_MAX {
        let _infallible = writeln!(text, "… and {} groups more", state.groups.len() - ROWS_MAX);
    }
    let _infallible = writeln!(text, "{}", summary(state, pools));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> (WorldState, BTreeMap<SetKey, PoolCounts>) {
        let set = SetKey::new("acme", "acme-linux");
        let group = GroupState {
            name: "ci-acme-linux".into(),
            set: Some(set.clone()),
            min_size: 0,
            max_size: 20,
            desired: 3,
            in_service: 1,
            pending: 2,
        };
        let state = WorldState {
            sets: Vec::new(),
            groups: vec![group],
            totals: poolkeeper_simulator::world::Totals::default(),
        };
        let counts = PoolCounts { waiting: 2, running: 1, ended: 7 };
        (state, BTreeMap::from([(set, counts)]))
    }

    #[test]
    fn a_row_shows_jobs_and_capacity_of_a_group() {
        let (state, pools) = state();

        let table = table(&state, &pools);

        let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(row, ["ci-acme-linux", "2", "1", "7", "3", "2", "1"]);
    }

    #[test]
    fn the_summary_adds_up() {
        let (state, pools) = state();

        assert_eq!(summary(&state, &pools), "jobs: 2 waiting, 1 running, 7 ended; capacity: 3 desired, 1 in service");
    }
}
