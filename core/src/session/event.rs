//! What a session is told, and what it wants done.

use alloc::string::String;

use crate::github::answer::Answer;
use crate::github::call::Call;
use crate::github::error::CallError;
use crate::github::message::{Message, Statistics};
use crate::github::request::{CallKind, Slot};
use crate::time::Duration;

/// What happens to a session.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// A session is wanted; `left` is one of ours that may still live.
    Open {
        /// The scale set.
        scale_set: u64,
        /// The session to delete first.
        left: Option<String>,
    },
    /// No session is wanted any more.
    Close,
    /// The call in flight ended.
    Called(Result<Answer, CallError>),
    /// What was to be remembered is kept, or cannot be.
    Remembered,
    /// Time has passed.
    Tick,
}

/// What a session wants done.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEffect {
    /// Make this call.
    Call(Call),
    /// Give up the poll in flight, or the creation of a session that was not sent.
    Cancel,
    /// Keep the session's id: it is to be deleted first should we not live to close it.
    Remember(String),
    /// No session of ours is left.
    Forget,
    /// A secret is no longer needed.
    Drop(Slot),
    /// It is open, with the first scaling signal.
    Opened {
        /// Its id.
        session: String,
        /// The counts.
        statistics: Option<Statistics>,
    },
    /// A message came. It is acknowledged after this effect was carried out.
    Message(Message),
    /// A message came again.
    Redelivered(u64),
    /// A poll ended with a success that said nothing at all.
    EmptyReply,
    /// Jobs were acquired.
    Acquired {
        /// How many we asked for.
        asked: u32,
        /// How many we got.
        got: u32,
    },
    /// Another session lives.
    Standby(Duration),
    /// GitHub says that the scale set does not exist.
    ScaleSetMissing,
    /// It was lost; a new one is asked for.
    Lost(CallError),
    /// It was closed.
    Closed,
    /// A call failed and will be tried again.
    Failed {
        /// The call.
        call: CallKind,
        /// Why.
        error: CallError,
        /// How long until the next attempt.
        retry_in: Duration,
    },
}
