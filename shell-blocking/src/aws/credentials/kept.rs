//! Credentials that were found, until when they are used, and who looks for new ones.

use std::time::{Duration, Instant, SystemTime};

use aws_credential_types::Credentials as Keys;

/// Credentials are renewed this long before they end.
const RENEWED_EARLY: Duration = Duration::from_secs(5 * 60);
/// Credentials that name no end are looked up again after this: a file may have changed.
const UNDATED: Duration = Duration::from_secs(5 * 60);
/// After a look-up, the next one waits for at least this long.
pub(super) const RETRY: Duration = Duration::from_secs(10);

/// What was found, and what went wrong.
#[derive(Default)]
pub(super) struct Kept {
    held: Option<Held>,
    failed: Option<Failed>,
    searching: bool,
}

struct Held {
    keys: Keys,
    found: Instant,
    renew_after: Instant,
}

struct Failed {
    at: Instant,
    problem: String,
}

/// What a caller has to do.
#[derive(Debug)]
pub(super) enum Next {
    /// Use these.
    Use(Keys),
    /// Look for some, and tell with [`Kept::found`]; nobody else does until [`Kept::search_ended`].
    Search,
    /// Wait for the one who looks.
    Wait,
    /// Give up: the last look-up failed a moment ago.
    Failed(String),
}

/// A point in time on both clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) mono: Instant,
    pub(super) wall: SystemTime,
}

impl Moment {
    pub(super) fn now() -> Self {
        Self { mono: Instant::now(), wall: SystemTime::now() }
    }
}

impl Kept {
    pub(super) fn next(&mut self, now: Moment) -> Next {
        if let Some(held) = self.held.as_ref().filter(|held| now.mono < held.renew_after) {
            return Next::Use(held.keys.clone());
        }
        let usable = self.usable(now);
        if self.searching {
            return usable.map_or(Next::Wait, Next::Use);
        }
        if let Some(failed) = self.failed.as_ref().filter(|failed| is_recent(failed.at, now)) {
            return usable.map_or_else(|| Next::Failed(failed.problem.clone()), Next::Use);
        }
        self.searching = true;
        Next::Search
    }

    /// Keeps what a look-up found; what there is to use now.
    ///
    /// # Errors
    /// When nothing was found, and nothing is kept that holds.
    pub(super) fn found(&mut self, found: Result<Keys, String>, now: Moment) -> Result<Keys, String> {
        match found {
            Ok(keys) => {
                let lasts = keys.expiry().map_or(UNDATED, |expiry| renew_in(expiry, now.wall));
                self.held = Some(Held { keys: keys.clone(), found: now.mono, renew_after: now.mono + lasts });
                self.failed = None;
                Ok(keys)
            }
            Err(problem) => {
                self.failed = Some(Failed { at: now.mono, problem: problem.clone() });
                let usable = self.usable(now).ok_or_else(|| problem.clone())?;
                tracing::warn!("credentials of AWS cannot be renewed: {problem}");
                Ok(usable)
            }
        }
    }

    /// Lets the next caller look, whatever became of this look-up.
    pub(super) fn search_ended(&mut self) {
        self.searching = false;
    }

    /// Drops credentials that AWS does not take, unless they were found just now.
    pub(super) fn refused(&mut self, access_key_id: &str, now: Moment) {
        let is_it = |held: &Held| held.keys.access_key_id() == access_key_id && !is_recent(held.found, now);
        if self.held.as_ref().is_some_and(is_it) {
            self.held = None;
        }
    }

    /// As if what is held had been found so much earlier.
    #[cfg(test)]
    pub(super) fn age(&mut self, by: Duration) {
        if let Some(held) = &mut self.held {
            held.found = held.found.checked_sub(by).expect("the host has been up for longer");
        }
    }

    fn usable(&self, now: Moment) -> Option<Keys> {
        let held = self.held.as_ref()?;
        held.keys.expiry().is_none_or(|expiry| expiry > now.wall).then(|| held.keys.clone())
    }
}

fn is_recent(at: Instant, now: Moment) -> bool {
    now.mono.saturating_duration_since(at) < RETRY
}

