//! What a group's tags and the config make of it: the pool that is wanted, or why there is none.

use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use serde::{Deserialize, Serialize};

use crate::aws::Group;
use crate::config::{ANY_ORG, Config, OnGroupGone, PoolOverrides, Runners};
use crate::github::scope::Scope;
use crate::short_text::ShortText;
use crate::time::Duration;

/// The tag by which groups are found.
pub const STACK_TAG: &str = "runs-on-stack";
/// The longest name of a scale set, and of the tags it is made of.
const LONGEST_NAME: usize = 64;

/// Which scale set a pool is tied to. All in lower case, as GitHub's names are case-insensitive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct SetKey {
    pub(crate) connection: String,
    pub(crate) scope: Scope,
    pub(crate) runner_group: String,
    pub(crate) name: String,
}

impl fmt::Display for SetKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}/{}", self.connection, self.scope, self.runner_group, self.name)
    }
}

/// A pool as it is wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PoolSpec {
    pub(crate) key: SetKey,
    /// The key as one word.
    pub(crate) set: String,
    pub(crate) org: String,
    pub(crate) labels: Vec<String>,
    pub(crate) size_min: u32,
    pub(crate) size_max: u32,
    pub(crate) idle: u32,
    pub(crate) idle_grace: Duration,
    pub(crate) boot_deadline: Duration,
    /// A job that runs for longer is told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_job_time: Option<Duration>,
    /// The launch hook that is completed for instances that wait in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) launch_hook: Option<ShortText>,
    pub(crate) paused: bool,
    /// Whether we give its instances their runners.
    #[serde(default)]
    pub(crate) is_managed: bool,
    pub(crate) on_group_gone: OnGroupGone,
    pub(crate) max_runners: Option<u32>,
}

/// What is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fault {
    pub(crate) problem: String,
    pub(crate) mend: String,
}

fn fault<T>(problem: &str, mend: &str) -> Result<T, Fault> {
    Err(Fault { problem: problem.to_owned(), mend: mend.to_owned() })
}

/// Reads a group: the pool it is to be.
pub(crate) fn resolve(group: &Group, config: &Config) -> Result<PoolSpec, Fault> {
    let asked = match config.pools.get(&group.name) {
        Some(named) => named.clone(),
        None => from_tags(group)?,
    };
    let scope = scope(&asked)?;
    let connection = connection(&asked, &scope, config)?;
    let Some(settings) = config.connections.get(&connection) else {
        return fault(&format!("connection \"{connection}\" is not configured"), "name a section [github.NAME]");
    };
    let org = owner(&scope).to_owned();
    let runner_group = asked.runner_group.clone().unwrap_or_else(|| settings.runner_group.clone());
    let walls = config.orgs.get(&org);
    if let Some(allowed) = walls.and_then(|w| w.groups.as_ref())
        && !allowed.iter().any(|pattern| matches_pattern(pattern, &group.name))
    {
        return fault(
            &format!("the config does not let this group claim \"{org}\""),
            &format!("add it to orgs.{org}.groups, or change its tags"),
        );
    }
    if let Some(allowed) = walls.and_then(|w| w.runner_groups.as_ref())
        && !allowed.iter().any(|name| name.eq_ignore_ascii_case(&runner_group))
    {
        return fault(
            &format!("runner group \"{runner_group}\" is not allowed for \"{org}\""),
            &format!("add it to orgs.{org}.runner_groups, or change the tag runs-on-runner-group"),
        );
    }
    let pool = asked.pool.as_deref().unwrap_or_default();
    check_name("runs-on-pool", pool)?;
    let name = config.pool.name.replace("{org}", &org).replace("{pool}", pool).to_ascii_lowercase();
    check_name("name", &name)?;
    let (size_min, size_max) = sizes(&asked, config)?;
    refuse_what_cannot_be_driven(group)?;
    let key = SetKey { connection, scope, runner_group: runner_group.to_ascii_lowercase(), name: name.clone() };
    let labels = asked.labels.clone().filter(|l| !l.is_empty()).unwrap_or_else(|| config.pool.labels.clone());
    Ok(PoolSpec {
        labels: if labels.is_empty() { [name].into() } else { labels },
        set: key.to_string(),
        key,
        max_runners: walls.and_then(|w| w.max_runners),
        org,
        size_min,
        size_max,
        idle: asked.idle.unwrap_or(config.pool.idle),
        idle_grace: config.pool.idle_grace,
        boot_deadline: asked.boot_deadline.unwrap_or(config.pool.boot_deadline),
        max_job_time: asked.max_job_time.or(config.pool.max_job_time),
        launch_hook: asked.launch_hook.clone().filter(|name| !name.is_empty()),
        paused: asked.paused.unwrap_or(false),
        is_managed: config.pool.runners == Runners::Managed,
        on_group_gone: config.pool.on_group_gone,
    })
}

