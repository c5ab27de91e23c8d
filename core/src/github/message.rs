//! Messages of a scale set's queue.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Deserializer, Serialize};

use crate::short_text::ShortText;
use crate::time::unix_ms_from_rfc3339;

/// The only message type the service sends to listeners.
const JOB_MESSAGES: &str = "RunnerScaleSetJobMessages";

/// What GitHub counts for a scale set. Scale on `assigned`, never on a count of messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// Jobs that wait to be acquired.
    #[serde(rename = "totalAvailableJobs", deserialize_with = "count")]
    pub available: u32,
    /// Jobs acquired and not yet assigned.
    #[serde(rename = "totalAcquiredJobs", deserialize_with = "count")]
    pub acquired: u32,
    /// Jobs that wait for a runner of this set, plus those that run.
    #[serde(rename = "totalAssignedJobs", deserialize_with = "count")]
    pub assigned: u32,
    /// Jobs that run.
    #[serde(rename = "totalRunningJobs", deserialize_with = "count")]
    pub running: u32,
    /// Runners registered with this set.
    #[serde(rename = "totalRegisteredRunners", deserialize_with = "count")]
    pub registered: u32,
    /// Runners at work.
    #[serde(rename = "totalBusyRunners", deserialize_with = "count")]
    pub busy: u32,
    /// Runners online and without work.
    #[serde(rename = "totalIdleRunners", deserialize_with = "count")]
    pub idle: u32,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Counts up within a queue; acknowledged by this number.
    pub id: u64,
    /// The counts at the time the message was made; some messages lack them.
    pub statistics: Option<Statistics>,
    /// What happened to jobs, in order. Elements of unknown type are passed over.
    pub jobs: Vec<JobMessage>,
    /// How many elements were of a type this version does not know.
    pub unknown: u32,
}

/// What happened to one job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobMessage {
    /// What happened.
    pub kind: JobMessageKind,
    /// The job.
    pub job: Job,
    /// The runner's id; 0 when no runner took the job.
    #[serde(default)]
    pub runner_id: u64,
    /// The runner's name; empty when no runner took the job.
    #[serde(default)]
    pub runner_name: ShortText,
    /// How a completed job ended: `succeeded`, `failed`, `canceled`, …
    #[serde(default)]
    pub result: ShortText,
}

/// The kinds of job messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobMessageKind {
    /// A job waits to be acquired.
    #[default]
    Available,
    /// A job was assigned to the set.
    Assigned,
    /// A runner took the job.
    Started,
    /// The job ended.
    Completed,
}

/// A job as its messages describe it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// By which it is acquired; may be 0.
    pub request_id: u64,
    /// The job's own id, by which it is known.
    #[serde(default)]
    pub job_id: String,
    /// `owner/name` of the repository.
    #[serde(default)]
    pub repository: String,
    /// The name people see.
    #[serde(default)]
    pub display_name: String,
    /// The workflow run.
    #[serde(default)]
    pub workflow_run_id: u64,
    /// The event that started the workflow.
    #[serde(default)]
    pub event_name: ShortText,
    /// When the job was assigned to the set, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale_set_assigned_ms: Option<u64>,
    /// When a runner took it, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_assigned_ms: Option<u64>,
    /// When it ended, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_ms: Option<u64>,
}

impl Message {
    /// Whether its statistics are all zero beside assigned jobs: such counts tell nothing
    /// (<https://github.com/actions/actions-runner-controller/issues/3204>).
    #[must_use]
    pub fn denies_its_jobs(&self) -> bool {
        self.statistics == Some(Statistics::default())
            && self.jobs.iter().any(|job| job.kind == JobMessageKind::Assigned)
    }

