//! The grammars of open calls. Owns: the threads that work out which tokens may follow, and what they were asked. A set is
//! asked for when a step is planned and awaited when its logits are there, so that it is made while the model computes.
//! Must not know what a grammar is made of.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, available_parallelism};

use lps_engine_core::batch::{Batch, SequenceId};
use lps_engine_core::defect::Defect;
use lps_engine_core::model::{Masks, Matcher};
use lps_engine_core::request::TokenId;
use lps_engine_core::token_set::TokenSet;

/// Threads, at most. One works out some thousand sets of common forms in a second, and some hundred of the worst.
const THREADS_MAX: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Grammars {
    /// Started with the first grammar.
    threads: Vec<Sender<Order>>,
    answers: (Sender<Answer>, Receiver<Answer>),
    bound: BTreeMap<SequenceId, Bound>,
}

/// A sequence with a grammar.
#[derive(Debug, Default)]
struct Bound {
    /// Output tokens that its matcher knows.
    told: usize,
    /// What it said to them; taken when the next token is drawn.
    answer: Option<Result<TokenSet, String>>,
}

#[derive(Debug)]
enum Order {
    Begin(SequenceId, Box<dyn Matcher>),
    Follow(SequenceId, Vec<TokenId>),
    End(SequenceId),
}

type Answer = (SequenceId, Result<TokenSet, String>);

impl Default for Grammars {
    fn default() -> Self {
        Self {
            threads: Vec::new(),
            answers: channel(),
            bound: BTreeMap::new(),
        }
    }
}

impl Grammars {
    /// Binds sequences that follow each other, from `first` on, to a matcher each.
    pub(super) fn begin(&mut self, first: SequenceId, matchers: Vec<Box<dyn Matcher>>) {
        if self.threads.is_empty() && !matchers.is_empty() {
            self.start();
        }
        for (number, matcher) in (first.0..).zip(matchers) {
            let id = SequenceId(number);
            self.bound.insert(id, Bound::default());
            self.order(id, Order::Begin(id, matcher));
        }
    }

    /// Asks what may follow each sequence that is to draw.
    pub(super) fn ask(&mut self, batch: &Batch<'_>) {
        if self.bound.is_empty() {
            return;
        }
        for sequence in batch.sequences.iter().filter(|s| s.sample.is_some()) {
            let Entry::Occupied(mut bound) = self.bound.entry(sequence.id) else {
                continue;
            };
            let output = &sequence.tokens[sequence.prompt_len..];
            let new = output[bound.get().told..].to_vec();
            bound.get_mut().told = output.len();
            self.order(sequence.id, Order::Follow(sequence.id, new));
        }
    }

    /// Forgets sequences that have ended.
    pub(super) fn end(&mut self, first: SequenceId, count: u32) {
        for number in first.0..first.0 + u64::from(count) {
            let id = SequenceId(number);
            if self.bound.remove(&id).is_some() {
                self.order(id, Order::End(id));
            }
        }
    }

    fn start(&mut self) {
        let count = available_parallelism().map_or(1, NonZeroUsize::get);
        for _ in 0..count.min(THREADS_MAX) {
            let (orders, taken) = channel();
            let answers = self.answers.0.clone();
            thread::Builder::new()
                .name("grammar".to_owned())
                .spawn(move || work(&taken, &answers))
                .expect("the system has room for a few more threads");
            self.threads.push(orders);
        }
    }

    fn order(&self, id: SequenceId, order: Order) {
        let thread = &self.threads[(id.0 % self.threads.len() as u64) as usize];
        thread.send(order).expect("the thread ends with its orders");
    }
}

impl Masks for Grammars {
    fn allowed(&mut self, sequence: SequenceId) -> Result<Option<TokenSet>, Defect> {
        while let Some(bound) = self.bound.get_mut(&sequence) {
            if let Some(answer) = bound.answer.take() {
                return answer.map(Some).map_err(|reason| {
                    tracing::warn!(sequence = sequence.0, reason, "a grammar came to no end");
                    Defect::NothingAllowed
                });
            }
            let (of, answer) = self.answers.1.recv().expect("this holds a sender itself");
            // Of a sequence that ended meanwhile nobody asks.
            if let Some(bound) = self.bound.get_mut(&of) {
                bound.answer = Some(answer);
            }
        }
        Ok(None)
    }
}

