//! `parse-fuzz`: inputs by the million for everything that reads what a peer or a user wrote.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use clap::Args;
use poolkeeper_core::rng::Rng;
use poolkeeper_simulator::parsers::{self, Input, Parser};

use super::{DONE, FAILED, Failure};

/// Inputs that a thread takes at a time.
const BATCH: u64 = 500;
/// How often the progress is told.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// Lines of progress where there is no terminal.
const LINES_OF_PROGRESS: u64 = 10;
/// The memory that inputs of a megabyte, and what allocators keep, may add to what the first hundredth took.
const MOST_GROWTH_KB: u64 = 64 << 10;
/// The most bytes of a failing input that are shown.
const SHOWN_BYTES: usize = 300;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many inputs
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    inputs: u64,
    /// Decides what the inputs are
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The number of the first input
    #[arg(long, value_name = "N", default_value_t = 0)]
    from: u64,
    /// Only parsers whose name contains this
    #[arg(long, value_name = "TEXT")]
    parser: Option<String>,
}

/// An input that a parser did not survive, or kept too much of.
struct Finding {
    number: u64,
    parser: String,
    problem: String,
    bytes: Vec<u8>,
}

struct Run<'a> {
    options: &'a Options,
    next: AtomicU64,
    bytes: AtomicU64,
    stop: AtomicBool,
}

pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Failure> {
    let home = Home::new()?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let run = Run { options, next: AtomicU64::new(0), bytes: AtomicU64::new(0), stop: AtomicBool::new(false) };
    let mut all = Vec::new();
    for n in 0..threads {
        all.push(parsers_in(&home.0.join(n.to_string()), options)?);
    }
    let count = all.first().map_or(0, Vec::len);
    writeln!(out, "{} inputs from seed {} for {count} parsers, on {threads} threads", options.inputs, options.seed)?;
    // What a panic would print is told once, as a finding.
    std::panic::set_hook(Box::new(|_| ()));
    let begun = Instant::now();
    let (sender, findings) = channel();
    let (found, memory) = std::thread::scope(|scope| {
        for parsers in all {
            let (run, sender) = (&run, sender.clone());
            scope.spawn(move || run.work(parsers, |finding| drop(sender.send(finding))));
        }
        drop(sender);
        run.watch(&findings, out)
    })?;
    drop(std::panic::take_hook());
    let took = begun.elapsed();
    let megabytes = run.bytes.load(Ordering::Relaxed) >> 20;
    let rate = u128::from(options.inputs) * 1000 / took.as_millis().max(1);
    writeln!(out, "{} inputs, {megabytes} MB, in {} s: {rate} a second", options.inputs, took.as_secs())?;
    if let Some(Memory { early_kb, peak_kb }) = memory {
        writeln!(out, "memory: {early_kb} kB at its peak after a hundredth of the inputs, {peak_kb} kB after all")?;
        if peak_kb > early_kb + MOST_GROWTH_KB {
            writeln!(out, "memory grew by more than {MOST_GROWTH_KB} kB: find the parser with --parser")?;
            return Ok(FAILED);
        }
    }
    writeln!(out, "{found} failures")?;
    Ok(if found == 0 { DONE } else { FAILED })
}

fn parsers_in(dir: &Path, options: &Options) -> Result<Vec<Parser>, Failure> {
    let cannot = |error: io::Error| Failure::Failed(format!("cannot make {}: {error}; set TMPDIR", dir.display()));
    fs::create_dir_all(dir).map_err(cannot)?;
    let mut all = parsers::all(dir).map_err(Failure::Failed)?;
    if let Some(wanted) = &options.parser {
        let names: Vec<_> = all.iter().map(|parser| parser.name.clone()).collect();
        all.retain(|parser| parser.name.contains(wanted));
        if all.is_empty() {
            return Err(Failure::Usage(format!(
                "no parser's name contains \"{wanted}\"; there are: {}",
                names.join(", ")
            )));
        }
    }
    Ok(all)
}

