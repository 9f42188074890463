//! From logits to a token. Pure: random numbers come from (seed, choice, position).

use crate::batch::{Sample, Sampled};
use crate::request::TokenId;

/// Draws the next token. `logits` are the raw values of the whole vocabulary and are overwritten; `tokens` is prompt
/// and output so far, of which `prompt_len` are prompt.
pub fn sample(_logits: &mut [f32], _sample: &Sample<'_>, _tokens: &[TokenId], _prompt_len: usize) -> Sampled {
    todo!("owned by the core")
}
