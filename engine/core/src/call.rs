//! One call: its choices and its figures. Knows nothing of other calls.

use std::collections::BTreeMap;

use lps_api::ids::CallId;
use lps_api::protocol::{CallProgress, CallState, CallUsage};
use lps_api::quantity::{Attempt, Micros, Order, Tokens};

use crate::batch::SequenceId;
use crate::request::{Request, SamplingParams, Stopping};
use crate::sequence::{Sequence, Stage};

/// All open calls by arrival.
pub(crate) type Calls = BTreeMap<Arrival, Call>;

/// When a call came, counted in choices: the number of its choice 0 among all sequences ever, so that
/// `arrival + choice` is a sequence's id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Arrival(pub(crate) u64);

/// A program's name, shrunk to a number. Two programs that meet in one number share the fate of their cached pages
/// and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProgramKey(pub(crate) u64);

impl ProgramKey {
    /// FNV-1a.
    pub(crate) fn of(name: &str) -> Self {
        Self(name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        }))
    }
}

/// A sequence's place among all. Smaller runs first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The router's word outranks everything that the engine knows.
    pub(crate) order: Order,
    /// Equal orders happen only without a router: then who came first. Unique to a call.
    pub(crate) arrival: Arrival,
    /// Inside a call the earlier choice: it computes the prompt that the others share.
    pub(crate) choice: u32,
}

/// One call.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) attempt: Attempt,
    pub(crate) program: ProgramKey,
    pub(crate) order: Order,
    pub(crate) arrival: Arrival,
    /// When it came, by the driver's clock.
    pub(crate) added_at: Micros,
    pub(crate) salt: u64,
    pub(crate) sampling: SamplingParams,
    pub(crate) stopping: Stopping,
    /// Length at which a choice ends.
    pub(crate) tokens_max: usize,
    /// Indexed by choice.
    pub(crate) choices: Vec<Sequence>,
    /// Choices that have not ended.
    pub(crate) open: usize,
    /// Choices that wait for a sibling to compute the prompt.
    pub(crate) blocked: usize,
    /// May enter the batch (always, unless batches are gathered first).
    pub(crate) gathered: bool,
    /// Was in a batch once.
    pub(crate) admitted: bool,
    /// The last step that was charged.
    pub(crate) charged_step: u64,
    pub(crate) usage: CallUsage,
}

impl Call {
    /// Only choice 0 of several starts at once: the others find its prompt in the prefix cache, if there is one.
    pub(crate) fn new(request: Request, arrival: Arrival, limits: Limits, now: Micros) -> Self {
        let choices: Vec<_> = (0..request.choices)
            .map(|choice| {
                let leads = choice == 0 || !limits.prefix_cache;
                let stage = if leads {
                    Stage::Waiting
                } else {
                    Stage::Blocked
                };
                let resumed = if choice == 0 {
                    &request.resumed[..]
                } else {
                    &[]
                };
                Sequence::new(&request.prompt, resumed, stage)
            })
            .collect();
        let wanted = request
            .prompt
            .len()
            .saturating_add(request.stopping.max_tokens as usize);
        Self {
            id: request.call,
            attempt: request.attempt,
            program: ProgramKey::of(request.program.as_str()),
            order: request.order,
            arrival,
            added_at: now,
            salt: request.cache_salt,
            sampling: request.sampling,
            stopping: request.stopping,
            tokens_max: wanted.min(limits.sequence_tokens_max),
            open: choices.len(),
            blocked: choices.iter().filter(|s| s.stage == Stage::Blocked).count(),
            choices,
            gathered: false,
            admitted: false,
            charged_step: 0,
            usage: CallUsage {
                prompt_tokens: Tokens(request.prompt.len() as u32),
                output_tokens: Tokens(request.resumed.len() as u32),
                ..CallUsage::default()
            },
        }
    }

    pub(crate) fn place(&self, choice: u32) -> Place {
        Place {
            order: self.order,
            arrival: self.arrival,
            choice,
        }
    }

    pub(crate) fn sequence_id(&self, choice: u32) -> SequenceId {
        SequenceId(self.arrival.0 + u64::from(choice))
    }

    pub(crate) fn sequence(&self, choice: u32) -> &Sequence {
        &self.choices[choice as usize]
    }

    pub(crate) fn sequence_mut(&mut self, choice: u32) -> &mut Sequence {
        &mut self.choices[choice as usize]
    }

    /// Choices that take part in the scheduling.
    pub(crate) fn schedulable(&self) -> impl Iterator<Item = u32> + '_ {
        (0..)
            .zip(&self.choices)
            .filter(|(_, s)| s.is_schedulable())
            .map(|(choice, _)| choice)
    }

    /// Choices that wait for the prompt.
    pub(crate) fn has_blocked(&self) -> bool {
        self.blocked > 0
    }

    /// The first choice that waits for the prompt, if nobody is there any more to compute it.
    pub(crate) fn next_leader(&self) -> Option<u32> {
        if self.blocked == 0 || self.schedulable().next().is_some() {
            return None;
        }
        (0..)
            .zip(&self.choices)
            .find(|(_, s)| s.stage == Stage::Blocked)
            .map(|(choice, _)| choice)
    }

    /// A choice waits for the prompt no longer.
    pub(crate) fn unblock(&mut self, choice: u32) {
        let sequence = &mut self.choices[choice as usize];
        assert_eq!(
            sequence.stage,
            Stage::Blocked,
            "choice {choice} waits for nobody"
        );
        sequence.stage = Stage::Waiting;
        self.blocked -= 1;
    }

    /// A choice has ended; its pages are back.
    pub(crate) fn end(&mut self, choice: u32) {
        let sequence = &mut self.choices[choice as usize];
        self.blocked -= usize::from(sequence.stage == Stage::Blocked);
        self.open -= 1;
        sequence.end();
    }

    /// The stop tokens while a choice of `output_len` tokens must not end by one.
    pub(crate) fn forbidden(&self, output_len: usize) -> &[u32] {
        if output_len < self.stopping.min_tokens as usize {
            &self.stopping.stop_tokens
        } else {
            &[]
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.choices
            .iter()
            .any(|sequence| sequence.stage == Stage::Running)
    }

    pub(crate) fn progress(&self) -> CallProgress {
        let state = if self.is_running() {
            CallState::Running
        } else if self.admitted {
            CallState::Preempted
        } else {
            CallState::Waiting
        };
        CallProgress {
            call: self.id.clone(),
            attempt: self.attempt,
            state,
            usage: self.usage,
        }
    }
}

/// What of the configuration a call must know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) sequence_tokens_max: usize,
    pub(crate) prefix_cache: bool,
}