/// Why a group's capacity may be raised but never lowered; `None` when it may be lowered too.
pub(crate) fn scale_out_only(group: &Group) -> Option<Fault> {
    if !group.new_instances_protected {
        return Some(Fault {
            problem: "new instances are not protected from scale-in, so lowering capacity could kill a running job"
                .to_owned(),
            mend: "set NewInstancesProtectedFromScaleIn on the group".to_owned(),
        });
    }
    if !group.suspended_processes.iter().any(|process| process == "AZRebalance") {
        return Some(Fault {
            problem: "AZRebalance may terminate instances to even out zones".to_owned(),
            mend: "suspend the process AZRebalance on the group".to_owned(),
        });
    }
    None
}

fn refuse_what_cannot_be_driven(group: &Group) -> Result<(), Fault> {
    if group.weighted {
        return fault(
            "its capacity differs from its number of instances (weights or DesiredCapacityType)",
            "remove the weights from the mixed-instances policy, or set DesiredCapacityType to units",
        );
    }
    if group.warm_pool.as_ref().is_some_and(|pool| pool.reuse_on_scale_in) {
        return fault(
            "its warm pool takes used instances back (ReuseOnScaleIn)",
            "set InstanceReusePolicy.ReuseOnScaleIn to false: a runner serves one job",
        );
    }
    Ok(())
}

fn from_tags(group: &Group) -> Result<PoolOverrides, Fault> {
    let value = |key: &str| group.tags.iter().find(|tag| tag.key == key).map(|tag| tag.value.trim());
    let tag = |key: &str| value(key).map(ToOwned::to_owned);
    Ok(PoolOverrides {
        org: tag("runs-on-org"),
        pool: tag("runs-on-pool"),
        repo: tag("runs-on-repo"),
        enterprise: tag("runs-on-enterprise"),
        github: tag("runs-on-github"),
        runner_group: tag("runs-on-runner-group"),
        labels: tag("runs-on-labels").map(|text| text.split_whitespace().map(ToString::to_string).collect()),
        size_min: number("runs-on-size-min", tag("runs-on-size-min"))?,
        size_max: number("runs-on-size-max", tag("runs-on-size-max"))?,
        idle: number("runs-on-idle", tag("runs-on-idle"))?,
        boot_deadline: span("runs-on-boot-deadline", tag("runs-on-boot-deadline"))?,
        max_job_time: span("runs-on-max-job-time", tag("runs-on-max-job-time"))?,
        launch_hook: value("runs-on-launch-hook").map(ShortText::from),
        paused: flag("runs-on-paused", tag("runs-on-paused"))?,
    })
}

fn number(key: &str, text: Option<String>) -> Result<Option<u32>, Fault> {
    let Some(text) = text else { return Ok(None) };
    match text.parse() {
        Ok(number) => Ok(Some(number)),
        Err(_) => fault(&format!("tag {key} is \"{text}\""), "write a whole number"),
    }
}

fn flag(key: &str, text: Option<String>) -> Result<Option<bool>, Fault> {
    match text.as_deref() {
        None => Ok(None),
        Some("true") => Ok(Some(true)),
        Some("false") => Ok(Some(false)),
        Some(other) => fault(&format!("tag {key} is \"{other}\""), "write true or false"),
    }
}

fn span(key: &str, text: Option<String>) -> Result<Option<Duration>, Fault> {
    let Some(text) = text else { return Ok(None) };
    match Duration::parse(&text) {
        Some(span) if span > Duration::ZERO => Ok(Some(span)),
        Some(_) | None => fault(&format!("tag {key} is \"{text}\""), "write a time like 90s, 10m or 2h"),
    }
}

