//! What every poolkeeper daemon needs and no runtime gives: config, vault, journal files, state directory, status
//! server, metrics, notice text and TLS settings. There is no HTTP client and no async in here.

pub mod aws;
pub mod clock;
pub mod config;
pub mod control;
pub mod driver;
pub mod failure;
pub mod journal;
pub mod logging;
pub mod notice_text;
pub mod start;
pub mod state;
pub mod status;
pub mod story;
pub mod systemd;
pub mod telemetry;
#[cfg(test)]
mod testing;
pub mod tls;
pub mod transport;
pub mod vault;

/// The version of what daemon and instances' agents agree upon: the name of the parameter a runner's config is in, what
/// is in it, and who deletes it. `deploy/instance/poolkeeper-agent` states the same.
pub const PROTOCOL: u32 = 1;
