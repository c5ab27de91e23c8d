//! Sabotage: somebody between the machine and its shell who breaks what the machine does, to show that checkers can
//! fail.

use std::fmt;

use poolkeeper_core::event::{Effect, Event};
use poolkeeper_core::time::Instant;

/// Edits what the machine hears and says. Checkers see the event as it truly was, and the effects as they were edited.
pub trait Saboteur: fmt::Debug + Send {
    /// Edits an event on its way to the machine; false keeps it from the machine altogether.
    fn event(&mut self, at: Instant, event: &mut Event) -> bool {
        let _ = (at, event);
        true
    }

    /// Edits the effects of a step before they are carried out.
    fn effects(&mut self, at: Instant, effects: &mut Vec<Effect>) {
        let _ = (at, effects);
    }

    /// When a timer that is due at `due` is honoured.
    fn due(&self, due: Instant) -> Instant {
        due
    }
}
