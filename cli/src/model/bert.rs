//! BERT in words of its own: the names of its weights, its fields in `config.json`. Owns: both.

use serde_json::{Value, json};

use super::config_json::{FieldError, Json, flag, float, layers, needed, number, wrong};
use super::shape::{Family, List, Role, Rope, Shape, Weight};

const TYPES: u32 = 2;
const EPSILON: f64 = 1e-12;

/// All weights, named as in a checkpoint without a head.
pub(super) fn weights(shape: &Shape) -> Vec<Weight> {
    let (hidden, intermediate) = (u64::from(shape.hidden), u64::from(shape.intermediate));
    let mut list = List::default();
    let norm = |name: &str, list: &mut List| {
        list.push(&format!("{name}.weight"), &[hidden], Role::Norm);
        list.push(&format!("{name}.bias"), &[hidden], Role::Bias);
    };
    for (name, rows) in [
        ("word_embeddings", shape.vocab),
        ("position_embeddings", shape.context),
        ("token_type_embeddings", TYPES),
    ] {
        let name = format!("embeddings.{name}.weight");
        list.push(&name, &[u64::from(rows), hidden], Role::Vocabulary);
    }
    norm("embeddings.LayerNorm", &mut list);
    for layer in 0..shape.layers {
        for (part, outputs, inputs) in [
            ("attention.self.query", hidden, hidden),
            ("attention.self.key", hidden, hidden),
            ("attention.self.value", hidden, hidden),
            ("attention.output.dense", hidden, hidden),
            ("intermediate.dense", intermediate, hidden),
            ("output.dense", hidden, intermediate),
        ] {
            let name = format!("encoder.layer.{layer}.{part}");
            let shape = [outputs, inputs];
            list.push(&format!("{name}.weight"), &shape, Role::Product);
            list.push(&format!("{name}.bias"), &[outputs], Role::Bias);
        }
        for part in ["attention.output.LayerNorm", "output.LayerNorm"] {
            norm(&format!("encoder.layer.{layer}.{part}"), &mut list);
        }
    }
    list.0
}

/// A shape as `config.json`, but for what all families say alike.
pub(super) fn write(shape: &Shape) -> Value {
    json!({
        "architectures": ["BertModel"],
        "model_type": "bert",
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "max_position_embeddings": shape.context,
        "type_vocab_size": TYPES,
        "layer_norm_eps": shape.epsilon,
        "hidden_act": "gelu",
    })
}

/// A shape from `config.json`.
pub(super) fn read(config: &Json) -> Result<Shape, FieldError> {
    let (hidden, heads) = (
        needed(config, "hidden_size")?,
        needed(config, "num_attention_heads")?,
    );
    let types = number(config, "type_vocab_size")?.unwrap_or(TYPES);
    if types != TYPES {
        let reason = format!("is {types}; supported is {TYPES}");
        return wrong("type_vocab_size", reason);
    }
    if flag(config, "is_decoder", false)? {
        return wrong("is_decoder", "is true; supported is an encoder".to_owned());
    }
    Ok(Shape {
        family: Family::Bert,
        vocab: needed(config, "vocab_size")?,
        hidden,
        intermediate: needed(config, "intermediate_size")?,
        layers: layers(config, "num_hidden_layers")?,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        context: needed(config, "max_position_embeddings")?,
        epsilon: float(config, "layer_norm_eps", EPSILON),
        rope_theta: 10_000.0,
        rope: Rope::Default,
        partial_rotary: 1.0,
        window: None,
        attention_bias: false,
        mlp_bias: false,
        tied: true,
    })
}
