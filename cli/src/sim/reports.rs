//! The way from engines to the router. Owns: what becomes of reports where it is disturbed: they get lost, late or are
//! heard twice. What ends a call is never among them, as it comes with the answer.

use std::collections::BTreeMap;

use lps_api::quantity::Micros;
use lps_router::message::Event;

/// How reports fare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Fate {
    #[default]
    Fine,
    Lost,
    Late,
    Twice,
}

/// How much later a late one comes.
const DELAY: Micros = Micros::from_secs(3);

/// Reports on their way.
#[derive(Debug, Default)]
pub(super) struct Reports {
    pub(super) fate: Fate,
    late: BTreeMap<(Micros, u64), Event>,
    count: u64,
}

impl Reports {
    /// An engine reports.
    pub(super) fn pass_on(&mut self, event: Event, now: Micros, events: &mut Vec<Event>) {
        match self.fate {
            Fate::Fine => events.push(event),
            Fate::Lost => {}
            Fate::Late => {
                self.count += 1;
                self.late.insert((now + DELAY, self.count), event);
            }
            Fate::Twice => events.extend([event.clone(), event]),
        }
    }

    /// When a late one arrives.
    pub(super) fn next(&self) -> Option<Micros> {
        self.late.first_key_value().map(|((at, _), _)| *at)
    }

    /// Those that arrive now.
    pub(super) fn due(&mut self, now: Micros, events: &mut Vec<Event>) {
        while self.next().is_some_and(|at| at <= now) {
            events.extend(self.late.pop_first().map(|(_, event)| event));
        }
    }
}
