//! Demand of a working day: peaks and lulls, nightly runs, and bursts.

use poolkeeper_core::rng::Rng;
use poolkeeper_core::time::{Duration, Instant};

use crate::github::{JobResult, SetKey};
use crate::workload::{Cancel, JobPlan};

/// Simulated time begins at this hour of the day.
const FIRST_HOUR: u64 = 10;
/// How busy people are in each hour of the day, in hundredths.
const OFFICE: [u64; 24] = [4, 3, 3, 3, 4, 6, 12, 30, 65, 90, 100, 95, 70, 80, 100, 95, 85, 60, 40, 25, 15, 10, 7, 5];
/// How much is run in each hour of the night.
const NIGHTLY: [u64; 24] = [60, 100, 100, 40, 10, 0, 0, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 4, 8, 20, 40];
/// The same in every hour.
const STEADY: [u64; 24] = [35; 24];

/// What one pool's jobs are like.
#[derive(Clone, Debug)]
struct Stream {
    key: SetKey,
    day: [u64; 24],
    /// Jobs an hour at its busiest.
    peak_per_hour: u64,
    longest: Duration,
    /// In one slice out of so many, a matrix of jobs comes at once.
    burst_one_in: u64,
}

/// The demand on all pools.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    streams: Vec<Stream>,
    rng: Rng,
}

impl Demand {
    pub(super) fn new(sets: &[SetKey], seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let streams = sets.iter().enumerate().map(|(nth, key)| stream(&mut rng, nth, key)).collect();
        Self { streams, rng }
    }

    /// The jobs of a slice of time, in order.
    pub(super) fn slice(&mut self, from: Instant, span: Duration) -> Vec<(Instant, &SetKey, JobPlan)> {
        let Self { streams, rng } = self;
        let hour = usize::try_from((from.as_millis() / 3_600_000 + FIRST_HOUR) % 24).unwrap_or(0);
        let mut jobs = Vec::new();
        for stream in streams.iter() {
            let percent = stream.day.get(hour).copied().unwrap_or(0);
            let mut count = draw(rng, stream.peak_per_hour * percent * span.as_secs(), 360_000);
            if rng.below(stream.burst_one_in) == 0 {
                count += percent * (4 + rng.below(12)) / 100;
            }
            let together = from + up_to(rng, span);
            for nth in 0..count {
                let at = if nth < 2 { from + up_to(rng, span) } else { together + up_to(rng, Duration::from_secs(2)) };
                jobs.push((at.min(from + span), &stream.key, plan(rng, stream.longest)));
            }
        }
        jobs.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        jobs
    }
}

fn stream(rng: &mut Rng, nth: usize, key: &SetKey) -> Stream {
    let (day, peak_per_hour, longest_min) = match nth % 5 {
        0 => (OFFICE, 70 + rng.below(40), 9),
        1 => (OFFICE, 14 + rng.below(20), 15),
        2 => (STEADY, 12 + rng.below(20), 6),
        3 => (NIGHTLY, 20 + rng.below(30), 25),
        _ => (OFFICE, 2 + rng.below(4), 30),
    };
    let longest = Duration::from_secs(longest_min * 60);
    Stream { key: key.clone(), day, peak_per_hour, longest, burst_one_in: 25 + rng.below(60) }
}

/// `amount / whole`, with chance deciding the rest.
const fn draw(rng: &mut Rng, amount: u64, whole: u64) -> u64 {
    let more = rng.below(whole) < amount % whole;
    amount / whole + if more { 1 } else { 0 }
}

fn plan(rng: &mut Rng, longest: Duration) -> JobPlan {
    let longest = up_to(rng, longest);
    let duration = Duration::from_secs(20) + up_to(rng, longest);
    let result = if rng.below(100) < 7 { JobResult::Failed } else { JobResult::Succeeded };
    let cancel = match rng.below(100) {
        0..3 => Some(Cancel::Queued(up_to(rng, Duration::from_secs(60)))),
        3..5 => Some(Cancel::Running(up_to(rng, duration))),
        _ => None,
    };
    JobPlan { duration, result, cancel }
}

fn up_to(rng: &mut Rng, span: Duration) -> Duration {
    Duration::from_millis(rng.below(span.as_millis().saturating_add(1)))
}
