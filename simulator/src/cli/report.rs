//! `report`: a recording as one page for people.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use poolkeeper_shell::journal::{Until, expand, until};
use poolkeeper_simulator::report::{self, Reading};

use super::{DONE, Failure};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Journal files, or directories of them, in the order in which they were written
    #[arg(required = true, value_name = "JOURNAL")]
    files: Vec<PathBuf>,
    /// Where the page goes
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    out: PathBuf,
    /// Stop before this step, counted from 1 over all files, or before this time (RFC 3339); what cannot be read is
    /// then passed over
    #[arg(long, value_name = "STEP|TIME", value_parser = until)]
    until: Option<Until>,
}

/// Writes the page and says how large it is.
pub(crate) fn run(options: &Options, out: &mut dyn Write) -> Result<u8, Failure> {
    let files = expand(&options.files).map_err(Failure::Usage)?;
    let until = options.until;
    let reading = report::read(&files, &|number, step| until.is_some_and(|until| until.is_reached(number, step)));
    let Reading { mut report, unreadable, steps } = reading;
    if let Some(error) = unreadable.as_ref().filter(|_| until.is_none()) {
        let mend = format!("what can be read is reported with --until {}", steps + 1);
        return Err(Failure::Usage(format!("{error}; {mend}")));
    }
    if steps > 0 {
        let page = report::html(&mut report).map_err(|error| Failure::Failed(error.to_string()))?;
        let path = options.out.display();
        fs::write(&options.out, &page).map_err(|error| Failure::Usage(format!("cannot write {path}: {error}")))?;
        writeln!(out, "{path}: {steps} steps of {} segments, {} kB", files.len(), page.len().div_ceil(1000))?;
    }
    match unreadable {
        Some(error) => Err(Failure::Usage(error.to_string())),
        None if steps == 0 => Err(Failure::Usage("there is no step to report".to_owned())),
        None => Ok(DONE),
    }
}
