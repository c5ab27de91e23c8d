//! Places in a recording, as options name them.

use poolkeeper_core::recording::Step;
use poolkeeper_core::time::unix_ms_from_rfc3339;

/// A place in a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// A step, counted from 1 over all files.
    Step(u64),
    /// A time of the wall clock, in milliseconds since 1970.
    UnixMs(u64),
}

impl Until {
    /// Whether the step of this number is at the place or behind it.
    #[must_use]
    pub const fn is_reached<Effects>(self, number: u64, step: &Step<Effects>) -> bool {
        match self {
            Self::Step(n) => number >= n,
            Self::UnixMs(ms) => step.now.unix_ms >= ms,
        }
    }
}

/// Reads a place: a step's number or an RFC 3339 time.
///
/// # Errors
/// Says what a place looks like.
pub fn until(text: &str) -> Result<Until, String> {
    if let Ok(step) = text.parse() {
        return Ok(Until::Step(step));
    }
    let time = unix_ms_from_rfc3339(text).map(Until::UnixMs);
    time.ok_or_else(|| "is neither a step's number nor a time like 2026-05-01T10:00:00Z".to_owned())
}
