//! Calls that ended. Owns: what is still read of one (as a parent, as the last of its thread, by who looks at it), and
//! how many a row remembers. It must not know how calls run.

use std::collections::VecDeque;

use lps_api::ids::{CallId, EngineId, ModelName, ThreadId};
use lps_api::protocol::CallUsage;
use lps_api::quantity::{Attempt, Micros, Tokens};

use super::call::Call;
use super::reason::{Phase, Reason};
use crate::message::{CallKey, Parents};

/// Ended calls that a row remembers; older ones are unknown as parents.
const ENDED_CALLS_MAX: usize = 1_024;

/// A call that ended.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its name here.
    pub key: CallKey,
    /// Its client's name for it.
    pub id: CallId,
    /// Its thread.
    pub thread: ThreadId,
    /// What it depended on; `None`: nobody said.
    pub parents: Option<Box<[CallId]>>,
    /// Which pool served it.
    pub model: ModelName,
    /// Where it ran last.
    pub engine: Option<EngineId>,
    /// How it ended.
    pub phase: Phase,
    /// Which try it was.
    pub attempt: Attempt,
    /// When it came.
    pub ready_at: Micros,
    /// When its client was answered.
    pub at: Micros,
    /// Its priority.
    pub p: Micros,
    /// What it used.
    pub service: Micros,
    /// Its figures.
    pub usage: CallUsage,
    /// Whole prompt, as far as known before it ran.
    pub prompt_tokens: Tokens,
    /// How long it waited.
    pub wait: Micros,
    /// The same by reason, without what is zero.
    pub waits: Box<[(Reason, Micros)]>,
    /// The queue that it stood in, from 0.
    pub queue: u8,
    /// Service used of that queue's quantum.
    pub used: Micros,
    /// Moves to the next queue.
    pub demotions: u32,
    /// Moves to queue 1.
    pub promotions: u32,
    /// Times it lost its slot.
    pub preemptions: u32,
    /// Whether its program's home moved for it.
    pub moved: bool,
}

impl Ended {
    pub(super) fn new(call: Call, phase: Phase, at: Micros) -> Self {
        Self {
            key: call.key,
            wait: call.wait.total(at),
            waits: call.wait.by_reason(at).collect(),
            service: call.service(),
            usage: call.usage(),
            id: call.id,
            thread: call.thread,
            parents: match call.parents {
                Parents::Unsaid => None,
                Parents::Named(parents) => Some(parents.into()),
            },
            model: call.model,
            engine: call.last_engine,
            phase,
            attempt: call.attempt,
            ready_at: call.ready_at,
            at,
            p: call.p,
            prompt_tokens: call.prompt_tokens,
            queue: call.place.scan.queue,
            used: call.place.used,
            demotions: call.place.demotions,
            promotions: call.place.promotions,
            preemptions: call.place.preemptions,
            moved: call.place.moved,
        }
    }
}

/// The last ended calls of a row, in order of arrival.
#[derive(Debug, Clone, Default)]
pub(super) struct EndedCalls {
    /// Each in a box: room for those to come is most of what a program of few calls would take.
    calls: VecDeque<Box<Ended>>,
}

impl EndedCalls {
    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    pub(super) fn get(&self, key: CallKey) -> Option<&Ended> {
        let place = self.calls.binary_search_by_key(&key, |call| call.key);
        place.ok().map(|place| &*self.calls[place])
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &Ended> {
        self.calls.iter().map(Box::as_ref)
    }

    /// Remembers a call. Gives back the oldest, if there are too many.
    pub(super) fn add(&mut self, call: Ended) -> Option<Box<Ended>> {
        let place = self.calls.partition_point(|other| other.key < call.key);
        self.calls.insert(place, Box::new(call));
        let is_over = self.calls.len() > ENDED_CALLS_MAX;
        is_over.then(|| self.calls.pop_front()).flatten()
    }
}
