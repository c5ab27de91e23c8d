//! A dry run: what only reads is carried out, what would change anything is withheld, and a plan says what it was.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;

use poolkeeper_core::Machine;
use poolkeeper_core::aws::{AwsCall, AwsError};
use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::github::reply::{TransportError, TransportErrorKind};
use poolkeeper_core::github::request::{CallKind, Request};
use poolkeeper_core::notice::Verdict;
use poolkeeper_core::short_text::ShortText;
use poolkeeper_core::view::PoolView;
use serde::Deserialize;

/// Pools are looked at in pages of this many.
const PAGE: usize = 100;
const WITHHELD: &str = "withheld: a dry run only reads";

/// What a run would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// One line for each group found.
    pub pools: Vec<PlannedPool>,
}

/// What a run would do with one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedPool {
    /// The group's name.
    pub group: ShortText,
    /// How it would be treated.
    pub verdict: Verdict,
    /// Its scale set's name; empty for a refused group.
    pub scale_set: String,
    /// Whether the set exists.
    pub standing: Standing,
    /// Desired capacity now.
    pub desired: u32,
}

/// Whether a scale set exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It exists, and has this id.
    Exists(u64),
    /// It would be created.
    ToBeCreated,
    /// Nothing is done for the group.
    Refused,
    /// GitHub could not be asked.
    Unknown(String),
}

/// The changes that were wanted and not carried out.
#[derive(Clone, Debug, Default)]
pub(super) struct Withheld {
    creates: BTreeSet<(String, String)>,
}

impl Withheld {
    /// Lets through what only reads; what would change something is answered as if nobody could be reached.
    pub(super) fn admit(&mut self, effect: Effect, answers: &mut VecDeque<Event>) -> Option<Effect> {
        match effect {
            Effect::GitHub { id, call, request } if !reads(call) => {
                if call == CallKind::CreateScaleSet {
                    self.creates.extend(named(&request));
                }
                let error = TransportError { kind: TransportErrorKind::Connect, detail: WITHHELD.to_owned() };
                answers.push_back(Event::GitHubReply { id, result: Err(error) });
                None
            }
            Effect::Aws { id, call: AwsCall::SetDesiredCapacity { .. } | AwsCall::Instances { .. } } => {
                let error = AwsError::Transport { message: WITHHELD.to_owned() };
                answers.push_back(Event::AwsReply { id, result: Err(error) });
                None
            }
            Effect::Remember { key, value: _ } => {
                answers.push_back(Event::Remembered { key, ok: true });
                None
            }
            Effect::GitHub { .. }
            | Effect::Aws { call: AwsCall::DescribeGroups { .. }, .. }
            | Effect::Cancel { .. }
            | Effect::Drop(_)
            | Effect::Note(_)
            | Effect::Exit(_) => Some(effect),
        }
    }

    /// The plan, once groups are listed and each one's set was looked for.
    pub(super) fn plan(&self, machine: &Machine) -> Option<Plan> {
        if !machine.summary().listed {
            return None;
        }
        let mut pools = Vec::new();
        let mut after = None;
        loop {
            let page = machine.pools(after, PAGE);
            let Some(last) = page.last().map(|pool| pool.id) else { return Some(Plan { pools }) };
            after = Some(last);
            for pool in page {
                pools.push(self.planned(pool)?);
            }
        }
    }

    fn planned(&self, pool: PoolView) -> Option<PlannedPool> {
        let set = (pool.connection, pool.scale_set.to_lowercase());
        let standing = match (&pool.verdict, pool.scale_set_id, pool.error) {
            (Verdict::Refused { .. }, _, _) => Standing::Refused,
            (_, Some(id), _) => Standing::Exists(id),
            (_, None, _) if self.creates.contains(&set) => Standing::ToBeCreated,
            (_, None, Some(error)) => Standing::Unknown(error),
            (_, None, None) => return None,
        };
        Some(PlannedPool {
            group: pool.group,
            verdict: pool.verdict,
            scale_set: pool.scale_set,
            standing,
            desired: pool.desired,
        })
    }
}

/// Calls that change nothing that anybody would notice.
const fn reads(call: CallKind) -> bool {
    match call {
        CallKind::Installation
        | CallKind::AccessToken
        | CallKind::RegistrationToken
        | CallKind::AdminConnection
        | CallKind::RunnerGroup
        | CallKind::ScaleSets
        | CallKind::ScaleSetByName
        | CallKind::ScaleSet
        | CallKind::RunnerByName
        | CallKind::Runner
        | CallKind::Runners => true,
        CallKind::CreateScaleSet
        | CallKind::UpdateScaleSet
        | CallKind::DeleteScaleSet
        | CallKind::CreateSession
        | CallKind::RefreshSession
        | CallKind::DeleteSession
        | CallKind::Poll
        | CallKind::Acknowledge
        | CallKind::Acquire
        | CallKind::AcquirableJobs
        | CallKind::JitConfig
        | CallKind::RemoveRunner => false,
    }
}

