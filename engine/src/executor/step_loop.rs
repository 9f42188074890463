//! The loop: commands, schedule, step, complete. Owns: core, model and every tensor; runs in a thread of its own and
//! waits for nobody but its inbox.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use lps_api::ids::{CallId, ProgramId};
use lps_api::protocol::{CallCommand, CallProgress, CallState, CallUsage, Load};
use lps_api::quantity::{Attempt, Micros};
use lps_engine_core::batch::{BatchSequence, SequenceId};
use lps_engine_core::core::{Core, Effect, Finish, Refusal};
use lps_engine_core::model::{Matcher, Model};
use lps_engine_core::request::Request;
use lps_runtime::clock::Clock;
use tokio::sync::{mpsc, oneshot, watch};

use crate::executor::Fatal;
use crate::executor::grammars::Grammars;
use crate::executor::message::{CallEvent, Command};
use crate::executor::metrics::Metrics;
use crate::executor::reporter::Reporter;
use crate::executor::step_log::{Line, Part, StepLog};

/// Once an idle minute the invariants are checked; a breach ends the process rather than spoil answers.
const INTEGRITY_PERIOD: Duration = Duration::from_secs(60);

/// What the loop is made of.
pub(super) struct Parts {
    pub(super) core: Core,
    pub(super) model: Box<dyn Model + Send>,
    pub(super) clock: Clock,
    pub(super) step_log: Option<StepLog>,
    pub(super) metrics: Metrics,
    pub(super) load: watch::Sender<Load>,
}

/// An open call's other end.
#[derive(Debug)]
struct Client {
    events: mpsc::UnboundedSender<CallEvent>,
    attempt: Attempt,
    program: ProgramId,
    /// The sequence of its first choice.
    first: SequenceId,
    choices: u32,
}

/// The loop's state.
pub(super) struct StepLoop {
    parts: Parts,
    clients: BTreeMap<CallId, Client>,
    grammars: Grammars,
    reporter: Reporter,
    /// Who took part in the last step, and who in the one before; kept for their memory.
    members: Vec<Part>,
    previous: Vec<Part>,
    drawing: Vec<SequenceId>,
    /// Told when no call is open.
    waits_for_idle: Vec<oneshot::Sender<()>>,
    /// Prompt bytes and tokens seen, for the load report.
    prompt_bytes: u64,
    prompt_tokens: u64,
}

/// Whether there is more to wait for.
enum Inbox {
    Open,
    Closed,
}