fn scope(asked: &PoolOverrides) -> Result<Scope, Fault> {
    if let Some(name) = &asked.enterprise {
        check_name("runs-on-enterprise", name)?;
        return Ok(Scope::Enterprise(name.to_ascii_lowercase()));
    }
    if let Some(repo) = &asked.repo {
        let Some((owner, name)) = repo.split_once('/') else {
            return fault(&format!("tag runs-on-repo is \"{repo}\""), "write owner/name");
        };
        check_name("runs-on-repo", owner)?;
        check_name("runs-on-repo", name)?;
        if asked.org.as_ref().is_some_and(|org| !org.eq_ignore_ascii_case(owner)) {
            return fault("tags runs-on-org and runs-on-repo name different owners", "make them agree");
        }
        return Ok(Scope::Repository { owner: owner.to_ascii_lowercase(), name: name.to_ascii_lowercase() });
    }
    match &asked.org {
        Some(org) => {
            check_name("runs-on-org", org)?;
            Ok(Scope::Organization(org.to_ascii_lowercase()))
        }
        None => fault("it has no tag runs-on-org", "tag it with the organization it serves"),
    }
}

fn owner(scope: &Scope) -> &str {
    match scope {
        Scope::Organization(org) => org,
        Scope::Repository { owner, .. } => owner,
        Scope::Enterprise(name) => name,
    }
}

/// A tag is a grant of trust: only what a connection's `orgs` lists is served.
fn connection(asked: &PoolOverrides, scope: &Scope, config: &Config) -> Result<String, Fault> {
    let grant = match scope {
        Scope::Enterprise(_) => scope.to_string(),
        Scope::Organization(_) | Scope::Repository { .. } => owner(scope).to_owned(),
    };
    let candidates = config.connections.iter().filter(|(name, _)| asked.github.as_ref().is_none_or(|g| g == *name));
    let mut any = Vec::new();
    for (name, connection) in candidates {
        if connection.orgs.contains(&grant) {
            return Ok(name.clone());
        }
        if connection.orgs.iter().any(|org| org == ANY_ORG) {
            any.push(name);
        }
    }
    match any.as_slice() {
        [only] => Ok((*only).clone()),
        [] if asked.github.as_ref().is_some_and(|name| !config.connections.contains_key(name)) => fault(
            &format!("connection \"{}\" is not configured", asked.github.as_deref().unwrap_or_default()),
            "name a section [github.NAME] in the tag runs-on-github",
        ),
        [] => fault(
            &format!("no connection may serve \"{grant}\""),
            "add it to orgs of a connection in the config, or change the group's tags",
        ),
        _ => fault(
            &format!("several connections may serve \"{grant}\""),
            "name one in the tag runs-on-github, or list it in the orgs of one",
        ),
    }
}

fn sizes(asked: &PoolOverrides, config: &Config) -> Result<(u32, u32), Fault> {
    let size_max = asked.size_max.unwrap_or(config.pool.size_max).min(config.pool.size_max_limit);
    let size_min = match asked.size_min {
        Some(size_min) => size_min,
        None => config.pool.size_min.min(size_max),
    };
    if size_min > size_max {
        let problem = format!("size-min {size_min} is more than size-max {size_max}");
        return fault(&problem, "lower runs-on-size-min or raise runs-on-size-max");
    }
    Ok((size_min, size_max))
}

