//! Which texts are computed in the next step, of calls that ask for vectors. Owns: the open calls, their line, and what
//! they have so far. Knows no tensor and no clock.
//!
//! A text is computed whole, in one step, and holds nothing before and after. So there is nothing to preempt: a step takes
//! the first texts of the line, in the router's order and then by arrival, up to `max_batched_tokens`. A text that is
//! longer than that runs alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;

use lps_api::ids::{CallId, ProgramId};
use lps_api::protocol::{CallProgress, CallState, CallUsage, Load};
use lps_api::quantity::{Attempt, Micros, Order, Tokens};

use crate::batch::Texts;
use crate::defect::{Defect, Failure, Numbers};
use crate::request::TokenId;

/// Size of everything, fixed at start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    /// Most tokens of one step, unless a single text has more.
    pub max_batched_tokens: u32,
    /// Most calls held.
    pub max_calls: u32,
    /// Most tokens held, over all calls.
    pub max_held_tokens: u64,
}

/// One call, tokenised and checked: at least one text, and each has a token.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its name, unique among the open calls.
    pub call: CallId,
    /// Which try of the call this is.
    pub attempt: Attempt,
    /// Whose it is.
    pub program: ProgramId,
    /// Its place among the calls.
    pub order: Order,
    /// What vectors are wanted of.
    pub texts: Vec<Arc<[TokenId]>>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// [`Config::max_calls`] are held.
    #[error("the engine holds {0} calls and takes no more")]
    Calls(u32),
    /// [`Config::max_held_tokens`] would be passed.
    #[error("the engine holds {held} tokens of texts and takes no {more} more")]
    Tokens {
        /// Tokens that are held.
        held: u64,
        /// Tokens of the request.
        more: u64,
    },
    /// A call of that name is open.
    #[error("call {0} is already running")]
    Duplicate(CallId),
}

/// A call's end; it is forgotten.
#[derive(Debug, Clone, PartialEq)]
pub struct Ended {
    /// Which call.
    pub call: CallId,
    /// Which try.
    pub attempt: Attempt,
    /// Whose it was.
    pub program: ProgramId,
    /// Final figures.
    pub usage: CallUsage,
    /// One a text, in their order.
    pub vectors: Result<Vec<Vec<f32>>, Unfinished>,
}

/// Why a call ended without its vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfinished {
    /// A cancel.
    Cancelled,
    /// A vector that is none.
    Failed(Failure),
}

impl Ended {
    /// As what it ended.
    pub const fn state(&self) -> CallState {
        match self.vectors {
            Ok(_) => CallState::Finished,
            Err(Unfinished::Cancelled) => CallState::Cancelled,
            Err(Unfinished::Failed(_)) => CallState::Failed,
        }
    }
}

/// A call's part of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    arrival: u64,
    /// Which of its texts.
    pub texts: Range<usize>,
}

/// Smaller runs first. The order is the router's; calls that it does not tell apart run as they came.
type Place = (Order, u64);

#[derive(Debug)]
struct Call {
    name: CallId,
    attempt: Attempt,
    program: ProgramId,
    order: Order,
    texts: Vec<Arc<[TokenId]>>,
    /// Of the first texts.
    vectors: Vec<Vec<f32>>,
    usage: CallUsage,
}

/// All open calls. Whoever owns it drives it in a loop: `schedule` → compute → `complete`, with commands between.
#[derive(Debug)]
pub struct Queue {
    config: Config,
    /// By arrival.
    calls: BTreeMap<u64, Call>,
    names: HashMap<CallId, u64>,
    line: BTreeSet<Place>,
    running: Vec<Part>,
    held_tokens: u64,
    arrivals: u64,
    steps: u64,
}

impl Queue {
    /// An empty one.
    pub fn new(config: Config) -> Self {
        let (batched, calls) = (config.max_batched_tokens, config.max_calls);
        assert!(batched > 0 && calls > 0, "{config:?} takes nothing");
        Self {
            config,
            calls: BTreeMap::new(),
            names: HashMap::new(),
            line: BTreeSet::new(),
            running: Vec::new(),
            held_tokens: 0,
            arrivals: 0,
            steps: 0,
        }
    }

