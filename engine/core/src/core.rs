//! The whole: requests in, batches out, tokens back, effects out. Owns: all open calls and what happens to them.
//! Knows neither who computes nor when.

use std::collections::HashMap;

use lps_api::ids::{CallId, ProgramId};
use lps_api::protocol::{CallProgress, CallState, CallUsage, Load};
use lps_api::quantity::{Micros, Order};

use crate::batch::{Batch, BatchSequence, Outputs, Sample, Sampled, SequenceId};
pub use crate::block_manager::KvEvents;
use crate::call::{Arrival, Call, Calls, Limits, ProgramKey};
pub use crate::config::{Batching, Config, Preemption};
use crate::defect::{Defect, Failure, Numbers};
use crate::integrity;
use crate::request::Request;
use crate::scheduler::{Member, Scheduler};
use crate::sequence::Stage;

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Prompt and output cannot fit the context or the pool.
    #[error("prompt of {prompt} tokens and at least 1 of output exceed the limit of {limit}")]
    TooLong {
        /// Tokens of the prompt.
        prompt: u32,
        /// What one sequence may have.
        limit: u32,
    },
    /// [`Config::max_calls`] are held.
    #[error("the engine holds {0} calls and takes no more")]
    Full(u32),
    /// A call of that name is open.
    #[error("call {0} is already running")]
    Duplicate(CallId),
}

/// Why a choice ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// A stop token.
    Stop,
    /// `max_tokens` or the end of the context.
    Length,
    /// A cancel.
    Cancelled,
    /// Numbers of which no token can be drawn; all choices of the call end with it.
    Failed(Failure),
}

impl Finish {
    /// The state of a call whose last choice ended so.
    pub const fn state(self) -> CallState {
        match self {
            Self::Stop | Self::Length => CallState::Finished,
            Self::Cancelled => CallState::Cancelled,
            Self::Failed(_) => CallState::Failed,
        }
    }

    /// What it failed of, if it did.
    pub const fn failure(self) -> Option<Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            Self::Stop | Self::Length | Self::Cancelled => None,
        }
    }
}

/// What a step, or a cancel, did to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// A choice got a token. A stop token that ends the choice is not emitted.
    Token {
        /// Which call.
        call: CallId,
        /// Which choice.
        choice: u32,
        /// The token.
        sampled: Sampled,
    },
    /// A choice ended.
    ChoiceEnded {
        /// Which call.
        call: CallId,
        /// Which choice.
        choice: u32,
        /// Why.
        finish: Finish,
    },
    /// All choices ended; the core has forgotten the call. Final figures.
    CallEnded {
        /// Which call.
        call: CallId,
        /// What it used.
        usage: CallUsage,
        /// Why its last choice ended.
        finish: Finish,
    },
}

/// The engine's state: all calls, all pages. Whoever owns it drives it in a loop:
/// `schedule` → compute → `complete`, with commands between.
#[derive(Debug)]
pub struct Core {
    calls: Calls,
    names: HashMap<CallId, Arrival>,
    scheduler: Scheduler,
    /// The arrival of the next call; grows by its number of choices.
    arrival_next: u64,
    /// Whether a step is out.
    computing: bool,
}

impl Core {
    /// An empty engine.
    pub fn new(config: Config) -> Self {
        let numbers = [
            ("max_num_seqs", config.max_num_seqs),
            ("max_batched_tokens", config.max_batched_tokens),
            ("max_model_len", config.max_model_len),
            ("block_tokens", config.block_tokens),
            ("kv_blocks", config.kv_blocks),
            ("max_calls", config.max_calls),
        ];
        for (name, number) in numbers {
            assert!(number > 0, "{name} must be at least 1");
        }
        Self {
            calls: Calls::new(),
            names: HashMap::new(),
            scheduler: Scheduler::new(config),
            arrival_next: 1,
            computing: false,
        }
    }

    /// Takes a call. `now` is used for the `Timeout` policy only.
    ///
    /// A call that is resumed with all the output that it may have takes part in one step, and ends with it.
    ///
    /// Gives the sequence of choice 0; the others' numbers follow.
    pub fn add(&mut self, request: Request, now: Micros) -> Result<SequenceId, Refusal> {
        assert!(
            !request.prompt.is_empty(),
            "call {} has no prompt",
            request.call
        );
        assert!(request.choices > 0, "call {} has no choice", request.call);
        let config = &self.scheduler.config;
        let limits = Limits {
            sequence_tokens_max: config.sequence_tokens_max(),
            prefix_cache: config.prefix_cache,
        };
        let known = request.prompt.len() + request.resumed.len();
        if request.prompt.len() >= limits.sequence_tokens_max || known > limits.sequence_tokens_max
        {
            return Err(Refusal::TooLong {
                prompt: u32::try_from(request.prompt.len()).unwrap_or(u32::MAX),
                limit: limits.sequence_tokens_max as u32,
            });
        }
        if self.names.contains_key(&request.call) {
            return Err(Refusal::Duplicate(request.call));
        }
        if self.calls.len() >= config.max_calls as usize {
            return Err(Refusal::Full(config.max_calls));
        }
        let arrival = Arrival(self.arrival_next);
        self.arrival_next += u64::from(request.choices);
        let mut call = Call::new(request, arrival, limits, now);
        self.scheduler.enter(&mut call);
        self.names.insert(call.id.clone(), arrival);
        self.calls.insert(arrival, call);
        Ok(SequenceId(arrival.0))
    }

