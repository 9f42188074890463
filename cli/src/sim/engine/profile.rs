//! What steps cost. Owns: the time of one step as a function of what is in it, and the profiles that are built in.
//!
//! A roofline (Williams et al. 2009): a step reads all weights once and computes each token, whichever takes longer; it
//! reads the KV of every context; and it costs something by itself. Measured profiles have points in place of the roof.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

/// An engine on some hardware with some model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is of.
    pub(crate) name: String,
    /// Tokens that the KV pool holds.
    pub(crate) kv_tokens: u64,
    /// Sequences of one step, at most.
    pub(crate) max_num_seqs: u32,
    /// Tokens of one step, at most.
    pub(crate) max_batched_tokens: u32,
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

/// A graphics card, by its data sheet.
struct Card {
    name: &'static str,
    memory_gb: f64,
    /// GB/s.
    bandwidth: f64,
    /// TFLOP/s in bfloat16, dense.
    compute: f64,
    overhead_us: f64,
}

/// Shares of the data sheet that engines reach: reading weights, reading KV pages, computing linears and attention.
const REACHED: [f64; 4] = [0.85, 0.7, 0.55, 0.4];

const CARDS: [Card; 2] = [
    Card {
        name: "a100-8b",
        memory_gb: 80.0,
        bandwidth: 2_039.0,
        compute: 312.0,
        overhead_us: 1_500.0,
    },
    Card {
        name: "h200-8b",
        memory_gb: 141.0,
        bandwidth: 4_800.0,
        compute: 989.0,
        overhead_us: 1_200.0,
    },
];

/// Llama-3.1-8B in bfloat16: parameters that are multiplied, bytes of all, layers times width, bytes of KV a token.
const PARAMETERS: f64 = 7.5e9;
const WEIGHTS_GB: f64 = 16.06;
const ATTENTION: f64 = 32.0 * 4_096.0;
const KV_BYTES: f64 = 131_072.0;

impl Profile {
    /// A built-in one, or else that of a file.
    ///
    /// # Errors
    /// When there is none of that name, or the file is not valid.
    pub(crate) fn open(name: &str) -> anyhow::Result<Self> {
        if let Some(card) = CARDS.iter().find(|card| card.name == name) {
            return Ok(card.profile());
        }
        let path = Path::new(name);
        if !path.is_file() {
            let known: Vec<_> = CARDS.iter().map(|card| card.name).collect();
            anyhow::bail!(
                "no profile {name:?}: give {}, or a file that `lps bench calibrate` wrote",
                known.join(", ")
            );
        }
        let text = fs::read_to_string(path).with_context(|| format!("read {name}"))?;
        let json = &mut serde_json::Deserializer::from_str(&text);
        let profile: Self =
            serde_path_to_error::deserialize(json).with_context(|| format!("profile {name}"))?;
        profile.check().with_context(|| format!("profile {name}"))?;
        Ok(profile)
    }

    fn check(&self) -> anyhow::Result<()> {
        let sizes = [
            ("kv_tokens", self.kv_tokens),
            ("max_num_seqs", self.max_num_seqs.into()),
            ("max_batched_tokens", self.max_batched_tokens.into()),
        ];
        for (field, size) in sizes {
            ensure!(size > 0, "{field} must be at least 1");
        }
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
        let fits = |point: &(u32, f64)| point.1.is_finite() && point.1 > 0.0;
        ensure!(
            self.step_us.iter().all(fits)
                && self.step_us.windows(2).all(|pair| pair[0].0 < pair[1].0),
            "step_us must be points of ascending tokens with finite times above 0"
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

impl Card {
    fn profile(&self) -> Profile {
        let [weights, pages, linears, attention] = REACHED;
        let read_us = WEIGHTS_GB / (self.bandwidth * weights) * 1e6;
        let token_us = 2.0 * PARAMETERS / (self.compute * linears * 1e6);
        let roof = (read_us / token_us).round() as u32;
        let at = |tokens: u32| self.overhead_us + read_us.max(f64::from(tokens) * token_us);
        let kv_bytes = (self.memory_gb * 0.9 - WEIGHTS_GB - 2.0) * 1e9;
        Profile {
            name: self.name.to_owned(),
            kv_tokens: (kv_bytes / KV_BYTES) as u64,
            max_num_seqs: 128,
            max_batched_tokens: 2_048,
            step_us: vec![
                (1, at(1)),
                (roof, at(roof)),
                (roof + 1_000, at(roof + 1_000)),
            ],
            context_ns: KV_BYTES / (self.bandwidth * pages),
            pair_ns: 4.0 * ATTENTION / (self.compute * attention * 1e3),
            sequence_us: 10.0,
        }
    }
}