    /// Takes a call.
    ///
    /// # Errors
    /// When there is no room, or one of that name.
    pub fn add(&mut self, request: Request) -> Result<(), Refusal> {
        let tokens: u64 = request.texts.iter().map(|text| text.len() as u64).sum();
        let empty = request.texts.iter().any(|text| text.is_empty());
        assert!(
            !request.texts.is_empty() && !empty,
            "the edge lets no empty text in"
        );
        if self.names.contains_key(&request.call) {
            return Err(Refusal::Duplicate(request.call));
        }
        if self.calls.len() >= self.config.max_calls as usize {
            return Err(Refusal::Calls(self.config.max_calls));
        }
        if self.held_tokens + tokens > self.config.max_held_tokens {
            let held = self.held_tokens;
            return Err(Refusal::Tokens { held, more: tokens });
        }
        self.arrivals += 1;
        self.held_tokens += tokens;
        self.line.insert((request.order, self.arrivals));
        self.names.insert(request.call.clone(), self.arrivals);
        let call = Call {
            name: request.call,
            attempt: request.attempt,
            program: request.program,
            order: request.order,
            vectors: Vec::with_capacity(request.texts.len()),
            texts: request.texts,
            usage: CallUsage {
                prompt_tokens: Tokens(tokens.try_into().unwrap_or(u32::MAX)),
                ..CallUsage::default()
            },
        };
        self.calls.insert(self.arrivals, call);
        Ok(())
    }

    /// Gives a call a new place; whether it was there.
    pub fn reorder(&mut self, name: &CallId, order: Order) -> bool {
        let Some(arrival) = self.names.get(name) else {
            return false;
        };
        if let Some(call) = self.calls.get_mut(arrival) {
            self.line.remove(&(call.order, *arrival));
            call.order = order;
            self.line.insert((order, *arrival));
        }
        true
    }

    /// Ends a call; twice is harmless.
    pub fn cancel(&mut self, name: &CallId) -> Option<Ended> {
        assert!(self.running.is_empty(), "a cancel comes between steps");
        let arrival = *self.names.get(name)?;
        Some(self.end(arrival, Some(Unfinished::Cancelled)))
    }

