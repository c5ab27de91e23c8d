//! Jobs that are offered, as an Enterprise Server does, and acquired by the listener.

use serde::Serialize;

use super::reply::{BAD_ARGUMENT, empty, json};
use super::scale_set::{ScaleSet, set_not_found};
use super::wire::{List, WireJob};
use super::{GitHub, JobId, Style};
use crate::http::{HttpRequest, HttpResponse};

/// The most jobs one call may ask for.
const MAX_ACQUIRE: usize = 1000;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AcquirableJob {
    acquire_job_url: String,
    message_type: &'static str,
    runner_request_id: u64,
    repository_name: String,
    owner_name: String,
    job_workflow_ref: String,
    event_name: &'static str,
    request_labels: Vec<String>,
}

impl GitHub {
    /// Whether jobs must be acquired.
    pub(super) fn offers(&self) -> bool {
        self.config.style == Style::Enterprise
    }

    /// Assigns the offered ones of the jobs asked for. It is authorized by the queue's token.
    pub(super) fn acquire(&mut self, request: &HttpRequest, id: u64) -> HttpResponse {
        if let Err(refusal) = self.enter_queue(request, id) {
            return refusal;
        }
        let Ok(asked) = serde_json::from_slice::<Vec<u64>>(&request.body) else {
            return BAD_ARGUMENT.reply("The body is no list of request ids.");
        };
        if asked.len() > MAX_ACQUIRE {
            return BAD_ARGUMENT.reply("Too many request ids.");
        }
        let mut acquired = Vec::new();
        if self.offers() {
            for request_id in asked {
                let job = JobId(request_id);
                let offered = self.sets.get_mut(&id).is_some_and(|set| set.queued.remove(&job));
                if offered {
                    self.assign_job(id, job);
                    acquired.push(request_id);
                }
            }
            self.start_jobs(id);
        }
        json(200, &List::of(acquired))
    }

    pub(super) fn acquirable_jobs(&self, id: u64) -> HttpResponse {
        let Some(set) = self.sets.get(&id) else { return set_not_found(id) };
        if !self.offers() || set.queued.is_empty() {
            return empty(204);
        }
        let jobs: Vec<AcquirableJob> = set
            .queued
            .iter()
            .filter_map(|job| self.element(*job, "JobAvailable"))
            .map(|element| {
                let WireJob {
                    message_type,
                    runner_request_id,
                    repository_name,
                    owner_name,
                    job_workflow_ref,
                    event_name,
                    request_labels,
                    ..
                } = element;
                AcquirableJob {
                    acquire_job_url: self.acquire_url(set),
                    message_type,
                    runner_request_id,
                    repository_name,
                    owner_name,
                    job_workflow_ref,
                    event_name,
                    request_labels,
                }
            })
            .collect();
        json(200, &List::of(jobs))
    }

    pub(super) fn acquire_url(&self, set: &ScaleSet) -> String {
        let tenant = self.tenants.get(&set.scope).map_or("", |tenant| tenant.id.as_str());
        let base = format!("{}/_services/pipelines/{tenant}", set.origin);
        format!("{base}/_apis/runtime/runnerscalesets/{}/acquirejobs", set.id)
    }
}
