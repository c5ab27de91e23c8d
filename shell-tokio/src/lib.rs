//! The poolkeeper daemon on tokio: GitHub through reqwest, AWS through its SDK.

pub mod aws;
pub mod cli;
pub mod daemon;
#[cfg(feature = "demo")]
mod demo;
pub mod github;
pub mod inbox;
pub mod operator;
