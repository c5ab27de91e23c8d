//! The deterministic state machine of poolkeeper: events in, effects out.
#![no_std]

extern crate alloc;

pub mod aws;
mod backoff;
pub mod config;
pub mod connection;
pub mod context;
pub mod event;
pub mod explain;
pub mod github;
pub mod limiter;
pub mod machine;
pub mod notice;
mod pool;
pub mod recording;
pub mod rng;
pub mod runners;
mod scale_set;
pub mod scaler;
pub mod seal;
pub mod session;
pub mod short_text;
pub mod spec;
pub mod time;
mod timers;
pub mod view;

pub use machine::Machine;
