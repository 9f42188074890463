//! What the state wants done. Owns: performing each action, and the events that follow from it at once.

use std::sync::Arc;

use lps_api::ids::EngineId;
use lps_api::quantity::{Attempt, Micros, Order};

use crate::dispatcher::desk::Desk;
use crate::dispatcher::later::Due;
use crate::dispatcher::open_call::{Place, Posted};
use crate::engine_client::leg::{self, Post};
use crate::engine_client::{Failure, wire};
use crate::message::{Action, CallKey, Event, Outcome, Refusal};

/// An engine confirms a cancel with the call's last figures within this time, or they count as said before.
const CONFIRM_LIMIT: Micros = Micros::from_secs(2);
/// Pause before a call is tried again whose engine went while it was being sent.
const LOST_PAUSE: Micros = Micros::from_millis(50);

/// Where and how an attempt goes.
struct Going {
    attempt: Attempt,
    engine: EngineId,
    order: Order,
}

impl Desk {
    /// Performs one action; what follows from it at once is given back.
    pub(super) fn perform(&mut self, action: Action, now: Micros) -> Option<Event> {
        match action {
            Action::Dispatch {
                call,
                attempt,
                engine,
                order,
            } => self.dispatch(
                call,
                Going {
                    attempt,
                    engine,
                    order,
                },
                now,
            ),
            Action::Reorder { call, order, .. } => {
                if let Some(Place::Posted(posted)) = self.calls.get_mut(&call).map(|c| &mut c.place)
                {
                    posted.wanted = order;
                }
                self.tell_order(call);
                None
            }
            Action::Cancel { call, .. } => self.cancel(call, now),
            Action::Refuse { call, reason } => {
                self.refuse(call, reason);
                None
            }
            Action::Release { program, engine } => {
                if let Some(lane) = self.fleet.lane(&engine) {
                    lane.release(program.program);
                }
                None
            }
            Action::WakeAt(at) => {
                self.later.wake_at(at);
                None
            }
        }
    }

    fn dispatch(&mut self, call: CallKey, going: Going, now: Micros) -> Option<Event> {
        let open = self.calls.get_mut(&call)?;
        let Going {
            attempt,
            engine,
            order,
        } = going;
        let waited = now.saturating_sub(open.arrived);
        open.ready = None;
        let Some(target) = self.fleet.get(&engine) else {
            open.place = Place::BackingOff { engine, attempt };
            self.later.add(now + LOST_PAUSE, Due::Retry(call, attempt));
            return None;
        };
        // Tokens of another model, or of another prompt, are nothing that it could go on with.
        let revision = Some(target.endpoint.revision);
        if open.resume.is_some() && open.revision != revision {
            return self.give_up(call, attempt, Failure::EngineLost);
        }
        open.revision = revision;
        let post = Post {
            call,
            attempt,
            wire: wire::name(&open.id, call),
            program: open.program.program.clone(),
            order,
            engine: engine.clone(),
            uri: target.endpoint.url.at(open.outgoing.path),
            queued: waited,
            trace: self.traces.parent_of_engines(&open.row, &open.id),
            request: Arc::clone(&open.outgoing),
            resume: open.resume.clone(),
        };
        let cut = leg::start(post, open.client.pieces.clone(), self.fleet.rim());
        let (told, wanted) = (order, order);
        open.place = Place::Posted(Posted {
            engine,
            attempt,
            cut,
            told,
            wanted,
            is_known: false,
        });
        self.metrics.dispatched(&open.model, waited);
        None
    }

    /// Sends a call's wanted place to its engine, once the engine has the call and knows another.
    pub(super) fn tell_order(&mut self, key: CallKey) {
        let Some(open) = self.calls.get_mut(&key) else {
            return;
        };
        let Place::Posted(posted) = &mut open.place else {
            return;
        };
        if !posted.is_known || posted.told == posted.wanted {
            return;
        }
        posted.told = posted.wanted;
        if let Some(lane) = self.fleet.lane(&posted.engine) {
            lane.order(key, wire::name(&open.id, key), posted.wanted);
        }
    }

    /// Takes a call from its engine. The engine hears it twice, by the connection and by a command: each may be late.
    fn cancel(&mut self, key: CallKey, now: Micros) -> Option<Event> {
        let open = self.calls.get_mut(&key)?;
        match std::mem::replace(&mut open.place, Place::Waiting) {
            Place::Posted(posted) => {
                posted.cut.abort();
                let wire = wire::name(&open.id, key);
                let Posted {
                    engine, attempt, ..
                } = posted;
                if let Some(lane) = self.fleet.lane(&engine) {
                    lane.cancel(key, wire);
                }
                open.place = Place::Leaving { engine, attempt };
                open.client.fail(Failure::Cancelled);
                self.later
                    .add(now + CONFIRM_LIMIT, Due::Unconfirmed(key, attempt));
                None
            }
            Place::BackingOff { attempt, .. } => self.give_up(key, attempt, Failure::Cancelled),
            place @ (Place::Leaving { .. } | Place::Waiting) => {
                open.place = place;
                None
            }
        }
    }

    /// Ends a call that is at no engine, though the state counts it at one.
    fn give_up(&mut self, call: CallKey, attempt: Attempt, failure: Failure) -> Option<Event> {
        let mut open = self.forget(call, None)?;
        let outcome = match failure {
            Failure::Cancelled => Outcome::Cancelled,
            _ => Outcome::Failed,
        };
        open.client.fail(failure);
        self.metrics.call_ended(&open.model, outcome, None);
        Some(Event::Ended {
            call,
            attempt,
            outcome,
            usage: None,
        })
    }

    fn refuse(&mut self, key: CallKey, reason: Refusal) {
        let Some(mut open) = self.forget(key, None) else {
            return;
        };
        let (outcome, failure) = match reason {
            Refusal::Cancelled => (Outcome::Cancelled, Failure::Cancelled),
            _ => (Outcome::Failed, Failure::Refused(reason)),
        };
        self.metrics.call_ended(&open.model, outcome, None);
        open.client.fail(failure);
        self.count(&open);
    }
}
