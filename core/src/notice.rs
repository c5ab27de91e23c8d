//! Facts for logs, metrics and people. The core never logs or counts: it says what is so, and the shell tells.

use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::aws::AwsError;
use crate::github::error::CallError;
use crate::github::message::JobMessage;
use crate::github::request::{CallKind, RequestId};
use crate::short_text::ShortText;
use crate::time::Duration;

/// Names a pool for as long as the daemon lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PoolId(pub u32);

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Notice {
    /// About one pool.
    Pool {
        /// The pool.
        pool: PoolId,
        /// Its Auto Scaling group's name.
        group: ShortText,
        /// The fact.
        fact: PoolFact,
    },
    /// About one connection to GitHub.
    Connection {
        /// The connection, by its name in the config.
        connection: String,
        /// The scope it serves: an organization, `owner/repository` or `enterprises/name`.
        scope: String,
        /// The fact.
        fact: ConnectionFact,
    },
    /// About the listing of groups, and AWS as a whole.
    Aws(AwsFact),
    /// A reply to a call that nobody made, or that was answered before: passed over.
    StrayReply {
        /// The call it names.
        id: RequestId,
    },
    /// A memory could not be written: a restart may have to wait for an old session to end.
    NotRemembered {
        /// Its key.
        key: String,
    },
    /// A new config is in force.
    Reconfigured,
    /// The daemon began to stop.
    Stopping,
}

/// A fact about a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PoolFact {
    /// How the group is treated has changed.
    Verdict(Verdict),
    /// The group is gone: its session is closed.
    Gone,
    /// A tag change waits until the group has no instances.
    RetagWaits,
    /// The scale set was found or made.
    ScaleSetReady {
        /// Its id.
        scale_set: u64,
        /// Its name.
        name: String,
        /// Whether we made it just now.
        created: bool,
    },
    /// The scale set's labels differ from what is wanted: jobs that ask for the missing ones will wait for ever.
    LabelsDiffer {
        /// The labels GitHub did not take.
        missing: Vec<String>,
        /// The labels it has beside those that are wanted.
        extra: Vec<String>,
    },
    /// The scale set's settings were brought to what is wanted.
    ScaleSetUpdated,
    /// GitHub says that the scale set does not exist, for the given number of times in a row.
    ScaleSetMissing {
        /// How often in a row.
        times: u32,
    },
    /// The scale set was deleted, as configured for groups that are gone.
    ScaleSetDeleted,
    /// A message session was opened.
    SessionOpened {
        /// Its id.
        session: String,
    },
    /// Another session lives on the set: we wait for its end.
    Standby {
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// The session was lost and a new one is asked for.
    SessionLost(CallError),
    /// The session was closed by us.
    SessionClosed,
    /// A message was absorbed.
    Message {
        /// Its id.
        message: u64,
        /// Its job messages.
        jobs: Vec<JobMessage>,
        /// How many elements were of unknown type.
        unknown: u32,
    },
    /// A message came again after it had been absorbed: it is acknowledged and changes nothing.
    Redelivered {
        /// Its id.
        message: u64,
    },
    /// A poll ended with a success that said nothing at all: taken for the usual "nothing new".
    EmptyReply,
    /// Statistics all zero came beside assigned jobs: the last target is held and the counts are read again.
    StatisticsDistrusted,
    /// Jobs were acquired.
    Acquired {
        /// How many were offered within our capacity.
        asked: u32,
        /// How many we got.
        got: u32,
    },
    /// Desired capacity is being set.
    Scaling(Decision),
    /// AWS refused to set desired capacity.
    ScalingFailed {
        /// The capacity that was asked for.
        desired: u32,
        /// Why.
        error: AwsError,
    },
    /// Desired capacity differs from what we set: somebody else, or the group itself, changed it.
    DesiredChanged {
        /// What we took it to be.
        from: u32,
        /// What AWS says.
        to: u32,
    },
    /// The warm pool's members may not be listed: those last seen stay in sight. Told once, until they may.
    WarmPoolDenied {
        /// Why.
        error: AwsError,
    },
    /// A call for this pool failed and will be tried again.
    CallFailed {
        /// The call.
        call: CallKind,
        /// Why.
        error: CallError,
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// Something about an instance that we give its runner.
    Runner(RunnerFact),
}

/// A fact about a managed instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunnerFact {
    /// A runner of its name was there already: its config counts as delivered.
    Adopted {
        /// The instance.
        instance: ShortText,
        /// The runner's id.
        runner: u64,
    },
    /// A runner of its name belongs to another scale set: somebody has to look at that.
    Foreign {
        /// The instance.
        instance: ShortText,
        /// The scale set that the runner belongs to.
        scale_set: u64,
    },
    /// It was in service before anybody looked after it, and has no runner of its name: it is left alone.
    Stranger {
        /// The instance.
        instance: ShortText,
    },
    /// It has come into service.
    Up {
        /// The instance.
        instance: ShortText,
        /// Whether it comes from the group's warm pool.
        warm: bool,
        /// From the rise of capacity that it was launched for, or from when it was first seen, until a describe showed it
        /// in service.
        took: Duration,
    },
    /// A launch hook held it, and was told to let it go.
    HookCompleted {
        /// The instance.
        instance: ShortText,
    },
    /// A job runs on it for longer than the pool allows: somebody has to look at that.
    JobTooLong {
        /// The instance.
        instance: ShortText,
        /// For how long, as far as this process knows.
        runs: Duration,
    },
    /// Its config was stored where it finds it.
    Served {
        /// The instance.
        instance: ShortText,
        /// The runner's id.
        runner: u64,
    },
    /// No config could be made for it; that is tried again.
    NotIssued {
        /// The instance.
        instance: ShortText,
        /// Why.
        what: String,
    },
    /// It is proven that no job runs on it: it will be ended.
    Free {
        /// The instance.
        instance: ShortText,
        /// The proof.
        proof: Proof,
    },
    /// AWS did not end it; that is tried again.
    NotEnded {
        /// The instance.
        instance: ShortText,
        /// Why.
        error: AwsError,
    },
    /// Another call to AWS about it failed; that is tried again.
    AwsFailed {
        /// The instance.
        instance: ShortText,
        /// Why.
        error: AwsError,
    },
    /// Instances could not be protected from scale-in; that is tried again.
    ProtectionFailed {
        /// Why.
        error: AwsError,
    },
    /// It is gone from its group.
    Vanished {
        /// The instance.
        instance: ShortText,
    },
    /// The runner of an instance that is gone could not be removed.
    LeftBehind {
        /// The instance.
        instance: ShortText,
        /// Why.
        what: String,
    },
    /// Instances in a row never came up: no more are launched for a while.
    LaunchesHeld {
        /// How many in a row.
        failures: u32,
        /// The last of them.
        last: ShortText,
        /// For how long.
        hold: Duration,
    },
}

