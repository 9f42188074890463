//! What follows from a fault in a simulation. Owns: what engines, clients and the router's rim do about it: calls of a
//! dead engine are tried again, by the router or by their clients.

use lps_api::quantity::Micros;
use lps_router::message::{CallKey, Event, Outcome};

use super::faults::Fault;
use super::reports::Fate;
use super::world::World;

/// How often a client sends a call again that failed, and how long it waits.
const RETRIES_MAX: u32 = 3;
const RETRY_AFTER: Micros = Micros::from_secs(1);

impl World<'_> {
    /// Faults that happen now. Calls that end by them are added to `ended`.
    pub(super) fn go_wrong(
        &mut self,
        events: &mut Vec<Event>,
        ended: &mut Vec<CallKey>,
    ) -> anyhow::Result<()> {
        let Some(faults) = &mut self.faults else {
            return Ok(());
        };
        let due = faults.due(self.now);
        if due.is_empty() {
            return Ok(());
        }
        // What happened before is told before.
        self.tell(std::mem::take(events))?;
        for call in std::mem::take(ended) {
            self.note_end(call)?;
        }
        for fault in due {
            self.record.faults += 1;
            match fault {
                Fault::Dies(engine) => self.lose(engine)?,
                Fault::Returns(engine) if self.places[engine].engine.is_none() => {
                    let up = self.start_engine(engine);
                    self.tell(vec![up])?;
                }
                Fault::Returns(_) => {}
                Fault::Slows(engine, factor) => {
                    if let Some(engine) = &mut self.places[engine].engine {
                        engine.slow_down(f64::from(factor));
                    }
                }
                Fault::ReportsGetLost => self.reports.fate = Fate::Lost,
                Fault::ReportsAreLate => self.reports.fate = Fate::Late,
                Fault::ReportsComeTwice => self.reports.fate = Fate::Twice,
                Fault::ReportsAreFine => self.reports.fate = Fate::Fine,
                Fault::ClientLeaves(which) => {
                    let mut open: Vec<CallKey> = self.open.keys().copied().collect();
                    open.sort_unstable();
                    if !open.is_empty() {
                        let call = open[which as usize % open.len()];
                        self.tell(vec![Event::CancelRequested { call }])?;
                    }
                }
            }
        }
        Ok(())
    }

    /// An engine is gone. Its calls are tried again: every other one by the router, the rest by their clients.
    fn lose(&mut self, index: usize) -> anyhow::Result<()> {
        let Some(engine) = self.places[index].engine.take() else {
            return Ok(());
        };
        self.record.computed_tokens += engine.computed_tokens();
        let there = self.open.iter().filter_map(|(call, open)| {
            let seat = open.seat.filter(|seat| seat.engine == index)?;
            Some((*call, seat.attempt))
        });
        let mut lost: Vec<_> = there.collect();
        lost.sort_unstable_by_key(|(call, _)| *call);
        let mut events = vec![Event::EngineGone {
            engine: self.places[index].id.clone(),
        }];
        let mut failed = Vec::new();
        for (call, attempt) in lost {
            self.close_slice(call);
            let open = self.open.get_mut(&call).expect("it was just there");
            open.seat = None;
            let heard = std::mem::take(&mut open.heard);
            if call.0.is_multiple_of(2) {
                events.push(Event::AttemptFailed { call, attempt });
                continue;
            }
            failed.push(call);
            self.record.observed += heard;
            events.push(Event::Ended {
                call,
                attempt,
                outcome: Outcome::Failed,
                usage: None,
            });
            let at = open.at;
            let tries = self.retries.entry(at).or_default();
            *tries += 1;
            if *tries <= RETRIES_MAX {
                self.clients.send_again(at, self.now + RETRY_AFTER);
            } else {
                self.clients.end(at, self.now);
            }
        }
        self.tell(events)?;
        for call in failed {
            self.note_end(call)?;
        }
        Ok(())
    }
}
