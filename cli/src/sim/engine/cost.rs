//! What steps cost. Owns: the time of one step as a function of what is in it.
//!
//! A step reads all weights once and computes each token, whichever takes longer; it reads the KV of every context; and
//! it costs something by itself.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// What is in a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct Load {
    /// Sequences.
    pub(crate) sequences: u32,
    /// New tokens.
    pub(crate) tokens: u32,
    /// Tokens that stand before the new ones, over all sequences.
    pub(crate) context: u64,
    /// Pairs of a new token of a prompt and a token before it, over all prompts.
    pub(crate) pairs: u64,
}

impl Load {
    /// A sequence with `new` tokens after `before` ones.
    pub(crate) fn add(&mut self, new: u32, before: u32) {
        let (wide, earlier) = (u64::from(new), u64::from(before));
        self.sequences += 1;
        self.tokens += new;
        self.context += earlier;
        if new > 1 {
            self.pairs += wide * earlier + wide * (wide - 1) / 2;
        }
    }
}

/// What steps cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Costs {
    /// Microseconds of a step with so many new tokens, contexts apart: points in ascending order, straight between
    /// them, and beyond the last as between the last two.
    pub(crate) step_us: Vec<(u32, f64)>,
    /// Nanoseconds for each token of context that a step reads, once a sequence.
    pub(crate) context_ns: f64,
    /// Nanoseconds for each pair of a new prompt token and a token before it.
    pub(crate) pair_ns: f64,
    /// Microseconds for each sequence of a step.
    pub(crate) sequence_us: f64,
}

impl Costs {
    /// Whether steps can be told by them.
    ///
    /// # Errors
    /// The field that is not valid, and its range.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let costs = [
            ("context_ns", self.context_ns),
            ("pair_ns", self.pair_ns),
            ("sequence_us", self.sequence_us),
        ];
        for (field, cost) in costs {
            ensure!(
                cost.is_finite() && cost >= 0.0,
                "{field} must be a finite number, at least 0"
            );
        }
        ensure!(!self.step_us.is_empty(), "step_us needs a point");
        let fits = |point: &(u32, f64)| point.1.is_finite() && point.1 >= 0.0;
        ensure!(
            self.step_us.iter().all(fits)
                && self.step_us.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "step_us must be points of ascending tokens with finite times, at least 0"
        );
        Ok(())
    }

    /// How long a step takes, in µs.
    pub(crate) fn step_us(&self, load: Load) -> f64 {
        self.linear_us(load.tokens)
            + f64::from(load.sequences) * self.sequence_us
            + (load.context as f64 * self.context_ns + load.pairs as f64 * self.pair_ns) / 1e3
    }

    fn linear_us(&self, tokens: u32) -> f64 {
        let points = &self.step_us;
        let behind = points.partition_point(|(at, _)| *at < tokens);
        let (before, after) = match (behind, points.len()) {
            (_, 1) | (0, _) => return points[0].1,
            (all, count) if all == count => (points[count - 2], points[count - 1]),
            (at, _) => (points[at - 1], points[at]),
        };
        let share = f64::from(tokens - before.0) / f64::from(after.0 - before.0);
        before.1 + share * (after.1 - before.1)
    }
}