/// Why an instance has no job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// GitHub removed its runner, which it does only while that has no job.
    Removed,
    /// Its job ended, and GitHub knew its runner no more, twice: one that runs a single job is removed with it.
    Ended,
    /// GitHub knew no such runner twice, a minute apart and long after its config was stored.
    GoneTwice,
}

/// How a group is treated.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is done for it.
    Refused {
        /// What is wrong.
        problem: String,
        /// What to do.
        mend: String,
    },
    /// Capacity is raised, and never lowered.
    ScaleOutOnly {
        /// What is wrong.
        problem: String,
        /// What to do.
        mend: String,
    },
    /// Capacity follows demand.
    Driven,
    /// It was driven and may not be any more: what runs is left to end, nothing new is asked for.
    Draining {
        /// What is wrong.
        problem: String,
        /// What to do.
        mend: String,
    },
}

/// One capacity decision with all its numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// Desired capacity as we knew it.
    pub from: u32,
    /// Desired capacity as we set it.
    pub to: u32,
    /// Jobs assigned to the set.
    pub assigned: u32,
    /// Runners that are to stand by.
    pub idle: u32,
    /// The lower bound of the target.
    pub lo: u32,
    /// The upper bound of the target.
    pub hi: u32,
    /// The target: how many instances should be able to serve.
    pub target: u32,
    /// Instances that cannot serve.
    pub unusable: u32,
    /// Instances in service.
    pub in_service: u32,
    /// Instances pending.
    pub pending: u32,
}

/// A fact about a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionFact {
    /// A new admin token is there.
    Connected {
        /// How long it lives.
        lifetime: Duration,
    },
    /// The chain of tokens broke: nothing can be asked until it is mended.
    TokenFailed {
        /// The call that failed.
        call: CallKind,
        /// Why.
        error: CallError,
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// GitHub says that it is too much.
    RateLimited {
        /// How long nothing is sent.
        wait: Duration,
    },
    /// A call went without a reply for longer than the shell may take: it counts as lost.
    Overdue {
        /// The call.
        call: CallKind,
    },
}

/// A fact about AWS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AwsFact {
    /// The first complete listing, or one that found another number of groups than the one before.
    Listed {
        /// How many groups carry our stack's tag or are named in the config.
        groups: u32,
    },
    /// A describe failed and will be tried again.
    DescribeFailed {
        /// Why.
        error: AwsError,
        /// How long until the next attempt.
        retry_in: Duration,
    },
    /// Many groups vanished at once: nothing is closed until they are back, or fewer are missing.
    MassDisappearance {
        /// How many are missing.
        missing: u32,
        /// Of how many.
        of: u32,
    },
    /// AWS throttles: fewer calls are made for a while.
    Throttled {
        /// Calls a minute from now on.
        calls_per_min: u32,
    },
    /// A group named in the config does not exist.
    NamedGroupMissing {
        /// Its name.
        group: ShortText,
    },
}
