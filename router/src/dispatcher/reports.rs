//! What engines and attempts report. Owns: telling late and foreign reports from those that count, and whether a failed
//! attempt is tried again.

use std::sync::Arc;
use std::time::Duration;

use lps_api::ids::EngineId;
use lps_api::protocol::{CallProgress, CallUsage, Hello, Resume};
use lps_api::quantity::{Attempt, Micros};
use tokio::sync::oneshot;

use crate::dispatcher::desk::{Desk, End};
use crate::dispatcher::later::Due;
use crate::dispatcher::open_call::Place;
use crate::engine_client::{Failure, LegEnd, Report, wire};
use crate::message::{CallKey, Event, Intake, NO_POOL_TOKENS, Outcome};

/// Attempts of one call that may end with a failed connection.
const CONNECTION_FAILURES_MAX: u32 = 2;
/// Engines that one call may lose in the midst of its answer. It is not work done twice but work gone on with, so the budget
/// of retries does not count it.
const RESUMES_MAX: u32 = 3;
/// Attempts of one call that engines may refuse with 429 or 503.
const BUSY_ANSWERS_MAX: u32 = 8;
/// Pause after such an answer that names none: doubled each time.
const BUSY_PAUSE: Duration = Duration::from_millis(50);
/// Longest pause, whatever an engine asks for.
const BUSY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// After a failed connection: time for the engine's event stream to show whether the engine is gone. If it is, the call
/// goes to another engine at that moment.
const DOUBT: Micros = Micros::from_millis(100);

/// An attempt whose connection failed, as [`LegEnd::Broken`] tells it.
struct Broken {
    started: bool,
    resume: Option<Box<Resume>>,
    cause: String,
}

impl Desk {
    /// Takes one report.
    pub(super) fn report(&mut self, report: Report) {
        match report {
            Report::Up { engine, hello } => self.greet(engine, hello),
            Report::Load { engine, load } => {
                if let Some(engine) = self.fleet.get_mut(&engine) {
                    engine.load = load;
                }
            }
            Report::Progress { engine, calls } => self.progress(&engine, &calls),
            Report::Draining { engine } => {
                if let Some(known) = self.fleet.get_mut(&engine)
                    && !std::mem::replace(&mut known.is_ending, true)
                {
                    let intake = Intake::Nothing;
                    self.tell(Event::EngineIntake { engine, intake });
                }
            }
            Report::Gone { engine } => {
                let known = self.fleet.get_mut(&engine);
                if known.and_then(|known| known.hello.take()).is_some() {
                    self.lose(&engine);
                }
            }
            Report::CommandsSent { engine } => {
                if let Some(lane) = self.fleet.lane(&engine) {
                    lane.sent();
                }
            }
            Report::Leg { call, attempt, end } => {
                let current = self.calls.get(&call).and_then(|open| open.place.attempt());
                if current == Some(attempt) {
                    self.leg_ended(call, attempt, end);
                }
            }
        }
    }

    fn greet(&mut self, engine: EngineId, hello: Hello) {
        let Some(known) = self.fleet.get_mut(&engine) else {
            return;
        };
        let up = Event::EngineUp {
            engine: engine.clone(),
            model: hello.model.clone(),
            revision: known.endpoint.revision,
            slots: hello.max_num_seqs,
            kv_tokens: match hello.kv_blocks_total {
                0 => NO_POOL_TOKENS,
                blocks => u64::from(blocks) * u64::from(hello.block_tokens.0),
            },
        };
        known.hello = Some(hello);
        known.is_ending = false;
        let intake = known.intake();
        self.tell(up);
        if intake != Intake::All {
            self.tell(Event::EngineIntake { engine, intake });
        }
    }

    /// An engine is gone, and every attempt there with it.
    pub(super) fn lose(&mut self, engine: &EngineId) {
        self.tell(Event::EngineGone {
            engine: engine.clone(),
        });
        let there = self
            .calls
            .iter()
            .filter(|(_, open)| open.place.engine() == Some(engine));
        let keys: Vec<CallKey> = there.map(|(key, _)| *key).collect();
        for key in keys {
            let Some(open) = self.calls.get_mut(&key) else {
                continue;
            };
            match &open.place {
                Place::Waiting => {}
                // The attempt itself knows how far it came, and reports it.
                Place::Posted(posted) => posted.cut.abort(),
                Place::BackingOff { attempt, .. } => {
                    let attempt = *attempt;
                    open.place = Place::Waiting;
                    self.tell(Event::AttemptFailed { call: key, attempt });
                }
                Place::Leaving { attempt, .. } => {
                    let attempt = *attempt;
                    self.end(
                        key,
                        End {
                            attempt,
                            outcome: Outcome::Cancelled,
                            usage: None,
                        },
                    );
                }
            }
        }
    }

    /// Figures that an engine reports together happened at one instant.
    fn progress(&mut self, engine: &EngineId, calls: &[CallProgress]) {
        let mut events = Vec::with_capacity(calls.len());
        let mut keys = Vec::with_capacity(calls.len());
        for progress in calls {
            let Some(key) = wire::key(&progress.call) else {
                continue;
            };
            if let Some(event) = self.one_progress(engine, key, progress) {
                events.push(event);
                keys.push(key);
            }
        }
        self.tell_all(events);
        for key in keys {
            self.tell_order(key);
        }
    }

