//! `config.json` to and from a shape, in both generations of Hugging Face transformers. Owns: the names and defaults.

use serde_json::{Map, Value, json};

use super::safetensors_file::StoredType;
use super::shape::{Family, Rope, Shape};

type Json = Map<String, Value>;

/// Ends an answer, in the tokenizer that is written beside made weights.
pub(super) const END_TOKEN: u32 = 2;

/// Which transformers wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// 4 and before: `rope_theta`, `rope_scaling`, `torch_dtype`.
    Four,
    /// 5: `rope_parameters`, `dtype`, `layer_types`.
    Five,
}

/// A shape as `config.json`.
pub(super) fn write(shape: &Shape, kind: StoredType, generation: Generation) -> Value {
    let architecture = match shape.family {
        Family::Llama => "LlamaForCausalLM",
        Family::Qwen3 => "Qwen3ForCausalLM",
    };
    let mut config = json!({
        "architectures": [architecture],
        "model_type": shape.family.model_type(),
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.epsilon,
        "attention_bias": shape.attention_bias,
        "mlp_bias": shape.mlp_bias,
        "tie_word_embeddings": shape.tied,
        "bos_token_id": null,
        "eos_token_id": END_TOKEN,
    });
    let mut rope = serde_json::to_value(shape.rope).unwrap_or(Value::Null);
    let dtype = kind.config_name();
    match generation {
        Generation::Four => {
            config["rope_theta"] = json!(shape.rope_theta);
            let plain = shape.rope == Rope::Default;
            config["rope_scaling"] = if plain { Value::Null } else { rope };
            config["torch_dtype"] = json!(dtype);
        }
        Generation::Five => {
            rope["rope_theta"] = json!(shape.rope_theta);
            config["rope_parameters"] = rope;
            config["dtype"] = json!(dtype);
            if shape.family == Family::Qwen3 {
                config["layer_types"] = vec!["full_attention"; shape.layers as usize].into();
            }
        }
    }
    config
}

/// What is wrong with a field.
#[derive(Debug)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) reason: String,
}

fn wrong<T>(field: &str, reason: String) -> Result<T, FieldError> {
    let field = field.to_owned();
    Err(FieldError { field, reason })
}

/// A shape from `config.json`.
pub(super) fn read(config: &Json) -> Result<Shape, FieldError> {
    let family = match config.get("model_type").and_then(Value::as_str) {
        Some("llama") => Family::Llama,
        Some("qwen3") => Family::Qwen3,
        other => {
            let found = other.unwrap_or("not given");
            return wrong(
                "model_type",
                format!("is {found}; supported are llama and qwen3"),
            );
        }
    };
    refuse_what_is_unknown(config)?;
    let needed = |field: &str| match number(config, field)? {
        Some(number) => Ok(number),
        None => wrong(field, "is missing".to_owned()),
    };
    let (hidden, heads) = (needed("hidden_size")?, needed("num_attention_heads")?);
    let (head_dim, kv_heads) = match family {
        Family::Llama => (hidden / heads, heads),
        Family::Qwen3 => (128, 32),
    };
    let (rope_theta, rope) = rope(config)?;
    let shape = Shape {
        family,
        vocab: needed("vocab_size")?,
        hidden,
        intermediate: needed("intermediate_size")?,
        layers: needed("num_hidden_layers")?,
        heads,
        kv_heads: number(config, "num_key_value_heads")?.unwrap_or(kv_heads),
        head_dim: number(config, "head_dim")?.unwrap_or(head_dim),
        context: needed("max_position_embeddings")?,
        epsilon: config
            .get("rms_norm_eps")
            .and_then(Value::as_f64)
            .unwrap_or(1e-6),
        rope_theta,
        rope,
        attention_bias: flag(config, "attention_bias")?,
        mlp_bias: flag(config, "mlp_bias")?,
        tied: flag(config, "tie_word_embeddings")?,
    };
    consistent(&shape)?;
    Ok(shape)
}

/// What would silently give other texts.
fn refuse_what_is_unknown(config: &Json) -> Result<(), FieldError> {
    let given = |field: &str| config.get(field).filter(|value| !value.is_null());
    if let Some(other) = given("hidden_act").filter(|act| *act != "silu") {
        return wrong("hidden_act", format!("is {other}; supported is silu"));
    }
    if given("quantization_config").is_some() {
        let supported = "supported are weights of float32, bfloat16 and float16";
        return wrong("quantization_config", format!("is given; {supported}"));
    }
    if flag(config, "use_sliding_window")? {
        return wrong(
            "use_sliding_window",
            "is true; supported is full attention".to_owned(),
        );
    }
    let mut layers = given("layer_types")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    if let Some(other) = layers.find(|kind| *kind != "full_attention") {
        return wrong(
            "layer_types",
            format!("has {other}; supported is full_attention"),
        );
    }
    Ok(())
}

/// What the numbers of a shape owe each other.
pub(super) fn consistent(shape: &Shape) -> Result<(), FieldError> {
    if !shape.heads.is_multiple_of(shape.kv_heads) {
        let (kv_heads, heads) = (shape.kv_heads, shape.heads);
        let reason = format!("is {kv_heads}, which does not divide num_attention_heads, {heads}");
        return wrong("num_key_value_heads", reason);
    }
    if !shape.head_dim.is_multiple_of(2) {
        return wrong(
            "head_dim",
            format!("is {}; it must be even", shape.head_dim),
        );
    }
    Ok(())
}

fn number(config: &Json, field: &str) -> Result<Option<u32>, FieldError> {
    let Some(value) = config.get(field).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
        Some(number) if number > 0 => Ok(Some(number)),
        _ => wrong(field, format!("is a positive integer, not {value}")),
    }
}

fn flag(config: &Json, field: &str) -> Result<bool, FieldError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => wrong(field, format!("is true or false, not {other}")),
    }
}

fn rope(config: &Json) -> Result<(f64, Rope), FieldError> {
    let outer = config
        .get("rope_theta")
        .and_then(Value::as_f64)
        .unwrap_or(10_000.0);
    let given = |field: &'static str| {
        let value = config.get(field).and_then(Value::as_object)?;
        Some((field, value.clone()))
    };
    let Some((field, mut value)) = given("rope_parameters").or_else(|| given("rope_scaling"))
    else {
        return Ok((outer, Rope::Default));
    };
    let theta = value
        .get("rope_theta")
        .and_then(Value::as_f64)
        .unwrap_or(outer);
    if let Some(kind) = value.get("type").cloned() {
        value.entry("rope_type").or_insert(kind);
    }
    value.entry("rope_type").or_insert(json!("default"));
    match serde_json::from_value(Value::Object(value)) {
        Ok(rope) => Ok((theta, rope)),
        Err(error) => wrong(field, format!("has no use: {error}")),
    }
}
