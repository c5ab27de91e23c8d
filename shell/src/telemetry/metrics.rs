//! Counters and histograms, with a bound on how many series they may have.

use std::collections::BTreeMap;
use std::time::Duration;

use super::exposition::{Seconds, head, sample};

/// The most series of one family: what comes after is counted as dropped.
const MAX_SERIES: usize = 10_000;
/// Stands between label values in a series' key.
const BETWEEN: char = '\u{1f}';
const MS: u64 = 1_000;
const S: u64 = 1_000_000;
/// Upper bounds of calls, in microseconds.
const CALL_BUCKETS: &[u64] = &[
    MS,
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    500 * MS,
    S,
    2 * S,
    5 * S,
    10 * S,
    30 * S,
    60 * S,
];
/// Upper bounds of jobs, in microseconds: those of ARC's listener, so that its dashboards fit.
const JOB_BUCKETS: &[u64] = &[
    10 * MS,
    50 * MS,
    100 * MS,
    500 * MS,
    S,
    2 * S,
    3 * S,
    4 * S,
    5 * S,
    6 * S,
    7 * S,
    8 * S,
    9 * S,
    10 * S,
    12 * S,
    15 * S,
    18 * S,
    20 * S,
    25 * S,
    30 * S,
    40 * S,
    50 * S,
    60 * S,
    70 * S,
    80 * S,
    90 * S,
    100 * S,
    110 * S,
    120 * S,
    150 * S,
    180 * S,
    210 * S,
    240 * S,
    300 * S,
    360 * S,
    420 * S,
    480 * S,
    540 * S,
    600 * S,
    900 * S,
    1_200 * S,
    1_800 * S,
    2_400 * S,
    3_000 * S,
    3_600 * S,
];
const JOB_LABELS: &[&str] = &["enterprise", "organization", "repository", "event_name"];
const ENDED_JOB_LABELS: &[&str] = &["enterprise", "organization", "repository", "event_name", "job_result"];

/// All that is counted.
#[derive(Debug)]
pub(super) struct Metrics {
    pub(super) started_jobs: Family<u64>,
    pub(super) completed_jobs: Family<u64>,
    pub(super) job_startup: Family<Histogram>,
    pub(super) job_execution: Family<Histogram>,
    pub(super) github_calls: Family<u64>,
    pub(super) github_durations: Family<Histogram>,
    pub(super) aws_calls: Family<u64>,
    pub(super) aws_durations: Family<Histogram>,
    pub(super) messages: Family<u64>,
    pub(super) acquired: Family<u64>,
    pub(super) capacity_changes: Family<u64>,
    pub(super) configs: Family<u64>,
    pub(super) freed: Family<u64>,
    pub(super) instance_starts: Family<Histogram>,
    pub(super) failed_calls: Family<u64>,
    pub(super) notices: Family<u64>,
    pub(super) journal_failures: Family<u64>,
}

impl Default for Metrics {
    #[rustfmt::skip]
    fn default() -> Self {
        let counter = Family::<u64>::new;
        let histogram = Family::<Histogram>::new;
        Self {
            started_jobs: counter("gha_started_jobs_total", "Jobs that a runner took.", JOB_LABELS),
            completed_jobs: counter("gha_completed_jobs_total", "Jobs that ended.", ENDED_JOB_LABELS),
            job_startup: histogram("gha_job_startup_duration_seconds", "From a job's assignment to the scale set to a runner's taking it.", JOB_LABELS),
            job_execution: histogram("gha_job_execution_duration_seconds", "From a runner's taking a job to its end.", ENDED_JOB_LABELS),
            github_calls: counter("poolkeeper_github_calls_total", "Finished calls to GitHub.", &["connection", "call", "outcome"]),
            github_durations: histogram("poolkeeper_github_call_duration_seconds", "How long calls to GitHub took, polls aside.", &["call"]),
            aws_calls: counter("poolkeeper_aws_calls_total", "Finished calls to AWS.", &["call", "outcome"]),
            aws_durations: histogram("poolkeeper_aws_call_duration_seconds", "How long calls to AWS took.", &["call"]),
            messages: counter("poolkeeper_messages_total", "Messages absorbed.", &["group"]),
            acquired: counter("poolkeeper_acquired_jobs_total", "Jobs acquired.", &["group"]),
            capacity_changes: counter("poolkeeper_capacity_changes_total", "Times desired capacity was set.", &["group", "direction"]),
            configs: counter("poolkeeper_runner_configs_total", "Configs stored for instances.", &["group"]),
            freed: counter("poolkeeper_instances_freed_total", "Instances proven to have no job, and ended, by proof.", &["group", "proof"]),
            instance_starts: histogram("poolkeeper_instance_start_duration_seconds", "From the rise of capacity that an instance was launched for, or from when it was first seen, until it is in service.", &["group", "start"]),
            failed_calls: counter("poolkeeper_failed_calls_total", "Calls of pools that failed, by reason.", &["call", "reason"]),
            notices: counter("poolkeeper_notices_total", "Facts told, by kind.", &["kind"]),
            journal_failures: counter("poolkeeper_journal_failures_total", "Times the journal ended early.", &[]),
        }
    }
}

