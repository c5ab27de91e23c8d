//! The deterministic state machine of poolkeeper: events in, effects out.
#![no_std]

extern crate alloc;

pub mod aws;
pub mod config;
pub mod event;
pub mod github;
pub mod machine;
pub mod notice;
pub mod recording;
pub mod rng;
pub mod seal;
pub mod time;
pub mod view;

pub use machine::Machine;
