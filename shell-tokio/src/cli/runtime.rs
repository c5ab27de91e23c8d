//! The async runtime of the daemon.

use std::future::Future;
use std::time::Duration;

use tokio::runtime::Builder;

use super::Failure;

const WORKERS: usize = 2;
/// Threads for name look-ups, which are all that blocks.
const BLOCKING_MAX: usize = 4;
const THREAD_STACK_BYTES: usize = 1 << 20;
/// Files and sockets wanted: one for each poll, and room for the rest. The system's own limit may be lower.
const OPEN_FILES: u64 = 65_536;
/// How long calls that were given up may take to end.
const SHUTDOWN: Duration = Duration::from_millis(500);

/// Runs a future to its end; a panic in it is a failure that was told already.
pub(crate) fn block_on<T: Send + 'static>(
    future: impl Future<Output = Result<T, Failure>> + Send + 'static,
) -> Result<T, Failure> {
    if let Err(error) = rlimit::increase_nofile_limit(OPEN_FILES) {
        tracing::warn!("the limit of open files stays as it is: {error}");
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_stack_size(THREAD_STACK_BYTES)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("no async runtime: {error}")))?;
    let done = runtime.block_on(async { tokio::spawn(future).await });
    runtime.shutdown_timeout(SHUTDOWN);
    done.unwrap_or(Err(Failure::Told))
}
