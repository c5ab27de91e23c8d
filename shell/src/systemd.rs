//! Tells systemd how far we are, where it listens.

use sd_notify::NotifyState;

/// Up and running.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// On the way down.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Reading the config again; [`ready`] ends it.
pub fn reloading() {
    if let Ok(since) = NotifyState::monotonic_usec_now() {
        tell(&[NotifyState::Reloading, since]);
    }
}

/// A failure changes nothing for the daemon: systemd then waits or gives up by its own rules.
fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("systemd was not told: {error}");
    }
}