impl Metrics {
    pub(super) fn render(&self, out: &mut String) {
        let counters = [
            &self.started_jobs,
            &self.completed_jobs,
            &self.github_calls,
            &self.aws_calls,
            &self.messages,
            &self.acquired,
            &self.capacity_changes,
            &self.configs,
            &self.freed,
            &self.failed_calls,
            &self.notices,
            &self.journal_failures,
        ];
        let histograms = [
            &self.job_startup,
            &self.job_execution,
            &self.github_durations,
            &self.aws_durations,
            &self.instance_starts,
        ];
        let mut dropped = 0;
        for family in counters {
            family.render(out);
            dropped += family.dropped;
        }
        for family in histograms {
            family.render(out);
            dropped += family.dropped;
        }
        let name = "poolkeeper_metrics_dropped_total";
        head(out, name, "counter", "Samples of series beyond the bound on how many there may be.");
        sample(out, name, [], dropped);
    }
}

/// Series of one name, told apart by their labels.
#[derive(Debug)]
pub(super) struct Family<Value> {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    series: BTreeMap<String, Value>,
    key: String,
    dropped: u64,
}

impl<Value: Default> Family<Value> {
    const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, labels, series: BTreeMap::new(), key: String::new(), dropped: 0 }
    }

    fn update(&mut self, labels: &[&str], change: impl FnOnce(&mut Value)) {
        assert_eq!(labels.len(), self.labels.len(), "labels of {}", self.name);
        self.key.clear();
        for (i, label) in labels.iter().enumerate() {
            if i > 0 {
                self.key.push(BETWEEN);
            }
            self.key.extend(label.chars().filter(|c| *c != BETWEEN));
        }
        if let Some(value) = self.series.get_mut(self.key.as_str()) {
            change(value);
        } else if self.series.len() < MAX_SERIES {
            change(self.series.entry(self.key.clone()).or_default());
        } else {
            self.dropped += 1;
        }
    }
}

impl<Value> Family<Value> {
    fn labels<'a>(&self, key: &'a str) -> Vec<(&'a str, &'a str)> {
        self.labels.iter().copied().zip(key.split(BETWEEN)).collect()
    }
}

impl Family<u64> {
    pub(super) fn add(&mut self, labels: &[&str], n: u64) {
        self.update(labels, |value| *value = value.saturating_add(n));
    }

    fn render(&self, out: &mut String) {
        head(out, self.name, "counter", self.help);
        for (key, value) in &self.series {
            sample(out, self.name, self.labels(key), value);
        }
    }
}

/// How often which duration was seen.
#[derive(Debug, Default)]
pub(super) struct Histogram {
    /// One for each bound, not cumulative; made with the first value.
    buckets: Vec<u64>,
    count: u64,
    sum_us: u64,
}

impl Histogram {
    fn record(&mut self, bounds: &[u64], value_us: u64) {
        self.buckets.resize(bounds.len(), 0);
        let place = bounds.partition_point(|bound| *bound < value_us);
        if let Some(bucket) = self.buckets.get_mut(place) {
            *bucket += 1;
        }
        self.count += 1;
        self.sum_us = self.sum_us.saturating_add(value_us);
    }
}

impl Family<Histogram> {
    pub(super) fn record(&mut self, labels: &[&str], took: Duration) {
        let bounds = self.bounds();
        let value_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.update(labels, |histogram| histogram.record(bounds, value_us));
    }

    fn bounds(&self) -> &'static [u64] {
        if self.name.ends_with("_call_duration_seconds") { CALL_BUCKETS } else { JOB_BUCKETS }
    }

    fn render(&self, out: &mut String) {
        head(out, self.name, "histogram", self.help);
        let bucket = format!("{}_bucket", self.name);
        for (key, histogram) in &self.series {
            let labels = self.labels(key);
            let labels = || labels.iter().copied();
            let mut below = 0;
            for (bound, n) in self.bounds().iter().zip(&histogram.buckets) {
                below += n;
                let bound = Seconds(*bound).to_string();
                sample(out, &bucket, labels().chain([("le", bound.as_str())]), below);
            }
            sample(out, &bucket, labels().chain([("le", "+Inf")]), histogram.count);
            sample(out, &format!("{}_sum", self.name), labels(), Seconds(histogram.sum_us));
            sample(out, &format!("{}_count", self.name), labels(), histogram.count);
        }
    }
}
