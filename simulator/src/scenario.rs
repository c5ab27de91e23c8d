//! A story as plain data: pools, demand, and all that goes wrong, by the millisecond.
//!
//! A seed draws one ([`Scenario::from_seed`]), a file holds one, and tests write them by hand. Whatever is taken out of
//! one leaves another that runs, so that a failure can be made smaller until it is a short story.

mod act;
mod draw;
pub mod event;
mod faults;
mod heal;
mod incident;
mod knobs;
mod run;
mod shrink;
#[cfg(any(test, feature = "proptest"))]
pub mod strategy;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use poolkeeper_core::aws::{Tag, WarmPool};
use poolkeeper_core::short_text::ShortText;
use serde::{Deserialize, Serialize};

use crate::aws::GroupSpec;
use crate::github::SetKey;
use crate::simulation::sabotage;
pub use event::{Demand, Timed, What};
pub use incident::{Defence, Incident, switches};
pub use knobs::Knobs;
pub use run::{Failure, Phase, Stats, Verdict, record, run, run_prepared};
pub use shrink::{MOST_RUNS, Shrunk, shrink, shrink_by};

/// The format of scenario files: it rises when an old one no longer parses.
pub const FORMAT: u32 = 1;
/// The stack that all groups and daemons of a scenario belong to.
pub const STACK: &str = "sim";
/// The launch hook of groups that have one.
const LAUNCH_HOOK: &str = "prepared";
/// The longest scenario: a year.
const MAX_SPAN_MS: u64 = 365 * 24 * 3_600_000;
/// The most pools of a scenario.
const MAX_POOLS: usize = 1000;
/// The most events of a scenario.
const MAX_EVENTS: usize = 100_000;

/// One story.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The file's format.
    pub format: u32,
    /// What it is about, in a line.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub story: String,
    /// What it shows of the world outside, when it tells of a public incident.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incident: Option<Incident>,
    /// Who stands between the machine and its peers: a name of [`by_name`](crate::simulation::sabotage::by_name).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sabotage: Option<String>,
    /// Decides all that chance decides beyond what is written here.
    pub seed: u64,
    /// How long things go wrong; then everything heals.
    pub span_ms: u64,
    /// How long the healing may take at most; no longer than what is usual.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovers_ms: Option<u64>,
    /// How often calls may be made in the whole run, by name: as in [`Fault::call`](crate::world::Fault::call).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub most_calls: BTreeMap<String, u64>,
    /// What peers, daemon and runners are like; only what differs from the usual is written.
    #[serde(default, skip_serializing_if = "Knobs::is_default")]
    pub knobs: Knobs,
    /// The pools there are from the start.
    pub pools: Vec<PoolPlan>,
    /// What happens, in any order.
    pub events: Vec<Timed>,
}

/// One group and the scale set that its tags name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolPlan {
    /// The group's name.
    pub group: ShortText,
    /// `runs-on-org`.
    pub org: String,
    /// `runs-on-pool`.
    pub pool: String,
    /// `MinSize`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub min: u32,
    /// `MaxSize`.
    pub max: u32,
    /// `runs-on-size-min`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size_min: u32,
    /// `runs-on-size-max`.
    pub size_max: u32,
    /// `runs-on-idle`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub idle: u32,
    /// Whether new instances are not protected from scale-in: such a group is only ever scaled out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub unprotected: bool,
    /// How many instances stand by in a warm pool.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub warm: u32,
    /// Whether a launch hook holds instances until the daemon completes it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub hook: bool,
}

impl Scenario {
    /// A scenario in which nothing happens.
    #[must_use]
    pub fn quiet(seed: u64, span_ms: u64, pools: Vec<PoolPlan>) -> Self {
        Self {
            format: FORMAT,
            story: String::new(),
            incident: None,
            sabotage: None,
            seed,
            span_ms,
            recovers_ms: None,
            most_calls: BTreeMap::new(),
            knobs: Knobs::default(),
            pools,
            events: Vec::new(),
        }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read or is no scenario: what is wrong, where, and what to do.
    pub fn load(path: &Path) -> Result<Self, String> {
        let shown = path.display();
        let text = fs::read(path).map_err(|error| format!("cannot read {shown}: {error}; name a scenario file"))?;
        Self::parse(&text).map_err(|problem| format!("{shown}: {problem}"))
    }

    /// Reads a scenario's JSON.
    ///
    /// # Errors
    /// When it is none: what is wrong, where, and what to do.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let scenario: Self = serde_json::from_slice(json)
            .map_err(|error| format!("line {}: {error}; compare it with the stored scenarios", error.line()))?;
        scenario.check()?;
        Ok(scenario)
    }

    /// The scenario as the text of a file.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).unwrap_or_default();
        text.push('\n');
        text
    }

    fn check(&self) -> Result<(), String> {
        if self.format != FORMAT {
            return Err(format!("it has format {}, not {FORMAT}; run it with the version that made it", self.format));
        }
        let too_large =
            [self.span_ms > MAX_SPAN_MS, self.pools.len() > MAX_POOLS, self.events.len() > MAX_EVENTS].contains(&true);
        if too_large {
            let bounds = format!("{MAX_SPAN_MS} ms, {MAX_POOLS} pools and {MAX_EVENTS} events");
            return Err(format!("it is larger than {bounds}; make it smaller"));
        }
        if let Some(name) = self.sabotage.as_ref().filter(|name| sabotage::by_name(name).is_none()) {
            return Err(format!("sabotage: nobody is called \"{name}\"; see sabotage::by_name"));
        }
        self.incident.as_ref().map_or(Ok(()), Incident::check)?;
        self.knobs.check()
    }
}

impl PoolPlan {
    /// The scale set that the tags name.
    #[must_use]
    pub fn key(&self) -> SetKey {
        SetKey::new(&self.org, &format!("{}-{}", self.org, self.pool))
    }

    /// The group as it is made.
    #[must_use]
    pub fn spec(&self) -> GroupSpec {
        GroupSpec {
            name: self.group.clone(),
            min_size: self.min,
            max_size: self.max.max(self.min),
            new_instances_protected: !self.unprotected,
            suspended_processes: vec!["AZRebalance".into()],
            tags: self.tags(),
            warm_pool: (self.warm > 0).then(WarmPool::default),
            warm_size: self.warm,
            launch_hook: self.hook.then(|| LAUNCH_HOOK.into()),
            ..GroupSpec::default()
        }
    }

    /// The group's tags; what goes without saying has none.
    #[must_use]
    pub fn tags(&self) -> Vec<Tag> {
        let tag = |key: &str, value: &str| Tag { key: key.into(), value: value.into() };
        let number = |key: &str, number: u32| (number > 0).then(|| tag(key, &number.to_string()));
        let mut tags = vec![
            tag("runs-on-stack", STACK),
            tag("runs-on-org", &self.org),
            tag("runs-on-pool", &self.pool),
            tag("runs-on-size-max", &self.size_max.to_string()),
        ];
        tags.extend(number("runs-on-size-min", self.size_min.min(self.size_max)));
        tags.extend(number("runs-on-idle", self.idle));
        tags.extend(self.hook.then(|| tag("runs-on-launch-hook", LAUNCH_HOOK)));
        tags
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

#[cfg(test)]
mod tests;
