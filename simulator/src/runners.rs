//! What runs on instances: an agent that registers a runner for its group's scale set, takes one job, and ends its
//! instance.

use std::collections::BTreeMap;

use poolkeeper_core::aws::Tag;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::time::{Duration, Instant};

use crate::github::{JobId, SetKey};

/// How long an agent waits for the daemon to end its instance, before it does that itself.
const PATIENCE: Duration = Duration::from_secs(120);

/// How runners behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunnersConfig {
    /// Whether each waits for a config that the daemon gives it.
    pub managed: bool,
    /// From `InService` until the runner is registered and online.
    pub register: Duration,
    /// From the end of a job until the instance terminates itself.
    pub leave: Duration,
    /// How long a runner waits before it tries to register again.
    pub retry: Duration,
    /// Instances whose runners never come up, of a hundred.
    pub broken_percent: u64,
    /// After how long an instance whose runner did not come up terminates itself.
    pub gives_up: Duration,
}

impl Default for RunnersConfig {
    fn default() -> Self {
        Self {
            managed: false,
            register: Duration::from_millis(200),
            leave: Duration::from_millis(100),
            retry: Duration::from_secs(2),
            broken_percent: 0,
            gives_up: Duration::from_secs(600),
        }
    }
}

impl RunnersConfig {
    /// From the end of a runner until its instance ends itself.
    pub(crate) fn lingers(&self) -> Duration {
        if self.managed { self.leave + PATIENCE } else { self.leave }
    }
}

/// One instance's agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    pub(crate) group: ShortText,
    /// When its instance came into service.
    pub(crate) since: Instant,
    /// The set the runner is registered with.
    pub(crate) set: Option<SetKey>,
    pub(crate) job: Option<JobId>,
    /// The config that its runner starts with, once it was given one.
    pub(crate) config: Option<String>,
}

/// All agents, by instance.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agents {
    pub(crate) by_instance: BTreeMap<ShortText, Agent>,
}

/// The scale set that a group's runners belong to, by its tags.
pub(crate) fn set_of(tags: &[Tag]) -> Option<SetKey> {
    let tag = |key: &str| tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.trim().to_lowercase());
    let pool = tag("runs-on-pool")?;
    let (scope, owner) = match (tag("runs-on-enterprise"), tag("runs-on-repo"), tag("runs-on-org")) {
        (Some(enterprise), _, _) => (format!("enterprises/{enterprise}"), enterprise),
        (None, Some(repo), _) => {
            let owner = repo.split_once('/')?.0.to_owned();
            (repo, owner)
        }
        (None, None, Some(org)) => (org.clone(), org),
        (None, None, None) => return None,
    };
    Some(SetKey::new(&scope, &format!("{owner}-{pool}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(tags: &[(&str, &str)]) -> Option<String> {
        let tags: Vec<_> = tags.iter().map(|(k, v)| Tag { key: (*k).into(), value: (*v).into() }).collect();
        set_of(&tags).map(|key| key.to_string())
    }

    #[test]
    fn tags_say_which_set_a_group_serves() {
        let of = |text: &str| Some(text.to_owned());
        assert_eq!(set(&[("runs-on-org", "Acme"), ("runs-on-pool", "L")]), of("acme:acme-l"));
        assert_eq!(set(&[("runs-on-repo", "acme/web"), ("runs-on-pool", "l")]), of("acme/web:acme-l"));
        assert_eq!(set(&[("runs-on-enterprise", "big"), ("runs-on-pool", "l")]), of("enterprises/big:big-l"));
        assert_eq!(set(&[("runs-on-org", "acme")]), None);
    }
}
