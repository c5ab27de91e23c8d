//! The sandbox's own API, under `/_sandbox/` on the GitHub port: JSON in, JSON out, no authorization.
//!
//! | call | body | answer |
//! |---|---|---|
//! | `GET ping` | | `{"ok":true}` |
//! | `GET state` | | every scale set and group, and the totals |
//! | `GET totals` | | what was counted |
//! | `GET latencies` | | `{"us":[…]}`: message queued to capacity set, in µs, since the last time it was asked |
//! | `GET config-latencies` | | `{"us":[…]}`: in service, and shown there, to config stored, of each instance since then |
//! | `POST jobs` | [`NewJobs`] | `{"jobs":[ID,…]}` |
//! | `POST jobs/cancel` | `{"job":ID}` | `{"ok":BOOL}` |
//! | `POST sessions/end` | `{"set":"SCOPE:NAME"}` | `{"ok":BOOL}` |
//! | `POST sets/retire` | `{"set":"SCOPE:NAME"}` | `{"ok":BOOL}` |
//! | `POST tokens/expire` | | `{"ok":true}` |
//! | `POST faults` | a [`Fault`] | `{"ok":BOOL}` |
//! | `POST faults/clear` | | `{"ok":true}` |

use poolkeeper_core::time::Duration;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::github::{JobId, JobResult, SetKey};
use crate::http::{HttpRequest, HttpResponse};
use crate::workload::{Cancel, JobPlan};
use crate::world::{Fault, World, WorldNow};

/// Where the API lives.
const PREFIX: &str = "/_sandbox/";
/// The most jobs one call queues.
pub const MAX_NEW_JOBS: u32 = 10_000;

/// Jobs to be queued now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewJobs {
    /// The scale set each of them asks for; several are served in turn.
    pub sets: Vec<SetKey>,
    /// How many jobs, each set in turn; one for each set when absent.
    #[serde(default)]
    pub count: Option<u32>,
    /// How long each runs.
    #[serde(default)]
    pub duration_ms: u64,
    /// How each ends.
    #[serde(default = "succeeded")]
    pub result: JobResult,
    /// When each is called off.
    #[serde(default)]
    pub cancel: Option<Cancel>,
}

#[derive(Deserialize)]
struct OneJob {
    job: JobId,
}

#[derive(Deserialize)]
struct OneSet {
    set: SetKey,
}

#[derive(Serialize)]
struct Done {
    ok: bool,
}

#[derive(Serialize)]
struct Queued {
    jobs: Vec<JobId>,
}

#[derive(Serialize)]
struct Latencies<T> {
    us: Vec<T>,
}

#[derive(Serialize)]
struct Problem {
    error: String,
}

/// Whether a request is for this API.
pub(crate) fn owns(request: &HttpRequest) -> bool {
    request.target.starts_with(PREFIX)
}

pub(crate) fn serve(world: &mut World, at: WorldNow, request: &HttpRequest) -> HttpResponse {
    let path = request.path_and_query().0;
    let call = path.strip_prefix(PREFIX).unwrap_or_default();
    answer(world, at, &request.method, call, &request.body).unwrap_or_else(|error| {
        let status = if error.starts_with("no call") { 404 } else { 400 };
        json(status, &Problem { error })
    })
}

fn answer(world: &mut World, at: WorldNow, method: &str, call: &str, body: &[u8]) -> Result<HttpResponse, String> {
    let done = |ok| Ok(json(200, &Done { ok }));
    match (method, call) {
        ("GET", "ping") => done(true),
        ("GET", "state") => Ok(json(200, &world.state())),
        ("GET", "totals") => Ok(json(200, &world.ledger().totals())),
        ("GET", "latencies") => Ok(json(200, &Latencies { us: world.take_latencies_us() })),
        ("GET", "config-latencies") => Ok(json(200, &Latencies { us: world.take_config_latencies_us() })),
        ("POST", "jobs") => queue(world, at, &parse(body)?),
        ("POST", "jobs/cancel") => {
            let OneJob { job } = parse(body)?;
            done(world.cancel_job(at, job))
        }
        ("POST", "sessions/end") => {
            let OneSet { set } = parse(body)?;
            done(world.end_session(at, &set))
        }
        ("POST", "sets/retire") => {
            let OneSet { set } = parse(body)?;
            done(world.retire_set(at, &set))
        }
        ("POST", "tokens/expire") => {
            world.expire_tokens(at);
            done(true)
        }
        ("POST", "faults") => {
            let fault: Fault = parse(body)?;
            done(world.inject(fault))
        }
        ("POST", "faults/clear") => {
            world.heal();
            done(true)
        }
        _ => Err(format!("no call {method} {PREFIX}{call}")),
    }
}

fn queue(world: &mut World, at: WorldNow, new: &NewJobs) -> Result<HttpResponse, String> {
    let count = match new.count {
        Some(count) => usize::try_from(count.min(MAX_NEW_JOBS)).unwrap_or(usize::MAX),
        None => new.sets.len(),
    };
    let plan = JobPlan { duration: Duration::from_millis(new.duration_ms), result: new.result, cancel: new.cancel };
    let mut jobs = Vec::with_capacity(count);
    for set in new.sets.iter().cycle().take(count) {
        let job = world.queue_job(at, set, plan);
        jobs.push(job.map_err(|_| "too many jobs have not ended".to_owned())?);
    }
    Ok(json(200, &Queued { jobs }))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, String> {
    serde_json::from_slice(body).map_err(|error| format!("the body does not parse: {error}"))
}

fn json<T: Serialize>(status: u16, body: &T) -> HttpResponse {
    let (status, body) = match serde_json::to_vec(body) {
        Ok(body) => (status, body),
        Err(error) => (500, error.to_string().into_bytes()),
    };
    let content_type = ("content-type".into(), "application/json".into());
    HttpResponse { status, headers: vec![content_type], body }
}

const fn succeeded() -> JobResult {
    JobResult::Succeeded
}
