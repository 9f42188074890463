//! The simulated model: deterministic tokens at a chosen pace, no weights. Owns: how history becomes a token. Its KV is
//! real in one respect: each slot of a page holds the chained hash of all tokens up to it, so a page that is shared,
//! kept or evicted wrongly changes the text.

use std::time::Duration;

use lps_engine_core::batch::{Batch, BatchSequence, Logprobs, Outputs, Sample, Sampled};
use lps_engine_core::model::{Masks, Model, StepError};
use lps_engine_core::request::TokenId;
use lps_engine_core::sampler;

use crate::model::directory::ModelDirectory;
use crate::model::{Error, LoadOptions, Loaded};

/// What the simulated model's steps cost and how much it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SimCost {
    /// Of each step, in µs.
    pub step_us: u64,
    /// Of each prompt token in a step, in µs.
    pub prefill_token_us: u64,
    /// Of each decoding sequence in a step, in µs.
    pub decode_us: u64,
    /// Mean length of an answer; 0: an answer ends at its limit only.
    pub output_tokens_mean: u32,
}

/// Bytes of a slot: one hash.
const SLOT_BYTES: u64 = 8;

/// The model.
#[derive(Debug)]
pub struct SimModel {
    cost: SimCost,
    block_tokens: usize,
    slots: Vec<u64>,
    /// What it says.
    vocabulary: Vec<TokenId>,
    /// How many tokens there are.
    vocab_size: u32,
    end_token: Option<TokenId>,
}

impl SimModel {
    pub(super) fn load(directory: &ModelDirectory, options: &LoadOptions) -> Result<Loaded, Error> {
        let block_bytes = u64::from(options.block_tokens) * SLOT_BYTES;
        let kv_blocks = options.kv_blocks(block_bytes, super::memory::free_bytes())?;
        let model = Self {
            cost: options.sim,
            block_tokens: options.block_tokens as usize,
            slots: vec![0; kv_blocks as usize * options.block_tokens as usize],
            vocabulary: if options.printable_tokens.is_empty() {
                (0..directory.vocab_size).collect()
            } else {
                options.printable_tokens.clone()
            },
            vocab_size: directory.vocab_size,
            end_token: directory.end_tokens.first().copied(),
        };
        Ok(Loaded {
            model: Box::new(model),
            kv_blocks,
            vocab_size: directory.vocab_size,
            max_model_len: options.max_model_len,
        })
    }

    /// Writes the new tokens' slots and returns the last one's hash.
    fn prefill(&mut self, sequence: &BatchSequence<'_>) -> u64 {
        let block_tokens = self.block_tokens;
        let slot = |position: usize| {
            sequence.blocks[position / block_tokens] as usize * block_tokens
                + position % block_tokens
        };
        let mut hash = match sequence.computed {
            0 => 0,
            computed => self.slots[slot(computed - 1)],
        };
        for (position, &token) in (sequence.computed..).zip(sequence.new_tokens()) {
            hash = mix(hash ^ (u64::from(token) + 1));
            self.slots[slot(position)] = hash;
        }
        hash
    }

    fn draw(&self, hash: u64, sequence: &BatchSequence<'_>, sample: &Sample<'_>) -> Sampled {
        let params = sample.params;
        let position = (sequence.tokens.len() - sequence.prompt_len) as u64;
        let random = if params.temperature > 0.0 {
            let uniform = sampler::uniform(params.seed, sample.choice, position);
            mix(hash ^ uniform.to_bits())
        } else {
            hash
        };
        let token = self.token(random, sample);
        let logprobs = params
            .logprobs
            .map(|count| self.logprobs(random, token, count));
        Sampled { token, logprobs }
    }

    fn token(&self, random: u64, sample: &Sample<'_>) -> TokenId {
        let mean = u64::from(self.cost.output_tokens_mean);
        if let Some(end) = self.end_token.filter(|end| sample.permits(*end))
            && mean > 0
            && mix(random).is_multiple_of(mean)
        {
            return end;
        }
        if sample.allowed.is_some() {
            // What it says by itself is printable; a grammar may want something else.
            let start = (random % u64::from(self.vocab_size)) as TokenId;
            let mut any = (start..self.vocab_size).chain(0..start);
            return any.find(|token| sample.permits(*token)).unwrap_or(start);
        }
        let start = (random % self.vocabulary.len() as u64) as usize;
        let (before, after) = self.vocabulary.split_at(start);
        let permitted = after.iter().chain(before).find(|t| sample.permits(**t));
        permitted.copied().unwrap_or(self.vocabulary[start])
    }

    /// The drawn token has half of the probability, each rival half of what is left.
    fn logprobs(&self, random: u64, token: TokenId, count: u32) -> Logprobs {
        let half = -std::f32::consts::LN_2;
        let start = (random % self.vocabulary.len() as u64) as usize;
        let (before, after) = self.vocabulary.split_at(start);
        let rivals = after.iter().chain(before).filter(|rival| **rival != token);
        let top = std::iter::once(&token).chain(rivals).take(count as usize);
        Logprobs {
            chosen: half,
            top: top
                .zip(1..)
                .map(|(&id, place)| (id, half * place as f32))
                .collect(),
        }
    }

    fn duration(&self, batch: &Batch<'_>) -> Duration {
        let mut us = self.cost.step_us;
        for sequence in &batch.sequences {
            us += if sequence.computed < sequence.prompt_len {
                sequence.len as u64 * self.cost.prefill_token_us
            } else {
                self.cost.decode_us
            };
        }
        Duration::from_micros(us)
    }
}

impl Model for SimModel {
    fn step(&mut self, batch: &Batch<'_>, masks: &mut dyn Masks) -> Result<Outputs, StepError> {
        let mut outputs = Outputs::default();
        for sequence in &batch.sequences {
            let hash = self.prefill(sequence);
            if let Some(sample) = sequence.sample {
                let drawn = masks.allowed(sequence.id).map(|allowed| {
                    let allowed = allowed.as_ref();
                    self.draw(hash, sequence, &Sample { allowed, ..sample })
                });
                outputs.sampled.push((sequence.id, drawn));
            }
        }
        let duration = self.duration(batch);
        if !duration.is_zero() {
            std::thread::sleep(duration);
        }
        Ok(outputs)
    }
}

/// The finaliser of splitmix64.
pub(super) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
