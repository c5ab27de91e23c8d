//! Counts, spreads and rates.

use std::collections::BTreeMap;

use serde::Serialize;

/// The most stretches of time that calls are counted in.
const MAX_BUCKETS: u64 = 1_500;
const MINUTE_MS: u64 = 60_000;

/// How values are spread, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Spread {
    n: usize,
    p50: u64,
    p95: u64,
    p99: u64,
    max: u64,
}

impl Spread {
    /// The spread of values in any order; `None` when there are none.
    pub(super) fn of(values: &mut [u64]) -> Option<Self> {
        values.sort_unstable();
        let at = |percent: usize| {
            // The least value that this many of a hundred do not exceed.
            let rank = (values.len() * percent).div_ceil(100).max(1);
            values.get(rank - 1).copied()
        };
        Some(Self { n: values.len(), p50: at(50)?, p95: at(95)?, p99: at(99)?, max: at(100)? })
    }
}

/// What is counted of a pool, and of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counted {
    pub(super) messages: u64,
    pub(super) started: u64,
    pub(super) completed: u64,
    results: BTreeMap<String, u64>,
    pub(super) raises: u64,
    pub(super) lowers: u64,
    pub(super) errors: u64,
    pub(super) anomalies: u64,
}

impl Counted {
    pub(super) fn complete(&mut self, result: &str) {
        self.completed += 1;
        let result = if result.is_empty() { "unknown" } else { result };
        *self.results.entry(result.to_owned()).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.started += other.started;
        self.completed += other.completed;
        self.raises += other.raises;
        self.lowers += other.lowers;
        self.errors += other.errors;
        self.anomalies += other.anomalies;
        for (result, count) in &other.results {
            *self.results.entry(result.clone()).or_default() += count;
        }
    }
}

/// Calls by peer and kind, over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Calls {
    by_kind: BTreeMap<(&'static str, &'static str), BTreeMap<u64, u64>>,
    failures: BTreeMap<(&'static str, &'static str, String), u64>,
}

/// The calls of one kind, counted in stretches of time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct CallRow {
    peer: &'static str,
    kind: &'static str,
    total: u64,
    counts: Vec<u64>,
}

/// How often calls of one kind failed in one way.
#[derive(Clone, Debug, Serialize)]
pub(super) struct FailureRow {
    peer: &'static str,
    kind: &'static str,
    what: String,
    count: u64,
}

impl Calls {
    pub(super) fn made(&mut self, at: u64, peer: &'static str, kind: &'static str) {
        *self.by_kind.entry((peer, kind)).or_default().entry(at / MINUTE_MS).or_default() += 1;
    }

    pub(super) fn failed(&mut self, peer: &'static str, kind: &'static str, what: &str) {
        *self.failures.entry((peer, kind, what.to_owned())).or_default() += 1;
    }

    /// Minutes that are counted together, so that there are not too many stretches.
    pub(super) const fn minutes_a_bucket(span_ms: u64) -> u64 {
        (span_ms / MINUTE_MS + 1).div_ceil(MAX_BUCKETS)
    }

    pub(super) fn rows(&self, span_ms: u64) -> Vec<CallRow> {
        let minutes = Self::minutes_a_bucket(span_ms);
        let buckets = usize::try_from((span_ms / MINUTE_MS + 1).div_ceil(minutes)).unwrap_or(0);
        let row = |(&(peer, kind), by_minute): (&(&'static str, &'static str), &BTreeMap<u64, u64>)| {
            let mut counts = vec![0; buckets];
            for (minute, count) in by_minute {
                let bucket = usize::try_from(minute / minutes).ok().and_then(|bucket| counts.get_mut(bucket));
                if let Some(bucket) = bucket {
                    *bucket += count;
                }
            }
            CallRow { peer, kind, total: by_minute.values().sum(), counts }
        };
        self.by_kind.iter().map(row).collect()
    }

    pub(super) fn failure_rows(&self) -> Vec<FailureRow> {
        let row = |((peer, kind, what), count): (&(&'static str, &'static str, String), &u64)| FailureRow {
            peer,
            kind,
            what: what.clone(),
            count: *count,
        };
        self.failures.iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_names_values_that_were_there() {
        let mut values: Vec<u64> = (1..=200).rev().collect();
        assert_eq!(Spread::of(&mut values), Some(Spread { n: 200, p50: 100, p95: 190, p99: 198, max: 200 }));
        assert_eq!(Spread::of(&mut [7]), Some(Spread { n: 1, p50: 7, p95: 7, p99: 7, max: 7 }));
        assert_eq!(Spread::of(&mut []), None);
    }

    #[test]
    fn calls_are_counted_by_the_minute_until_there_are_too_many_minutes() {
        let mut calls = Calls::default();
        for at in [0, 59_999, 60_000, 150_000] {
            calls.made(at, "aws", "describe_groups");
        }
        let rows = calls.rows(179_999);
        assert_eq!((rows[0].counts.as_slice(), rows[0].total), (&[2, 1, 1][..], 4));
        let week_ms = 7 * 24 * 3_600_000;
        assert_eq!(Calls::minutes_a_bucket(week_ms), 7);
        assert!(calls.rows(week_ms)[0].counts.len() <= 1_500);
    }
}
