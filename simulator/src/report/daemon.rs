//! What a report knows of the daemon as a whole: its lives, and how it got on with its peers.

use serde::Serialize;

use super::columns::Dictionary;
use super::pool::{Bands, Markers};

/// An outage that begins this soon after the last one is the same one.
const SAME_OUTAGE_MS: u64 = 15_000;

/// While a peer failed.
#[derive(Clone, Debug, Default)]
pub(super) struct Outage {
    since: Option<(u64, u64)>,
    ended: Option<(u64, u64, u64)>,
}

impl Outage {
    pub(super) fn failed(&mut self, at: u64, what: u64, into: &mut Bands) {
        if self.since.is_some() {
            return;
        }
        self.since = match self.ended.take() {
            Some((from, to, before)) if at.saturating_sub(to) <= SAME_OUTAGE_MS => Some((from, before)),
            Some((from, to, before)) => {
                into.add(from, to, before);
                Some((at, what))
            }
            None => Some((at, what)),
        };
    }

    pub(super) const fn succeeded(&mut self, at: u64) {
        if let Some((from, what)) = self.since.take() {
            self.ended = Some((from, at, what));
        }
    }

    pub(super) fn close(&mut self, at: u64, into: &mut Bands) {
        self.succeeded(at);
        if let Some((from, to, what)) = self.ended.take() {
            into.add(from, to, what);
        }
    }
}

/// The daemon's part of the page.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Daemon {
    /// While it was down, or not recorded.
    pub(super) down: Bands,
    /// While GitHub failed.
    pub(super) github: Bands,
    /// While AWS failed.
    pub(super) aws: Bands,
    pub(super) markers: Markers,
    #[serde(skip)]
    pub(super) github_outage: Outage,
    #[serde(skip)]
    pub(super) aws_outage: Outage,
}

impl Daemon {
    pub(super) fn github_ended(&mut self, at: u64, failure: Option<&str>, dictionary: &mut Dictionary) {
        match failure {
            Some(what) => self.github_outage.failed(at, dictionary.place(what), &mut self.github),
            None => self.github_outage.succeeded(at),
        }
    }

    pub(super) fn aws_ended(&mut self, at: u64, failure: Option<&str>, dictionary: &mut Dictionary) {
        match failure {
            Some(what) => self.aws_outage.failed(at, dictionary.place(what), &mut self.aws),
            None => self.aws_outage.succeeded(at),
        }
    }

    /// Nothing is known from `at` on.
    pub(super) fn close(&mut self, at: u64) {
        self.github_outage.close(at, &mut self.github);
        self.aws_outage.close(at, &mut self.aws);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_close_together_are_one_outage() {
        let (mut outage, mut bands) = (Outage::default(), Bands::default());
        for at in [1_000, 5_000, 100_000] {
            outage.failed(at, 0, &mut bands);
            outage.failed(at + 500, 1, &mut bands);
            outage.succeeded(at + 1_000);
        }
        outage.close(200_000, &mut bands);
        let told = serde_json::to_string(&bands).unwrap();
        assert_eq!(told, r#"{"from":[1000,99000],"len":[5000,1000],"what":[0,0]}"#);
    }
}
