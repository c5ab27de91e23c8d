//! What each path answers.

use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use poolkeeper_core::notice::PoolId;

use super::http::{Answer, Status};
use super::pool_metrics::PoolMetrics;
use super::ready::Readiness;
use super::{Ask, Page, Query};
use crate::telemetry::Telemetry;
use crate::telemetry::exposition;

/// How long the machine's thread may take to answer.
const ASK_DEADLINE: Duration = Duration::from_secs(2);
/// How many pools are asked for at once: the machine's thread makes a page of them in a tenth of a millisecond.
const PAGE: usize = 100;
/// The most pages a walk over all pools takes.
const MAX_PAGES: usize = 1_000;
const HTML: &str = include_str!("page.html");

/// Answers requests from what the machine and the telemetry know.
pub(super) struct Pages {
    ask: Ask,
    telemetry: Arc<Telemetry>,
}

impl Pages {
    pub(super) fn new(ask: Ask, telemetry: Arc<Telemetry>) -> Self {
        Self { ask, telemetry }
    }

    pub(super) fn answer(&self, path: &str, query: &str) -> Answer {
        let answered = match path {
            "/" => Ok(Answer {
                status: Status::Ok,
                content_type: "text/html; charset=utf-8",
                body: HTML.as_bytes().to_vec(),
            }),
            "/healthz" => Ok(Answer::text(Status::Ok, "alive")),
            "/readyz" => self.ready(),
            "/metrics" => self.metrics(),
            "/api/pools" => self.pools(query),
            _ => Ok(Answer::text(Status::NotFound, "there are /, /metrics, /healthz, /readyz and /api/pools")),
        };
        answered.unwrap_or_else(|answer| answer)
    }

    fn pools(&self, query: &str) -> Result<Answer, Answer> {
        let (mut after, mut limit) = (None, PAGE);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("after", value)) => after = Some(PoolId(number("after", value)?)),
                Some(("limit", value)) => {
                    let wanted: u32 = number("limit", value)?;
                    limit = usize::try_from(wanted).unwrap_or(PAGE).clamp(1, PAGE);
                }
                Some(_) | None => {
                    return Err(Answer::text(Status::BadRequest, "unknown parameter; there are after=ID and limit=N"));
                }
            }
        }
        let page = self.page(after, limit)?;
        let body = serde_json::to_vec(&page).map_err(|error| Answer::text(Status::Unavailable, error.to_string()))?;
        Ok(Answer { status: Status::Ok, content_type: "application/json", body })
    }

    fn ready(&self) -> Result<Answer, Answer> {
        let mut readiness = Readiness::default();
        self.each_page(|page| readiness.see(page))?;
        Ok(match readiness.verdict() {
            Ok(text) => Answer::text(Status::Ok, text),
            Err(text) => Answer::text(Status::Unavailable, text),
        })
    }

    fn metrics(&self) -> Result<Answer, Answer> {
        let mut pools = PoolMetrics::new(self.telemetry.stack());
        self.each_page(|page| pools.see(page))?;
        let mut body = pools.finish();
        self.telemetry.render(&mut body);
        let body = body.into_bytes();
        Ok(Answer { status: Status::Ok, content_type: exposition::CONTENT_TYPE, body })
    }

    fn each_page(&self, mut see: impl FnMut(&Page)) -> Result<(), Answer> {
        let mut after = None;
        for _ in 0..MAX_PAGES {
            let page = self.page(after, PAGE)?;
            see(&page);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn page(&self, after: Option<PoolId>, limit: usize) -> Result<Page, Answer> {
        let (reply, answer) = sync_channel(1);
        if !(self.ask)(Query { after, limit, reply }) {
            return Err(Answer::text(Status::Unavailable, "the daemon takes no questions now"));
        }
        answer
            .recv_timeout(ASK_DEADLINE)
            .map_err(|_| Answer::text(Status::Unavailable, "the daemon did not answer within 2 s"))
    }
}

fn number(key: &str, value: &str) -> Result<u32, Answer> {
    value.parse().map_err(|_| Answer::text(Status::BadRequest, format!("{key} is no number")))
}