    /// Reads the body of a poll's 200.
    ///
    /// # Errors
    /// Says what is wrong with the body, without quoting it.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        let wire: WireMessage<'_> =
            serde_json::from_slice(body).map_err(|e| alloc::format!("message: {}", place(&e)))?;
        if wire.message_id == 0 {
            return Err("message: messageId is 0 or absent".into());
        }
        let unreadable = Self { id: wire.message_id, statistics: wire.statistics, jobs: Vec::new(), unknown: 1 };
        if wire.message_type != JOB_MESSAGES {
            return Ok(unreadable);
        }
        let text = wire.body.as_deref().unwrap_or_default();
        let elements: Vec<WireJob<'_>> = match serde_json::from_str(text) {
            Ok(elements) => elements,
            Err(_) if text.is_empty() => Vec::new(),
            Err(_) => {
                let (jobs, unknown) = one_by_one(text).unwrap_or((Vec::new(), 1));
                return Ok(Self { jobs, unknown, ..unreadable });
            }
        };
        let total = elements.len();
        let jobs: Vec<_> = elements.into_iter().filter_map(WireJob::into_job_message).collect();
        let unknown = u32::try_from(total - jobs.len()).unwrap_or(u32::MAX);
        Ok(Self { id: wire.message_id, statistics: wire.statistics, jobs, unknown })
    }
}

/// Reads what can be read of a list in which something is not as it should be.
fn one_by_one(text: &str) -> Option<(Vec<JobMessage>, u32)> {
    let values: Vec<serde_json::Value> = serde_json::from_str(text).ok()?;
    let jobs: Vec<_> = values.iter().filter_map(|value| WireJob::deserialize(value).ok()?.into_job_message()).collect();
    let unknown = u32::try_from(values.len() - jobs.len()).unwrap_or(u32::MAX);
    Some((jobs, unknown))
}

/// Where JSON does not parse, and how, without a word of it: the peer's values may be long, or secret.
pub(crate) fn place(error: &serde_json::Error) -> String {
    alloc::format!("{:?} error at line {} column {}", error.classify(), error.line(), error.column())
}

/// A count that a peer sent: null and negative numbers are 0, too large ones are cut.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let number = Option::<i64>::deserialize(deserializer)?.unwrap_or(0);
    Ok(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

/// An id that a peer sent: null and negative numbers are 0.
pub(crate) fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(Option::<i64>::deserialize(deserializer)?.and_then(|n| u64::try_from(n).ok()).unwrap_or(0))
}

/// A text that a peer sent: null is empty.
fn text<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    #[derive(Deserialize)]
    struct Borrowed<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Borrowed<'_>>::deserialize(deserializer)?.map_or(Cow::Borrowed(""), |b| b.0))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireMessage<'a> {
    #[serde(default, deserialize_with = "id")]
    message_id: u64,
    #[serde(borrow, default, deserialize_with = "text")]
    message_type: Cow<'a, str>,
    #[serde(borrow, default)]
    body: Option<Cow<'a, str>>,
    #[serde(default)]
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct WireJob<'a> {
    #[serde(borrow, deserialize_with = "text")]
    message_type: Cow<'a, str>,
    #[serde(deserialize_with = "id")]
    runner_request_id: u64,
    #[serde(borrow, deserialize_with = "text")]
    repository_name: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    owner_name: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    job_id: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    job_display_name: Cow<'a, str>,
    #[serde(deserialize_with = "id")]
    workflow_run_id: u64,
    #[serde(borrow, deserialize_with = "text")]
    event_name: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    scale_set_assign_time: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    runner_assign_time: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    finish_time: Cow<'a, str>,
    #[serde(deserialize_with = "id")]
    runner_id: u64,
    #[serde(borrow, deserialize_with = "text")]
    runner_name: Cow<'a, str>,
    #[serde(borrow, deserialize_with = "text")]
    result: Cow<'a, str>,
}