    fn one_progress(
        &mut self,
        engine: &EngineId,
        key: CallKey,
        progress: &CallProgress,
    ) -> Option<Event> {
        let open = self.calls.get_mut(&key)?;
        let (attempt, usage, state) = (progress.attempt, progress.usage, progress.state);
        if open.place.attempt() != Some(attempt) || open.place.engine() != Some(engine) {
            return None;
        }
        match &mut open.place {
            Place::Leaving { .. } if state.is_end() => {
                let (outcome, usage) = (Outcome::Cancelled, Some(usage));
                self.end(
                    key,
                    End {
                        attempt,
                        outcome,
                        usage,
                    },
                );
                return None;
            }
            Place::Posted(posted) => posted.is_known = true,
            _ => {}
        }
        // An end is told by the answer itself, which carries the same figures.
        (!state.is_end()).then_some(Event::Progress {
            call: key,
            attempt,
            state,
            usage,
        })
    }

    fn leg_ended(&mut self, key: CallKey, attempt: Attempt, end: LegEnd) {
        let Some(open) = self.calls.get(&key) else {
            return;
        };
        let is_leaving = matches!(open.place, Place::Leaving { .. });
        let client_left = open.client.pieces.is_closed();
        match end {
            LegEnd::Answered {
                success,
                usage,
                folded,
            } => {
                let outcome = match (is_leaving, success) {
                    (true, _) => Outcome::Cancelled,
                    (false, true) => Outcome::Completed,
                    (false, false) => Outcome::Failed,
                };
                self.answered(
                    key,
                    End {
                        attempt,
                        outcome,
                        usage,
                    },
                    folded,
                );
            }
            LegEnd::Busy { .. } if is_leaving => {
                let outcome = Outcome::Cancelled;
                self.end(
                    key,
                    End {
                        attempt,
                        outcome,
                        usage: None,
                    },
                );
            }
            // The engine still has to say what ran.
            LegEnd::Broken { .. } | LegEnd::Stalled if is_leaving => {}
            LegEnd::Broken { .. } if client_left => self.cancel_asked(key),
            LegEnd::Busy { retry_after } => self.busy(key, attempt, retry_after),
            LegEnd::Broken {
                started,
                resume,
                cause,
            } => {
                let end = Broken {
                    started,
                    resume,
                    cause,
                };
                self.broken(key, attempt, end);
            }
            LegEnd::Stalled => {
                tracing::info!(call = %open.id, "the client does not read; its call is cancelled");
                self.cancel_asked(key);
            }
        }
    }

    fn answered(&mut self, key: CallKey, end: End, folded: oneshot::Sender<()>) {
        self.end(key, end);
        // The attempt may have been cut meanwhile.
        let _ = folded.send(());
    }

    fn busy(&mut self, key: CallKey, attempt: Attempt, retry_after: Option<Duration>) {
        let now = self.now();
        let Some(open) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(engine) = open.place.engine().cloned() else {
            return;
        };
        self.metrics.attempt_failed(&open.model, "busy");
        open.failed.busy += 1;
        if open.failed.busy >= BUSY_ANSWERS_MAX {
            let model = open.model.clone();
            let retry_after = retry_after.unwrap_or_else(|| self.retry_after(&model, now));
            self.fail(key, attempt, Failure::EnginesBusy { retry_after });
            return;
        }
        let doubled = BUSY_PAUSE * (1 << (open.failed.busy - 1));
        let pause = retry_after.unwrap_or(doubled).min(BUSY_PAUSE_MAX);
        open.place = Place::BackingOff { engine, attempt };
        self.later
            .add(now + Micros::from(pause), Due::Retry(key, attempt));
        self.tell(Event::BackedOff { call: key, attempt });
    }

    fn broken(&mut self, key: CallKey, attempt: Attempt, end: Broken) {
        let now = self.now();
        let Some(open) = self.calls.get_mut(&key) else {
            return;
        };
        let Some(engine) = open.place.engine().cloned() else {
            return;
        };
        let (started, tokens) = (
            end.started,
            end.resume.as_ref().map(|resume| resume.tokens.len()),
        );
        tracing::warn!(call = %open.id, %engine, started, tokens, cause = end.cause, "an attempt failed");
        self.metrics.attempt_failed(&open.model, "connection");
        open.failed.connection += 1;
        let again = if started {
            let may = open.failed.resumed < RESUMES_MAX;
            open.resume = end.resume.filter(|_| may).map(|resume| Arc::new(*resume));
            open.resume.is_some()
        } else {
            open.failed.connection < CONNECTION_FAILURES_MAX && self.retries.spend()
        };
        if again {
            if started {
                open.failed.resumed += 1;
                self.metrics.resumed(&open.model);
            }
            let is_up = self
                .fleet
                .get(&engine)
                .is_some_and(|engine| engine.hello.is_some());
            open.place = Place::BackingOff { engine, attempt };
            let due = if is_up { now + DOUBT } else { now };
            self.later.add(due, Due::Retry(key, attempt));
            self.tell(Event::BackedOff { call: key, attempt });
        } else {
            self.fail(key, attempt, Failure::EngineLost);
        }
    }

    fn fail(&mut self, key: CallKey, attempt: Attempt, failure: Failure) {
        let usage: Option<CallUsage> = None;
        if let Some(mut open) = self.end(
            key,
            End {
                attempt,
                outcome: Outcome::Failed,
                usage,
            },
        ) {
            open.client.fail(failure);
        }
    }
}
