//! Engines on some hardware with some model. Owns: the profiles that are built in, and those in files.
//!
//! Those that are built in are rooflines (Williams et al. 2009): a step takes as long as reading the weights or computing
//! its tokens, whichever is longer. Measured ones have points in place of the roof.

use std::fs;
use std::path::Path;

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use super::cost::Costs;

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
    /// Microseconds between the end of a step and the beginning of the next one, which nobody is charged for.
    #[serde(default)]
    pub(crate) between_us: f64,
    /// What its steps cost.
    pub(crate) costs: Costs,
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

    /// Whether it can be run.
    ///
    /// # Errors
    /// The field that is not valid, and its range.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let sizes = [
            ("kv_tokens", self.kv_tokens),
            ("max_num_seqs", self.max_num_seqs.into()),
            ("max_batched_tokens", self.max_batched_tokens.into()),
        ];
        for (field, size) in sizes {
            ensure!(size > 0, "{field} must be at least 1");
        }
        ensure!(
            self.between_us.is_finite() && self.between_us >= 0.0,
            "between_us must be a finite number, at least 0"
        );
        self.costs.check().context("costs")
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
            between_us: 0.0,
            costs: Costs {
                step_us: vec![
                    (1, at(1)),
                    (roof, at(roof)),
                    (roof + 1_000, at(roof + 1_000)),
                ],
                context_ns: KV_BYTES / (self.bandwidth * pages),
                pair_ns: 4.0 * ATTENTION / (self.compute * attention * 1e3),
                sequence_us: 10.0,
            },
        }
    }
}
