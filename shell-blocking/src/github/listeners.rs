//! How many polls are under way, of all connections and across reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// More listeners than this are better off with the other daemon.
const LISTENERS_FINE: usize = 1000;

/// Counts polls, and warns once of too many.
#[derive(Clone, Debug, Default)]
pub(super) struct Listeners(Arc<Tally>);

#[derive(Debug, Default)]
struct Tally {
    held: AtomicUsize,
    warned: AtomicBool,
}

/// A poll under way, counted until this is dropped.
#[derive(Debug)]
pub(super) struct Held(Arc<Tally>);

impl Listeners {
    pub(super) fn one_more(&self) -> Held {
        let before = self.0.held.fetch_add(1, Ordering::Relaxed);
        if before >= LISTENERS_FINE && !self.0.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!("more than {LISTENERS_FINE} pools, a thread each: the daemon `poolkeeper` takes less");
        }
        Held(Arc::clone(&self.0))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warning_comes_once_when_all_connections_together_listen_for_too_many() {
        let listeners = Listeners::default();
        let one_connection: Vec<_> = (0..LISTENERS_FINE / 2).map(|_| listeners.one_more()).collect();
        let another: Vec<_> = (0..LISTENERS_FINE / 2).map(|_| listeners.clone().one_more()).collect();
        assert!(!listeners.0.warned.load(Ordering::Relaxed));

        let one_too_many = listeners.one_more();

        assert!(listeners.0.warned.load(Ordering::Relaxed));
        drop((one_connection, another, one_too_many));
        assert_eq!(listeners.0.held.load(Ordering::Relaxed), 0);
    }
}
