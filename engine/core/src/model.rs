//! The seams to what computes: tokens from sequences, or vectors from texts. Each has two real implementations:
//! libtorch, and the simulated model.

use crate::batch::{Batch, Outputs, Texts};

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
    /// Runs one step: writes the new tokens' KV into their pages, and draws where a draw is asked for.
    fn step(&mut self, batch: &Batch<'_>) -> Result<Outputs, StepError>;
}

/// Computes vectors of whole texts. One thread owns it.
pub trait Embedder {
    /// One vector a text, in their order and all of one length, before it is normalised or cut. A text's vector does not
    /// depend on which others are there, but for rounding.
    fn embed(&mut self, texts: &Texts<'_>) -> Result<Vec<Vec<f32>>, StepError>;
}