    /// The texts of the next step; `None` when nothing waits.
    pub fn schedule(&mut self) -> Option<Texts<'_>> {
        assert!(self.running.is_empty(), "a step is out already");
        let mut room = self.config.max_batched_tokens as usize;
        for (_, arrival) in &self.line {
            let call = &self.calls[arrival];
            let first = call.vectors.len();
            let mut next = first;
            while let Some(text) = call.texts.get(next) {
                let alone = self.running.is_empty() && next == first;
                if text.len() > room && !alone {
                    break;
                }
                room = room.saturating_sub(text.len());
                next += 1;
            }
            if next > first {
                self.running.push(Part {
                    arrival: *arrival,
                    texts: first..next,
                });
            }
            if next < call.texts.len() || room == 0 {
                break;
            }
        }
        if self.running.is_empty() {
            return None;
        }
        self.steps += 1;
        Some(self.texts())
    }

    /// Those of the step that is out.
    pub fn texts(&self) -> Texts<'_> {
        let texts = self.running.iter().flat_map(|part| {
            let texts = &self.calls[&part.arrival].texts[part.texts.clone()];
            texts.iter().map(|text| &text[..])
        });
        Texts {
            step: self.steps,
            tokens: texts.collect(),
        }
    }

    /// Who takes part in it: names, which of their texts, and how long that is.
    pub fn members(&self) -> impl Iterator<Item = (&CallId, usize, usize)> {
        self.running.iter().flat_map(|part| {
            let call = &self.calls[&part.arrival];
            let texts = part.texts.clone();
            texts.map(|index| (&call.name, index, call.texts[index].len()))
        })
    }

    /// Hands in what the step gave; the calls that have all their vectors end, and those that have one with a defect.
    pub fn complete(&mut self, vectors: Vec<Vec<f32>>, duration: Micros) -> Vec<Ended> {
        let wanted: usize = self.running.iter().map(|part| part.texts.len()).sum();
        assert_eq!(vectors.len(), wanted, "there is a vector for each text");
        let mut vectors = vectors.into_iter();
        let mut ended = Vec::new();
        for part in std::mem::take(&mut self.running) {
            let call = self
                .calls
                .get_mut(&part.arrival)
                .expect("no call goes during a step");
            call.usage.executor_us += duration;
            let mut failed = None;
            for (text, vector) in part.texts.zip(vectors.by_ref()) {
                let failure = |defect| Failure {
                    step: self.steps,
                    numbers: Numbers::Vector { text },
                    defect,
                };
                failed = failed.or(Defect::of_vector(&vector).map(failure));
                call.vectors.push(vector);
            }
            if failed.is_some() || call.vectors.len() == call.texts.len() {
                ended.push(self.end(part.arrival, failed.map(Unfinished::Failed)));
            }
        }
        ended
    }

    fn end(&mut self, arrival: u64, unfinished: Option<Unfinished>) -> Ended {
        let call = self.calls.remove(&arrival).expect("whoever ends is open");
        self.names.remove(&call.name);
        self.line.remove(&(call.order, arrival));
        let tokens: u64 = call.texts.iter().map(|text| text.len() as u64).sum();
        self.held_tokens -= tokens;
        Ended {
            call: call.name,
            attempt: call.attempt,
            program: call.program,
            usage: call.usage,
            vectors: unfinished.map_or(Ok(call.vectors), Err),
        }
    }

    /// Whether no call is open.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Where a call stands.
    pub fn progress_of(&self, name: &CallId) -> Option<CallProgress> {
        let arrival = self.names.get(name)?;
        Some(self.progress_at(*arrival, &self.calls[arrival]))
    }

    /// Where all stand.
    pub fn progress(&self) -> Vec<CallProgress> {
        let all = self.calls.iter();
        all.map(|(arrival, call)| self.progress_at(*arrival, call))
            .collect()
    }

    fn progress_at(&self, arrival: u64, call: &Call) -> CallProgress {
        let takes_part = self.running.iter().any(|part| part.arrival == arrival);
        CallProgress {
            call: call.name.clone(),
            attempt: call.attempt,
            state: if takes_part || !call.vectors.is_empty() {
                CallState::Running
            } else {
                CallState::Waiting
            },
            usage: call.usage,
        }
    }

    /// What it holds: texts in the step that is out, and calls that are not in it.
    pub fn load(&self) -> Load {
        let running: usize = self.running.iter().map(|part| part.texts.len()).sum();
        Load {
            running: running.try_into().unwrap_or(u32::MAX),
            waiting: (self.calls.len() - self.running.len()) as u32,
            ..Load::default()
        }
    }

    /// Checks what must hold between any two operations.
    ///
    /// # Panics
    /// When it does not.
    pub fn check_integrity(&self) {
        let mut tokens = 0;
        for (arrival, call) in &self.calls {
            assert_eq!(
                self.names.get(&call.name),
                Some(arrival),
                "{} has its name",
                call.name
            );
            assert!(
                self.line.contains(&(call.order, *arrival)),
                "{} stands in line",
                call.name
            );
            assert!(
                call.vectors.len() < call.texts.len(),
                "{} waits for something",
                call.name
            );
            tokens += call.texts.iter().map(|text| text.len() as u64).sum::<u64>();
        }
        assert_eq!(
            self.names.len(),
            self.calls.len(),
            "a name is an open call's"
        );
        assert_eq!(
            self.line.len(),
            self.calls.len(),
            "a place is an open call's"
        );
        assert_eq!(
            self.held_tokens, tokens,
            "tokens that are held are those of open calls"
        );
        assert!(
            tokens <= self.config.max_held_tokens,
            "no more is held than may be"
        );
    }
}
