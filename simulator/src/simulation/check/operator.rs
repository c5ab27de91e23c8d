//! What whoever runs the daemon counts on: it stays up, and says what it cannot do.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Reply};
use poolkeeper_core::github::request::{CallKind, Request, RequestId};
use poolkeeper_core::notice::{Notice, PoolFact};
use serde::Deserialize;

use super::{Checker, Heard, Moment};

/// Nothing that peers say ends the process.
#[derive(Debug, Default)]
pub struct StaysUp {
    stopping: bool,
}

impl Checker for StaysUp {
    fn name(&self) -> &'static str {
        "stays_up"
    }

    fn contract(&self) -> &'static str {
        "the process ends by itself only after it was told to stop"
    }

    fn started(&mut self) {
        self.stopping = false;
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        self.stopping |= matches!(heard.event, Event::Stop);
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        let exit = moment.effects.iter().find(|effect| matches!(effect, Effect::Exit(_)));
        exit.filter(|_| !self.stopping).map_or(Ok(()), |exit| Err(format!("{exit:?} without a stop")))
    }
}

/// Labels that GitHub did not take are told: jobs that ask for them wait for ever.
#[derive(Debug, Default)]
pub struct TellsLabels {
    asked: BTreeMap<RequestId, BTreeSet<String>>,
    /// What this step's event is to be told of.
    untold: Option<String>,
}

#[derive(Deserialize)]
struct Labelled {
    labels: Vec<Label>,
}

#[derive(Deserialize)]
struct Label {
    name: String,
}

impl Checker for TellsLabels {
    fn name(&self) -> &'static str {
        "tells_labels"
    }

    fn contract(&self) -> &'static str {
        "when a scale set comes out with other labels than were asked for, that is told"
    }

    fn started(&mut self) {
        *self = Self::default();
    }

    fn hear(&mut self, heard: &Heard<'_>) -> Result<(), String> {
        self.untold = None;
        if let Event::GitHubReply { id, result: Ok(reply) } = heard.event
            && let Some(asked) = self.asked.remove(id)
            && let Some(got) = labels_in_reply(reply)
            && got != asked
        {
            self.untold = Some(format!("asked for {asked:?}, got {got:?}, and nothing is said"));
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        if let Some(untold) = self.untold.take()
            && !moment.effects.iter().any(tells_of_labels)
        {
            return Err(untold);
        }
        for effect in moment.effects {
            if let Effect::GitHub { id, call: CallKind::CreateScaleSet | CallKind::UpdateScaleSet, request } = effect {
                self.asked.insert(*id, labels_in_request(request));
            }
        }
        Ok(())
    }
}

const fn tells_of_labels(effect: &Effect) -> bool {
    matches!(effect, Effect::Note(Notice::Pool { fact: PoolFact::LabelsDiffer { .. }, .. }))
}

fn labels_in_request(request: &Request) -> BTreeSet<String> {
    labels_in(request.body.as_deref().unwrap_or_default().as_bytes()).unwrap_or_default()
}

fn labels_in_reply(reply: &Reply) -> Option<BTreeSet<String>> {
    match &reply.body {
        Body::Raw(body) if (200..300).contains(&reply.status) => labels_in(&body.0),
        Body::Raw(_) | Body::Sealed(_) => None,
    }
}

fn labels_in(json: &[u8]) -> Option<BTreeSet<String>> {
    let Labelled { labels } = serde_json::from_slice(json).ok()?;
    Some(labels.into_iter().map(|label| label.name.to_lowercase()).collect())
}
