//! What goes into the machine and what comes out of it.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

use crate::aws::{AwsCall, AwsError, AwsReply};
use crate::config::Config;
use crate::github::reply::{Reply, TransportError};
use crate::github::request::{CallKind, Request, RequestId, Slot};
use crate::notice::Notice;

/// Something that happened outside the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "replies are the common case, and are moved, not kept")]
pub enum Event {
    /// The daemon is up; nothing else comes before it.
    Start {
        /// All that [`Effect::Remember`] left behind in earlier lives.
        remembered: Vec<Memory>,
    },
    /// The moment that [`Machine::poll_timeout`](crate::Machine::poll_timeout) named has come.
    Tick,
    /// The end of a call to GitHub: each comes exactly once, also after [`Effect::Cancel`].
    GitHubReply {
        /// The call.
        id: RequestId,
        /// The sealed reply, or why there is none.
        result: Result<Reply, TransportError>,
    },
    /// The end of a call to AWS: each comes exactly once.
    AwsReply {
        /// The call.
        id: RequestId,
        /// The answer.
        result: Result<AwsReply, AwsError>,
    },
    /// A memory was written, or could not be.
    Remembered {
        /// The memory's key.
        key: String,
        /// Whether it will outlive the daemon.
        ok: bool,
    },
    /// The operator changed the config.
    Reconfigure(Box<Config>),
    /// The daemon is to end: finish what is in hand, close what is open, then [`Effect::Exit`].
    Stop,
}

/// Something the machine wants done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Send a request to GitHub; its end is an [`Event::GitHubReply`].
    GitHub {
        /// Names the call.
        id: RequestId,
        /// What it is for.
        call: CallKind,
        /// The request.
        request: Box<Request>,
    },
    /// Make a call to AWS; its end is an [`Event::AwsReply`].
    Aws {
        /// Names the call.
        id: RequestId,
        /// The call.
        call: AwsCall,
    },
    /// Give up a call to GitHub: it still ends with one reply, `Cancelled` unless another came first.
    Cancel {
        /// The call.
        id: RequestId,
    },
    /// Keep a value under a key beyond the life of the daemon, or forget the key; its end is an [`Event::Remembered`].
    Remember {
        /// The key.
        key: String,
        /// The value; `None` forgets.
        value: Option<String>,
    },
    /// A secret is no longer needed.
    Drop(Slot),
    /// A fact for logs, metrics and people.
    Note(Notice),
    /// The machine has nothing more to do: end the process.
    Exit(ExitReason),
}

/// One remembered value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// The key.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Why the machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// It was told to, and closed all it had open.
    Stopped,
    /// It was told to, and what is still open after the deadline stays remembered.
    StoppedAtDeadline,
}
