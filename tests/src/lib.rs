//! What crosses crates: the real programs against the sandbox, and the harness that runs them.

pub mod bench;
pub mod daemon;
pub mod imds;
pub mod instance;
pub mod leaks;
pub mod moto;
pub mod programs;
pub mod site;
pub mod wait;
