//! The loop of a model that makes vectors: commands, schedule, compute, complete. Owns: queue, model and every tensor;
//! runs in a thread of its own and waits for nobody but its inbox.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use lps_api::ids::CallId;
use lps_api::protocol::{CallCommand, CallProgress, Load};
use lps_api::quantity::Micros;
use lps_engine_core::core::KvEvents;
use lps_engine_core::embedding::{Ended, Queue, Refusal, Request, Unfinished};
use lps_engine_core::model::Embedder;
use lps_runtime::clock::Clock;
use tokio::sync::{oneshot, watch};

use crate::executor::Fatal;
use crate::executor::message::Command;
use crate::executor::metrics::Metrics;
use crate::executor::reporter::Reporter;
use crate::executor::step_log::{Line, Part, StepLog};

/// Once an idle minute the invariants are checked; a breach ends the process rather than spoil answers.
const INTEGRITY_PERIOD: Duration = Duration::from_secs(60);

/// What the loop is made of.
pub(super) struct Parts {
    pub(super) queue: Queue,
    pub(super) embedder: Box<dyn Embedder + Send>,
    pub(super) clock: Clock,
    pub(super) step_log: Option<StepLog>,
    pub(super) metrics: Metrics,
    pub(super) load: watch::Sender<Load>,
}

/// The loop's state.
pub(super) struct EmbeddingLoop {
    parts: Parts,
    /// Who waits for open calls.
    clients: BTreeMap<CallId, oneshot::Sender<Ended>>,
    reporter: Reporter,
    /// Told when no call is open.
    waits_for_idle: Vec<oneshot::Sender<()>>,
    /// Bytes and tokens of texts seen, for the load report.
    text_bytes: u64,
    text_tokens: u64,
}

impl EmbeddingLoop {
    pub(super) fn new(parts: Parts) -> Self {
        Self {
            parts,
            clients: BTreeMap::new(),
            reporter: Reporter::default(),
            waits_for_idle: Vec::new(),
            text_bytes: 0,
            text_tokens: 0,
        }
    }

