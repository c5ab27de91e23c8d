//! Which pool an effect is about, when only one is asked for.

use poolkeeper_core::Machine;
use poolkeeper_core::aws::{AwsCall, GroupQuery};
use poolkeeper_core::event::Effect;
use poolkeeper_core::notice::{Notice, PoolId};
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::view::PoolView;

/// The most pools a machine has.
const MAX_POOLS: usize = 20_000;

/// The pool that is asked for, by its number, its group's name or ARN, or its scale set's name.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    name: String,
    id: Option<PoolId>,
    was_seen: bool,
}

impl Scope {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), id: name.parse().ok().map(PoolId), was_seen: false }
    }

    /// Whether the pool is one that is asked for.
    pub(super) fn holds(&self, machine: &Machine, id: PoolId) -> bool {
        machine.pool(id).is_none_or(|pool| self.is(&pool))
    }

    /// The effects that are about the pool.
    pub(super) fn concerned<'e>(&self, machine: &Machine, effects: &'e [Effect]) -> Vec<&'e Effect> {
        let pools = self.pools(machine);
        effects.iter().filter(|effect| self.concerns(machine, &pools, effect)).collect()
    }

    /// The pools asked for, as they are now.
    pub(super) fn pools(&self, machine: &Machine) -> Vec<PoolView> {
        machine.pools(None, MAX_POOLS).into_iter().filter(|pool| self.is(pool)).collect()
    }

    /// Looks whether there is such a pool: a name that was mistyped would else find all well.
    pub(super) fn look(&mut self, machine: &Machine) {
        self.was_seen = self.was_seen || !self.pools(machine).is_empty();
    }

    /// What is wrong with the name, when no pool had it.
    pub(super) fn complaint(&self) -> Option<String> {
        let what = "no pool in the recording has this number, group, ARN or scale set";
        (!self.was_seen).then(|| format!("--pool {}: {what}; name one that the daemon's /api/pools shows", self.name))
    }

    fn is(&self, pool: &PoolView) -> bool {
        self.id == Some(pool.id)
            || pool.group == self.name
            || pool.arn == self.name
            || pool.scale_set.eq_ignore_ascii_case(&self.name)
    }

    fn concerns(&self, machine: &Machine, pools: &[PoolView], effect: &Effect) -> bool {
        let is_group = |name: &ShortText| *name == self.name || pools.iter().any(|pool| pool.group == *name);
        match effect {
            Effect::Note(Notice::Pool { pool, .. }) => self.holds(machine, *pool),
            Effect::Note(
                Notice::Connection { .. }
                | Notice::Aws(_)
                | Notice::StrayReply { .. }
                | Notice::NotRemembered { .. }
                | Notice::Reconfigured
                | Notice::Stopping,
            )
            | Effect::Drop(_)
            | Effect::Exit(_) => false,
            Effect::GitHub { id, .. } | Effect::Cancel { id } => {
                machine.pool_of_call(*id).is_some_and(|pool| self.holds(machine, pool))
            }
            Effect::Aws {
                call: AwsCall::SetDesiredCapacity { group, .. } | AwsCall::Instances { group, .. }, ..
            } => is_group(group),
            Effect::Aws { call: AwsCall::DescribeGroups { query: GroupQuery::Named(names), .. }, .. } => {
                names.iter().any(is_group)
            }
            Effect::Aws { call: AwsCall::DescribeGroups { query: GroupQuery::Tagged { .. }, .. }, .. } => false,
            Effect::Remember { key, .. } => {
                let set = key.split_once('/').map(|(_, set)| set);
                pools.iter().any(|pool| set == Some(set_of(pool).as_str()))
            }
        }
    }
}

/// A pool's scale set, as memories name it.
fn set_of(pool: &PoolView) -> String {
    format!("{}/{}/{}/{}", pool.connection, pool.scope, pool.runner_group, pool.scale_set)
}