    /// Gives a call a new place; false when it is not here.
    pub fn reorder(&mut self, call: &CallId, order: Order) -> bool {
        let Some(call) = self
            .names
            .get(call)
            .and_then(|arrival| self.calls.get_mut(arrival))
        else {
            return false;
        };
        if call.order != order {
            self.scheduler.reorder(call, order);
        }
        true
    }

    /// Ends a call; its effects come at once. An unknown call: nothing. To be called between steps: what a step that
    /// is out computes for the call is neither emitted nor charged, as its final figures are given here.
    pub fn cancel(&mut self, call: &CallId) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(&arrival) = self.names.get(call) {
            self.end_call(arrival, Finish::Cancelled, &mut effects);
        }
        effects
    }

    /// Ends one choice, as a stop string outside demands it.
    pub fn stop_choice(&mut self, call: &CallId, choice: u32) -> Vec<Effect> {
        let mut effects = Vec::new();
        if let Some(&arrival) = self.names.get(call) {
            self.end_choice(arrival, choice, Finish::Stop, &mut effects);
        }
        effects
    }

    /// The program's unreferenced pages are the first to be evicted. Pages that other programs used as well are not
    /// the program's.
    pub fn release(&mut self, program: &ProgramId) {
        self.scheduler
            .paging
            .blocks
            .release(ProgramKey::of(program.as_str()));
    }

    /// Chooses the next step's work; `None` when there is nothing to do (or a `Timeout` batch still gathers:
    /// ask again at [`Core::wake_at`]).
    pub fn schedule(&mut self, now: Micros) -> Option<Batch<'_>> {
        self.computing = self.scheduler.plan(&mut self.calls, now);
        if !self.computing {
            return None;
        }
        let members = self.scheduler.members.iter();
        Some(Batch {
            step: self.scheduler.step,
            sequences: members
                .map(|member| batch_sequence(&self.calls[&member.arrival], *member))
                .collect(),
        })
    }

    /// When to ask again although nothing happens.
    pub fn wake_at(&self) -> Option<Micros> {
        self.scheduler.wake_at(&self.calls)
    }

    /// Takes the results of the step that `schedule` gave last, and its duration, which is charged to each call in it.
    /// Effects come in the batch's order; of one choice: token, its end, the call's end.
    pub fn complete(&mut self, outputs: Outputs, duration: Micros) -> Vec<Effect> {
        assert!(self.computing, "results without a step");
        self.computing = false;
        self.charge(duration);
        let mut effects = Vec::with_capacity(outputs.sampled.len() + 2);
        let mut sampled = outputs.sampled.into_iter();
        for index in 0..self.scheduler.members.len() {
            let member = self.scheduler.members[index];
            let id = SequenceId(member.arrival.0 + u64::from(member.choice));
            let drawn = member.samples.then(|| {
                let (of, drawn) = sampled
                    .next()
                    .expect("a token for each sequence with a sample");
                assert_eq!(of, id, "results come in the batch's order");
                drawn
            });
            self.advance(member, drawn, &mut effects);
        }
        assert!(
            sampled.next().is_none(),
            "more results than the step had samples"
        );
        effects
    }

    /// Present load (`bytes_per_kilotoken` is left 0).
    pub fn load(&self) -> Load {
        let (mut sequences, mut calls, mut before) = (0, 0, None);
        // The choices of a call stand side by side.
        for member in &self.scheduler.members {
            let call = self.calls.get(&member.arrival);
            if call.is_none_or(|call| call.sequence(member.choice).stage != Stage::Running) {
                continue;
            }
            sequences += 1;
            calls += usize::from(before != Some(member.arrival));
            before = Some(member.arrival);
        }
        Load {
            running: sequences,
            waiting: (self.calls.len() - calls) as u32,
            kv_blocks_free: self.scheduler.paging.blocks.free() as u32,
            kv_blocks_cached: self.scheduler.paging.blocks.cached() as u32,
            bytes_per_kilotoken: 0,
        }
    }

    /// Whether sequences join and leave at every step.
    pub fn is_continuous(&self) -> bool {
        self.scheduler.config.batching == Batching::Continuous
    }

    /// Figures of all open calls, in order of arrival.
    pub fn progress(&self) -> Vec<CallProgress> {
        self.calls.values().map(Call::progress).collect()
    }

    /// Figures of one open call.
    pub fn progress_of(&self, call: &CallId) -> Option<CallProgress> {
        let arrival = self.names.get(call)?;
        Some(self.calls[arrival].progress())
    }

    /// Whose sequence that is, for logs; `None` once the call has ended.
    pub fn call_of(&self, sequence: SequenceId) -> Option<(&CallId, u32)> {
        let (_, call) = self.calls.range(..=Arrival(sequence.0)).next_back()?;
        let choice = sequence.0 - call.arrival.0;
        (choice < call.choices.len() as u64).then_some((&call.id, choice as u32))
    }

    /// Pages of the prefix cache that came or went since the last time; what came and went between is left out, so
    /// that there are never more than two entries a page.
    pub fn take_kv_events(&mut self) -> KvEvents {
        self.scheduler.paging.blocks.take_events()
    }

    /// All hashes that the prefix cache has, ascending: what a listener must know before events mean anything.
    pub fn kv_hashes(&self) -> Vec<u64> {
        self.scheduler.paging.blocks.stored_hashes()
    }

    /// Panics where an invariant does not hold.
    pub fn check_integrity(&self) {
        integrity::check(&self.calls, &self.names, &self.scheduler);
        if self.computing {
            integrity::check_step(&self.calls, &self.scheduler);
        }
    }

    /// Once a call, however many of its choices were in the step.
    fn charge(&mut self, duration: Micros) {
        let step = self.scheduler.step;
        for member in &self.scheduler.members {
            let Some(call) = self.calls.get_mut(&member.arrival) else {
                continue;
            };
            if call.charged_step != step {
                call.charged_step = step;
                call.usage.executor_us = call.usage.executor_us.saturating_add(duration);
            }
        }
    }

    /// What the step did to one sequence.
    fn advance(
        &mut self,
        member: Member,
        drawn: Option<Result<Sampled, Defect>>,
        effects: &mut Vec<Effect>,
    ) {
        let Member {
            arrival,
            choice,
            len,
            ..
        } = member;
        let Some(call) = self.calls.get_mut(&arrival) else {
            return;
        };
        if call.sequence(choice).stage != Stage::Running {
            return;
        }
        if let Some(Err(defect)) = drawn {
            let failure = Failure {
                step: self.scheduler.step,
                numbers: Numbers::Logits {
                    choice,
                    position: call.sequence(choice).tokens.len(),
                },
                defect,
            };
            return self.end_call(arrival, Finish::Failed(failure), effects);
        }
        self.scheduler.paging.advance(call, choice, len);
        if call.sequence(choice).computed >= call.sequence(choice).prompt_len {
            self.scheduler.unblock_all(call);
        }
        if let Some(Ok(sampled)) = drawn {
            if call.stopping.stop_tokens.contains(&sampled.token) {
                return self.end_choice(arrival, choice, Finish::Stop, effects);
            }
            call.sequence_mut(choice).tokens.push(sampled.token);
            call.usage.output_tokens.0 += 1;
            effects.push(Effect::Token {
                call: call.id.clone(),
                choice,
                sampled,
            });
        }
        if call.sequence(choice).tokens.len() >= call.tokens_max {
            self.end_choice(arrival, choice, Finish::Length, effects);
        }
    }

    /// Ends all choices that are open.
    fn end_call(&mut self, arrival: Arrival, finish: Finish, effects: &mut Vec<Effect>) {
        for choice in 0..self.calls[&arrival].choices.len() as u32 {
            self.end_choice(arrival, choice, finish, effects);
        }
    }

    /// Ends a choice, and with the last one the call. Nothing if it has ended already.
    fn end_choice(
        &mut self,
        arrival: Arrival,
        choice: u32,
        finish: Finish,
        effects: &mut Vec<Effect>,
    ) {
        let Some(call) = self.calls.get_mut(&arrival) else {
            return;
        };
        let open = call
            .choices
            .get(choice as usize)
            .is_some_and(|s| s.stage != Stage::Ended);
        if !open {
            return;
        }
        if matches!(finish, Finish::Failed(_)) {
            self.scheduler.paging.disown(call.sequence(choice));
        }
        self.scheduler.leave(call, choice);
        effects.push(Effect::ChoiceEnded {
            call: call.id.clone(),
            choice,
            finish,
        });
        if call.open > 0 {
            // If nobody is left to compute the prompt, the next sibling does.
            if let Some(next) = call.next_leader() {
                self.scheduler.unblock(call, next);
            }
            return;
        }
        let call = self.calls.remove(&arrival).expect("it was just there");
        self.names.remove(&call.id);
        self.scheduler.forget(&call);
        effects.push(Effect::CallEnded {
            call: call.id,
            usage: call.usage,
            finish,
        });
    }
}

fn batch_sequence(call: &Call, member: Member) -> BatchSequence<'_> {
    let sequence = call.sequence(member.choice);
    BatchSequence {
        id: call.sequence_id(member.choice),
        tokens: &sequence.tokens,
        prompt_len: sequence.prompt_len,
        computed: sequence.computed,
        len: member.len,
        blocks: &sequence.blocks,
        sample: member.samples.then(|| Sample {
            params: &call.sampling,
            choice: member.choice,
            forbidden: call.forbidden(sequence.output_len()),
            allowed: None,
        }),
    }
}