impl WireJob<'_> {
    fn into_job_message(self) -> Option<JobMessage> {
        let kind = match self.message_type.as_ref() {
            "JobAvailable" => JobMessageKind::Available,
            "JobAssigned" => JobMessageKind::Assigned,
            "JobStarted" => JobMessageKind::Started,
            "JobCompleted" => JobMessageKind::Completed,
            _ => return None,
        };
        Some(JobMessage {
            kind,
            job: Job {
                request_id: self.runner_request_id,
                job_id: self.job_id.into_owned(),
                repository: [&*self.owner_name, "/", &*self.repository_name].concat(),
                display_name: self.job_display_name.into_owned(),
                workflow_run_id: self.workflow_run_id,
                event_name: self.event_name.into(),
                scale_set_assigned_ms: unix_ms_from_rfc3339(&self.scale_set_assign_time),
                runner_assigned_ms: unix_ms_from_rfc3339(&self.runner_assign_time),
                finished_ms: unix_ms_from_rfc3339(&self.finish_time),
            },
            runner_id: self.runner_id,
            runner_name: self.runner_name.into(),
            result: self.result.into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_known_and_unknown_elements_parses() {
        let body = br#"{"messageId":7,"messageType":"RunnerScaleSetJobMessages","body":"[{\"messageType\":\"JobStarted\",\"runnerRequestId\":-1,\"jobId\":\"j\\u00e9\",\"ownerName\":\"acme\",\"repositoryName\":\"web\",\"runnerId\":3,\"runnerName\":\"i-1\",\"runnerAssignTime\":\"2026-05-01T10:00:00Z\",\"finishTime\":\"0001-01-01T00:00:00Z\"},{\"messageType\":\"JobTeleported\"}]","statistics":{"totalAssignedJobs":2,"totalBusyRunners":-4,"totalIdleRunners":null}}"#;
        let message = Message::parse(body).unwrap();
        assert_eq!(message.id, 7);
        assert_eq!(message.unknown, 1);
        assert_eq!(message.statistics, Some(Statistics { assigned: 2, ..Statistics::default() }));
        let started = &message.jobs[0];
        assert_eq!((started.kind, started.runner_id), (JobMessageKind::Started, 3));
        assert_eq!((started.job.job_id.as_str(), started.job.repository.as_str()), ("jé", "acme/web"));
        assert_eq!((started.job.runner_assigned_ms, started.job.finished_ms), (Some(1_777_629_600_000), None));
    }

    #[test]
    fn an_empty_body_is_a_message_of_statistics_only() {
        let body = br#"{"messageId":1,"messageType":"RunnerScaleSetJobMessages","body":""}"#;
        assert_eq!(Message::parse(body).unwrap(), Message { id: 1, statistics: None, jobs: Vec::new(), unknown: 0 });
    }

    #[test]
    fn what_is_no_message_is_refused_without_quoting_it() {
        for body in [&b""[..], b"<html>", b"{}", br#"{"messageId":"Secret"}"#, b"7"] {
            let error = Message::parse(body).unwrap_err();
            assert!(!error.contains("Secret") && !error.contains("html"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_read_does_not_hide_the_counts() {
        let statistics = Some(Statistics { assigned: 3, ..Statistics::default() });
        for (kind, body) in [("Other", ""), (JOB_MESSAGES, "<html>"), (JOB_MESSAGES, "[7]")] {
            let text = alloc::format!(
                r#"{{"messageId":3,"messageType":"{kind}","body":"{body}","statistics":{{"totalAssignedJobs":3}}}}"#
            );
            let expected = Message { id: 3, statistics, jobs: Vec::new(), unknown: 1 };
            assert_eq!(Message::parse(text.as_bytes()), Ok(expected), "{text}");
        }
    }

    #[test]
    fn one_odd_element_does_not_hide_the_others() {
        let body = br#"{"messageId":3,"messageType":"RunnerScaleSetJobMessages","body":"[{\"messageType\":\"JobAssigned\",\"jobId\":7},{\"messageType\":\"JobAssigned\",\"jobId\":\"8\"}]"}"#;
        let message = Message::parse(body).unwrap();
        assert_eq!((message.jobs.len(), message.unknown), (1, 1));
    }
}
