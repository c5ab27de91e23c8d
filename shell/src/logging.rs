//! Where log lines go: text on a terminal, JSON elsewhere.

use std::env;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt, registry};

/// Names the level, for example `debug` or `info,poolkeeper=debug`.
pub const LEVEL_VARIABLE: &str = "POOLKEEPER_LOG";
/// Libraries below `warn` tell of their own workings, not of ours.
const DEFAULT_LEVELS: &str = "warn,poolkeeper=info";

/// Starts logging to standard error, at the level of `POOLKEEPER_LOG` or `info`.
///
/// # Errors
/// When the level does not parse, or logging was started before.
pub fn init() -> Result<(), String> {
    let levels = levels(env::var(LEVEL_VARIABLE).ok().as_deref())?;
    let layer = if io::stderr().is_terminal() {
        let plain = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        fmt::layer().with_ansi(!plain).with_target(false).with_writer(io::stderr).boxed()
    } else {
        fmt::layer().json().flatten_event(true).with_writer(io::stderr).boxed()
    };
    registry().with(layer.with_filter(levels)).try_init().map_err(|error| format!("logging cannot be started: {error}"))
}

/// A bare level means ours; whoever wants a library's lines names it.
fn levels(wanted: Option<&str>) -> Result<Targets, String> {
    let wanted = wanted.map(str::trim).filter(|text| !text.is_empty());
    let text = match wanted {
        None => DEFAULT_LEVELS.to_owned(),
        Some(text) if text.contains([',', '=']) => text.to_owned(),
        Some(level) => format!("warn,poolkeeper={level}"),
    };
    Targets::from_str(&text).map_err(|error| {
        format!(
            "environment variable {LEVEL_VARIABLE}: \"{}\" is no level ({error}); write error, \
             warn, info, debug or trace",
            wanted.unwrap_or_default()
        )
    })
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_bare_level_is_ours_and_libraries_stay_quiet() {
        let debug = levels(Some("debug")).unwrap();
        assert!(debug.would_enable("poolkeeper_shell::telemetry", &Level::DEBUG));
        assert!(!debug.would_enable("hyper", &Level::INFO));
        assert!(!levels(None).unwrap().would_enable("poolkeeper", &Level::DEBUG));
    }

    #[test]
    fn what_is_no_level_is_refused_with_the_mend() {
        let message = levels(Some("loud")).unwrap_err();
        assert!(message.contains("POOLKEEPER_LOG") && message.contains("debug"), "{message}");
    }
}
