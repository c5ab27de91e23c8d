//! The report's page, in a real browser.
//!
//! Recordings and pages come from this build's `poolkeeper-sim`, or from the one that `POOLKEEPER_SIM` names: with a
//! release build the day of fifty pools is made and measured too.
#![cfg(test)]

mod browser;
mod input;
mod page;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Names a release build of `poolkeeper-sim`.
const PROGRAM: &str = "POOLKEEPER_SIM";

fn release_build() -> Option<PathBuf> {
    std::env::var_os(PROGRAM).map(PathBuf::from)
}

fn sim<S: AsRef<OsStr>>(args: &[S]) -> Output {
    let program = release_build().unwrap_or_else(|| env!("CARGO_BIN_EXE_poolkeeper-sim").into());
    Command::new(program).args(args).output().expect("the binary runs")
}

/// A recording and its page.
struct Made {
    dir: tempfile::TempDir,
}

impl Made {
    fn new(pools: u32, hours: u32) -> Self {
        let made = Self { dir: tempfile::tempdir().unwrap() };
        let (pools, hours) = (pools.to_string(), hours.to_string());
        let journal = made.journal().display().to_string();
        let recorded = sim(&["record", "--pools", &pools, "--hours", &hours, "-o", &journal]);
        assert!(recorded.status.success(), "{recorded:?}");
        let reported = report(&made.journal(), &made.page(), &[]);
        assert!(reported.status.success(), "{reported:?}");
        made
    }

    fn journal(&self) -> PathBuf {
        self.dir.path().join("journal")
    }

    fn page(&self) -> PathBuf {
        self.dir.path().join("report.html")
    }
}

fn report(journal: &Path, page: &Path, more: &[&str]) -> Output {
    let mut args = vec![OsStr::new("report"), journal.as_os_str(), OsStr::new("-o"), page.as_os_str()];
    args.extend(more.iter().map(OsStr::new));
    sim(&args)
}
