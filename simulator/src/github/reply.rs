//! Replies: bodies, error bodies, and the headers that all of them carry.

use serde::Serialize;
use time::format_description::well_known::Rfc3339;
use time::{Month, OffsetDateTime, Weekday};

use super::GitHub;
use crate::digits::{push_decimal, uuid};
use crate::http::HttpResponse;

const JSON: &str = "application/json; charset=utf-8; api-version=6.0-preview.1";
/// The length of an HTTP date.
const HTTP_DATE_LEN: usize = 29;
const TEXT: &str = "text/plain; charset=utf-8";
/// How .NET writes a time that is not set.
pub(super) const UNSET_TIME: &str = "0001-01-01T00:00:00Z";

/// An error of the Actions Service: status and exception.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exception {
    status: u16,
    name: &'static str,
    namespace: &'static str,
}

const RUNTIME: &str = "GitHub.Actions.Runtime.WebApi";
const AGENTS: &str = "GitHub.DistributedTask.WebApi";

pub(super) const SET_NOT_FOUND: Exception = runtime(404, "RunnerScaleSetNotFoundException");
pub(super) const SET_EXISTS: Exception = runtime(409, "RunnerScaleSetExistsException");
pub(super) const SESSION_CONFLICT: Exception = runtime(409, "RunnerScaleSetSessionConflictException");
pub(super) const SESSION_NOT_FOUND: Exception = runtime(404, "RunnerScaleSetSessionNotFoundException");
pub(super) const GROUP_NOT_FOUND: Exception = runtime(404, "RunnerGroupNotFoundException");
pub(super) const BAD_ARGUMENT: Exception = runtime(400, "ArgumentException");
pub(super) const UNAUTHORIZED: Exception = runtime(401, "UnauthorizedRequestException");
pub(super) const FORBIDDEN: Exception = runtime(403, "AccessDeniedException");
pub(super) const NO_SUCH_PATH: Exception = runtime(404, "VssResourceNotFoundException");
pub(super) const NO_SUCH_METHOD: Exception = runtime(405, "VssRequestMethodException");
pub(super) const NO_VERSION: Exception = runtime(400, "VssVersionNotSpecifiedException");
pub(super) const AGENT_NOT_FOUND: Exception =
    Exception { status: 404, name: "AgentNotFoundException", namespace: AGENTS };
pub(super) const AGENT_EXISTS: Exception = Exception { status: 409, name: "AgentExistsException", namespace: AGENTS };
pub(super) const JOB_STILL_RUNNING: Exception =
    Exception { status: 400, name: "JobStillRunningException", namespace: AGENTS };

const fn runtime(status: u16, name: &'static str) -> Exception {
    Exception { status, name, namespace: RUNTIME }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody<'a> {
    #[serde(rename = "$id")]
    id: &'static str,
    inner_exception: Option<()>,
    message: &'a str,
    type_name: String,
    type_key: &'a str,
    error_code: u32,
    event_id: u32,
}

impl Exception {
    /// The reply that says so.
    pub(super) fn reply(self, message: &str) -> HttpResponse {
        let body = ErrorBody {
            id: "1",
            inner_exception: None,
            message,
            type_name: format!("{ns}.{name}, {ns}", ns = self.namespace, name = self.name),
            type_key: self.name,
            error_code: 0,
            event_id: 3000,
        };
        json(self.status, &body)
    }
}

pub(super) fn json(status: u16, body: &impl Serialize) -> HttpResponse {
    let body = serde_json::to_vec(body).unwrap_or_default();
    json_bytes(status, body)
}

pub(super) fn json_bytes(status: u16, body: Vec<u8>) -> HttpResponse {
    HttpResponse { status, headers: vec![("content-type".into(), JSON.into())], body }
}

/// A reply of the REST API that refuses: plain text.
pub(super) fn text(status: u16, message: &str) -> HttpResponse {
    HttpResponse { status, headers: vec![("content-type".into(), TEXT.into())], body: message.as_bytes().to_vec() }
}

pub(super) fn empty(status: u16) -> HttpResponse {
    HttpResponse { status, ..HttpResponse::default() }
}

/// An RFC 3339 timestamp.
pub(super) fn timestamp(unix_ms: u64) -> String {
    date_time(unix_ms).format(&Rfc3339).unwrap_or_else(|_| UNSET_TIME.to_owned())
}

pub(super) fn timestamp_or_unset(unix_ms: Option<u64>) -> String {
    unix_ms.map_or_else(|| UNSET_TIME.to_owned(), timestamp)
}

fn date_time(unix_ms: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

pub(crate) fn http_date(unix_ms: u64) -> String {
    let at = date_time(unix_ms);
    let (year, month, day) = at.to_calendar_date();
    let year = u64::try_from(year).unwrap_or_default();
    let mut text = String::with_capacity(HTTP_DATE_LEN);
    text.push_str(weekday_name(at.weekday()));
    text.push_str(", ");
    push_decimal::<2>(&mut text, day.into());
    text.push(' ');
    text.push_str(month_name(month));
    text.push(' ');
    push_decimal::<4>(&mut text, year);
    for (mark, number) in [(' ', at.hour()), (':', at.minute()), (':', at.second())] {
        text.push(mark);
        push_decimal::<2>(&mut text, number.into());
    }
    text.push_str(" GMT");
    text
}

const fn weekday_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "Mon",
        Weekday::Tuesday => "Tue",
        Weekday::Wednesday => "Wed",
        Weekday::Thursday => "Thu",
        Weekday::Friday => "Fri",
        Weekday::Saturday => "Sat",
        Weekday::Sunday => "Sun",
    }
}

const fn month_name(month: Month) -> &'static str {
    match month {
        Month::January => "Jan",
        Month::February => "Feb",
        Month::March => "Mar",
        Month::April => "Apr",
        Month::May => "May",
        Month::June => "Jun",
        Month::July => "Jul",
        Month::August => "Aug",
        Month::September => "Sep",
        Month::October => "Oct",
        Month::November => "Nov",
        Month::December => "Dec",
    }
}

impl GitHub {
    /// The reply with the headers that every reply has.
    pub(super) fn stamped(&mut self, mut reply: HttpResponse) -> HttpResponse {
        let activity = self.uuid();
        let id = self.rng.next();
        reply.headers.extend([
            ("date".into(), http_date(self.now.unix_ms).into()),
            ("activityid".into(), activity.into()),
            ("x-github-request-id".into(), format!("{:04X}:{:X}", id & 0xffff, id >> 16).into()),
        ]);
        reply
    }

    pub(super) fn uuid(&mut self) -> String {
        uuid(self.rng.next(), self.rng.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use poolkeeper_core::time::{unix_ms_from_rfc3339, unix_s_from_http_date};

    #[test]
    fn times_read_as_they_were_written() {
        let ms = 1_777_629_600_123;
        assert_eq!(unix_ms_from_rfc3339(&timestamp(ms)), Some(ms));
        assert_eq!(unix_s_from_http_date(&http_date(ms)), Some(ms / 1000));
    }
}
