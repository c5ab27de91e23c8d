//! Gauges of every pool: ARC's names, so that its dashboards fit, and our own.

use poolkeeper_core::view::{PoolView, SessionView, Summary};

use super::Page;
use crate::telemetry::exposition::{Seconds, head, sample};

/// One gauge: its name, its help, and how a pool's value is found.
struct Gauge {
    name: &'static str,
    help: &'static str,
    value: fn(&PoolView) -> Option<u64>,
}

static ARC: [Gauge; 8] = [
    Gauge {
        name: "gha_assigned_jobs",
        help: "Jobs assigned to the scale set.",
        value: |pool| pool.statistics.map(|s| u64::from(s.assigned)),
    },
    Gauge {
        name: "gha_running_jobs",
        help: "Jobs that run.",
        value: |pool| pool.statistics.map(|s| u64::from(s.running)),
    },
    Gauge {
        name: "gha_registered_runners",
        help: "Runners registered with the scale set.",
        value: |pool| pool.statistics.map(|s| u64::from(s.registered)),
    },
    Gauge {
        name: "gha_busy_runners",
        help: "Runners at work.",
        value: |pool| pool.statistics.map(|s| u64::from(s.busy)),
    },
    Gauge {
        name: "gha_idle_runners",
        help: "Runners online and without work.",
        value: |pool| pool.statistics.map(|s| u64::from(s.idle)),
    },
    Gauge { name: "gha_min_runners", help: "The least capacity wanted.", value: |pool| Some(u64::from(pool.size_min)) },
    Gauge { name: "gha_max_runners", help: "The most capacity wanted.", value: |pool| Some(u64::from(pool.size_max)) },
    Gauge {
        name: "gha_desired_runners",
        help: "How many runners should be able to serve.",
        value: |pool| Some(u64::from(pool.target)),
    },
];

static OWN: [Gauge; 8] = [
    Gauge {
        name: "poolkeeper_pool_desired",
        help: "Desired capacity, our own writes included.",
        value: |pool| Some(u64::from(pool.desired)),
    },
    Gauge {
        name: "poolkeeper_pool_target",
        help: "How many instances should be able to serve.",
        value: |pool| Some(u64::from(pool.target)),
    },
    Gauge {
        name: "poolkeeper_pool_in_service",
        help: "Instances in service.",
        value: |pool| Some(u64::from(pool.in_service)),
    },
    Gauge { name: "poolkeeper_pool_pending", help: "Instances pending.", value: |pool| Some(u64::from(pool.pending)) },
    Gauge {
        name: "poolkeeper_pool_warm",
        help: "Members of the warm pool that are ready to start.",
        value: |pool| pool.warm.map(|warm| u64::from(warm.stopped + warm.running + warm.hibernated)),
    },
    Gauge {
        name: "poolkeeper_pool_launches_held",
        help: "Whether no instance is launched for a while, as too many in a row never came up.",
        value: |pool| Some(u64::from(pool.launches_held)),
    },
    Gauge {
        name: "poolkeeper_pool_listening",
        help: "Whether the pool's session is open.",
        value: |pool| Some(u64::from(pool.session == SessionView::Open)),
    },
    Gauge {
        name: "poolkeeper_pool_failing",
        help: "Whether the last call for the pool failed.",
        value: |pool| Some(u64::from(pool.error.is_some())),
    },
];

/// Collects the samples of all pools, family by family.
pub(super) struct PoolMetrics<'a> {
    stack: &'a str,
    summary: Summary,
    families: Vec<(&'static Gauge, bool, String)>,
    poll_age: String,
}

impl<'a> PoolMetrics<'a> {
    pub(super) fn new(stack: &'a str) -> Self {
        let arc = ARC.iter().map(|gauge| (gauge, true, String::new()));
        let own = OWN.iter().map(|gauge| (gauge, false, String::new()));
        let families = arc.chain(own).collect();
        Self { stack, summary: Summary::default(), families, poll_age: String::new() }
    }

    pub(super) fn see(&mut self, page: &Page) {
        self.summary = page.summary;
        for pool in &page.pools {
            let labels = ArcLabels::new(pool, self.stack);
            for (gauge, is_arc, samples) in &mut self.families {
                let Some(value) = (gauge.value)(pool) else { continue };
                if *is_arc {
                    sample(samples, gauge.name, labels.pairs(), value);
                } else {
                    sample(samples, gauge.name, [("group", pool.group.as_str())], value);
                }
            }
            if let Some(at) = pool.polled_at {
                let age = Seconds(page.now.mono.since(at).as_millis().saturating_mul(1_000));
                let group = [("group", pool.group.as_str())];
                sample(&mut self.poll_age, POLL_AGE, group, age);
            }
        }
    }

    pub(super) fn finish(self) -> String {
        let mut out = String::new();
        for (gauge, _, samples) in self.families {
            head(&mut out, gauge.name, "gauge", gauge.help);
            out.push_str(&samples);
        }
        head(&mut out, POLL_AGE, "gauge", "How long ago a poll ended well.");
        out.push_str(&self.poll_age);
        summary(&mut out, self.summary);
        out
    }
}

const POLL_AGE: &str = "poolkeeper_pool_last_poll_age_seconds";

fn summary(out: &mut String, summary: Summary) {
    let Summary { listed, pools, refused, open, standby, stopping } = summary;
    let gauges = [
        ("poolkeeper_pools", "Groups found.", pools),
        ("poolkeeper_pools_refused", "Groups refused.", refused),
        ("poolkeeper_pools_open", "Pools with an open session.", open),
        ("poolkeeper_pools_standby", "Pools that wait for another session's end.", standby),
        ("poolkeeper_listed", "Whether the first listing of groups is complete.", u32::from(listed)),
        ("poolkeeper_stopping", "Whether the daemon is stopping.", u32::from(stopping)),
    ];
    for (name, help, value) in gauges {
        head(out, name, "gauge", help);
        sample(out, name, [], value);
    }
    let name = "poolkeeper_build_info";
    head(out, name, "gauge", "The version, as a label.");
    sample(out, name, [("version", env!("CARGO_PKG_VERSION"))], 1);
}

struct ArcLabels<'p> {
    enterprise: &'p str,
    organization: &'p str,
    repository: &'p str,
    name: &'p str,
    namespace: &'p str,
}

impl<'p> ArcLabels<'p> {
    fn new(pool: &'p PoolView, namespace: &'p str) -> Self {
        let (enterprise, organization, repository) = match pool.scope.split_once('/') {
            Some(("enterprises", name)) => (name, "", ""),
            Some((owner, name)) => ("", owner, name),
            None => ("", pool.scope.as_str(), ""),
        };
        Self { enterprise, organization, repository, name: &pool.scale_set, namespace }
    }

    const fn pairs(&self) -> [(&'static str, &'p str); 5] {
        [
            ("enterprise", self.enterprise),
            ("organization", self.organization),
            ("repository", self.repository),
            ("name", self.name),
            ("namespace", self.namespace),
        ]
    }
}
