//! The way back into the loop: one bounded queue, and for each call a promise that is kept exactly once.

use poolkeeper_core::event::Event;
use poolkeeper_core::github::reply::TransportErrorKind;
use poolkeeper_core::github::request::RequestId;
use poolkeeper_shell::control::CALLS_MAX;
use poolkeeper_shell::transport::Peer;
use tokio::sync::mpsc;

/// Hands out promises whose answers come out of one queue.
#[derive(Clone, Debug)]
pub struct Inbox {
    sender: mpsc::Sender<Event>,
}

/// The place of one answer in the queue. Should it be dropped without one, its call counts as lost or called off.
#[derive(Debug)]
pub struct Promise {
    peer: Peer,
    place: Option<mpsc::OwnedPermit<Event>>,
}

impl Inbox {
    /// An inbox and the end where its events come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(CALLS_MAX);
        (Self { sender }, receiver)
    }

    /// The queue itself, for events that answer no call.
    #[must_use]
    pub fn events(&self) -> mpsc::Sender<Event> {
        self.sender.clone()
    }

    /// A promise of the answer to a call to GitHub; the answer itself when no more calls fit.
    ///
    /// # Errors
    /// When [`CALLS_MAX`] calls are under way.
    pub fn github(&self, id: RequestId) -> Result<Promise, Box<Event>> {
        self.promise(Peer::GitHub(id))
    }

    /// A promise of the answer to a call to AWS; the answer itself when no more calls fit.
    ///
    /// # Errors
    /// When [`CALLS_MAX`] calls are under way.
    pub fn aws(&self, id: RequestId) -> Result<Promise, Box<Event>> {
        self.promise(Peer::Aws(id))
    }

    fn promise(&self, peer: Peer) -> Result<Promise, Box<Event>> {
        match self.sender.clone().try_reserve_owned() {
            Ok(place) => Ok(Promise { peer, place: Some(place) }),
            Err(_full) => Err(Box::new(
                peer.unanswered(TransportErrorKind::Connect, "too many calls are under way: nothing was sent"),
            )),
        }
    }
}

impl Promise {
    /// Hands in the answer.
    pub fn keep(mut self, event: Event) {
        if let Some(place) = self.place.take() {
            place.send(event);
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        let event = if std::thread::panicking() {
            self.peer.unanswered(TransportErrorKind::Broken, "the call's task failed")
        } else {
            self.peer.unanswered(TransportErrorKind::Cancelled, "called off")
        };
        place.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(event: Event) -> TransportErrorKind {
        let Event::GitHubReply { id: RequestId(7), result: Err(error) } = event else {
            panic!("{event:?}");
        };
        error.kind
    }

    #[test]
    fn a_promise_is_kept_once() {
        let (inbox, mut events) = Inbox::new();

        inbox.github(RequestId(7)).unwrap().keep(Event::Tick);

        assert_eq!(events.try_recv(), Ok(Event::Tick));
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn a_dropped_promise_is_a_call_called_off() {
        let (inbox, mut events) = Inbox::new();

        drop(inbox.github(RequestId(7)));

        assert_eq!(kind(events.try_recv().unwrap()), TransportErrorKind::Cancelled);
    }

    #[test]
    fn a_promise_lost_in_a_panic_is_a_broken_call() {
        let (inbox, mut events) = Inbox::new();
        let promise = inbox.github(RequestId(7)).unwrap();

        let died = std::thread::spawn(move || {
            let _held = promise;
            panic!("on purpose");
        })
        .join();

        assert!(died.is_err());
        assert_eq!(kind(events.try_recv().unwrap()), TransportErrorKind::Broken);
        assert!(events.try_recv().is_err());
    }

    #[test]
    fn a_full_inbox_answers_instead_of_promising() {
        let (inbox, _events) = Inbox::new();
        let held: Vec<_> = (0..CALLS_MAX).map(|_| inbox.aws(RequestId(1)).unwrap()).collect();

        let refused = inbox.github(RequestId(7)).unwrap_err();

        assert_eq!(kind(*refused), TransportErrorKind::Connect);
        drop(held);
    }
}
