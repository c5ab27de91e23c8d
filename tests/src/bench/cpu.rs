//! The CPU time that processes have used, by the kernel's scheduler: unlike a clock on the wall, it says the same on a
//! busy machine and on a quiet one.

use std::path::Path;

use super::BenchError;

/// What all threads of a process that live have used since they began, in microseconds.
///
/// # Errors
/// When the process is gone, or the kernel keeps no such account.
pub fn used_us(process: u32) -> Result<u64, BenchError> {
    let tasks = format!("/proc/{process}/task");
    let failed = |error: std::io::Error| BenchError::failed(&format!("read {tasks}"), error);
    let mut ns = 0;
    for task in Path::new(&tasks).read_dir().map_err(failed)? {
        // A thread that has ended meanwhile is none.
        let Ok(text) = std::fs::read_to_string(task.map_err(failed)?.path().join("schedstat")) else { continue };
        let used = text.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        ns += used.ok_or_else(|| BenchError::Failed(format!("{tasks} has no account of CPU time")))?;
    }
    Ok(ns / 1000)
}
