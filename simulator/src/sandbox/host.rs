//! The world under real time: one lock, held replies, and a timer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use poolkeeper_core::time::{Instant as CoreInstant, Now};
use tokio::sync::{Notify, oneshot};

use super::admin;
use crate::http::{HttpRequest, HttpResponse, Served, Ticket};
use crate::world::{World, WorldNow};

/// Which of the sandbox's ports a request came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Port {
    /// GitHub, and the sandbox's own API.
    GitHub,
    /// AWS.
    Aws,
}

/// A world that runs on real time and answers whoever waits.
#[derive(Debug)]
pub struct Host {
    started: Instant,
    room: Mutex<Room>,
    /// Rung when the world wants to be woken earlier than it was known.
    alarm: Notify,
}

struct Room {
    world: World,
    waiting: BTreeMap<Ticket, oneshot::Sender<HttpResponse>>,
    armed: Option<CoreInstant>,
}

/// What becomes of a request that came over the wire.
pub(crate) enum Outcome {
    Now(Served),
    Later(Held),
}

/// A held reply. Dropped before it came, as when the client went away, it is called off.
pub(crate) struct Held {
    host: Arc<Host>,
    ticket: Ticket,
    reply: oneshot::Receiver<HttpResponse>,
}

impl Host {
    /// Puts a world under real time, which starts now.
    #[must_use]
    pub fn new(world: World) -> Self {
        let room = Room { world, waiting: BTreeMap::new(), armed: None };
        Self { started: Instant::now(), room: Mutex::new(room), alarm: Notify::new() }
    }

    /// What the world's clocks say.
    #[must_use]
    pub fn now(&self) -> WorldNow {
        let us = u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let unix_ms = u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX);
        WorldNow { now: Now { mono: CoreInstant::from_millis(us / 1000), unix_ms }, us }
    }

    /// Looks at the world, or changes it; polls that the change answers are answered at once.
    pub fn with<R>(&self, act: impl FnOnce(&mut World, WorldNow) -> R) -> R {
        let mut room = self.enter();
        // Taken inside the lock, so that the world's time never goes back.
        let now = self.now();
        let result = act(&mut room.world, now);
        self.deliver(room, now);
        result
    }

    pub(crate) fn serve(self: &Arc<Self>, port: Port, request: HttpRequest) -> Outcome {
        let mut room = self.enter();
        let now = self.now();
        let served = match port {
            Port::GitHub if admin::owns(&request) => Served::Reply(admin::serve(&mut room.world, now, &request)),
            Port::GitHub => room.world.github(now, request),
            Port::Aws => room.world.aws(now, request),
        };
        let outcome = match served {
            Served::Held(ticket) => {
                let (sender, reply) = oneshot::channel();
                room.waiting.insert(ticket, sender);
                Outcome::Later(Held { host: Arc::clone(self), ticket, reply })
            }
            Served::Reply(_) | Served::Close | Served::CutShort(_) => Outcome::Now(served),
        };
        self.deliver(room, now);
        outcome
    }

    /// Wakes the world whenever it wants to be woken, for ever.
    pub(crate) async fn run_timers(&self) {
        loop {
            let next = {
                let mut room = self.enter();
                room.armed = room.world.next_wakeup();
                room.armed
            };
            let alarm = self.alarm.notified();
            match next {
                None => alarm.await,
                Some(at) => {
                    let due = self.started + std::time::Duration::from_millis(at.as_millis());
                    tokio::select! {
                        () = tokio::time::sleep_until(due.into()) => self.with(|_, _| ()),
                        () = alarm => (),
                    }
                }
            }
        }
    }

    fn deliver(&self, mut room: MutexGuard<'_, Room>, now: WorldNow) {
        for (ticket, reply) in room.world.advance(now) {
            if let Some(waiting) = room.waiting.remove(&ticket) {
                // The client may have gone this very moment: its guard then calls the ticket off.
                drop(waiting.send(reply));
            }
        }
        let next = room.world.next_wakeup();
        let earlier = match (next, room.armed) {
            (Some(next), Some(armed)) => next < armed,
            (Some(_), None) => true,
            (None, _) => false,
        };
        drop(room);
        if earlier {
            self.alarm.notify_one();
        }
    }

    fn call_off(&self, ticket: Ticket) {
        let mut room = self.enter();
        if room.waiting.remove(&ticket).is_some() {
            room.world.cancel(ticket);
        }
    }

    /// A panic elsewhere was reported as it happened; the world it left is still the best there is.
    fn enter(&self) -> MutexGuard<'_, Room> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Room").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

impl Held {
    /// The reply; none when the world ends first.
    pub(crate) async fn reply(mut self) -> Option<HttpResponse> {
        (&mut self.reply).await.ok()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.host.call_off(self.ticket);
    }
}
