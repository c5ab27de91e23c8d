//! Calls that faults hit: what is answered, what is late, and what is carried out when nobody waits for it any more.

use poolkeeper_core::aws::{AwsCall, AwsError, AwsReply, InstanceCall};
use poolkeeper_core::time::Duration;

use super::fault::{self, Verdict};
use super::{FaultAction, World, WorldNow};
use crate::aws;
use crate::http::{HttpRequest, HttpResponse, Served, Ticket};
use crate::store;

/// Tickets of hung calls count down from here: those of polls count up.
const LAST_TICKET: u64 = u64::MAX;
/// How long the client of AWS waits for a reply.
const AWS_TIMEOUT: Duration = Duration::from_secs(30);
/// The most requests that linger at once.
const MAX_LINGERING: usize = 1000;

/// A request that is carried out when nobody waits for it any more.
#[derive(Clone, Debug)]
pub(super) enum Lingering {
    GitHub(HttpRequest),
    Aws(HttpRequest),
    /// A call, and the config it brings.
    AwsCall(AwsCall, Option<String>),
}

impl World {
    /// One of the core's calls to AWS with the config it brings, and how long its end is delayed.
    pub fn aws_call_in_time(
        &mut self,
        at: WorldNow,
        call: &AwsCall,
        config: Option<&str>,
    ) -> (Duration, Result<AwsReply, AwsError>) {
        self.settle(at);
        let action = call.action();
        self.ledger.count_call("aws", action);
        let verdict = self.verdict(action, "aws");
        if let Some(error) = fault::as_aws_error(&verdict) {
            let wait = match verdict {
                Verdict::Hang => AWS_TIMEOUT,
                Verdict::Linger(span) => {
                    self.linger(span, Lingering::AwsCall(call.clone(), config.map(str::to_owned)));
                    AWS_TIMEOUT
                }
                Verdict::Carry(_) | Verdict::Answer(_) | Verdict::Close => Duration::ZERO,
            };
            return (wait, Err(error));
        }
        let result = self.carry_out(call, config);
        self.settle(at);
        let lost = |why: &str| Err(AwsError::Transport { message: why.to_owned() });
        match verdict {
            Verdict::Carry(Some(FaultAction::Delay { ms })) if Duration::from_millis(ms) < AWS_TIMEOUT => {
                (Duration::from_millis(ms), result)
            }
            Verdict::Carry(Some(FaultAction::Delay { .. })) => (AWS_TIMEOUT, lost("no reply in time")),
            Verdict::Carry(Some(_)) => (Duration::ZERO, lost("the reply was lost")),
            Verdict::Carry(None) | Verdict::Answer(_) | Verdict::Hang | Verdict::Close | Verdict::Linger(_) => {
                (Duration::ZERO, result)
            }
        }
    }

    pub(super) fn serve_aws(&mut self, at: WorldNow, request: &HttpRequest) -> HttpResponse {
        if store::wire::action_name(request).is_none() {
            return aws::query::serve(&mut self.aws, at.now, request);
        }
        let served = self.store.serve(at.now.mono, request, &self.aws.config().region);
        if let Some(instance) = served.stored_for {
            self.config_stored(&instance);
        }
        served.reply
    }

    fn carry_out(&mut self, call: &AwsCall, config: Option<&str>) -> Result<AwsReply, AwsError> {
        let now = self.at.now;
        match call {
            AwsCall::Instances { call: InstanceCall::PutConfig { instance, .. }, .. } => {
                let config = config.unwrap_or_default().to_owned();
                self.store.put(now.mono, instance, config)?;
                self.config_stored(instance);
                Ok(AwsReply::Done)
            }
            AwsCall::Instances { call: InstanceCall::DeleteConfig { instance }, .. } => {
                self.store.delete(now.mono, instance)?;
                Ok(AwsReply::Done)
            }
            AwsCall::Instances { .. } | AwsCall::DescribeGroups { .. } | AwsCall::SetDesiredCapacity { .. } => {
                self.aws.call(now, call)
            }
        }
    }

    /// What a fault made of the reply of a held request; none when it is late.
    pub(super) fn unbend(&mut self, ticket: Ticket, reply: HttpResponse) -> Option<(Ticket, HttpResponse)> {
        match self.bent.remove(&ticket) {
            None => Some((ticket, reply)),
            Some(FaultAction::Delay { ms }) => {
                self.late.insert((self.at.now.mono + Duration::from_millis(ms), ticket), reply);
                None
            }
            Some(fault) => match fault.bend(reply) {
                Served::Reply(reply) => Some((ticket, reply)),
                Served::Held(_) | Served::Close | Served::CutShort(_) => None,
            },
        }
    }

    pub(super) fn verdict(&mut self, call: &str, peer: &str) -> Verdict {
        let hit = self.faults.hit(self.at.now.mono, &mut self.fault_rng, call, peer);
        let fault = hit.filter(|fault| !fault.is_success_of(call));
        fault.map_or(Verdict::Carry(None), |fault| fault.before(peer == "aws", self.at.now.unix_ms))
    }

    /// Keeps a request that is carried out later; the ticket on which nobody will hear of it.
    pub(super) fn linger(&mut self, span: Duration, request: Lingering) -> Ticket {
        if self.lingering.len() < MAX_LINGERING {
            self.lingered += 1;
            self.lingering.insert((self.at.now.mono + span, self.lingered), request);
        }
        self.hang()
    }

    /// Carries out what lingered until now; whether there was anything.
    pub(super) fn carry_out_lingering(&mut self) -> bool {
        let mut any = false;
        while let Some(entry) = self.lingering.first_entry()
            && entry.key().0 <= self.at.now.mono
        {
            any = true;
            match entry.remove() {
                Lingering::GitHub(request) => {
                    if let Served::Held(ticket) = self.github.serve(self.at.now, &request) {
                        self.github.cancel(ticket);
                    }
                }
                Lingering::Aws(request) => drop(self.serve_aws(self.at, &request)),
                // Nobody hears of a refusal.
                Lingering::AwsCall(call, config) => drop(self.carry_out(&call, config.as_deref())),
            }
        }
        any
    }

    pub(super) fn hang(&mut self) -> Ticket {
        self.hung += 1;
        Ticket(LAST_TICKET - self.hung)
    }

    pub(super) fn bend(&mut self, served: Served, fault: Option<FaultAction>) -> Served {
        let Some(fault) = fault else { return served };
        match (served, &fault) {
            (Served::Reply(reply), FaultAction::Delay { ms }) => {
                let ticket = self.hang();
                self.late.insert((self.at.now.mono + Duration::from_millis(*ms), ticket), reply);
                Served::Held(ticket)
            }
            (Served::Reply(reply), _) => fault.bend(reply),
            (Served::Held(ticket), _) if fault.keeps_the_reply() => {
                self.bent.insert(ticket, fault);
                Served::Held(ticket)
            }
            (Served::Held(ticket), _) => {
                self.github.cancel(ticket);
                Served::Close
            }
            (served @ (Served::Close | Served::CutShort(_)), _) => served,
        }
    }
}
