//! GPT-2 (Radford et al. 2019): norms with means and biases, learned positions, one product for queries, keys and values,
//! no gate, matrices stored `[in, out]`. Owns: how it is read, in words of its own.

use crate::kernels::Scores;
use crate::model::Error;
use crate::model::torch::architecture::{
    Architecture, Around, Biases, LayerKind, Names, NormKind, Positions,
};
use crate::model::torch::config::{FULL, Fields};

const NAMES: Names = Names {
    embedding: "transformer.wte",
    layers: "transformer.h",
    attention_norms: Around {
        before: "ln_1",
        after: None,
    },
    qkv: &["attn.c_attn"],
    head_norms: None,
    out: "attn.c_proj",
    mlp_norms: Around {
        before: "ln_2",
        after: None,
    },
    up: &["mlp.c_fc"],
    down: "mlp.c_proj",
    last_norm: "transformer.ln_f",
    output: "lm_head",
    transposed: true,
};

pub(super) fn read(fields: &Fields<'_>) -> Result<Architecture, Error> {
    fields.refuse_true("add_cross_attention", "attention to the text alone")?;
    fields.refuse_true(
        "scale_attn_by_inverse_layer_idx",
        "the same scale in each layer",
    )?;
    let (hidden, heads) = (
        fields.required_size("n_embd")?,
        fields.required_size("n_head")?,
    );
    if hidden % heads != 0 {
        let reason = format!("is {heads}, which does not divide n_embd, {hidden}");
        return fields.fail("n_head", reason);
    }
    let head_dim = hidden / heads;
    let layers = fields.layers("n_layer")?;
    fields.layers_all(FULL, layers)?;
    let positions = fields.required("n_positions")?;
    // It is the context elsewhere, and stands above `n_positions` where both are.
    let context = fields.number("max_position_embeddings")?;
    if let Some(other) = context.filter(|context| *context != positions) {
        let reason = format!("is {other}, but there are n_positions, {positions}, of them");
        return fields.fail("max_position_embeddings", reason);
    }
    let scores = if fields.flag("scale_attn_weights", true)? {
        Scores::of_head(head_dim)
    } else {
        Scores {
            scale: 1.0,
            cap: None,
        }
    };
    Ok(Architecture {
        vocab_size: fields.required("vocab_size")?,
        hidden,
        intermediate: fields.size("n_inner")?.unwrap_or(4 * hidden),
        heads,
        kv_heads: heads,
        head_dim,
        layers: vec![LayerKind::default(); layers],
        positions: Positions::Learned {
            name: "transformer.wpe",
            count: positions,
        },
        norm: NormKind::Layer,
        epsilon: fields.float("layer_norm_epsilon")?.unwrap_or(1e-5),
        activation: fields.activation("activation_function", "gelu_new")?,
        gated: false,
        scores,
        logit_cap: None,
        embedding_scale: None,
        biases: Biases {
            qkv: true,
            out: true,
            mlp: true,
        },
        names: NAMES,
        tied: fields.flag("tie_word_embeddings", true)?,
        dtype: fields.dtype()?,
    })
}
