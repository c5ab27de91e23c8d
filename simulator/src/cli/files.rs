//! Journal files, as arguments name them.

use std::fmt::Display;
use std::path::PathBuf;

use poolkeeper_shell::journal;

use super::Failure;

/// The files themselves, and those in the directories, in the order in which they were written.
pub(crate) fn expand(named: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in named {
        let unreadable = |e: &dyn Display| Failure::Usage(format!("{}: {e}", path.display()));
        if path.metadata().map_err(|e| unreadable(&e))?.is_dir() {
            files.extend(journal::files(path).map_err(|e| unreadable(&e))?);
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        let mend = "name a journal file, or the directory that the daemon's [journal] dir names";
        return Err(Failure::Usage(format!("there is no journal file in what was named; {mend}")));
    }
    Ok(files)
}
