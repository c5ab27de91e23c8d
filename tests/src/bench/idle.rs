//! What it costs to hold polls: memory after half a minute of rest, and the time until all are held.

use std::time::Duration;

use serde::Serialize;

use super::report::{Judge, Miss, mb, ms, table};
use super::stage::Stage;
use super::{BenchError, pause};
use crate::programs::Shell;

/// How many pools are held, in turn, unless the caller says otherwise.
pub const POOLS: [usize; 4] = [1, 100, 1_000, 5_000];
/// The same for the blocking daemon.
pub const BLOCKING_POOLS: [usize; 3] = [10, 100, 1_000];
/// The rest before memory is read.
const REST: Duration = Duration::from_secs(30);
/// How many pools the bounds are for, over plain HTTP.
const JUDGED: usize = 1_000;
/// 45 MB in the kernel's kB.
const RSS_MAX_KB: u64 = 45_000_000 / 1024;
/// The bounds of the blocking daemon, by pools over plain HTTP: 9 MB and 60 MB in the kernel's kB.
const BLOCKING_RSS_MAX_KB: [(usize, u64); 2] = [(10, 9_000_000 / 1024), (1_000, 60_000_000 / 1024)];
const HELD_MAX_US: u64 = 1_000_000;
/// Beside the sockets: files, pipes, and a reserve.
const OTHER_DESCRIPTORS: u64 = 200;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct IdleReport {
    rows: Vec<Row>,
    /// Figures that miss their bounds.
    pub misses: Vec<Miss>,
}

/// One number of pools, over one kind of wire.
#[derive(Clone, Debug, Serialize)]
struct Row {
    pools: usize,
    tls: bool,
    /// From the start of the process until all polls were held, scale sets made on the way.
    first_start_us: u64,
    rss_kb: u64,
    peak_kb: u64,
    /// The same after kill -9, with the scale sets there and the sessions remembered.
    restart_us: u64,
}

/// Measures each number of pools, over plain HTTP and over TLS.
///
/// # Errors
/// When the daemon or the sandbox fails, or descriptors are too few.
pub fn run(shell: Shell, pools: &[usize]) -> Result<IdleReport, BenchError> {
    let most = pools.iter().copied().max().unwrap_or(0);
    raise_descriptors(most)?;
    let mut rows = Vec::new();
    for tls in [false, true] {
        for pools in pools {
            rows.push(hold(shell, *pools, tls)?);
        }
    }
    let misses = judge(shell, &rows);
    Ok(IdleReport { rows, misses })
}

/// The sandbox's end of each poll is a descriptor of this process.
fn raise_descriptors(pools: usize) -> Result<(), BenchError> {
    let had = rlimit::increase_nofile_limit(u64::MAX)
        .map_err(|error| BenchError::failed("raise the limit of descriptors", error))?;
    let wanted = u64::try_from(pools).unwrap_or(u64::MAX).saturating_add(OTHER_DESCRIPTORS);
    if had >= wanted {
        return Ok(());
    }
    Err(BenchError::Usage(format!("{pools} polls want {wanted} descriptors and {had} may be had: raise `ulimit -n`")))
}

fn hold(shell: Shell, pools: usize, tls: bool) -> Result<Row, BenchError> {
    let stage = Stage::set(shell, pools, tls)?;
    let mut daemon = stage.daemon()?;
    let first_start = stage.all_polls_held(&mut daemon)?;
    pause(REST);
    daemon.check()?;
    let memory = daemon.memory()?;
    drop(daemon);
    stage.no_polls_held()?;
    let mut again = stage.daemon()?;
    let restart = stage.all_polls_held(&mut again)?;
    Ok(Row {
        pools,
        tls,
        first_start_us: micros(first_start),
        rss_kb: memory.rss_kb,
        peak_kb: memory.peak_kb,
        restart_us: micros(restart),
    })
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

fn judge(shell: Shell, rows: &[Row]) -> Vec<Miss> {
    match shell {
        Shell::Tokio => judge_tokio(rows),
        Shell::Blocking => judge_blocking(rows),
    }
}

fn judge_blocking(rows: &[Row]) -> Vec<Miss> {
    let mut judge = Judge::default();
    for (pools, most_kb) in BLOCKING_RSS_MAX_KB {
        for row in rows.iter().filter(|row| row.pools == pools && !row.tls) {
            judge.at_most(&format!("idle, {pools} pools, plain HTTP: RSS"), row.rss_kb, most_kb, mb);
        }
    }
    judge.verdict()
}

fn judge_tokio(rows: &[Row]) -> Vec<Miss> {
    let mut judge = Judge::default();
    for row in rows.iter().filter(|row| row.pools == JUDGED && !row.tls) {
        judge.at_most(&format!("idle, {JUDGED} pools, plain HTTP: RSS"), row.rss_kb, RSS_MAX_KB, mb);
        let figure = format!("idle, {JUDGED} pools, plain HTTP: time until all poll");
        judge.at_most(&figure, row.first_start_us, HELD_MAX_US, ms);
    }
    judge.verdict()
}

impl std::fmt::Display for IdleReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let heads = ["polls held", "RSS", "peak RSS", "kB a poll", "all held", "after kill -9"];
        let mut lines = vec![heads.map(str::to_owned).to_vec()];
        for row in &self.rows {
            let Row { pools, tls, first_start_us, rss_kb, peak_kb, restart_us } = row;
            let wire = if *tls { "TLS" } else { "plain HTTP" };
            lines.push(vec![
                format!("{pools}, {wire}"),
                mb(*rss_kb),
                mb(*peak_kb),
                self.a_poll(row),
                ms(*first_start_us),
                ms(*restart_us),
            ]);
        }
        f.write_str(&table(&lines))
    }
}

impl IdleReport {
    /// What each poll adds to the memory of the fewest, in thousands of bytes.
    fn a_poll(&self, row: &Row) -> String {
        let least = self.rows.iter().filter(|other| other.tls == row.tls).min_by_key(|other| other.pools);
        let Some(least) = least.filter(|least| least.pools < row.pools) else { return "-".to_owned() };
        let more = u64::try_from(row.pools - least.pools).unwrap_or(u64::MAX);
        let tenths = row.rss_kb.saturating_sub(least.rss_kb).saturating_mul(10 * 1024) / more / 1000;
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}
