//! `poolkeeper-sim fuzz`: many scenarios, on all cores.

mod bar;
mod speed;

use std::io::{self, IsTerminal, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use poolkeeper_shell::config::JournalSettings;
use poolkeeper_simulator::scenario::{self, Scenario, Verdict};
use serde::Serialize;

use super::{DONE, FAILED, Failure};
use bar::Bar;

/// Failing scenarios beyond these leave no journal.
const MOST_JOURNALS: usize = 20;
/// The most scenarios of one run.
const MOST_SEEDS: u64 = 100_000_000;

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Scenario files to run instead of seeds
    files: Vec<PathBuf>,
    /// Run the files of incidents without the defence that each one is about, to see them fail
    #[arg(long, requires = "files", conflicts_with_all = ["seeds", "from_clock", "speed"])]
    without_defence: bool,
    /// The seeds, the second one excluded
    #[arg(long, value_name = "A..B", default_value = "0..1000", value_parser = seeds)]
    seeds: Seeds,
    /// So many seeds that begin at the present time, which is printed
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "files"])]
    from_clock: Option<u64>,
    /// Threads; all cores unless given
    #[arg(long, value_name = "N")]
    threads: Option<NonZero<usize>>,
    /// Where failing scenarios and their journals go
    #[arg(long, value_name = "DIR", default_value = "fuzz-failures")]
    keep: PathBuf,
    /// Say how fast scenarios of ten pools run on one core, and how that was measured
    #[arg(long, conflicts_with_all = ["seeds", "files", "from_clock"])]
    speed: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seeds {
    from: u64,
    to: u64,
}

fn seeds(text: &str) -> Result<Seeds, String> {
    let (from, to) = text.split_once("..").ok_or("write it like 0..1000")?;
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("\"{text}\" is no seed"));
    let seeds = Seeds { from: number(from)?, to: number(to)? };
    if seeds.to <= seeds.from || seeds.to - seeds.from > MOST_SEEDS {
        return Err(format!("give 1 to {MOST_SEEDS} seeds, the smaller one first"));
    }
    Ok(seeds)
}

/// What is run.
#[derive(Clone, Debug)]
enum Work {
    Seeds(Seeds),
    Files { files: Vec<PathBuf>, without_defence: bool },
}

/// Names one scenario of the work.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Seed(u64),
    File(PathBuf),
}

#[derive(Debug)]
struct Done {
    name: Name,
    verdict: Result<Verdict, String>,
}

#[derive(Serialize)]
struct Line<'a> {
    name: &'a Name,
    verdict: &'a Verdict,
}

