//! What may go wrong with an answer, drawn from a seed: each seed lets some kinds happen and others not.

use poolkeeper_core::aws::AwsError;
use poolkeeper_core::github::reply::{Body, Bytes, Reply, ReplyHeaders, TransportErrorKind};
use poolkeeper_core::github::request::CallKind;
use poolkeeper_core::rng::Rng;
use poolkeeper_core::seal::Sealed;

use crate::github::MARKER;

/// How many of a thousand answers a kind of fault befalls, while it may.
const PER_MILLE: u64 = 15;
/// How many of a hundred kinds a seed allows.
const ALLOWED_PERCENT: u64 = 40;
/// The longest that an answer is late.
const LATEST_MS: u64 = 90_000;
/// How far the wall clock jumps at most.
const JUMP_MS: u64 = 7_200_000;

/// What befalls a call to GitHub.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The answer is late by so many milliseconds.
    Delay(u64),
    /// The request never arrives.
    Refuse,
    /// The request is carried out, and its answer is lost.
    Lose(TransportErrorKind),
    /// This comes instead of an answer; the request is not carried out.
    Instead(Box<Reply>),
    /// The answer comes, and comes again.
    Twice,
    /// A poll brings the last message again.
    Again,
    /// A message's counts are all zero.
    Zero,
}

/// What befalls a call to AWS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AwsFault {
    /// The answer is late by so many milliseconds.
    Delay(u64),
    /// This comes instead of an answer.
    Instead(AwsError),
    /// A describe shows what was so many milliseconds ago.
    Stale(u64),
}

/// The kinds of faults with GitHub.
const KINDS: usize = 13;
/// The kinds of faults with AWS.
const AWS_KINDS: usize = 7;

/// Draws faults.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    rng: Rng,
    github: Vec<usize>,
    aws: Vec<usize>,
    jumps: bool,
}

impl Faults {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut some = |kinds: usize| (0..kinds).filter(|_| rng.below(100) < ALLOWED_PERCENT).collect::<Vec<_>>();
        let (github, aws) = (some(KINDS), some(AWS_KINDS));
        let jumps = rng.below(100) < ALLOWED_PERCENT;
        Self { rng, github, aws, jumps }
    }

    /// What befalls a call to GitHub, if anything.
    pub(super) fn github(&mut self, call: CallKind) -> Option<Fault> {
        let kinds = std::mem::take(&mut self.github);
        let kind = kinds.iter().copied().find(|_| self.rng.below(1000) < PER_MILLE);
        self.github = kinds;
        let fault = match kind? {
            0 => Fault::Delay(self.rng.below(LATEST_MS)),
            1 => Fault::Refuse,
            2 => Fault::Lose(TransportErrorKind::TimedOut),
            3 => Fault::Lose(TransportErrorKind::Broken),
            4 => Fault::Instead(Box::new(error(call, [500, 502, 503, 504], &mut self.rng))),
            5 => Fault::Instead(Box::new(error(call, [401, 403, 401, 403], &mut self.rng))),
            6 => Fault::Instead(Box::new(error(call, [404, 409, 400, 410], &mut self.rng))),
            7 => Fault::Instead(Box::new(limited(call, &mut self.rng))),
            8 => Fault::Instead(Box::new(success(call, &format!("<html>{MARKER} is not for you</html>")))),
            9 => {
                Fault::Instead(Box::new(success(call, &format!("{{\"count\":1,\"value\":[{{\"id\":\"{MARKER}\",\"na"))))
            }
            10 => Fault::Instead(Box::new(success(call, ""))),
            11 => Fault::Twice,
            _ if call == CallKind::Poll && self.rng.below(2) == 0 => Fault::Again,
            _ => Fault::Zero,
        };
        Some(fault)
    }

    /// What befalls a call to AWS, if anything.
    pub(super) fn aws(&mut self) -> Option<AwsFault> {
        let kinds = std::mem::take(&mut self.aws);
        let kind = kinds.iter().copied().find(|_| self.rng.below(1000) < PER_MILLE);
        self.aws = kinds;
        let message = || "so it was drawn".to_owned();
        Some(match kind? {
            0 => AwsFault::Delay(self.rng.below(LATEST_MS / 2)),
            1 => AwsFault::Instead(AwsError::Throttled),
            2 => AwsFault::Instead(AwsError::Denied { message: message() }),
            3 => AwsFault::Instead(AwsError::Contention),
            4 => AwsFault::Instead(AwsError::Transport { message: message() }),
            5 => AwsFault::Instead(AwsError::Misbehaved { message: message() }),
            _ => AwsFault::Stale(self.rng.below(LATEST_MS)),
        })
    }

    /// By how much the wall clock jumps now, if it does.
    pub(super) fn jump_ms(&mut self) -> i64 {
        if !self.jumps || self.rng.below(1000) >= 1 {
            return 0;
        }
        let by = i64::try_from(self.rng.below(JUMP_MS)).unwrap_or_default();
        if self.rng.below(2) == 0 { by } else { -by }
    }
}

fn success(call: CallKind, body: &str) -> Reply {
    let len = u64::try_from(body.len()).unwrap_or_default();
    let body = if call.is_sealed() { Body::Sealed(Sealed::Unparsed { len }) } else { raw(body) };
    Reply { status: 200, headers: ReplyHeaders::default(), body }
}

fn error<const N: usize>(call: CallKind, statuses: [u16; N], rng: &mut Rng) -> Reply {
    let nth = usize::try_from(rng.below(u64::try_from(N).unwrap_or(1))).unwrap_or_default();
    let status = statuses.get(nth).copied().unwrap_or(500);
    let type_name = match status {
        404 => "RunnerScaleSetNotFoundException",
        409 => "RunnerScaleSetSessionConflictException",
        _ => "SomeException",
    };
    refusal(call, status, type_name, ReplyHeaders::default())
}

fn limited(call: CallKind, rng: &mut Rng) -> Reply {
    let wait = (rng.below(2) == 0).then(|| (1 + rng.below(90)).to_string());
    refusal(call, 429, "TooManyRequests", ReplyHeaders { retry_after: wait, ..ReplyHeaders::default() })
}

fn refusal(call: CallKind, status: u16, type_name: &str, headers: ReplyHeaders) -> Reply {
    let message = "so it was drawn";
    let body = if call.is_sealed() {
        Body::Sealed(Sealed::Error { type_name: type_name.to_owned(), message: message.to_owned() })
    } else {
        raw(&format!("{{\"typeName\":\"{type_name}\",\"message\":\"{message}\"}}"))
    };
    Reply { status, headers, body }
}

pub(super) fn raw(text: &str) -> Body {
    Body::Raw(Bytes(text.as_bytes().to_vec()))
}
