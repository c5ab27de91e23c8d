//! Calls that a scenario counts.

use std::collections::BTreeMap;

use super::{Checker, Moment};

/// No more calls are made than a scenario allows.
#[derive(Debug)]
pub struct Frugal(pub BTreeMap<String, u64>);

impl Frugal {
    /// Its name, as it watches only where a scenario asks for it.
    pub const NAME: &'static str = "frugal";
}

impl Checker for Frugal {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn contract(&self) -> &'static str {
        "no call is made more often than the scenario allows"
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let Some(world) = moment.observed.world else { return Ok(()) };
        let totals = world.ledger().totals_ref();
        for (call, most) in &self.0 {
            let made = totals.calls_of("github", call) + totals.calls_of("aws", call);
            if made > *most {
                return Err(format!("{made} of {call}, and {most} are enough"));
            }
        }
        Ok(())
    }
}
