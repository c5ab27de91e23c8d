//! Journal files, as arguments name them.

use std::fmt::Display;
use std::path::PathBuf;

/// The files themselves, and those in the directories, in the order in which they were written.
///
/// # Errors
/// When one is not there, or there is none at all: the message says what to name.
pub fn expand(named: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut files = Vec::new();
    for path in named {
        let unreadable = |e: &dyn Display| format!("{}: {e}", path.display());
        if path.metadata().map_err(|e| unreadable(&e))?.is_dir() {
            files.extend(super::files(path).map_err(|e| unreadable(&e))?);
        } else {
            files.push(path.clone());
        }
    }
    if files.is_empty() {
        let mend = "name a journal file, or the directory that the daemon's [journal] dir names";
        return Err(format!("there is no journal file in what was named; {mend}"));
    }
    Ok(files)
}
