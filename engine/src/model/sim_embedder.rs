//! The simulated embedding model: a vector that is a function of the text, at a chosen pace, no weights. Owns: that
//! function.

use std::time::Duration;

use lps_engine_core::batch::Texts;
use lps_engine_core::model::{Embedder, StepError};
use lps_engine_core::request::TokenId;

use crate::model::embedding::Embedding;
use crate::model::sim::{SimCost, mix};

/// The model.
#[derive(Debug)]
pub struct SimEmbedder {
    cost: SimCost,
    dimensions: u32,
}

impl SimEmbedder {
    pub(super) fn new(embedding: &Embedding, cost: SimCost) -> Self {
        Self {
            cost,
            dimensions: embedding.dimensions,
        }
    }

    /// Each number is between -1 and 1.
    fn vector(&self, tokens: &[TokenId]) -> Vec<f32> {
        let hash = tokens
            .iter()
            .fold(0, |hash, token| mix(hash ^ (u64::from(*token) + 1)));
        let number = |place| (mix(hash ^ place) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (0..u64::from(self.dimensions)).map(number).collect()
    }
}

impl Embedder for SimEmbedder {
    fn embed(&mut self, texts: &Texts<'_>) -> Result<Vec<Vec<f32>>, StepError> {
        let us = self.cost.step_us + texts.count() as u64 * self.cost.prefill_token_us;
        if us > 0 {
            std::thread::sleep(Duration::from_micros(us));
        }
        Ok(texts.tokens.iter().map(|text| self.vector(text)).collect())
    }
}
