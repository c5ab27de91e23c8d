//! The way back to the machine's thread: one queue, and for each call a promise that is kept exactly once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::TransportErrorKind;
use poolkeeper_shell::control::{CALLS_MAX, CONTROLS_MAX, Control};
use poolkeeper_shell::transport::Peer;
use ureq::Agent;

/// What reaches the machine's thread.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something for the machine.
    Event(Box<Event>),
    /// Something that is asked of the daemon.
    Control(Control),
}

/// Hands out promises whose answers come out of one queue.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    sender: Sender<Message>,
    calls: Arc<AtomicUsize>,
    controls: Arc<AtomicUsize>,
}

/// One answer that is owed. Should it be dropped without one, its call counts as lost or called off.
#[derive(Debug)]
pub(crate) struct Promise {
    debt: Arc<Debt>,
}

/// Calls off what was promised.
#[derive(Debug)]
pub(crate) struct Recall {
    debt: Arc<Debt>,
}

#[derive(Debug)]
struct Debt {
    peer: Peer,
    sender: Sender<Message>,
    calls: Arc<AtomicUsize>,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Waiting,
    Carried(Agent),
    Answered,
}

impl Inbox {
    /// An inbox and the end where its messages come out.
    pub(crate) fn new() -> (Self, Receiver<Message>) {
        let (sender, receiver) = channel();
        (Self { sender, calls: Arc::default(), controls: Arc::default() }, receiver)
    }

    /// Hands in an event that answers no call.
    pub(crate) fn tell(&self, event: Event) {
        let _loop_is_gone = self.sender.send(Message::Event(Box::new(event)));
    }

    /// Asks something of the daemon; `false` when it is gone or swamped. There is always room for a request to stop.
    pub(crate) fn ask(&self, control: Control) -> bool {
        let waiting = self.controls.fetch_add(1, Ordering::Relaxed);
        if waiting >= CONTROLS_MAX && !matches!(control, Control::Stop) {
            self.controls.fetch_sub(1, Ordering::Relaxed);
            return false;
        }
        self.sender.send(Message::Control(control)).is_ok()
    }

    /// Notes that something asked was heard.
    pub(crate) fn heard(&self) {
        self.controls.fetch_sub(1, Ordering::Relaxed);
    }

    /// A promise of the answer to a call; the answer itself when no more calls fit.
    ///
    /// # Errors
    /// When [`CALLS_MAX`] calls are under way.
    pub(crate) fn promise(&self, peer: Peer) -> Result<(Promise, Recall), Box<Event>> {
        if self.calls.fetch_add(1, Ordering::Relaxed) >= CALLS_MAX {
            self.calls.fetch_sub(1, Ordering::Relaxed);
            let what = "too many calls are under way: nothing was sent";
            return Err(Box::new(peer.unanswered(TransportErrorKind::Connect, what)));
        }
        let (sender, calls) = (self.sender.clone(), Arc::clone(&self.calls));
        let debt = Arc::new(Debt { peer, sender, calls, state: Mutex::new(State::Waiting) });
        Ok((Promise { debt: Arc::clone(&debt) }, Recall { debt }))
    }
}

impl Promise {
    /// Notes which agent carries the call; `false` when it was called off already.
    pub(crate) fn carried_by(&self, agent: &Agent) -> bool {
        let mut state = self.debt.state.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = !matches!(*state, State::Answered);
        if wanted {
            *state = State::Carried(agent.clone());
        }
        wanted
    }

    /// Hands in the answer; `false` when the call was called off before.
    pub(crate) fn keep(self, event: Event) -> bool {
        self.debt.settle(event).is_some()
    }

    /// Answers that this machine could not send the call just now; the credential is not at fault.
    pub(crate) fn refuse(self, why: &str) {
        let event = self.debt.peer.unanswered(TransportErrorKind::Connect, why);
        self.debt.settle(event);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let (kind, what) = if std::thread::panicking() {
            (TransportErrorKind::Broken, "the call's thread failed")
        } else {
            (TransportErrorKind::Cancelled, "called off")
        };
        self.debt.settle(self.debt.peer.unanswered(kind, what));
    }
}

