//! Properties of the machines inside the core, each on its own, against peers that answer anything.
//!
//! `PROPTEST_CASES` and `PROPTEST_RNG_SEED` in the environment make a run longer, or another one.

mod connection;
mod machine;
mod runners;
mod scaler;
mod session;
mod support;
