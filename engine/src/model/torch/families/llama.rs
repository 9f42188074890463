//! Llama 2 and 3 (arXiv 2307.09288, 2407.21783): pre-norms, grouped queries, turned queries and keys, a gated layer.
//! Owns: how it is read, and the words that its descendants say the same way.

use crate::kernels::Scores;
use crate::model::Error;
use crate::model::torch::architecture::{
    Architecture, Around, Biases, LayerKind, Names, NormKind, Positions,
};
use crate::model::torch::config::rope::RopeRules;
use crate::model::torch::config::{FULL, Fields};
use crate::model::torch::rope::RopeShape;

pub(super) const NAMES: Names = Names {
    embedding: "model.embed_tokens",
    layers: "model.layers",
    attention_norms: Around {
        before: "input_layernorm",
        after: None,
    },
    qkv: &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    head_norms: None,
    out: "self_attn.o_proj",
    mlp_norms: Around {
        before: "post_attention_layernorm",
        after: None,
    },
    up: &["mlp.gate_proj", "mlp.up_proj"],
    down: "mlp.down_proj",
    last_norm: "model.norm",
    output: "lm_head",
    transposed: false,
};

pub(super) type Ropes = fn(&Fields<'_>, i64) -> Result<Vec<RopeShape>, Error>;

/// What a family's files may leave out, with the values that transformers puts there.
pub(super) struct Defaults {
    /// `None`: as many as query heads.
    pub(super) kv_heads: Option<i64>,
    /// `None`: the hidden size over the heads.
    pub(super) head_dim: Option<i64>,
    pub(super) epsilon: f64,
    pub(super) tied: bool,
    /// The field that names the activation, and what it is when there is none.
    pub(super) activation: (&'static str, &'static str),
    /// The angles that layers choose from, for heads of so many numbers.
    pub(super) ropes: Ropes,
}

pub(super) const DEFAULTS: Defaults = Defaults {
    kv_heads: None,
    head_dim: None,
    epsilon: 1e-6,
    tied: false,
    activation: ("hidden_act", "silu"),
    ropes: |fields, head_dim| Ok(vec![fields.rope(head_dim, &RopeRules::PLAIN)?]),
};

pub(super) fn read(fields: &Fields<'_>) -> Result<Architecture, Error> {
    let bias = fields.flag("attention_bias", false)?;
    let mut llama = base(fields, &DEFAULTS)?;
    fields.layers_all(FULL, llama.layers.len())?;
    llama.biases = Biases {
        qkv: bias,
        out: bias,
        mlp: fields.flag("mlp_bias", false)?,
    };
    Ok(llama)
}

/// What all descendants say alike: full attention, no biases.
pub(super) fn base(fields: &Fields<'_>, defaults: &Defaults) -> Result<Architecture, Error> {
    let heads = fields.required_size("num_attention_heads")?;
    let hidden = fields.required_size("hidden_size")?;
    let head_dim = fields.size("head_dim")?.or(defaults.head_dim);
    let head_dim = head_dim.unwrap_or(hidden / heads);
    if head_dim < 2 || head_dim % 2 != 0 {
        return fields.fail("head_dim", format!("is {head_dim}; it must be even"));
    }
    let kv_heads = fields.size("num_key_value_heads")?.or(defaults.kv_heads);
    let epsilon = fields.float("rms_norm_eps")?;
    let (activation, otherwise) = defaults.activation;
    let layers = fields.layers("num_hidden_layers")?;
    Ok(Architecture {
        vocab_size: fields.required("vocab_size")?,
        hidden,
        intermediate: fields.required_size("intermediate_size")?,
        heads,
        kv_heads: kv_heads.unwrap_or(heads),
        head_dim,
        layers: vec![LayerKind::default(); layers],
        positions: Positions::Rotary((defaults.ropes)(fields, head_dim)?),
        norm: NormKind::Rms,
        epsilon: epsilon.unwrap_or(defaults.epsilon),
        activation: fields.activation(activation, otherwise)?,
        gated: true,
        scores: Scores::of_head(head_dim),
        logit_cap: None,
        embedding_scale: None,
        biases: Biases::default(),
        names: NAMES,
        tied: fields.flag("tie_word_embeddings", defaults.tied)?,
        dtype: fields.dtype()?,
    })
}
