//! Who runs in the next step. Owns: the rules. Knows neither effects nor tokens' meaning.
//!
//! All sequences that could run are walked in order of preference ([`Place`]), and each is taken that **fits**, given
//! those taken before it:
//! 1. a slot of `max_num_seqs` is left;
//! 2. a token of `max_batched_tokens` is left. A sequence that decodes needs one. One that has more to compute gets
//!    what remains after one token is set aside for every decoding sequence behind it, so that a long prompt does
//!    not stall them; the first of all gets at least one in any case;
//! 3. pages for all its known tokens are there: free, cached, or held by sequences behind it. Those give theirs back
//!    from the very last on, page by page from the tail.
//!
//! What does not fit is passed over: whoever runs in its stead can be displaced as soon as it fits, so that it loses
//! nothing. Of the sequences without pages at most [`PASSED_OVER_MAX`] are passed over in one step.

use lps_api::quantity::{Micros, Order, Tokens};

use crate::call::{Arrival, Call, Calls, Place};
use crate::config::{Batching, Config};
use crate::paging::{Fit, Paging, sequence};
use crate::sequence::Stage;

/// Sequences without pages that one step looks at in vain, at most: each costs a search of the prefix cache.
pub(crate) const PASSED_OVER_MAX: u32 = 4;

/// A sequence in a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) arrival: Arrival,
    pub(crate) choice: u32,
    /// New tokens.
    pub(crate) len: usize,
    /// Whether a token is drawn.
    pub(crate) samples: bool,
}

/// The rules, and what they are applied to.
#[derive(Debug)]
pub(crate) struct Scheduler {
    pub(crate) config: Config,
    pub(crate) paging: Paging,
    /// The last step, in order of preference.
    pub(crate) members: Vec<Member>,
    /// The step before it; kept for its memory.
    previous: Vec<Member>,
    /// Number of the last step.
    pub(crate) step: u64,
    /// Open calls of the batch that was formed last; 0 under continuous batching.
    batch_calls: usize,
}

/// How far the walk has come.
#[derive(Debug)]
struct Walk {
    slots: u32,
    tokens: usize,
    /// Index of the next resident sequence.
    at: usize,
    /// The last waiting sequence that was passed over.
    passed: Option<Place>,
    passed_over: u32,
    /// Decoding sequences still ahead; counted when the first prompt is met, as most steps have none.
    decodes_ahead: Option<usize>,
    /// All tokens that prompts may have are given.
    prompts_closed: bool,
}

#[derive(Debug, Clone, Copy)]
enum Next {
    Resident(Place),
    Waiting(Place),
}

