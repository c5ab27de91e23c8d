//! Waiting for what must happen: always with a deadline, never for a fixed time.

use std::sync::mpsc;
use std::time::{Duration, Instant};

/// No test waits longer than this for anything.
pub const LONG: Duration = Duration::from_secs(30);
/// How often is looked.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks until there is something, and returns it.
///
/// # Panics
/// When nothing is there at the deadline: the message says what was waited for, and what `why_not` tells.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Option<T>,
    why_not: impl FnOnce() -> String,
) -> T {
    let (_never, pause) = mpsc::channel::<()>();
    let end = Instant::now() + deadline;
    loop {
        if let Some(found) = look() {
            return found;
        }
        if Instant::now() >= end {
            panic!("not within {deadline:?}: {what}\n{}", why_not());
        }
        // Nobody ever sends: the channel is a pause.
        let _never_sent = pause.recv_timeout(LOOK_EVERY);
    }
}