/// One thread: owns the matchers that it is given.
fn work(orders: &Receiver<Order>, answers: &Sender<Answer>) {
    let mut matchers = BTreeMap::new();
    for order in orders {
        match order {
            Order::Begin(id, matcher) => {
                matchers.insert(id, matcher);
            }
            Order::Follow(id, tokens) => {
                let Some(matcher) = matchers.get_mut(&id) else {
                    continue;
                };
                // Somebody waits for the answer, whatever happens.
                let follow = AssertUnwindSafe(|| matcher.follow(&tokens));
                let answer = catch_unwind(follow).unwrap_or_else(|_| Err("panicked".to_owned()));
                // Nobody waits any more when the engine ends.
                let _ = answers.send((id, answer));
            }
            Order::End(id) => {
                matchers.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lps_engine_core::batch::{BatchSequence, Sample};
    use lps_engine_core::request::SamplingParams;

    use super::*;

    const PROMPT: usize = 2;

    /// Allows the token that says how many it was told last; panics at token 9.
    #[derive(Debug)]
    struct Counting;

    impl Matcher for Counting {
        fn follow(&mut self, tokens: &[TokenId]) -> Result<TokenSet, String> {
            assert!(!tokens.contains(&9), "token 9");
            Ok([tokens.len() as TokenId].into_iter().collect())
        }
    }

    fn counting(count: usize) -> Vec<Box<dyn Matcher>> {
        (0..count)
            .map(|_| Box::new(Counting) as Box<dyn Matcher>)
            .collect()
    }

    /// Plans a step in which sequences of these tokens draw, and says what each may draw.
    fn step(
        grammars: &mut Grammars,
        sequences: &[(u64, &[TokenId])],
    ) -> Vec<Result<Option<TokenId>, Defect>> {
        let params = SamplingParams::default();
        let sample = Sample {
            params: &params,
            choice: 0,
            forbidden: &[],
            allowed: None,
        };
        let sequences: Vec<_> = sequences
            .iter()
            .map(|(id, tokens)| BatchSequence {
                id: SequenceId(*id),
                tokens,
                prompt_len: PROMPT,
                computed: tokens.len() - 1,
                len: 1,
                blocks: &[],
                sample: Some(sample),
            })
            .collect();
        let ids: Vec<_> = sequences.iter().map(|sequence| sequence.id).collect();
        grammars.ask(&Batch { step: 1, sequences });
        let allowed = |id: &SequenceId| {
            let set = grammars.allowed(*id)?;
            Ok(set.map(|set| {
                (0..32)
                    .find(|token| set.contains(*token))
                    .unwrap_or(u32::MAX)
            }))
        };
        ids.iter().map(allowed).collect()
    }

    #[test]
    fn a_matcher_is_told_what_it_does_not_know() {
        let mut grammars = Grammars::default();
        assert_eq!(step(&mut grammars, &[(1, &[0, 0])]), [Ok(None)]);
        grammars.begin(SequenceId(5), counting(2));
        // The first was begun elsewhere: its three tokens come at once.
        let first = step(
            &mut grammars,
            &[(1, &[0, 0, 1]), (6, &[0, 0]), (5, &[0, 0, 1, 2, 3])],
        );
        assert_eq!(first, [Ok(None), Ok(Some(0)), Ok(Some(3))]);
        assert_eq!(
            step(&mut grammars, &[(5, &[0, 0, 1, 2, 3, 4])]),
            [Ok(Some(1))]
        );
        // Two steps later, as after a preemption.
        assert_eq!(step(&mut grammars, &[(6, &[0, 0, 7, 7])]), [Ok(Some(2))]);
        grammars.end(SequenceId(5), 2);
        assert_eq!(
            step(&mut grammars, &[(5, &[0, 0, 1]), (6, &[0, 0])]),
            [Ok(None), Ok(None)]
        );
    }

    #[test]
    fn a_matcher_that_panics_spoils_its_own_sequence_only() {
        let mut grammars = Grammars::default();
        // More than threads, so that some share one.
        let count = 3 * THREADS_MAX;
        grammars.begin(SequenceId(0), counting(count));
        let bad: &[TokenId] = &[0, 0, 9];
        let good: &[TokenId] = &[0, 0, 1];
        let sequences: Vec<_> = (0..count as u64)
            .map(|id| (id, if id == 4 { bad } else { good }))
            .collect();
        for (id, allowed) in step(&mut grammars, &sequences).into_iter().enumerate() {
            let expected = if id == 4 {
                Err(Defect::NothingAllowed)
            } else {
                Ok(Some(1))
            };
            assert_eq!(allowed, expected, "{id}");
        }
    }
}
