//! What one step runs: the words between the scheduler, which makes it, and the model, which computes it.

use crate::defect::Defect;
use crate::request::{SamplingParams, TokenId};
use crate::token_set::TokenSet;

/// Index of a page of the KV pool, `0..kv_blocks_total`.
pub type BlockId = u32;

/// Names a sequence for as long as the core knows it; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SequenceId(pub u64);

/// One step's work: the concatenation of all sequences' new tokens.
#[derive(Debug)]
pub struct Batch<'a> {
    /// Number of the step, counted from 1.
    pub step: u64,
    /// In order of preference; no sequence twice; at least one.
    pub sequences: Vec<BatchSequence<'a>>,
}

impl Batch<'_> {
    /// Tokens of the step.
    pub fn tokens(&self) -> usize {
        self.sequences
            .iter()
            .map(|sequence| sequence.new_tokens().len())
            .sum()
    }
}

/// One sequence's part of a step.
#[derive(Debug)]
pub struct BatchSequence<'a> {
    /// Which sequence.
    pub id: SequenceId,
    /// Prompt and output so far.
    pub tokens: &'a [TokenId],
    /// Of those, how many are prompt.
    pub prompt_len: usize,
    /// Tokens whose KV is in the pages already: the first new token has this position.
    pub computed: usize,
    /// New tokens of this step, `tokens[computed..computed + len]`; 1 when decoding.
    pub len: usize,
    /// Pages of the sequence, in order; they cover at least `computed + len` tokens. The model writes the KV of the
    /// new tokens and reads all before.
    pub blocks: &'a [BlockId],
    /// Given when this step computes the last known token, so that a next one is to be drawn.
    pub sample: Option<Sample<'a>>,
}

impl<'a> BatchSequence<'a> {
    /// The tokens to compute.
    pub fn new_tokens(&self) -> &'a [TokenId] {
        &self.tokens[self.computed..self.computed + self.len]
    }
}

/// How to draw the next token of a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'a> {
    /// The rules.
    pub params: &'a SamplingParams,
    /// Which choice of the call.
    pub choice: u32,
    /// Tokens that must not be drawn now (the stop tokens while `min_tokens` is not reached).
    pub forbidden: &'a [TokenId],
    /// The only tokens that may be drawn; `None`: all. The core leaves it open, the model asks for it once it has logits.
    pub allowed: Option<&'a TokenSet>,
}

impl Sample<'_> {
    /// Whether a token may be drawn.
    pub fn permits(&self, token: TokenId) -> bool {
        !self.forbidden.contains(&token) && self.allowed.is_none_or(|set| set.contains(token))
    }
}

/// What a step produced: one entry for each sequence with a [`Sample`], in the batch's order.
#[derive(Debug, Clone, Default)]
pub struct Outputs {
    /// The drawn tokens, or why none can be drawn: the sequence's call ends then.
    pub sampled: Vec<(SequenceId, Result<Sampled, Defect>)>,
}

/// One drawn token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: TokenId,
    /// Its log-probability and its rivals', when asked for.
    pub logprobs: Option<Logprobs>,
}

/// Natural logarithms of the model's own probabilities, before temperature and penalties.
#[derive(Debug, Clone, PartialEq)]
pub struct Logprobs {
    /// Of the drawn token.
    pub chosen: f32,
    /// The most likely tokens, best first, as many as asked for.
    pub top: Vec<(TokenId, f32)>,
}

/// Whole texts of which vectors are made in one step; each has a token at least.
#[derive(Debug)]
pub struct Texts<'a> {
    /// Number of the step.
    pub step: u64,
    /// Their tokens.
    pub tokens: Vec<&'a [TokenId]>,
}

impl Texts<'_> {
    /// Tokens of all.
    pub fn count(&self) -> usize {
        self.tokens.iter().map(|tokens| tokens.len()).sum()
    }
}