/// The connection and the name of the set that a request would create.
fn named(request: &Request) -> Option<(String, String)> {
    #[derive(Deserialize)]
    struct Named {
        name: String,
    }
    let body: Named = serde_json::from_str(request.body.as_deref()?).ok()?;
    Some((request.connection.clone(), body.name.to_lowercase()))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.pools.is_empty() {
            return writeln!(f, "No group carries this stack's tag, and none is named in the config.");
        }
        for pool in &self.pools {
            writeln!(f, "{pool}")?;
        }
        writeln!(f, "{} groups; nothing was changed.", self.pools.len())
    }
}

impl fmt::Display for PlannedPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, verdict, scale_set, standing, desired } = self;
        write!(f, "{group}: ")?;
        match verdict {
            Verdict::Refused { problem, mend } => return write!(f, "refused: {problem}; {mend}"),
            Verdict::ScaleOutOnly { problem, mend } => {
                write!(f, "scale-out only ({problem}; {mend})")?;
            }
            Verdict::Driven => f.write_str("driven")?,
            Verdict::Draining { problem, mend } => write!(f, "draining ({problem}; {mend})")?,
        }
        match standing {
            Standing::Exists(id) => write!(f, ", scale set {scale_set} exists (id {id})")?,
            Standing::ToBeCreated => write!(f, ", scale set {scale_set} to be created")?,
            Standing::Refused => {}
            Standing::Unknown(why) => write!(f, ", scale set {scale_set} unknown: {why}")?,
        }
        write!(f, ", desired {desired} now")
    }
}

#[cfg(test)]
mod tests {
    use poolkeeper_core::aws::GroupQuery;
    use poolkeeper_core::github::request::{Auth, Method, RequestId};
    use poolkeeper_core::time::Duration;

    use super::*;

    fn call(call: CallKind, body: &str) -> Effect {
        let request = Request {
            connection: "main".into(),
            method: Method::Post,
            url: "http://127.0.0.1/".into(),
            auth: Auth::Credential,
            headers: Vec::new(),
            body: Some(body.into()),
            timeout: Duration::from_secs(1),
            max_body: 1,
        };
        Effect::GitHub { id: RequestId(1), call, request: Box::new(request) }
    }

    #[test]
    fn what_only_reads_passes() {
        let mut withheld = Withheld::default();
        let mut answers = VecDeque::new();
        let query = GroupQuery::Named(vec!["ci".into()]);
        let describe = AwsCall::DescribeGroups { query, next_token: None };

        for effect in [
            call(CallKind::RegistrationToken, ""),
            call(CallKind::ScaleSetByName, ""),
            Effect::Aws { id: RequestId(1), call: describe },
        ] {
            assert_eq!(withheld.admit(effect.clone(), &mut answers), Some(effect));
        }

        assert!(answers.is_empty());
    }

    #[test]
    fn what_would_change_something_is_answered_and_kept_in_mind() {
        let mut withheld = Withheld::default();
        let mut answers = VecDeque::new();
        let set = AwsCall::SetDesiredCapacity { group: "ci".into(), desired: 1 };

        for effect in [
            call(CallKind::CreateScaleSet, r#"{"name":"ACME-linux"}"#),
            call(CallKind::CreateSession, "{}"),
            Effect::Aws { id: RequestId(2), call: set },
            Effect::Remember { key: "k".into(), value: None },
        ] {
            assert_eq!(withheld.admit(effect, &mut answers), None);
        }

        assert_eq!(answers.len(), 4);
        assert!(withheld.creates.contains(&("main".into(), "acme-linux".into())));
    }

    #[test]
    fn a_line_says_group_verdict_set_and_desired() {
        let mut pool = PlannedPool {
            group: "ci-linux".into(),
            verdict: Verdict::Driven,
            scale_set: "acme-linux".into(),
            standing: Standing::ToBeCreated,
            desired: 3,
        };
        assert_eq!(pool.to_string(), "ci-linux: driven, scale set acme-linux to be created, desired 3 now");

        pool.verdict = Verdict::Refused { problem: "no tag".into(), mend: "add it".into() };
        assert_eq!(pool.to_string(), "ci-linux: refused: no tag; add it");
    }
}
