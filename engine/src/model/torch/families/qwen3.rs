//! Qwen3 (arXiv 2505.09388): Qwen2 with norms of single heads in place of biases, which `attention_bias` brings back.
//! Owns: how it is read.

use super::llama::{self, DEFAULTS, Defaults, NAMES};
use super::qwen2;
use crate::model::Error;
use crate::model::torch::architecture::{Architecture, Biases, Names};
use crate::model::torch::config::Fields;

pub(super) fn read(fields: &Fields<'_>) -> Result<Architecture, Error> {
    let defaults = Defaults {
        kv_heads: Some(32),
        head_dim: Some(128),
        ..DEFAULTS
    };
    let bias = fields.flag("attention_bias", false)?;
    let mut qwen3 = llama::base(fields, &defaults)?;
    qwen3.biases = Biases {
        qkv: bias,
        out: bias,
        mlp: false,
    };
    qwen3.names = Names {
        head_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
        ..NAMES
    };
    qwen2::upper_windows(fields, &mut qwen3)?;
    Ok(qwen3)
}
