//! How far the work is: a bar on a terminal, plain lines elsewhere.

use std::fmt;
use std::io::{self, Write};
use std::time::{Duration, Instant};

use poolkeeper_simulator::scenario::Verdict;
use serde::Serialize;

const WIDTH: usize = 30;
/// How often a bar is drawn, and a line is written.
const DRAW_EVERY: Duration = Duration::from_millis(200);
const LINE_EVERY: Duration = Duration::from_secs(15);
const HOUR_MS: u64 = 3_600_000;

pub(super) struct Bar {
    total: usize,
    terminal: bool,
    begun: Instant,
    drawn: Instant,
    done: usize,
    failures: usize,
    simulated_ms: u64,
    steps: u64,
    faults: u64,
    jobs: u64,
}

/// The whole work.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Summary {
    scenarios: usize,
    failures: usize,
    simulated_hours: u64,
    steps: u64,
    faults: u64,
    jobs: u64,
    wall_ms: u64,
    threads: usize,
}

impl Bar {
    pub(super) fn new(total: usize, terminal: bool) -> Self {
        let now = Instant::now();
        Self {
            total,
            terminal,
            begun: now,
            drawn: now,
            done: 0,
            failures: 0,
            simulated_ms: 0,
            steps: 0,
            faults: 0,
            jobs: 0,
        }
    }

    pub(super) fn done(&mut self, verdict: &Verdict, failures: usize) {
        self.done += 1;
        self.failures = failures;
        self.simulated_ms += verdict.stats.simulated_ms;
        self.steps += verdict.stats.steps;
        self.faults += verdict.stats.faults;
        self.jobs += verdict.stats.jobs;
        let every = if self.terminal { DRAW_EVERY } else { LINE_EVERY };
        if self.drawn.elapsed() >= every {
            self.drawn = Instant::now();
            self.draw();
        }
    }

    /// Takes the bar off the terminal.
    pub(super) fn clear(&self) {
        if self.terminal {
            // Nobody looks any more when this fails.
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }

    pub(super) fn summary(&self, threads: usize) -> Summary {
        Summary {
            scenarios: self.done,
            failures: self.failures,
            simulated_hours: self.simulated_ms / HOUR_MS,
            steps: self.steps,
            faults: self.faults,
            jobs: self.jobs,
            wall_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
            threads,
        }
    }

    fn draw(&self) {
        let Self { total, done, failures, .. } = self;
        let hours = self.simulated_ms / HOUR_MS;
        let text = format!("{done}/{total} scenarios, {hours} simulated hours, {failures} failed");
        let written = if self.terminal {
            let full = WIDTH * done / total.max(&1);
            let (bar, rest) = ("#".repeat(full), " ".repeat(WIDTH.saturating_sub(full)));
            write!(io::stderr(), "\r\x1b[K[{bar}{rest}] {text}")
        } else {
            writeln!(io::stderr(), "{text}")
        };
        // Nobody looks any more when this fails.
        drop(written);
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenarios, failures, simulated_hours, steps, faults, jobs, wall_ms, threads } = self;
        let (wall_s, tenth) = (wall_ms / 1000, wall_ms % 1000 / 100);
        write!(
            f,
            "{scenarios} scenarios, {failures} failed; {simulated_hours} simulated hours, {steps} steps, \
             {faults} calls hit by faults, {jobs} jobs; {wall_s}.{tenth} s on {threads} threads"
        )
    }
}
