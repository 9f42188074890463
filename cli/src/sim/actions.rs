//! What the router asks for in a simulation. Owns: how engines and clients do it.

use std::sync::Arc;

use lps_api::ids::EngineId;
use lps_api::protocol::CallUsage;
use lps_api::quantity::Micros;
use lps_router::message::{Action, CallKey, Event, Outcome, Refusal};

use super::engine::{Engine, Job};
use super::world::{Seat, World};
use crate::workload::content::Content;

impl World<'_> {
    /// Does it.
    pub(super) fn act(&mut self, action: Action) -> anyhow::Result<()> {
        let now = self.now;
        match action {
            Action::Dispatch {
                call,
                attempt,
                engine,
                order,
            } => {
                let engine = self.place(&engine);
                let open = self
                    .open
                    .get_mut(&call)
                    .expect("what is dispatched is open");
                assert!(open.seat.is_none(), "a call is dispatched once");
                open.seat = Some(Seat { engine, attempt });
                self.record.dispatches += 1;
                if let Some((before, older)) = open.queued.take() {
                    self.held -= 1;
                    self.record
                        .passed((self.record.dispatches - before, older + 1));
                }
                let spec = &self.workload.programs[open.at.0].calls[open.at.1];
                let job = Job {
                    call,
                    program: Arc::clone(&open.program),
                    order,
                    content: Content::of(self.workload, open.at),
                    output: spec.output.0,
                    // Its last token is always drawn anew: it ends the call.
                    resumed: open.answered.min(spec.output.0.saturating_sub(1)),
                    service: spec.service,
                };
                self.engine(engine).take(job, now);
            }
            Action::Reorder { call, order, .. } => {
                if let Some(seat) = self.open.get(&call).and_then(|open| open.seat) {
                    self.engine(seat.engine).reorder(call, order, now);
                }
            }
            Action::Release { program, engine } => {
                let index = self.place(&engine);
                if let Some(engine) = &mut self.places[index].engine {
                    engine.release(&program);
                }
            }
            Action::Cancel { call, .. } => self.cancel(call)?,
            Action::Refuse { call, reason } => self.refused(call, reason)?,
            // The end of time: when programs here expire.
            Action::WakeAt(Micros::MAX) => {}
            Action::WakeAt(at) => self.wake = Some(self.wake.map_or(at, |wake| wake.min(at))),
        }
        Ok(())
    }

    fn place(&self, id: &EngineId) -> usize {
        let found = self.places.iter().position(|place| place.id == *id);
        found.expect("calls go to engines that there are")
    }

    pub(super) fn engine(&mut self, index: usize) -> &mut Box<dyn Engine> {
        let engine = self.places[index].engine.as_mut();
        engine.expect("calls go to engines that are there")
    }

    /// The client left: its call goes from its engine.
    fn cancel(&mut self, call: CallKey) -> anyhow::Result<()> {
        self.close_slice(call);
        let now = self.now;
        let Some(seat) = self.open.get_mut(&call).and_then(|open| open.seat.take()) else {
            return Ok(());
        };
        let usage: CallUsage = self.engine(seat.engine).cancel(call, now);
        self.record.observed += usage.executor_us;
        let at = self.open[&call].at;
        self.clients.end(at, now);
        self.tell(vec![Event::Ended {
            call,
            attempt: seat.attempt,
            outcome: Outcome::Cancelled,
            usage: Some(usage),
        }])?;
        self.note_end(call)
    }

    /// The router answered a call itself.
    fn refused(&mut self, call: CallKey, reason: Refusal) -> anyhow::Result<()> {
        let Some(open) = self.open.get(&call) else {
            return Ok(());
        };
        self.held -= u64::from(open.queued.is_some());
        let (program, now) = (open.at.0, self.now);
        if reason == Refusal::Cancelled {
            self.clients.end(open.at, now);
        } else {
            let others = self
                .open
                .iter()
                .filter(|(other, open)| **other != call && open.at.0 == program && !open.has_ended);
            let unsent = self.clients.give_up(program, others.count());
            self.record.refused.push((open.at, reason, unsent));
        }
        self.note_end(call)
    }
}
