//! The seams to what computes: tokens from sequences, or vectors from texts. Each has two real implementations:
//! libtorch, and the simulated model. And the seam to whoever knows what the sequences' grammars allow.

use std::fmt;

use crate::batch::{Batch, Outputs, SequenceId, Texts};
use crate::defect::Defect;
use crate::request::TokenId;
use crate::token_set::TokenSet;

/// A step that could not be computed. The engine process ends: its calls fail and are resumed elsewhere.
#[derive(Debug, thiserror::Error)]
#[error("step {step} with {tokens} tokens failed: {reason}")]
pub struct StepError {
    /// Number of the step.
    pub step: u64,
    /// Tokens of the step.
    pub tokens: usize,
    /// What the library said.
    pub reason: String,
}

/// Computes steps. One thread owns it, and the KV pages with it.
pub trait Model {
    /// Runs one step: writes the new tokens' KV into their pages, and draws where a draw is asked for, of the tokens that
    /// `masks` allows.
    fn step(&mut self, batch: &Batch<'_>, masks: &mut dyn Masks) -> Result<Outputs, StepError>;
}

/// Says which tokens may be drawn. A model asks when a step's logits are there, so whoever works a set out has had the
/// time in which they were computed.
pub trait Masks {
    /// The tokens of which a sequence's next one is drawn; `None`: all.
    ///
    /// # Errors
    /// When there is none: the sequence's call ends.
    fn allowed(&mut self, sequence: SequenceId) -> Result<Option<TokenSet>, Defect>;
}

/// Where one choice's output stands in a grammar.
pub trait Matcher: fmt::Debug + Send {
    /// Goes on by `tokens`, and says which may follow; the end tokens where the text may end.
    ///
    /// # Errors
    /// When none may, or it cannot be told.
    fn follow(&mut self, tokens: &[TokenId]) -> Result<TokenSet, String>;
}

/// No sequence has a grammar.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unmasked;

impl Masks for Unmasked {
    fn allowed(&mut self, _sequence: SequenceId) -> Result<Option<TokenSet>, Defect> {
        Ok(None)
    }
}

/// Computes vectors of whole texts. One thread owns it.
pub trait Embedder {
    /// One vector a text, in their order and all of one length, before it is normalised or cut. A text's vector does not
    /// depend on which others are there, but for rounding.
    fn embed(&mut self, texts: &Texts<'_>) -> Result<Vec<Vec<f32>>, StepError>;
}
