//! Desired capacity.

use poolkeeper_core::aws::AwsCall;
use poolkeeper_core::event::Effect;

use super::{Checker, Moment, Observed};

/// The most pools a look at the machine takes in.
const MAX_POOLS: usize = 20_000;

/// Desired capacity is never asked for outside of the group's and the operator's bounds.
#[derive(Debug)]
pub struct Bounds;

impl Checker for Bounds {
    fn contract(&self) -> &'static str {
        "desired capacity is asked for only within the bounds of group and config"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        for effect in moment.effects {
            let Effect::Aws { call: AwsCall::SetDesiredCapacity { group, desired }, .. } = effect else {
                continue;
            };
            let Some(machine) = moment.observed.machine else { continue };
            let pools = machine.pools(None, MAX_POOLS);
            let Some(pool) = pools.iter().find(|pool| pool.group == *group) else {
                return Err(format!("{group} is no pool"));
            };
            let most = pool.group_max.min(pool.size_max.max(pool.group_min));
            if *desired < pool.group_min || *desired > most {
                return Err(format!("{group}: {desired} is not in {}..={most}", pool.group_min));
            }
        }
        Ok(())
    }
}

/// In the end no group desires more than its least size, once no job is there.
#[derive(Debug)]
pub struct IdleCapacity;

impl Checker for IdleCapacity {
    fn contract(&self) -> &'static str {
        "without jobs, desired capacity goes down to the least"
    }

    fn pending(&self, observed: &Observed<'_>) -> Option<String> {
        if !observed.world.is_quiet() {
            return None;
        }
        let machine = observed.machine?;
        for pool in machine.pools(None, MAX_POOLS) {
            let Some(group) = observed.world.aws_model().group(&pool.group) else { continue };
            let least = group.min_size.max(pool.size_min);
            if group.desired > least {
                return Some(format!("{} still desires {}, not {least}", group.name, group.desired));
            }
        }
        None
    }
}