impl Recall {
    /// Answers the call with `Cancelled` unless it is answered, and ends its exchange.
    pub(crate) fn call_off(self) {
        let answer = self.debt.peer.unanswered(TransportErrorKind::Cancelled, "called off");
        if let Some(State::Carried(agent)) = self.debt.settle(answer) {
            agent.shutdown();
        }
    }
}

impl Debt {
    /// Sends the one answer; what the state was before, if it was owed.
    fn settle(&self, event: Event) -> Option<State> {
        let before = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *state, State::Answered)
        };
        if matches!(before, State::Answered) {
            return None;
        }
        self.calls.fetch_sub(1, Ordering::Relaxed);
        let _loop_is_gone = self.sender.send(Message::Event(Box::new(event)));
        Some(before)
    }
}

#[cfg(test)]
mod tests {
    use poolkeeper_core::github::request::RequestId;

    use super::*;

    const PEER: Peer = Peer::GitHub(RequestId(7));

    fn kinds(messages: &Receiver<Message>) -> Vec<TransportErrorKind> {
        let kind = |message| {
            let Message::Event(event) = message else { panic!("{message:?}") };
            let Event::GitHubReply { id: RequestId(7), result: Err(error) } = *event else { panic!("{event:?}") };
            error.kind
        };
        messages.try_iter().map(kind).collect()
    }

    #[test]
    fn a_promise_is_kept_once() {
        let (inbox, messages) = Inbox::new();
        let (promise, recall) = inbox.promise(PEER).unwrap();

        assert!(promise.keep(Event::Tick));
        recall.call_off();

        assert!(matches!(messages.try_recv(), Ok(Message::Event(event)) if *event == Event::Tick));
        assert!(messages.try_recv().is_err());
    }

    #[test]
    fn a_call_that_was_called_off_is_not_answered_again() {
        let (inbox, messages) = Inbox::new();
        let (promise, recall) = inbox.promise(PEER).unwrap();

        recall.call_off();

        assert!(!promise.carried_by(&Agent::new_with_defaults()));
        assert!(!promise.keep(Event::Tick));
        assert_eq!(kinds(&messages), [TransportErrorKind::Cancelled]);
    }

    #[test]
    fn a_promise_lost_in_a_panic_is_a_broken_call() {
        let (inbox, messages) = Inbox::new();
        let (promise, _recall) = inbox.promise(PEER).unwrap();

        let died = std::thread::spawn(move || {
            let _held = promise;
            panic!("on purpose");
        })
        .join();

        assert!(died.is_err());
        assert_eq!(kinds(&messages), [TransportErrorKind::Broken]);
    }

    #[test]
    fn a_full_inbox_answers_instead_of_promising() {
        let (inbox, _messages) = Inbox::new();
        let held: Vec<_> = (0..CALLS_MAX).map(|_| inbox.promise(PEER).unwrap()).collect();

        let refused = inbox.promise(PEER).unwrap_err();

        let Event::GitHubReply { result: Err(error), .. } = *refused else { panic!("{refused:?}") };
        assert_eq!(error.kind, TransportErrorKind::Connect, "no credential is at fault");
        drop(held);
        assert!(inbox.promise(PEER).is_ok());
    }

    #[test]
    fn a_swamped_loop_is_asked_no_more() {
        let (inbox, _messages) = Inbox::new();

        let taken = (0..=CONTROLS_MAX).filter(|_| inbox.ask(Control::Reload)).count();

        assert_eq!(taken, CONTROLS_MAX);
        assert!(inbox.ask(Control::Stop));
        inbox.heard();
        inbox.heard();
        assert!(inbox.ask(Control::Reload));
    }
}
