//! The lines of a story, the newest of them when there are too many.

use std::collections::VecDeque;

use serde::{Serialize, Serializer};

use super::words::utc;

/// The most entries that a story has.
const MAX_ENTRIES: usize = 2_000;

/// What was told so far.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Log {
    entries: VecDeque<Entry>,
    left_out: u64,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Entry {
    /// When, in milliseconds since 1970.
    #[serde(rename = "at", serialize_with = "as_utc")]
    pub(super) unix_ms: u64,
    /// What; further lines tell more of the same.
    pub(super) text: String,
}

impl Log {
    pub(super) fn tell(&mut self, unix_ms: u64, text: impl Into<String>) {
        if self.entries.len() >= MAX_ENTRIES {
            self.entries.pop_front();
            self.left_out += 1;
        }
        self.entries.push_back(Entry { unix_ms, text: text.into() });
    }

    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// How many older entries there is no room for.
    pub(super) const fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields over by reference")]
fn as_utc<S: Serializer>(unix_ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&utc(*unix_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_and_the_others_are_counted() {
        let mut log = Log::default();
        (0..2_005).for_each(|n| log.tell(n, n.to_string()));
        assert_eq!((log.left_out(), log.entries().count()), (5, MAX_ENTRIES));
        assert_eq!(log.entries().next().map(|entry| entry.unix_ms), Some(5));
    }
}
