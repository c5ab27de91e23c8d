//! What it costs to hold polls: memory after half a minute of rest, and the time until all are held.

use std::time::Duration;

use serde::{Serialize, Serializer};

use super::report::{Judge, Miss, mb, ms, table};
use super::stage::Stage;
use super::{BenchError, pause};
use crate::programs::Shell;

/// How many pools are held, in turn, unless the caller says otherwise.
pub const POOLS: [usize; 4] = [1, 100, 1_000, 5_000];
/// The same where both daemons are measured.
pub const BLOCKING_POOLS: [usize; 3] = [10, 100, 1_000];
/// The rest before memory is read.
const REST: Duration = Duration::from_secs(30);
/// The bound of `poolkeeper`, by pools over plain HTTP: 45 MB in the kernel's kB.
const RSS_MAX_KB: [(usize, u64); 1] = [(1_000, 45_000_000 / 1024)];
/// The bounds of `poolkeeper-blocking`, likewise: 9 MB and 60 MB.
const BLOCKING_RSS_MAX_KB: [(usize, u64); 2] = [(10, 9_000_000 / 1024), (1_000, 60_000_000 / 1024)];
/// With how many pools the start is judged.
const TIMED: usize = 1_000;
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

/// One daemon with one number of pools, over one kind of wire.
#[derive(Clone, Debug, Serialize)]
struct Row {
    #[serde(serialize_with = "program")]
    shell: Shell,
    pools: usize,
    tls: bool,
    /// From the start of the process until all polls were held, scale sets made on the way.
    first_start_us: u64,
    rss_kb: u64,
    peak_kb: u64,
    /// The same after kill -9, with the scale sets there and the sessions remembered.
    restart_us: u64,
}

/// Measures each number of pools, over plain HTTP and over TLS; of several daemons one after the other with each.
///
/// # Errors
/// When the daemon or the sandbox fails, or descriptors are too few.
pub fn run(shells: &[Shell], pools: &[usize]) -> Result<IdleReport, BenchError> {
    let most = pools.iter().copied().max().unwrap_or(0);
    raise_descriptors(most)?;
    let mut rows = Vec::new();
    for tls in [false, true] {
        for pools in pools {
            for shell in shells {
                rows.push(hold(*shell, *pools, tls)?);
            }
        }
    }
    let misses = judge(&rows);
    Ok(IdleReport { rows, misses })
}

fn program<S: Serializer>(shell: &Shell, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(shell.program())
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
        shell,
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

fn judge(rows: &[Row]) -> Vec<Miss> {
    let mut judge = Judge::default();
    for row in rows.iter().filter(|row| !row.tls) {
        let figure = format!("idle, {}, {} pools, plain HTTP", row.shell.program(), row.pools);
        let (bounds, is_timed): (&[_], _) = match row.shell {
            Shell::Tokio => (&RSS_MAX_KB, row.pools == TIMED),
            Shell::Blocking => (&BLOCKING_RSS_MAX_KB, false),
        };
        for (_, most_kb) in bounds.iter().filter(|(pools, _)| *pools == row.pools) {
            judge.at_most(&format!("{figure}: RSS"), row.rss_kb, *most_kb, mb);
        }
        if is_timed {
            judge.at_most(&format!("{figure}: time until all poll"), row.first_start_us, HELD_MAX_US, ms);
        }
    }
    judge.verdict()
}

impl std::fmt::Display for IdleReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let heads = ["polls held", "RSS", "peak RSS", "kB a poll", "all held", "after kill -9"];
        let mut lines = vec![heads.map(str::to_owned).to_vec()];
        for row in &self.rows {
            let Row { shell, pools, tls, first_start_us, rss_kb, peak_kb, restart_us } = row;
            let wire = if *tls { "TLS" } else { "plain HTTP" };
            lines.push(vec![
                format!("{}: {pools}, {wire}", shell.program()),
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
        let alike = |other: &&Row| other.tls == row.tls && other.shell == row.shell;
        let least = self.rows.iter().filter(alike).min_by_key(|other| other.pools);
        let Some(least) = least.filter(|least| least.pools < row.pools) else { return "-".to_owned() };
        let more = u64::try_from(row.pools - least.pools).unwrap_or(u64::MAX);
        let tenths = row.rss_kb.saturating_sub(least.rss_kb).saturating_mul(10 * 1024) / more / 1000;
        format!("{}.{}", tenths / 10, tenths % 10)
    }
}
