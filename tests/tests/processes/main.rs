//! The daemons, the agent and the policies, as processes against the sandbox and against moto.
//!
//! One binary for all of them: each links the whole of the daemon, and tests that wait run beside others.
#![cfg(test)]

mod agent;
mod config;
mod conformance;
mod explain;
mod groups;
mod iam;
mod instance;
mod jobs;
mod journal;
mod moto;
mod peers;
mod policies;
mod restart;
mod secrets;
mod status;
