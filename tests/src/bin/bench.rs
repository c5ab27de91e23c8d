//! The benchmarks: `cargo run --release -p poolkeeper-tests --bin bench -- latency|at-once [ROUNDS]|issue [ROUNDS]|idle [POOLS…]|blocking latency|blocking idle [POOLS…]|all`.
//!
//! Each prints a table and one line of JSON. The exit code is 1 when a figure misses its bound.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::Write;
use std::process::ExitCode;

use poolkeeper_tests::bench::latency::LatencyReport;
use poolkeeper_tests::bench::report::Miss;
use poolkeeper_tests::bench::{BenchError, bare, idle, issue, latency};
use poolkeeper_tests::programs::Shell;
use serde::Serialize;

const USAGE: &str = "usage: bench latency | at-once [ROUNDS] | issue [ROUNDS] | idle [POOLS…] | blocking latency | blocking idle [POOLS…] | all";
const EXIT_MISSED: u8 = 1;
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let code = match run(&args) {
        Ok(misses) if misses.is_empty() => return ExitCode::SUCCESS,
        Ok(misses) => {
            for miss in misses {
                complain(&format!("missed: {miss}"));
            }
            EXIT_MISSED
        }
        Err(error) => {
            complain(&error.to_string());
            match error {
                BenchError::Usage(_) => EXIT_USAGE,
                BenchError::Failed(_) => EXIT_MISSED,
            }
        }
    };
    ExitCode::from(code)
}

fn run(args: &[&str]) -> Result<Vec<Miss>, BenchError> {
    if let [bare::CHILD, url] = args {
        return bare::child(url).map(|()| Vec::new());
    }
    if cfg!(debug_assertions) {
        return Err(BenchError::Usage("figures of a debug build say nothing: run with --release".to_owned()));
    }
    match args {
        ["latency"] => latency_figures(latency::run(Shell::Tokio)?),
        ["at-once"] => latency_figures(latency::run_at_once(Shell::Tokio, latency::ROUNDS)?),
        ["at-once", rounds] => latency_figures(latency::run_at_once(Shell::Tokio, numbers(&[rounds])?.iter().sum())?),
        ["issue"] => issue_figures(issue::ROUNDS),
        ["issue", rounds] => issue_figures(numbers(&[rounds])?.iter().sum()),
        ["idle"] => idle_figures(&[Shell::Tokio], &idle::POOLS),
        ["idle", pools @ ..] => idle_figures(&[Shell::Tokio], &numbers(pools)?),
        ["blocking", "latency"] => latency_figures(latency::run(Shell::Blocking)?),
        ["blocking", "idle"] => idle_figures(&Shell::ALL, &idle::BLOCKING_POOLS),
        ["blocking", "idle", pools @ ..] => idle_figures(&Shell::ALL, &numbers(pools)?),
        ["all"] => {
            let mut misses = latency_figures(latency::run(Shell::Tokio)?)?;
            misses.append(&mut issue_figures(issue::ROUNDS)?);
            misses.append(&mut idle_figures(&[Shell::Tokio], &idle::POOLS)?);
            Ok(misses)
        }
        [..] => Err(BenchError::Usage(USAGE.to_owned())),
    }
}

fn numbers(words: &[&str]) -> Result<Vec<usize>, BenchError> {
    let number = |word: &&str| word.parse().ok().filter(|number| *number > 0);
    let numbers: Option<Vec<usize>> = words.iter().map(number).collect();
    numbers.ok_or_else(|| BenchError::Usage(format!("a number of pools is 1 or more; {USAGE}")))
}

fn latency_figures(report: LatencyReport) -> Result<Vec<Miss>, BenchError> {
    show("latency", &report)?;
    Ok(report.misses)
}

fn issue_figures(rounds: usize) -> Result<Vec<Miss>, BenchError> {
    let report = issue::run(rounds)?;
    show("issue", &report)?;
    Ok(report.misses)
}

fn idle_figures(shells: &[Shell], pools: &[usize]) -> Result<Vec<Miss>, BenchError> {
    let report = idle::run(shells, pools)?;
    show("idle", &report)?;
    Ok(report.misses)
}

fn show<T: Display + Serialize>(bench: &str, report: &T) -> Result<(), BenchError> {
    let failed = |error: std::io::Error| BenchError::failed("print", error);
    let json = serde_json::to_string(&BTreeMap::from([(bench, report)]))
        .map_err(|error| BenchError::failed("print", error))?;
    writeln!(std::io::stdout().lock(), "{report}\n{json}").map_err(failed)
}

fn complain(what: &str) {
    // There is nowhere else to say it.
    drop(writeln!(std::io::stderr().lock(), "{what}"));
}
