//! Whether the daemon hears GitHub.

use poolkeeper_core::time::Duration;
use poolkeeper_core::view::{PoolView, SessionView, Summary};

use super::Page;

/// A poll ends within 75 s, so that two in a row that ended badly make a pool deaf.
const RECENT: Duration = Duration::from_secs(150);

/// What a walk over all pools saw.
#[derive(Debug, Default)]
pub(super) struct Readiness {
    summary: Summary,
    hearing: u32,
    wanting: u32,
    example: Option<String>,
}

impl Readiness {
    pub(super) fn see(&mut self, page: &Page) {
        self.summary = page.summary;
        for pool in &page.pools {
            if pool.session == SessionView::None && pool.error.is_none() {
                continue;
            }
            self.wanting += 1;
            if hears(pool, page) {
                self.hearing += 1;
            } else if self.example.is_none() {
                self.example = Some(why_not(pool));
            }
        }
    }

    /// What to say: `Ok` when ready.
    pub(super) fn verdict(&self) -> Result<String, String> {
        let Self { summary, hearing, wanting, example } = self;
        if summary.stopping {
            return Err("stopping".to_owned());
        }
        if !summary.listed {
            return Err("the first listing of groups is not complete: see the log for AWS's answer".to_owned());
        }
        if summary.pools == summary.refused {
            return Ok(format!("ready: no pool to serve, {} groups refused", summary.refused));
        }
        if *hearing > 0 {
            return Ok(format!("ready: {hearing} of {} pools hear GitHub", summary.pools));
        }
        let example = example.as_deref().unwrap_or("no session was asked for yet");
        Err(format!("none of {wanting} pools hears GitHub; for example {example}"))
    }
}

/// An open session whose first poll has not ended yet is heard as well: it may be held for 50 s.
fn hears(pool: &PoolView, page: &Page) -> bool {
    pool.session == SessionView::Open
        && match pool.polled_at {
            Some(at) => page.now.mono.since(at) <= RECENT,
            None => pool.error.is_none(),
        }
}

fn why_not(pool: &PoolView) -> String {
    let error = pool.error.as_deref().unwrap_or("no error");
    format!("{}: session {}, {error}", pool.group, pool.session.as_str())
}