impl StepLoop {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            clients: BTreeMap::new(),
            grammars: Grammars::default(),
            reporter: Reporter::default(),
            members: Vec::new(),
            previous: Vec::new(),
            drawing: Vec::new(),
            waits_for_idle: Vec::new(),
            prompt_bytes: 0,
            prompt_tokens: 0,
        }
    }

    /// Runs until all handles are gone.
    pub(super) fn run(&mut self, inbox: &Receiver<Command>) -> Result<(), Fatal> {
        let mut idle = false;
        loop {
            if idle && matches!(self.wait(inbox)?, Inbox::Closed) {
                return Ok(());
            }
            while let Ok(command) = inbox.try_recv() {
                self.perform(command);
            }
            idle = !self.step()?;
            self.publish();
            if self.clients.is_empty() && !self.waits_for_idle.is_empty() {
                // Who waits may end the process.
                self.flush_log()?;
                for idle in self.waits_for_idle.drain(..) {
                    // Who does not wait any more does not mind.
                    let _ = idle.send(());
                }
            }
        }
    }

    /// Sleeps until a command comes or a gathering batch is due.
    fn wait(&mut self, inbox: &Receiver<Command>) -> Result<Inbox, Fatal> {
        self.flush_log()?;
        loop {
            let due = self
                .parts
                .core
                .wake_at()
                .map(|at| at.saturating_sub(self.now()));
            match inbox.recv_timeout(due.map_or(INTEGRITY_PERIOD, Micros::as_duration)) {
                Ok(command) => {
                    self.perform(command);
                    return Ok(Inbox::Open);
                }
                Err(RecvTimeoutError::Timeout) if due.is_some() => return Ok(Inbox::Open),
                Err(RecvTimeoutError::Timeout) => self.parts.core.check_integrity(),
                Err(RecvTimeoutError::Disconnected) => return Ok(Inbox::Closed),
            }
        }
    }

    fn flush_log(&mut self) -> Result<(), Fatal> {
        match &mut self.parts.step_log {
            Some(step_log) => step_log.flush(),
            None => Ok(()),
        }
    }

    fn now(&self) -> Micros {
        self.parts.clock.now().into()
    }

    fn perform(&mut self, command: Command) {
        match command {
            Command::Add {
                request,
                matchers,
                events,
                answer,
            } => {
                // A client that left meanwhile finds its call cancelled by the handle's drop.
                let _ = answer.send(self.add(*request, matchers, events));
            }
            // The edge sends no call for vectors here; one that is dropped unanswered finds the engine gone.
            Command::Embed { .. } => {}
            Command::Cancel(call) => self.cancel(&call),
            Command::StopChoice(call, choice) => {
                let effects = self.parts.core.stop_choice(&call, choice);
                self.deliver(effects);
            }
            Command::Calls(commands, answer) => {
                let found = commands.iter().map(|command| self.obey(command)).collect();
                let _ = answer.send(found);
            }
            Command::Release(program) => self.parts.core.release(&program),
            Command::Subscribe(stream) => {
                let hashes = self.parts.core.kv_hashes();
                self.reporter
                    .subscribe(stream, self.parts.core.progress(), &hashes);
            }
            Command::Tokenised(bytes, tokens) => {
                self.prompt_bytes += bytes;
                self.prompt_tokens += tokens;
            }
            Command::Drain(idle) => {
                self.cancel_stranded();
                self.waits_for_idle.push(idle);
            }
        }
    }

    fn add(
        &mut self,
        request: Request,
        matchers: Vec<Box<dyn Matcher>>,
        events: mpsc::UnboundedSender<CallEvent>,
    ) -> Result<(), Refusal> {
        let (call, attempt, choices) = (request.call.clone(), request.attempt, request.choices);
        let program = request.program.clone();
        let now = self.now();
        let first = self.parts.core.add(request, now)?;
        self.grammars.begin(first, matchers);
        let client = Client {
            events,
            attempt,
            program,
            first,
            choices,
        };
        if let Some(progress) = self.parts.core.progress_of(&call) {
            self.reporter.note(progress, now);
        }
        self.clients.insert(call, client);
        Ok(())
    }

    fn obey(&mut self, command: &CallCommand) -> bool {
        match command {
            CallCommand::Order { call, order } => {
                for part in self.further_prompts(call) {
                    self.parts.core.reorder(&part, *order);
                }
                self.parts.core.reorder(call, *order)
            }
            CallCommand::Cancel { call } => {
                let found = self.clients.contains_key(call);
                self.cancel(call);
                found
            }
        }
    }

    /// A request with several prompts is several calls: the first has the request's name, the others `NAME/1`,
    /// `NAME/2`, and so on. The router knows only the first, and its order is that of all.
    fn further_prompts(&self, call: &CallId) -> Vec<CallId> {
        let prefix = format!("{call}/");
        let after = (Bound::Excluded(call.as_str()), Bound::Unbounded);
        let names = self.clients.range::<str, _>(after).map(|(name, _)| name);
        // Other names may stand between a name and its parts: `a.b` is before `a/1`.
        let names = names.take_while(|name| {
            name.as_str() <= prefix.as_str() || name.as_str().starts_with(&prefix)
        });
        names
            .filter(|name| name.as_str().starts_with(&prefix))
            .cloned()
            .collect()
    }

    fn cancel(&mut self, call: &CallId) {
        let effects = self.parts.core.cancel(call);
        self.deliver(effects);
    }

    /// Under static batching a batch that will never fill is never started.
    fn cancel_stranded(&mut self) {
        let waiting = |call: &CallProgress| call.state == CallState::Waiting;
        if self.parts.core.wake_at().is_none() && !self.parts.core.is_continuous() {
            let stranded: Vec<_> = self
                .parts
                .core
                .progress()
                .into_iter()
                .filter(waiting)
                .collect();
            for call in stranded {
                self.cancel(&call.call);
            }
        }
    }

    /// Runs one step; false when there is nothing to do.
    fn step(&mut self) -> Result<bool, Fatal> {
        let began = self.now();
        let Some(batch) = self.parts.core.schedule(began) else {
            return Ok(false);
        };
        let (number, tokens) = (batch.step, batch.tokens());
        self.drawing.clear();
        self.drawing
            .extend(batch.sequences.iter().map(|sequence| sequence.id));
        let sizes: Vec<_> = batch.sequences.iter().map(size).collect();
        self.grammars.ask(&batch);
        let outputs = self.parts.model.step(&batch, &mut self.grammars)?;
        drop(batch);
        let duration = self.now() - began;
        self.name_members(&sizes);
        let effects = self.parts.core.complete(outputs, duration);
        self.parts.metrics.step(tokens, duration);
        self.report(number, began, duration)?;
        self.deliver(effects);
        Ok(true)
    }

    /// Notes whose sequences the step runs, before an end makes the core forget them.
    fn name_members(&mut self, sizes: &[(usize, usize, bool)]) {
        std::mem::swap(&mut self.members, &mut self.previous);
        self.members.clear();
        for (id, &(computed, len, samples)) in self.drawing.iter().zip(sizes) {
            if let Some((call, choice)) = self.parts.core.call_of(*id) {
                self.members.push(Part {
                    call: call.clone(),
                    choice,
                    computed,
                    len,
                    samples,
                });
            }
        }
    }

    fn report(&mut self, step: u64, began: Micros, duration: Micros) -> Result<(), Fatal> {
        let now = began + duration;
        let mut preempted: Vec<CallId> = Vec::new();
        for part in &self.previous {
            let fell = !self.members.iter().any(|member| member.call == part.call);
            if fell && !preempted.contains(&part.call) {
                let Some(progress) = self.parts.core.progress_of(&part.call) else {
                    continue;
                };
                self.reporter.note(progress, now);
                preempted.push(part.call.clone());
            }
        }
        self.parts.metrics.preempted(preempted.len());
        for part in &self.members {
            if let Some(progress) = self.parts.core.progress_of(&part.call) {
                self.reporter.note(progress, now);
            }
        }
        if let Some(step_log) = &mut self.parts.step_log {
            step_log.write(&Line {
                step,
                time_us: began,
                duration_us: duration,
                sequences: &self.members,
                preempted: &preempted,
            })?;
        }
        Ok(())
    }

    /// Passes on what happened to calls. A client that is gone without having said so loses its call here.
    fn deliver(&mut self, effects: Vec<Effect>) {
        let mut gone = Vec::new();
        for effect in effects {
            match effect {
                Effect::Token {
                    call,
                    choice,
                    sampled,
                } => {
                    if !self.send(&call, CallEvent::Token { choice, sampled }) {
                        gone.push(call);
                    }
                }
                Effect::ChoiceEnded {
                    call,
                    choice,
                    finish,
                } => {
                    self.send(&call, CallEvent::ChoiceEnded { choice, finish });
                }
                Effect::CallEnded {
                    call,
                    usage,
                    finish,
                } => self.end(&call, usage, finish),
            }
        }
        for call in gone {
            self.cancel(&call);
        }
    }

    fn send(&self, call: &CallId, event: CallEvent) -> bool {
        self.clients
            .get(call)
            .is_some_and(|client| client.events.send(event).is_ok())
    }

    fn end(&mut self, call: &CallId, usage: CallUsage, finish: Finish) {
        let Some(client) = self.clients.remove(call) else {
            return;
        };
        self.grammars.end(client.first, client.choices);
        // A client that left does not read it; the router learns of the end by the event stream.
        let _ = client.events.send(CallEvent::Ended { usage, finish });
        let state = finish.state();
        let progress = CallProgress {
            call: call.clone(),
            attempt: client.attempt,
            state,
            usage,
        };
        let now = self.now();
        self.reporter.note(progress, now);
        let failure = finish.failure();
        let defect = failure.map(|failure| failure.defect);
        self.parts.metrics.ended(&usage, state, defect);
        if let Some(failure) = failure.filter(|failure| !failure.is_by_grammar()) {
            tracing::error!(%call, program = %client.program, %failure, "the model gave no numbers");
        }
        tracing::info!(
            %call,
            program = %client.program,
            attempt = client.attempt.0,
            choices = client.choices,
            prompt_tokens = usage.prompt_tokens.0,
            cached_tokens = usage.cached_tokens.0,
            output_tokens = usage.output_tokens.0,
            executor_us = usage.executor_us.0,
            finish = word(finish),
            "call ended"
        );
    }

    /// Tells the watchers what changed.
    fn publish(&mut self) {
        let kv = self.parts.core.take_kv_events();
        self.reporter.flush(kv);
        let mut load = self.parts.core.load();
        let ratio = (self.prompt_bytes * 1000)
            .checked_div(self.prompt_tokens)
            .unwrap_or(0);
        load.bytes_per_kilotoken = u32::try_from(ratio).unwrap_or(u32::MAX);
        self.parts.metrics.load(&load);
        self.parts
            .load
            .send_if_modified(|last| std::mem::replace(last, load) != load);
    }
}

fn word(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::Cancelled => "cancelled",
        Finish::Failed(failure) if failure.is_by_grammar() => "grammar_error",
        Finish::Failed(_) => "numeric_error",
    }
}

fn size(sequence: &BatchSequence<'_>) -> (usize, usize, bool) {
    (sequence.computed, sequence.len, sequence.sample.is_some())
}
