//! Whose story it is, and who else it may have been meant to be.

use std::collections::BTreeSet;
use std::fmt;

use poolkeeper_core::github::message::Job;
use poolkeeper_core::view::PoolView;

/// What the ids of instances begin with.
const INSTANCE: &str = "i-";
/// The lengths of the parts of GitHub's job ids.
const UUID: [usize; 5] = [8, 4, 4, 4, 12];
/// The most names that are kept to find near ones among.
const MAX_NAMES: usize = 50_000;
/// How many near names are told.
const NEAREST: usize = 3;

/// Whose story is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    /// An instance, by its id.
    Instance(String),
    /// A job, by the id that GitHub's messages give it, or by its request id.
    Job(String),
    /// A pool, by its group, its ARN, its scale set, or `ORG/POOL`.
    Pool(String),
}

impl Subject {
    /// Takes a name for what it looks like.
    #[must_use]
    pub fn read(name: &str) -> Self {
        let is_hex = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_hexdigit());
        let is_uuid = name.split('-').map(str::len).eq(UUID) && name.split('-').all(is_hex);
        if name.strip_prefix(INSTANCE).is_some_and(is_hex) {
            Self::Instance(name.to_owned())
        } else if is_uuid || (!name.is_empty() && name.chars().all(|c| c.is_ascii_digit())) {
            Self::Job(name.to_owned())
        } else {
            Self::Pool(name.to_owned())
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(name) => write!(f, "instance {name}"),
            Self::Job(name) => write!(f, "job {name}"),
            Self::Pool(name) => write!(f, "pool {name}"),
        }
    }
}

/// Whether a pool goes by this name: its group, its ARN, its scale set, or `ORG/POOL`.
#[must_use]
pub fn is_named(pool: &PoolView, name: &str) -> bool {
    let is = |known: &str| !known.is_empty() && known.eq_ignore_ascii_case(name);
    let in_org = |(org, rest): (&str, &str)| {
        let owner = pool.scope.split('/').next().unwrap_or_default();
        let short = pool.scale_set.get(owner.len()..).and_then(|rest| rest.strip_prefix('-'));
        let is_rest = |known: &str| known.eq_ignore_ascii_case(rest);
        owner.eq_ignore_ascii_case(org) && (is_rest(&pool.scale_set) || short.is_some_and(is_rest))
    };
    [pool.group.as_str(), pool.arn.as_str()].contains(&name)
        || is(&pool.scale_set)
        || name.rsplit_once('/').is_some_and(in_org)
}

/// Whether a job goes by this name: its id, or its request id.
pub(super) fn is_job(job: &Job, name: &str) -> bool {
    is_id(&job.job_id, job.request_id, name)
}

/// Whether either of a job's ids is this one.
pub(super) fn is_id(job_id: &str, request_id: u64, name: &str) -> bool {
    let by_request = request_id != 0 && name.parse() == Ok(request_id);
    by_request || (!job_id.is_empty() && job_id.eq_ignore_ascii_case(name))
}

/// Names that were met while another was looked for.
#[derive(Clone, Debug, Default)]
pub struct Names(BTreeSet<String>);

impl Names {
    /// Keeps a name, unless there are too many.
    pub fn meet(&mut self, name: &str) {
        if !name.is_empty() && self.0.len() < MAX_NAMES && !self.0.contains(name) {
            self.0.insert(name.to_owned());
        }
    }

    /// Keeps the names that people call a pool by.
    pub fn meet_pool(&mut self, pool: &PoolView) {
        self.meet(&pool.group);
        self.meet(&pool.scale_set);
    }

    /// What is wanted is found: no other name is of interest.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// The names nearest to one that none of them is, in words; empty when there is none at all.
    #[must_use]
    pub fn nearest(&self, name: &str) -> String {
        let mut near: Vec<_> = self.0.iter().map(|known| (strsim::osa_distance(known, name), known.as_str())).collect();
        near.sort_unstable();
        let near: Vec<_> = near.into_iter().take(NEAREST).map(|(_, known)| known).collect();
        if near.is_empty() { String::new() } else { format!("; the nearest names there are {}", near.join(", ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_for_what_it_looks_like() {
        let kinds = [
            ("i-0123456789abcdef0", "instance"),
            ("00000000-0000-4000-8000-00000000002a", "job"),
            ("4711", "job"),
            ("acme-linux", "pool"),
            ("acme/linux", "pool"),
            ("i-robot", "pool"),
            ("", "pool"),
        ];
        for (name, kind) in kinds {
            assert_eq!(Subject::read(name).to_string(), format!("{kind} {name}"));
        }
    }

    #[test]
    fn the_nearest_names_are_told() {
        let mut names = Names::default();
        assert_eq!(names.nearest("x"), "");
        ["acme-linux", "acme-arm", "widgets-linux", "acme-linus"].iter().for_each(|name| names.meet(name));
        let told = names.nearest("acme-linu");
        assert_eq!(told, "; the nearest names there are acme-linus, acme-linux, acme-arm");
    }
}
