//! What is to be done at a later time. Owns: the dispatcher's one timer. It is bounded by what asks for it: one tick
//! and at most one entry for each open call.

use std::collections::BTreeMap;

use lps_api::quantity::{Attempt, Micros};

use crate::message::CallKey;

/// What falls due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// The state asked to be told that time passed.
    Tick,
    /// The pause after an engine's refusal is over.
    Retry(CallKey, Attempt),
    /// The engine did not confirm a cancel.
    Unconfirmed(CallKey, Attempt),
}

/// Things to do, by their time.
#[derive(Debug, Default)]
pub(super) struct Later {
    queue: BTreeMap<(Micros, Due), ()>,
    tick: Option<Micros>,
}

impl Later {
    /// Asks for a tick, unless an earlier one is asked for.
    pub(super) fn wake_at(&mut self, at: Micros) {
        if self.tick.is_some_and(|earlier| earlier <= at) {
            return;
        }
        if let Some(old) = self.tick.replace(at) {
            self.queue.remove(&(old, Due::Tick));
        }
        self.queue.insert((at, Due::Tick), ());
    }

    /// Asks for something else.
    pub(super) fn add(&mut self, at: Micros, due: Due) {
        self.queue.insert((at, due), ());
    }

    /// When the next thing falls due.
    pub(super) fn next(&self) -> Option<Micros> {
        self.queue.first_key_value().map(|((at, _), ())| *at)
    }

    /// Takes one thing that is due.
    pub(super) fn take(&mut self, now: Micros) -> Option<Due> {
        let entry = self
            .queue
            .first_entry()
            .filter(|entry| entry.key().0 <= now)?;
        let ((_, due), ()) = entry.remove_entry();
        if due == Due::Tick {
            self.tick = None;
        }
        Some(due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_earliest_tick_counts_and_all_else_is_kept() {
        let mut later = Later::default();
        later.wake_at(Micros(50));
        later.wake_at(Micros(20));
        later.wake_at(Micros(90));
        let retry = Due::Retry(CallKey(1), Attempt(0));
        later.add(Micros(30), retry);
        assert_eq!(later.next(), Some(Micros(20)));
        assert_eq!(later.take(Micros(19)), None);
        assert_eq!(later.take(Micros(100)), Some(Due::Tick));
        assert_eq!(later.take(Micros(100)), Some(retry));
        assert_eq!(later.take(Micros(100)), None);
    }
}
