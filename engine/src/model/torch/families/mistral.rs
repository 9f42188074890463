//! Mistral (arXiv 2310.06825): Llama without biases; each layer sees `sliding_window` tokens. Owns: how it is read.

use super::llama::{self, DEFAULTS, Defaults};
use crate::model::Error;
use crate::model::torch::architecture::Architecture;
use crate::model::torch::config::{FULL, Fields, SLIDING};

/// What transformers takes when the field is not there; `null` is no window.
const WINDOW: usize = 4096;

pub(super) fn read(fields: &Fields<'_>) -> Result<Architecture, Error> {
    let defaults = Defaults {
        kv_heads: Some(8),
        ..DEFAULTS
    };
    let mut mistral = llama::base(fields, &defaults)?;
    let window = fields.window(Some(WINDOW))?;
    let kind = if window.is_some() { SLIDING } else { FULL };
    fields.layers_all(kind, mistral.layers.len())?;
    for layer in &mut mistral.layers {
        layer.window = window;
    }
    Ok(mistral)
}
