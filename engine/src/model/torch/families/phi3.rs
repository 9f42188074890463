//! Phi-3 (arXiv 2404.14219): Llama with one weight for queries, keys and values and one for gate and up; each layer sees
//! `sliding_window` tokens; angles for long contexts (LongRoPE) over a part of each head. Owns: how it is read.

use super::llama::{self, DEFAULTS, Defaults, NAMES};
use crate::model::Error;
use crate::model::torch::architecture::{Architecture, Names};
use crate::model::torch::config::rope::RopeRules;
use crate::model::torch::config::{FULL, Fields, SLIDING};

/// Older files say `su` or `yarn` and mean LongRoPE.
const ROPE: RopeRules = RopeRules {
    partial: true,
    long_names: &["longrope", "su", "yarn"],
    original_context: Some(4096.0),
    ..RopeRules::PLAIN
};

pub(super) fn read(fields: &Fields<'_>) -> Result<Architecture, Error> {
    let defaults = Defaults {
        epsilon: 1e-5,
        ropes: |fields, head_dim| Ok(vec![fields.rope(head_dim, &ROPE)?]),
        ..DEFAULTS
    };
    let mut phi3 = llama::base(fields, &defaults)?;
    let window = fields.window(None)?;
    let kind = if window.is_some() { SLIDING } else { FULL };
    fields.layers_all(kind, phi3.layers.len())?;
    for layer in &mut phi3.layers {
        layer.window = window;
    }
    phi3.names = Names {
        qkv: &["self_attn.qkv_proj"],
        up: &["mlp.gate_up_proj"],
        ..NAMES
    };
    Ok(phi3)
}
