//! Gemma 2 (arXiv 2408.00118): Llama with norms after attention and gated layer too, weights of norms stored less one,
//! scaled embeddings, capped scores and logits, a window in every other layer. Owns: how it is read, and what Gemma 3
//! says alike.

use super::llama::{self, DEFAULTS, Defaults, NAMES, Ropes};
use crate::kernels::Scores;
use crate::model::Error;
use crate::model::torch::architecture::{Architecture, Around, Biases, Names, NormKind};
use crate::model::torch::config::Fields;

pub(super) const GEMMA: Names = Names {
    attention_norms: Around {
        before: "input_layernorm",
        after: Some("post_attention_layernorm"),
    },
    mlp_norms: Around {
        before: "pre_feedforward_layernorm",
        after: Some("post_feedforward_layernorm"),
    },
    ..NAMES
};

/// What transformers takes when the field is not there.
const WINDOW: usize = 4096;
const SCORE_CAP: f64 = 50.0;
const LOGIT_CAP: f64 = 30.0;

pub(super) fn read(fields: &Fields<'_>) -> Result<Architecture, Error> {
    let mut gemma2 = base(fields, DEFAULTS.ropes)?;
    gemma2.scores.cap = fields.float_or("attn_logit_softcapping", Some(SCORE_CAP))?;
    gemma2.logit_cap = fields.float_or("final_logit_softcapping", Some(LOGIT_CAP))?;
    let window = fields.window(Some(WINDOW))?;
    fields.set_windows(&mut gemma2.layers, window, |layer| layer % 2 == 0)?;
    Ok(gemma2)
}

/// What Gemma 2 and 3 say alike: no caps, no windows.
pub(super) fn base(fields: &Fields<'_>, ropes: Ropes) -> Result<Architecture, Error> {
    let defaults = Defaults {
        kv_heads: Some(4),
        head_dim: Some(256),
        tied: true,
        activation: ("hidden_activation", "gelu_pytorch_tanh"),
        ropes,
        ..DEFAULTS
    };
    fields.refuse_true(
        "use_bidirectional_attention",
        "attention to what came before",
    )?;
    let bias = fields.flag("attention_bias", false)?;
    let mut gemma = llama::base(fields, &defaults)?;
    let scalar = fields.float("query_pre_attn_scalar")?.unwrap_or(256.0);
    gemma.scores = Scores {
        scale: 1.0 / scalar.sqrt(),
        cap: None,
    };
    gemma.norm = NormKind::RmsLessOne;
    gemma.embedding_scale = Some((gemma.hidden as f64).sqrt());
    gemma.biases = Biases {
        qkv: bias,
        out: bias,
        mlp: false,
    };
    gemma.names = GEMMA;
    Ok(gemma)
}
