//! What a call asks for, after the edge has parsed it. Owns: the words; knows nothing of how a call is served.

use std::sync::Arc;

use lps_api::ids::{CallId, ProgramId};
use lps_api::quantity::{Attempt, Order};

/// A token of the vocabulary.
pub type TokenId = u32;

/// One call, tokenised and checked.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its name, unique among the engine's open calls.
    pub call: CallId,
    /// Which try of the call this is.
    pub attempt: Attempt,
    /// The program whose pages it shares a fate with (`release`).
    pub program: ProgramId,
    /// Its place among the calls.
    pub order: Order,
    /// The prompt; at least one token.
    pub prompt: Arc<[TokenId]>,
    /// Output of an earlier attempt, to be continued: counts as output, is not emitted again. Choice 0 only.
    pub resumed: Vec<TokenId>,
    /// Prefix-cache name space: calls share pages only under an equal salt (tenant, client's `cache_salt`).
    pub cache_salt: u64,
    /// How many choices (`n`), at least 1. Each is a sequence of its own.
    pub choices: u32,
    /// How tokens are chosen.
    pub sampling: SamplingParams,
    /// When a choice ends.
    pub stopping: Stopping,
}

/// When a choice ends. Stop strings are matched outside, where text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stopping {
    /// Most output tokens a choice may have; the edge has clipped it to the context.
    pub max_tokens: u32,
    /// Before so many, stop tokens are not drawn.
    pub min_tokens: u32,
    /// Tokens that end a choice: the model's end tokens (unless `ignore_eos`) and `stop_token_ids`.
    pub stop_tokens: Vec<TokenId>,
}

/// How tokens are chosen. The rules apply in the order of the fields; log-probabilities are taken from the raw
/// logits, before all of them (as OpenAI and vLLM do).
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingParams {
    /// Divides positive and multiplies negative logits of tokens seen in prompt or output; 1 = off.
    pub repetition_penalty: f32,
    /// Subtracted per occurrence in the output; 0 = off.
    pub frequency_penalty: f32,
    /// Subtracted once for each token present in the output; 0 = off.
    pub presence_penalty: f32,
    /// Added to single logits.
    pub logit_bias: Vec<(TokenId, f32)>,
    /// 0 = greedy.
    pub temperature: f32,
    /// Keep the k most likely; 0 = all.
    pub top_k: u32,
    /// Keep the smallest set whose probability reaches p; 1 = all.
    pub top_p: f32,
    /// Keep what has at least this share of the most likely token's probability; 0 = all.
    pub min_p: f32,
    /// Random numbers are keyed by (seed, choice, position), so neither batch nor resume changes a text.
    pub seed: u64,
    /// How many alternatives to report log-probabilities for; `None` = none at all, `Some(0)` = the chosen token's.
    pub logprobs: Option<u32>,
}

impl Default for SamplingParams {
    /// Greedy, no penalties, no log-probabilities.
    fn default() -> Self {
        Self {
            repetition_penalty: 1.0,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
            logprobs: None,
        }
    }
}
