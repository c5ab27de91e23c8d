//! What whoever runs the daemon counts on: it stays up, and says what it cannot do.

use std::collections::{BTreeMap, BTreeSet};

use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{Body, Reply};
use poolkeeper_core::github::request::{CallKind, Request, RequestId};
use poolkeeper_core::notice::{Notice, PoolFact};
use serde::Deserialize;

use super::{Checker, Heard, Moment};
use crate::runners;

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
    asked: BTreeMap<RequestId, Labelled>,
    /// What this step's event is to be told of: what was asked for, and the labels that came.
    untold: Option<(Labelled, BTreeSet<String>)>,
}

#[derive(Debug, Deserialize)]
struct Labelled {
    name: String,
    labels: Vec<Label>,
}

#[derive(Debug, Deserialize)]
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
            && got.names() != asked.names()
        {
            self.untold = Some((asked, got.names()));
        }
        Ok(())
    }

    fn step(&mut self, moment: &Moment<'_>) -> Result<(), String> {
        if let Some((asked, got)) = self.untold.take()
            && !moment.effects.iter().any(tells_of_labels)
            && !is_wished_by_now(moment, &asked.name, &got)
        {
            return Err(format!("asked for {:?}, got {got:?}, and nothing is said", asked.names()));
        }
        for effect in moment.effects {
            if let Effect::GitHub { id, call: CallKind::CreateScaleSet | CallKind::UpdateScaleSet, request } = effect {
                self.asked.extend(labels_in_request(request).map(|asked| (*id, asked)));
            }
        }
        Ok(())
    }
}

const fn tells_of_labels(effect: &Effect) -> bool {
    matches!(effect, Effect::Note(Notice::Pool { fact: PoolFact::LabelsDiffer { .. }, .. }))
}

/// Whether a group's tags ask by now for what came: they were changed again meanwhile.
fn is_wished_by_now(moment: &Moment<'_>, set: &str, got: &BTreeSet<String>) -> bool {
    let mut groups = moment.wire.group_names().filter_map(|name| moment.wire.group(name));
    groups.any(|group| {
        let labels = group.tags.iter().find(|tag| tag.key == "runs-on-labels").map(|tag| tag.value.to_lowercase());
        let labels = labels.filter(|text| !text.trim().is_empty()).unwrap_or_else(|| set.to_lowercase().into());
        let is_of_set = runners::set_of(&group.tags).is_some_and(|key| key.name.eq_ignore_ascii_case(set));
        is_of_set && labels.split_whitespace().map(str::to_owned).collect::<BTreeSet<_>>() == *got
    })
}

impl Labelled {
    fn names(&self) -> BTreeSet<String> {
        self.labels.iter().map(|label| label.name.to_lowercase()).collect()
    }
}

fn labels_in_request(request: &Request) -> Option<Labelled> {
    serde_json::from_slice(request.body.as_deref()?.as_bytes()).ok()
}

fn labels_in_reply(reply: &Reply) -> Option<Labelled> {
    match &reply.body {
        Body::Raw(body) if (200..300).contains(&reply.status) => serde_json::from_slice(&body.0).ok(),
        Body::Raw(_) | Body::Sealed(_) => None,
    }
}