fn renew_in(expiry: SystemTime, now: SystemTime) -> Duration {
    expiry.duration_since(now).unwrap_or_default().saturating_sub(RENEWED_EARLY).max(RETRY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(id: &str, expiry: Option<SystemTime>) -> Keys {
        Keys::new(id, "S", None, expiry, "test")
    }

    fn after(start: Moment, s: u64) -> Moment {
        let s = Duration::from_secs(s);
        Moment { mono: start.mono + s, wall: start.wall + s }
    }

    /// Holds keys that were found at the moment.
    fn holding(id: &str, expiry: Option<SystemTime>, now: Moment) -> Kept {
        let mut kept = Kept::default();
        assert!(matches!(kept.next(now), Next::Search));
        kept.found(Ok(keys(id, expiry)), now).unwrap();
        kept.search_ended();
        kept
    }

    fn used(next: Next) -> String {
        let Next::Use(keys) = next else { panic!("{next:?}") };
        keys.access_key_id().to_owned()
    }

    #[test]
    fn one_looks_while_the_others_use_what_holds() {
        let start = Moment::now();
        let mut kept = holding("A", Some(start.wall + Duration::from_secs(600)), start);
        let late = after(start, 301);

        assert!(matches!(kept.next(late), Next::Search));
        assert_eq!(used(kept.next(late)), "A");
        assert!(matches!(kept.next(after(start, 600)), Next::Wait), "they have ended");
    }

    #[test]
    fn credentials_are_renewed_before_they_end() {
        let start = Moment::now();
        let mut kept = holding("A", Some(start.wall + Duration::from_secs(600)), start);

        assert_eq!(used(kept.next(after(start, 299))), "A");
        assert!(matches!(kept.next(after(start, 300)), Next::Search));
    }

    #[test]
    fn credentials_without_an_end_are_looked_up_again() {
        let start = Moment::now();
        let mut kept = holding("A", None, start);

        assert_eq!(used(kept.next(after(start, 299))), "A");
        assert!(matches!(kept.next(after(start, 300)), Next::Search));
    }

    #[test]
    fn a_failed_look_up_is_not_made_again_at_once() {
        let start = Moment::now();
        let mut kept = Kept::default();
        assert!(matches!(kept.next(start), Next::Search));
        assert!(kept.found(Err("no role".to_owned()), start).is_err());
        kept.search_ended();

        assert!(matches!(kept.next(after(start, 9)), Next::Failed(problem) if problem == "no role"));
        assert!(matches!(kept.next(after(start, 10)), Next::Search));
    }

    #[test]
    fn a_failed_renewal_leaves_what_holds_in_use() {
        let start = Moment::now();
        let mut kept = holding("A", Some(start.wall + Duration::from_secs(600)), start);
        let late = after(start, 301);
        assert!(matches!(kept.next(late), Next::Search));

        assert_eq!(kept.found(Err("silence".to_owned()), late).unwrap().access_key_id(), "A");
        kept.search_ended();

        assert_eq!(used(kept.next(after(start, 302))), "A");
        assert!(matches!(kept.next(after(start, 311)), Next::Search));
    }

    #[test]
    fn credentials_that_came_too_late_are_not_asked_for_with_each_call() {
        let start = Moment::now();
        let mut kept = holding("A", Some(start.wall - Duration::from_secs(1)), start);

        assert_eq!(used(kept.next(after(start, 9))), "A");
        assert!(matches!(kept.next(after(start, 10)), Next::Search));
    }

    #[test]
    fn credentials_that_aws_refuses_are_dropped_unless_they_are_new() {
        let start = Moment::now();
        let mut kept = holding("A", Some(start.wall + Duration::from_secs(3600)), start);

        kept.refused("A", after(start, 9));
        assert_eq!(used(kept.next(after(start, 9))), "A");

        kept.refused("another", after(start, 11));
        assert_eq!(used(kept.next(after(start, 11))), "A");

        kept.refused("A", after(start, 11));
        assert!(matches!(kept.next(after(start, 11)), Next::Search));
    }
}
