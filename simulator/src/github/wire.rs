//! Shapes on the wire.

use poolkeeper_core::short_text::ShortText;
use serde::{Deserialize, Serialize};

/// A list as the service wraps it.
#[derive(Serialize)]
pub(super) struct List<T> {
    pub(super) count: usize,
    pub(super) value: Vec<T>,
}

impl<T> List<T> {
    pub(super) const fn of(value: Vec<T>) -> Self {
        Self { count: value.len(), value }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireGroup {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) size: usize,
    pub(super) is_default_group: bool,
}

#[derive(Clone, Serialize, Deserialize)]
pub(super) struct WireLabel {
    #[serde(rename = "type", default = "system")]
    pub(super) kind: String,
    pub(super) name: String,
}

fn system() -> String {
    "System".to_owned()
}

#[derive(Clone, Copy, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct WireSetting {
    pub(super) disable_update: bool,
}

/// A scale set as a client asks for it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SetRequest {
    pub(super) name: Option<String>,
    pub(super) runner_group_id: Option<u64>,
    pub(super) labels: Option<Vec<WireLabel>>,
    #[serde(rename = "RunnerSetting", alias = "runnerSetting")]
    pub(super) runner_setting: Option<WireSetting>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireSet {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) runner_group_id: u64,
    pub(super) runner_group_name: String,
    pub(super) labels: Vec<WireLabel>,
    #[serde(rename = "RunnerSetting")]
    pub(super) runner_setting: WireSetting,
    pub(super) created_on: String,
    pub(super) runner_jit_config_url: String,
    pub(super) statistics: WireStatistics,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireStatistics {
    pub(super) total_available_jobs: usize,
    pub(super) total_acquired_jobs: usize,
    pub(super) total_assigned_jobs: usize,
    pub(super) total_running_jobs: usize,
    pub(super) total_registered_runners: usize,
    pub(super) total_busy_runners: usize,
    pub(super) total_idle_runners: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SessionRequest {
    pub(super) owner_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireSession {
    pub(super) session_id: String,
    pub(super) owner_name: String,
    pub(super) runner_scale_set: WireSet,
    pub(super) message_queue_url: String,
    pub(super) message_queue_access_token: String,
    pub(super) statistics: WireStatistics,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireMessage {
    pub(super) message_id: u64,
    pub(super) message_type: &'static str,
    pub(super) body: String,
    pub(super) statistics: WireStatistics,
}

/// One element of a message's body.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireJob {
    pub(super) message_type: &'static str,
    pub(super) runner_request_id: u64,
    pub(super) repository_name: String,
    pub(super) owner_name: String,
    pub(super) job_id: String,
    pub(super) job_workflow_ref: String,
    pub(super) job_display_name: String,
    pub(super) workflow_run_id: u64,
    pub(super) event_name: &'static str,
    pub(super) request_labels: Vec<String>,
    pub(super) queue_time: String,
    pub(super) scale_set_assign_time: String,
    pub(super) runner_assign_time: String,
    pub(super) finish_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) acquire_job_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runner_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) runner_name: Option<ShortText>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<&'static str>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct JitRequest {
    pub(super) name: ShortText,
    #[serde(default)]
    pub(super) work_folder: Option<String>,
}

#[derive(Serialize)]
pub(super) struct WireJitConfig {
    pub(super) runner: WireRunner,
    #[serde(rename = "encodedJITConfig")]
    pub(super) encoded_jit_config: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireRunner {
    pub(super) id: u64,
    pub(super) name: ShortText,
    pub(super) runner_scale_set_id: u64,
    pub(super) status: &'static str,
    pub(super) busy: bool,
    pub(super) version: &'static str,
}