fn check_name(key: &str, name: &str) -> Result<(), Fault> {
    if name.is_empty() {
        return fault(&format!("it has no tag {key}"), "add the tag");
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.len() > LONGEST_NAME || !name.chars().all(legal) || name.chars().all(|c| c == '.') {
        return fault(
            &format!("{key} \"{}\" is no legal name", name.escape_debug()),
            &format!("use letters, digits, '-', '_' and '.', at most {LONGEST_NAME}"),
        );
    }
    Ok(())
}

/// Whether `name` is matched by `pattern`, in which `*` stands for any run of characters.
fn matches_pattern(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    true
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::aws::{Tag, WarmPool};
    use crate::config::{ConnectionConfig, CredentialKind, OrgWalls, RawConfig};

    fn config(change: impl FnOnce(&mut RawConfig)) -> Config {
        let connection = ConnectionConfig {
            url: "https://github.com".into(),
            credential: CredentialKind::Pat,
            orgs: ["acme".to_owned(), "enterprises/big".to_owned()].into(),
            runner_group: "default".into(),
            force_ghes: false,
        };
        let mut raw = RawConfig {
            stack: "prod".into(),
            owner: "host".into(),
            connections: BTreeMap::from([("main".to_owned(), connection)]),
            ..RawConfig::default()
        };
        change(&mut raw);
        Config::try_from(raw).unwrap()
    }

    fn group(tags: &[(&str, &str)]) -> Group {
        let tags = tags.iter().map(|(key, value)| Tag { key: (*key).into(), value: (*value).into() }).collect();
        Group { name: "ci-1".into(), arn: "arn:1".into(), tags, ..Group::default() }
    }

    const ACME: [(&str, &str); 2] = [("runs-on-org", "Acme"), ("runs-on-pool", "Linux")];

    #[test]
    fn tags_make_a_pool_named_in_lower_case() {
        let spec = resolve(&group(&ACME), &config(|_| ())).unwrap();
        assert_eq!(spec.key.name, "acme-linux");
        assert_eq!(spec.key.scope, Scope::Organization("acme".into()));
        assert_eq!((spec.size_min, spec.size_max, spec.labels), (0, 20, ["acme-linux".to_owned()].into()));
    }

    #[test]
    fn every_wrong_tag_is_refused_with_its_mend() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("runs-on-pool", "x")], "runs-on-org"),
            (&[("runs-on-org", "acme")], "runs-on-pool"),
            (&[("runs-on-org", "evil"), ("runs-on-pool", "x")], "orgs"),
            (&[("runs-on-org", "a/b"), ("runs-on-pool", "x")], "letters"),
            (&[("runs-on-org", "acme"), ("runs-on-pool", "x y")], "letters"),
            (&[("runs-on-enterprise", "other"), ("runs-on-pool", "x")], "orgs"),
            (&[("runs-on-org", "acme"), ("runs-on-repo", "evil/web"), ("runs-on-pool", "x")], "agree"),
            (&[("runs-on-org", "acme"), ("runs-on-pool", "x"), ("runs-on-size-max", "-1")], "whole number"),
            (&[("runs-on-org", "acme"), ("runs-on-pool", "x"), ("runs-on-size-min", "21")], "size-max"),
            (&[("runs-on-org", "acme"), ("runs-on-pool", "x"), ("runs-on-boot-deadline", "soon")], "90s"),
            (&[("runs-on-org", "acme"), ("runs-on-pool", "x"), ("runs-on-github", "nope")], "runs-on-github"),
            (&[("runs-on-org", "acme"), ("runs-on-pool", "x"), ("runs-on-paused", "yes")], "true or false"),
        ];
        for (tags, mend) in cases {
            let fault = resolve(&group(tags), &config(|_| ())).unwrap_err();
            assert!(fault.problem.contains(mend) || fault.mend.contains(mend), "{tags:?}: {fault:?}");
        }
    }

    #[test]
    fn walls_keep_groups_and_runner_groups_out() {
        let walled = |walls: OrgWalls| config(|raw| drop(raw.orgs.insert("ACME".into(), walls)));
        let groups = walled(OrgWalls { groups: Some(["prod-*".to_owned()].into()), ..OrgWalls::default() });
        assert!(resolve(&group(&ACME), &groups).unwrap_err().problem.contains("claim"));
        let runners = walled(OrgWalls { runner_groups: Some(["trusted".to_owned()].into()), ..OrgWalls::default() });
        assert!(resolve(&group(&ACME), &runners).unwrap_err().problem.contains("runner group"));
    }

    #[test]
    fn groups_that_cannot_be_driven_are_refused() {
        let weighted = Group { weighted: true, ..group(&ACME) };
        assert!(resolve(&weighted, &config(|_| ())).unwrap_err().problem.contains("weights"));
        let reuse = Group { warm_pool: Some(WarmPool { reuse_on_scale_in: true }), ..group(&ACME) };
        assert!(resolve(&reuse, &config(|_| ())).unwrap_err().problem.contains("ReuseOnScaleIn"));
    }

    #[test]
    fn an_unprotected_or_rebalanced_group_is_never_lowered() {
        let mut group = group(&ACME);
        assert!(scale_out_only(&group).unwrap().mend.contains("NewInstancesProtectedFromScaleIn"));
        group.new_instances_protected = true;
        assert!(scale_out_only(&group).unwrap().mend.contains("AZRebalance"));
        group.suspended_processes = ["AZRebalance".into()].into();
        assert_eq!(scale_out_only(&group), None);
    }

    #[test]
    fn patterns_match_as_shells_do() {
        for (pattern, name, expected) in [
            ("ci-*", "ci-1", true),
            ("ci-*", "prod", false),
            ("*", "", true),
            ("a*b*c", "a1b2c", true),
            ("ab", "abc", false),
            ("*x", "x1", false),
        ] {
            assert_eq!(matches_pattern(pattern, name), expected, "{pattern} {name}");
        }
    }
}