pub(super) fn run(options: &Options, out: &mut impl Write) -> Result<u8, Failure> {
    // A panic of the machine is a finding, and is told as one.
    std::panic::set_hook(Box::new(|_| {}));
    if options.speed {
        return speed::run(options.json, out);
    }
    let work = work(options)?;
    if let Work::Seeds(Seeds { from, to }) = &work
        && !options.json
    {
        writeln!(out, "seeds {from}..{to}")?;
    }
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = options.threads.map_or(cores, NonZero::get);
    let (total, next) = (work.len(), AtomicUsize::new(0));
    let mut bar = Bar::new(total, io::stderr().is_terminal());
    let mut failures = 0;
    thread::scope(|scope| {
        let (sender, results) = mpsc::channel();
        for _ in 0..threads {
            let (sender, work, next) = (sender.clone(), &work, &next);
            scope.spawn(move || {
                while let Some(done) = work.take(next.fetch_add(1, Ordering::Relaxed)) {
                    if sender.send(done).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for done in results {
            let verdict = done.verdict.map_err(Failure::Usage)?;
            if verdict.failure.is_some() {
                failures += 1;
                bar.clear();
                told(options, &done.name, &verdict, failures, out)?;
            }
            bar.done(&verdict, failures);
        }
        Ok::<(), Failure>(())
    })?;
    bar.clear();
    let summary = bar.summary(threads);
    if options.json {
        writeln!(out, "{}", serde_json::to_string(&summary).unwrap_or_default())?;
    } else {
        writeln!(out, "{summary}")?;
    }
    Ok(if failures == 0 { DONE } else { FAILED })
}

fn work(options: &Options) -> Result<Work, Failure> {
    if !options.files.is_empty() {
        return Ok(Work::Files { files: options.files.clone(), without_defence: options.without_defence });
    }
    let Some(count) = options.from_clock else { return Ok(Work::Seeds(options.seeds)) };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let from = u64::try_from(now.as_millis()).unwrap_or_default();
    if count == 0 || count > MOST_SEEDS {
        return Err(Failure::Usage(format!("--from-clock: give 1 to {MOST_SEEDS} seeds")));
    }
    Ok(Work::Seeds(Seeds { from, to: from + count }))
}

impl Work {
    fn len(&self) -> usize {
        match self {
            Self::Seeds(Seeds { from, to }) => usize::try_from(to - from).unwrap_or(usize::MAX),
            Self::Files { files, .. } => files.len(),
        }
    }

    fn take(&self, nth: usize) -> Option<Done> {
        match self {
            Self::Seeds(Seeds { from, to }) => {
                let seed = from + u64::try_from(nth).ok()?;
                let verdict = || Ok(scenario::run(&Scenario::from_seed(seed)));
                (seed < *to).then(|| Done { name: Name::Seed(seed), verdict: verdict() })
            }
            Self::Files { files, without_defence } => {
                let file = files.get(nth)?;
                let verdict = load(file, *without_defence).map(|scenario| scenario::run(&scenario));
                Some(Done { name: Name::File(file.clone()), verdict })
            }
        }
    }
}

/// Tells of a failure, and leaves its scenario and journal.
fn told(
    options: &Options,
    name: &Name,
    verdict: &Verdict,
    failures: usize,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let Some(failure) = &verdict.failure else { return Ok(()) };
    if options.json {
        writeln!(out, "{}", serde_json::to_string(&Line { name, verdict }).unwrap_or_default())?;
    } else {
        let (title, again) = match name {
            Name::Seed(seed) => (format!("seed {seed}"), seed.to_string()),
            Name::File(file) if options.without_defence => {
                let kept = options.keep.join(file.file_name().unwrap_or_default());
                (format!("{} without its defence", file.display()), kept.display().to_string())
            }
            Name::File(file) => (file.display().to_string(), file.display().to_string()),
        };
        let at_s = failure.at_ms / 1000;
        let scenario::Failure { checker, contract, what, step, daemon, .. } = failure;
        writeln!(out, "FAILED {title}: {checker} at step {step}, {at_s} s, daemon {daemon}: {what}")?;
        writeln!(out, "  contract: {contract}")?;
        if failures <= MOST_JOURNALS {
            let journal = keep(options, name)?;
            writeln!(out, "  replay: poolkeeper-sim replay {}", journal.display())?;
        }
        writeln!(out, "  shrink: poolkeeper-sim shrink {again}")?;
    }
    Ok(())
}

fn load(file: &Path, without_defence: bool) -> Result<Scenario, String> {
    let scenario = Scenario::load(file)?;
    if !without_defence {
        return Ok(scenario);
    }
    scenario.without_defence().map_err(|problem| format!("{}: {problem}", file.display()))
}

fn keep(options: &Options, name: &Name) -> Result<PathBuf, Failure> {
    let dir = &options.keep;
    let (scenario, stem) = match name {
        Name::Seed(seed) => (Scenario::from_seed(*seed), format!("seed-{seed}")),
        Name::File(file) => {
            let stem = file.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let scenario = load(file, options.without_defence).map_err(Failure::Usage)?;
            (scenario, stem.unwrap_or_default())
        }
    };
    let journal = dir.join(&stem);
    if journal.exists() {
        std::fs::remove_dir_all(&journal)?;
    }
    std::fs::create_dir_all(dir)?;
    std::fs::write(dir.join(format!("{stem}.json")), scenario.to_json())?;
    drop(scenario::record(&scenario, JournalSettings::in_dir(&journal)));
    Ok(journal)
}