impl Run<'_> {
    fn work(&self, mut parsers: Vec<Parser>, found: impl Fn(Finding)) {
        loop {
            let first = self.next.fetch_add(BATCH, Ordering::Relaxed);
            if first >= self.options.inputs || self.stop.load(Ordering::Relaxed) {
                return;
            }
            for number in first..self.options.inputs.min(first + BATCH) {
                if let Some(finding) = self.feed(&mut parsers, self.options.from + number) {
                    found(finding);
                }
            }
        }
    }

    /// Input and parser follow from the seed and the number alone, so that one input can be given again.
    fn feed(&self, parsers: &mut [Parser], number: u64) -> Option<Finding> {
        let mut rng = Rng::new(self.options.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let count = u64::try_from(parsers.len()).unwrap_or(u64::MAX);
        let parser = parsers.get_mut(usize::try_from(rng.below(count)).unwrap_or(0))?;
        let bytes = Input::draw(&mut rng).bytes(&parser.samples);
        self.bytes.fetch_add(u64::try_from(bytes.len()).unwrap_or(0), Ordering::Relaxed);
        let problem = match catch_unwind(AssertUnwindSafe(|| parser.read(&bytes))) {
            Ok(Ok(_)) => return None,
            Ok(Err(excess)) => excess.to_string(),
            Err(panic) => format!("panic: {}", words(panic.as_ref())),
        };
        Some(Finding { number, parser: parser.name.clone(), problem, bytes })
    }

    /// Tells findings and progress until the work is done.
    fn watch(&self, findings: &Receiver<Finding>, out: &mut dyn Write) -> Result<(u64, Option<Memory>), Failure> {
        let (mut found, mut told, mut early_kb) = (0, 0, None);
        let terminal = io::stderr().is_terminal();
        loop {
            let next = findings.recv_timeout(TELL_EVERY);
            let done = self.next.load(Ordering::Relaxed).min(self.options.inputs);
            if early_kb.is_none() && done >= self.options.inputs / 100 {
                early_kb = peak_kb();
            }
            match next {
                Ok(finding) => {
                    found += 1;
                    if let Err(error) = self.tell(&finding, out) {
                        self.stop.store(true, Ordering::Relaxed);
                        return Err(error.into());
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    let tenths = done * LINES_OF_PROGRESS / self.options.inputs.max(1);
                    if terminal || tenths > told {
                        told = tenths;
                        let (start, end) = if terminal { ("\r", "") } else { ("", "\n") };
                        let percent = done * 100 / self.options.inputs.max(1);
                        // Nobody has to listen to progress.
                        drop(write!(io::stderr(), "{start}{percent} %: {done} inputs, {found} failures{end}"));
                    }
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let memory = early_kb.zip(peak_kb()).map(|(early_kb, peak_kb)| Memory { early_kb, peak_kb });
                    return Ok((found, memory));
                }
            }
        }
    }

    fn tell(&self, finding: &Finding, out: &mut dyn Write) -> io::Result<()> {
        let Finding { number, parser, problem, bytes } = finding;
        let shown = String::from_utf8_lossy(bytes.get(..bytes.len().min(SHOWN_BYTES)).unwrap_or_default());
        writeln!(out, "input {number}, {parser}: {problem}")?;
        writeln!(out, "  {} bytes: {shown:?}", bytes.len())?;
        let only = self.options.parser.as_ref().map_or_else(String::new, |text| format!(" --parser '{text}'"));
        writeln!(
            out,
            "  again: poolkeeper-sim parse-fuzz --seed {} --from {number} --inputs 1{only}",
            self.options.seed
        )
    }
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words").to_owned()
}

/// What the process took at its peak, early and at the end.
struct Memory {
    early_kb: u64,
    peak_kb: u64,
}

/// The most memory the process ever held, where the system tells.
fn peak_kb() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// A directory of our own, gone when we are.
struct Home(PathBuf);

impl Home {
    fn new() -> Result<Self, Failure> {
        let dir = std::env::temp_dir().join(format!("poolkeeper-parse-fuzz-{}", std::process::id()));
        match fs::create_dir_all(&dir) {
            Ok(()) => Ok(Self(dir)),
            Err(error) => Err(Failure::Failed(format!("cannot make {}: {error}; set TMPDIR", dir.display()))),
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