impl Scheduler {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            paging: Paging::new(&config),
            members: Vec::new(),
            previous: Vec::new(),
            step: 0,
            batch_calls: 0,
            config,
        }
    }

    /// Puts a new call in the line.
    pub(crate) fn enter(&mut self, call: &mut Call) {
        if self.config.batching == Batching::Continuous {
            call.gathered = true;
            for choice in call.schedulable() {
                self.paging.line.insert(call, choice);
            }
        } else {
            self.paging.line.gather(call.place(0));
        }
    }

    /// A choice need not wait for a sibling any longer.
    pub(crate) fn unblock(&mut self, call: &mut Call, choice: u32) {
        call.unblock(choice);
        self.paging.line.insert(call, choice);
    }

    /// The prompt of the call is computed.
    pub(crate) fn unblock_all(&mut self, call: &mut Call) {
        for choice in 0..call.choices.len() as u32 {
            if !call.has_blocked() {
                return;
            }
            if call.sequence(choice).stage == Stage::Blocked {
                self.unblock(call, choice);
            }
        }
    }

    /// A choice has ended: out of the line, pages back.
    pub(crate) fn leave(&mut self, call: &mut Call, choice: u32) {
        if call.sequence(choice).is_schedulable() {
            self.paging.line.remove(call, choice);
        }
        self.paging.shrink(call.sequence_mut(choice), 0);
        call.end(choice);
    }

    /// The last choice of a call has ended.
    pub(crate) fn forget(&mut self, call: &Call) {
        if !call.gathered {
            self.paging.line.remove_gathering(call.place(0));
        } else if self.config.batching != Batching::Continuous {
            self.batch_calls -= 1;
        }
    }

    /// Gives a call a new place.
    pub(crate) fn reorder(&mut self, call: &mut Call, order: Order) {
        if !call.gathered {
            self.paging.line.remove_gathering(call.place(0));
            call.order = order;
            self.paging.line.gather(call.place(0));
            return;
        }
        for choice in call.schedulable() {
            self.paging.line.remove(call, choice);
        }
        call.order = order;
        for choice in call.schedulable() {
            self.paging.line.insert(call, choice);
        }
    }

    /// When a gathering batch starts although it is not full.
    pub(crate) fn wake_at(&self, calls: &Calls) -> Option<Micros> {
        let Batching::Timeout(patience) = self.config.batching else {
            return None;
        };
        if self.batch_calls > 0 {
            return None;
        }
        let added = self
            .paging
            .line
            .gathering()
            .iter()
            .map(|place| calls[&place.arrival].added_at);
        added.min().map(|first| first.saturating_add(patience))
    }

    /// Chooses the next step's members; false when there is nothing to compute.
    pub(crate) fn plan(&mut self, calls: &mut Calls, now: Micros) -> bool {
        self.form_batch(calls, now);
        std::mem::swap(&mut self.members, &mut self.previous);
        self.members.clear();
        self.step += 1;
        let mut walk = Walk {
            slots: self.config.max_num_seqs,
            tokens: self.config.max_batched_tokens as usize,
            at: 0,
            passed: None,
            passed_over: 0,
            decodes_ahead: None,
            prompts_closed: false,
        };
        while walk.slots > 0 && walk.tokens > 0 {
            match self.next(&walk) {
                Some(Next::Resident(place)) => self.consider_resident(calls, place, &mut walk),
                Some(Next::Waiting(place)) => self.consider_waiting(calls, place, &mut walk),
                None => break,
            }
        }
        self.preempt_fallen(calls);
        let idle = self.paging.line.resident().is_empty() && self.paging.line.waiting().is_empty();
        assert!(
            idle || !self.members.is_empty(),
            "the first of the order always fits"
        );
        if self.members.is_empty() {
            self.step -= 1;
        }
        !self.members.is_empty()
    }

    /// Under static and timeout batching: starts the next batch when the last one has ended and it is time.
    fn form_batch(&mut self, calls: &mut Calls, now: Micros) {
        if self.batch_calls > 0 || self.paging.line.gathering().is_empty() {
            return;
        }
        let size = self.config.max_num_seqs as usize;
        let choices = |place: &Place| calls[&place.arrival].choices.len();
        let mut gathered = 0;
        let full = self.paging.line.gathering().iter().any(|place| {
            gathered += choices(place);
            gathered >= size
        });
        if !full && self.wake_at(calls).is_none_or(|wake_at| now < wake_at) {
            return;
        }
        let mut room = size;
        while let Some(place) = self.paging.line.first_gathering() {
            let call = calls
                .get_mut(&place.arrival)
                .expect("a gathering call is open");
            if self.batch_calls > 0 && call.choices.len() > room {
                break;
            }
            room = room.saturating_sub(call.choices.len());
            self.paging.line.remove_gathering(place);
            self.batch_calls += 1;
            call.gathered = true;
            for choice in call.schedulable() {
                self.paging.line.insert(call, choice);
            }
        }
    }

    fn next(&self, walk: &Walk) -> Option<Next> {
        let resident = self.paging.line.resident().get(walk.at).copied();
        let open = !walk.prompts_closed && walk.passed_over < PASSED_OVER_MAX;
        let waiting = if open {
            self.paging.line.first_waiting_after(walk.passed)
        } else {
            None
        };
        match (resident, waiting) {
            (Some(resident), Some(waiting)) if waiting < resident => Some(Next::Waiting(waiting)),
            (Some(resident), _) => Some(Next::Resident(resident)),
            (None, waiting) => waiting.map(Next::Waiting),
        }
    }

    fn consider_resident(&mut self, calls: &mut Calls, place: Place, walk: &mut Walk) {
        let decodes = sequence(calls, place).owed() == 1;
        let open = decodes || self.prompt_share(calls, walk) > 0;
        walk.at += 1;
        if decodes {
            walk.decodes_ahead = walk.decodes_ahead.map(|ahead| ahead.saturating_sub(1));
        }
        if open && self.fit(calls, place, walk) {
            let tokens = if decodes {
                1
            } else {
                self.prompt_share(calls, walk)
            };
            self.join(calls, place, tokens, walk);
        }
    }

    fn consider_waiting(&mut self, calls: &mut Calls, place: Place, walk: &mut Walk) {
        if self.prompt_share(calls, walk) == 0 {
            return;
        }
        if self.fit(calls, place, walk) {
            self.paging.line.settle(place);
            walk.at += 1;
            let tokens = self.prompt_share(calls, walk);
            self.join(calls, place, tokens, walk);
        } else {
            walk.passed = Some(place);
            walk.passed_over += 1;
        }
    }

    fn fit(&mut self, calls: &mut Calls, place: Place, walk: &mut Walk) -> bool {
        let fit = self.paging.fit(calls, place);
        if fit == Fit::ByDisplacing {
            // Who has lost pages may decode no longer.
            walk.decodes_ahead = None;
        }
        fit != Fit::No
    }

    /// Tokens that a prompt may have now. Once there are none, no later prompt has any: the walk never turns back to
    /// one that was passed.
    fn prompt_share(&self, calls: &Calls, walk: &mut Walk) -> usize {
        if walk.prompts_closed {
            return 0;
        }
        let ahead = *walk.decodes_ahead.get_or_insert_with(|| {
            let behind = self.paging.line.resident()[walk.at..].iter();
            behind
                .filter(|place| sequence(calls, **place).owed() == 1)
                .count()
        });
        let set_aside = ahead.min(walk.slots as usize - 1);
        let share = walk.tokens.saturating_sub(set_aside);
        let share = if self.members.is_empty() {
            share.max(1)
        } else {
            share
        };
        walk.prompts_closed = share == 0;
        share
    }

    fn join(&mut self, calls: &mut Calls, place: Place, tokens: usize, walk: &mut Walk) {
        let step = self.step;
        let call = calls.get_mut(&place.arrival).expect("a member is open");
        let (tokens_max, first) = (call.tokens_max, !call.admitted);
        call.admitted = true;
        let sequence = call.sequence_mut(place.choice);
        let len = tokens.min(sequence.owed());
        let samples = len == sequence.owed() && sequence.tokens.len() < tokens_max;
        sequence.stage = Stage::Running;
        sequence.step = step;
        if first {
            let cached = sequence.computed.min(sequence.prompt_len);
            call.usage.cached_tokens = Tokens(cached as u32);
        }
        walk.slots -= 1;
        walk.tokens -= len;
        self.members.push(Member {
            arrival: place.arrival,
            choice: place.choice,
            len,
            samples,
        });
    }

    /// Who ran in the step before and does not in this one leaves the batch.
    fn preempt_fallen(&mut self, calls: &mut Calls) {
        for index in 0..self.previous.len() {
            let Member {
                arrival, choice, ..
            } = self.previous[index];
            let Some(call) = calls.get_mut(&arrival) else {
                continue;
            };
            let sequence = call.sequence(choice);
            if sequence.stage == Stage::Running && sequence.step != self.step {
                self.paging.preempt(call, choice);
            }
        }
    }
}