    /// Runs until all handles are gone.
    pub(super) fn run(&mut self, inbox: &Receiver<Command>) -> Result<(), Fatal> {
        let mut idle = false;
        loop {
            if idle {
                self.flush_log()?;
                match inbox.recv_timeout(INTEGRITY_PERIOD) {
                    Ok(command) => self.perform(command),
                    Err(RecvTimeoutError::Timeout) => self.parts.queue.check_integrity(),
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                }
            }
            while let Ok(command) = inbox.try_recv() {
                self.perform(command);
            }
            self.forget_the_gone();
            idle = !self.step()?;
            self.publish();
            if self.parts.queue.is_empty() && !self.waits_for_idle.is_empty() {
                // Who waits may end the process.
                self.flush_log()?;
                for idle in self.waits_for_idle.drain(..) {
                    // Who does not wait any more does not mind.
                    let _ = idle.send(());
                }
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
            Command::Embed {
                request,
                end,
                answer,
            } => {
                // A client that left meanwhile finds its call cancelled by the handle's drop.
                let _ = answer.send(self.add(*request, end));
            }
            Command::Cancel(call) => self.cancel(&call),
            Command::Calls(commands, answer) => {
                let found = commands.iter().map(|command| self.obey(command)).collect();
                let _ = answer.send(found);
            }
            Command::Subscribe(stream) => {
                let open = self.parts.queue.progress();
                self.reporter.subscribe(stream, open, &[]);
            }
            Command::Tokenised(bytes, tokens) => {
                self.text_bytes += bytes;
                self.text_tokens += tokens;
            }
            Command::Drain(idle) => self.waits_for_idle.push(idle),
            // The edge sends no call for text here; one that is dropped unanswered finds the engine gone. There are no
            // choices to stop and no pages to release.
            Command::Add { .. } | Command::StopChoice(..) | Command::Release(_) => {}
        }
    }

    fn add(&mut self, request: Request, end: oneshot::Sender<Ended>) -> Result<(), Refusal> {
        let call = request.call.clone();
        self.parts.queue.add(request)?;
        self.note(&call);
        self.clients.insert(call, end);
        Ok(())
    }

    fn note(&mut self, call: &CallId) {
        if let Some(progress) = self.parts.queue.progress_of(call) {
            let now = self.now();
            self.reporter.note(progress, now);
        }
    }

    fn obey(&mut self, command: &CallCommand) -> bool {
        match command {
            CallCommand::Order { call, order } => self.parts.queue.reorder(call, *order),
            CallCommand::Cancel { call } => {
                let found = self.clients.contains_key(call);
                self.cancel(call);
                found
            }
        }
    }

    fn cancel(&mut self, call: &CallId) {
        if let Some(ended) = self.parts.queue.cancel(call) {
            self.end(ended);
        }
    }

    /// A client may leave without its cancel being heard.
    fn forget_the_gone(&mut self) {
        let gone: Vec<_> = self
            .clients
            .iter()
            .filter(|(_, client)| client.is_closed())
            .map(|(call, _)| call.clone())
            .collect();
        for call in gone {
            self.cancel(&call);
        }
    }

    /// Runs one step; false when there is nothing to do.
    fn step(&mut self) -> Result<bool, Fatal> {
        let began = self.now();
        // Before the step: afterwards nothing runs, and who runs would never be seen.
        if self.parts.queue.schedule().is_none() {
            return Ok(false);
        }
        let members: Vec<_> = self.parts.queue.members().map(part).collect();
        for (index, member) in members.iter().enumerate() {
            if index == 0 || members[index - 1].call != member.call {
                self.note(&member.call);
            }
        }
        self.publish();
        let texts = self.parts.queue.texts();
        let (step, tokens) = (texts.step, texts.count());
        let vectors = self.parts.embedder.embed(&texts)?;
        drop(texts);
        let duration = self.now() - began;
        let ended = self.parts.queue.complete(vectors, duration);
        self.parts.metrics.step(tokens, duration);
        if let Some(step_log) = &mut self.parts.step_log {
            step_log.write(&Line {
                step,
                time_us: began,
                duration_us: duration,
                sequences: &members,
                preempted: &[],
            })?;
        }
        for call in ended {
            self.end(call);
        }
        Ok(true)
    }

    fn end(&mut self, ended: Ended) {
        let Some(client) = self.clients.remove(&ended.call) else {
            return;
        };
        let state = ended.state();
        let usage = ended.usage;
        let progress = CallProgress {
            call: ended.call.clone(),
            attempt: ended.attempt,
            state,
            usage,
        };
        let now = self.now();
        self.reporter.note(progress, now);
        self.parts.metrics.ended(&usage, state, None);
        if let Err(Unfinished::Failed(failure)) = ended.vectors {
            tracing::error!(call = %ended.call, program = %ended.program, %failure, "the model gave no numbers");
        }
        tracing::info!(
            call = %ended.call,
            program = %ended.program,
            attempt = ended.attempt.0,
            texts = ended.vectors.as_ref().map_or(0, Vec::len),
            prompt_tokens = usage.prompt_tokens.0,
            executor_us = usage.executor_us.0,
            ?state,
            "call ended"
        );
        // A client that left does not read it; the router learns of the end by the event stream.
        let _ = client.send(ended);
    }

    /// Tells the watchers what changed.
    fn publish(&mut self) {
        self.reporter.flush(KvEvents::default());
        let mut load = self.parts.queue.load();
        let ratio = (self.text_bytes * 1000)
            .checked_div(self.text_tokens)
            .unwrap_or(0);
        load.bytes_per_kilotoken = u32::try_from(ratio).unwrap_or(u32::MAX);
        self.parts.metrics.load(&load);
        self.parts
            .load
            .send_if_modified(|last| std::mem::replace(last, load) != load);
    }
}

fn part((call, index, len): (&CallId, usize, usize)) -> Part {
    Part {
        call: call.clone(),
        choice: index as u32,
        computed: 0,
        len,
        samples: false,
    }
}
