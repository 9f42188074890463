//! BERT (Devlin et al., arXiv 1810.04805): learned positions, token types, norms after each sum, biases everywhere.
//! Owns: how its `config.json` is read.

use crate::kernels::{Activation, Scores};
use crate::model::Error;
use crate::model::torch::architecture::{
    Architecture, Around, Biases, LayerKind, Names, NormKind, Positions,
};
use crate::model::torch::config::Fields;

/// Checkpoints that were saved without a head have no `bert.`.
const NAMES: Names = Names {
    embedding: "bert.embeddings.word_embeddings",
    layers: "bert.encoder.layer",
    // Of the sum, not of what enters: the encoder sees to that.
    attention_norms: Around {
        before: "attention.output.LayerNorm",
        after: None,
    },
    qkv: &[
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
    ],
    head_norms: None,
    out: "attention.output.dense",
    mlp_norms: Around {
        before: "output.LayerNorm",
        after: None,
    },
    up: &["intermediate.dense"],
    down: "output.dense",
    last_norm: "",
    output: "",
    transposed: false,
};

/// What an encoder is made of.
#[derive(Debug)]
pub(super) struct Bert {
    pub(super) parts: Architecture,
    /// The table of positions.
    pub(super) positions: (&'static str, i64),
    /// The table of token types.
    pub(super) token_types: (&'static str, i64),
    /// Of the sum of the three tables.
    pub(super) first_norm: &'static str,
}

pub(super) fn read(fields: &Fields<'_>) -> Result<Bert, Error> {
    const POSITIONS: &str = "position_embedding_type";
    fields.refuse_true("is_decoder", "an encoder")?;
    fields.refuse_true("add_cross_attention", "attention to the text alone")?;
    if let Some(other) = fields.text(POSITIONS)?.filter(|kind| *kind != "absolute") {
        return fields.fail(POSITIONS, format!("is {other:?}; supported is absolute"));
    }
    if fields.get("quantization_config").is_some() {
        let reason = "is given; supported are weights of float32, bfloat16 and float16";
        return fields.fail("quantization_config", reason.to_owned());
    }
    let (hidden, heads) = (
        fields.required_size("hidden_size")?,
        fields.required_size("num_attention_heads")?,
    );
    if hidden % heads != 0 {
        let reason = format!("is {heads}, which does not divide hidden_size, {hidden}");
        return fields.fail("num_attention_heads", reason);
    }
    let head_dim = hidden / heads;
    let layers = fields.layers("num_hidden_layers")?;
    let positions = fields.required("max_position_embeddings")?;
    let position_table = "bert.embeddings.position_embeddings";
    Ok(Bert {
        positions: (position_table, positions),
        token_types: (
            "bert.embeddings.token_type_embeddings",
            fields.number("type_vocab_size")?.unwrap_or(2),
        ),
        first_norm: "bert.embeddings.LayerNorm",
        parts: Architecture {
            vocab_size: fields.required("vocab_size")?,
            hidden,
            intermediate: fields.required_size("intermediate_size")?,
            heads,
            kv_heads: heads,
            head_dim,
            layers: vec![LayerKind::default(); layers],
            positions: Positions::Learned {
                name: position_table,
                count: positions,
            },
            norm: NormKind::Layer,
            epsilon: fields.float("layer_norm_eps")?.unwrap_or(1e-12),
            activation: activation(fields)?,
            gated: false,
            scores: Scores::of_head(head_dim),
            logit_cap: None,
            embedding_scale: None,
            biases: Biases {
                qkv: true,
                out: true,
                mlp: true,
            },
            names: NAMES,
            tied: true,
            dtype: fields.dtype()?,
        },
    })
}

fn activation(fields: &Fields<'_>) -> Result<Activation, Error> {
    const NAME: &str = "hidden_act";
    match fields.text(NAME)?.unwrap_or("gelu") {
        "gelu" => Ok(Activation::Gelu),
        "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        other => fields.fail(
            NAME,
            format!("is {other:?}; supported are gelu, gelu_new and gelu_pytorch_tanh"),
        ),
    }
}
