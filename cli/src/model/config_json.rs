//! `config.json` to and from a shape, in both generations of Hugging Face transformers. Owns: the names and defaults.

use serde_json::{Map, Value, json};

use super::bert;
use super::safetensors_file::StoredType;
use super::shape::{Family, GEMMA3_PATTERN, Rope, Shape};

pub(super) type Json = Map<String, Value>;

/// Ends an answer, in the tokenizer that is written beside made weights.
pub(super) const END_TOKEN: u32 = 2;

/// Caps of made Gemma 2 models: so small that a cap which is not applied shows.
const SCORE_CAP: f64 = 10.0;
const LOGIT_CAP: f64 = 1.0;

/// The numbers of a head over `query_pre_attn_scalar` in made Gemma models: attention chooses sharply enough for a text
/// to depend on all of its context.
const SCALAR_PART: u32 = 8;

/// Base of the angles in layers of made Gemma 3 models that have a window.
const LOCAL_THETA: f64 = 1_000.0;

/// Largest number of a file, and most layers: more than any model has, and little enough that products of two are numbers
/// and names of all weights fit into memory.
const NUMBER_MAX: u32 = 1 << 24;
const LAYERS_MAX: u32 = 1 << 12;

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
    let mut config = match shape.family {
        Family::Gpt2 => write_gpt2(shape),
        Family::Bert => bert::write(shape),
        _ => {
            let mut config = write_sizes(shape);
            write_family(shape, generation, &mut config);
            write_rope(shape, generation, &mut config);
            config
        }
    };
    let dtype = match generation {
        Generation::Four => "torch_dtype",
        Generation::Five => "dtype",
    };
    config[dtype] = json!(kind.config_name());
    config["tie_word_embeddings"] = json!(shape.tied);
    for (token, id) in [
        ("bos_token_id", Value::Null),
        ("eos_token_id", json!(END_TOKEN)),
        ("pad_token_id", Value::Null),
    ] {
        config[token] = id;
    }
    config
}

fn write_gpt2(shape: &Shape) -> Value {
    json!({
        "architectures": ["GPT2LMHeadModel"],
        "model_type": "gpt2",
        "vocab_size": shape.vocab,
        "n_embd": shape.hidden,
        "n_inner": shape.intermediate,
        "n_layer": shape.layers,
        "n_head": shape.heads,
        "n_positions": shape.context,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": shape.epsilon,
    })
}

/// What all but GPT-2 say with the same words.
fn write_sizes(shape: &Shape) -> Value {
    let architecture = match shape.family {
        Family::Llama => "LlamaForCausalLM",
        Family::Mistral => "MistralForCausalLM",
        Family::Qwen2 => "Qwen2ForCausalLM",
        Family::Qwen3 | Family::Qwen3Embedding => "Qwen3ForCausalLM",
        Family::Phi3 => "Phi3ForCausalLM",
        Family::Gemma2 => "Gemma2ForCausalLM",
        Family::Gemma3 => "Gemma3ForCausalLM",
        Family::Gpt2 => "GPT2LMHeadModel",
        Family::Bert => "BertModel",
    };
    json!({
        "architectures": [architecture],
        "model_type": shape.family.model_type(),
        "vocab_size": shape.vocab,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "max_position_embeddings": shape.context,
        "rms_norm_eps": shape.epsilon,
    })
}

fn write_family(shape: &Shape, generation: Generation, config: &mut Value) {
    let family = shape.family;
    if family.chooses_biases() {
        config["attention_bias"] = json!(shape.attention_bias);
    }
    if family == Family::Llama {
        config["mlp_bias"] = json!(shape.mlp_bias);
    }
    if family.is_gemma() {
        config["hidden_activation"] = json!("gelu_pytorch_tanh");
        config["query_pre_attn_scalar"] = json!((shape.head_dim / SCALAR_PART).max(1));
        config["sliding_window"] = json!(shape.window.unwrap_or(shape.context));
        let capped = family == Family::Gemma2;
        config["attn_logit_softcapping"] = json!(capped.then_some(SCORE_CAP));
        config["final_logit_softcapping"] = json!(capped.then_some(LOGIT_CAP));
    } else {
        config["hidden_act"] = json!("silu");
    }
    if matches!(family, Family::Mistral | Family::Phi3) {
        config["sliding_window"] = json!(shape.window);
    }
    if family == Family::Qwen2 || family.is_qwen3() {
        config["use_sliding_window"] = json!(shape.window.is_some());
        config["sliding_window"] = json!(shape.window);
        config["max_window_layers"] = json!(shape.first_windowed());
    }
    let typed = family.is_gemma() || family == Family::Qwen2 || family.is_qwen3();
    if typed && generation == Generation::Five {
        let kind = |layer| match shape.windowed(layer) {
            true => "sliding_attention",
            false => "full_attention",
        };
        config["layer_types"] = (0..shape.layers).map(kind).collect();
    } else if family == Family::Gemma3 {
        config["sliding_window_pattern"] = json!(GEMMA3_PATTERN);
    }
}

fn write_rope(shape: &Shape, generation: Generation, config: &mut Value) {
    let mut rope = serde_json::to_value(&shape.rope).unwrap_or(Value::Null);
    if shape.family == Family::Phi3
        && let Some(context) = rope.get("original_max_position_embeddings")
    {
        config["original_max_position_embeddings"] = context.clone();
    }
    let partial = shape.family == Family::Phi3;
    match generation {
        Generation::Four => {
            config["rope_theta"] = json!(shape.rope_theta);
            if shape.family == Family::Gemma3 {
                config["rope_local_base_freq"] = json!(LOCAL_THETA);
            }
            if partial {
                config["partial_rotary_factor"] = json!(shape.partial_rotary);
            }
            let plain = shape.rope == Rope::Default;
            config["rope_scaling"] = if plain { Value::Null } else { rope };
        }
        Generation::Five => {
            rope["rope_theta"] = json!(shape.rope_theta);
            if partial {
                rope["partial_rotary_factor"] = json!(shape.partial_rotary);
            }
            config["rope_parameters"] = if shape.family == Family::Gemma3 {
                let local = json!({"rope_type": "default", "rope_theta": LOCAL_THETA});
                json!({"full_attention": rope, "sliding_attention": local})
            } else {
                rope
            };
        }
    }
}

/// What is wrong with a field.
#[derive(Debug)]
pub(super) struct FieldError {
    pub(super) field: String,
    pub(super) reason: String,
}

pub(super) fn wrong<T>(field: &str, reason: String) -> Result<T, FieldError> {
    let field = field.to_owned();
    Err(FieldError { field, reason })
}

/// A shape from `config.json`.
pub(super) fn read(config: &Json) -> Result<Shape, FieldError> {
    let found = config.get("model_type").and_then(Value::as_str);
    let family = Family::ALL.into_iter();
    let Some(family) = family
        .clone()
        .find(|family| Some(family.model_type()) == found)
    else {
        let found = found.unwrap_or("not given");
        let known: Vec<_> = family.map(Family::model_type).collect();
        let reason = format!("is {found}; supported are {}", known.join(", "));
        return wrong("model_type", reason);
    };
    refuse_what_is_unknown(config, family)?;
    let shape = match family {
        Family::Gpt2 => read_gpt2(config)?,
        Family::Bert => bert::read(config)?,
        _ => read_sizes(config, family)?,
    };
    consistent(&shape)?;
    Ok(shape)
}

pub(super) fn needed(config: &Json, field: &str) -> Result<u32, FieldError> {
    match number(config, field)? {
        Some(number) => Ok(number),
        None => wrong(field, "is missing".to_owned()),
    }
}

/// Of a model's layers.
pub(super) fn layers(config: &Json, field: &str) -> Result<u32, FieldError> {
    let layers = needed(config, field)?;
    if layers > LAYERS_MAX {
        return wrong(
            field,
            format!("is {layers}; supported are up to {LAYERS_MAX}"),
        );
    }
    Ok(layers)
}

fn read_gpt2(config: &Json) -> Result<Shape, FieldError> {
    let (hidden, heads) = (needed(config, "n_embd")?, needed(config, "n_head")?);
    Ok(Shape {
        family: Family::Gpt2,
        vocab: needed(config, "vocab_size")?,
        hidden,
        intermediate: number(config, "n_inner")?.unwrap_or(4 * hidden),
        layers: layers(config, "n_layer")?,
        heads,
        kv_heads: heads,
        head_dim: hidden / heads,
        context: needed(config, "n_positions")?,
        epsilon: float(config, "layer_norm_epsilon", 1e-5),
        rope_theta: 10_000.0,
        rope: Rope::Default,
        partial_rotary: 1.0,
        window: None,
        attention_bias: false,
        mlp_bias: false,
        tied: flag(config, "tie_word_embeddings", true)?,
    })
}

fn read_sizes(config: &Json, family: Family) -> Result<Shape, FieldError> {
    let (hidden, heads) = (
        needed(config, "hidden_size")?,
        needed(config, "num_attention_heads")?,
    );
    // What transformers takes when fields are not there.
    let (head_dim, kv_heads) = match family {
        Family::Llama | Family::Phi3 | Family::Gpt2 | Family::Bert => (hidden / heads, heads),
        Family::Mistral => (hidden / heads, 8),
        Family::Qwen2 => (hidden / heads, 32),
        Family::Qwen3 | Family::Qwen3Embedding => (128, 32),
        Family::Gemma2 | Family::Gemma3 => (256, 4),
    };
    let windows = match family {
        Family::Llama | Family::Gpt2 | Family::Bert => false,
        Family::Qwen2 | Family::Qwen3 | Family::Qwen3Embedding => {
            flag(config, "use_sliding_window", false)?
        }
        _ => true,
    };
    let (rope_theta, rope) = rope(config, family)?;
    Ok(Shape {
        family,
        vocab: needed(config, "vocab_size")?,
        hidden,
        intermediate: needed(config, "intermediate_size")?,
        layers: layers(config, "num_hidden_layers")?,
        heads,
        kv_heads: number(config, "num_key_value_heads")?.unwrap_or(kv_heads),
        head_dim: number(config, "head_dim")?.unwrap_or(head_dim),
        context: needed(config, "max_position_embeddings")?,
        epsilon: float(config, "rms_norm_eps", 1e-6),
        rope_theta,
        rope,
        partial_rotary: partial_rotary(config),
        window: if windows {
            number(config, "sliding_window")?
        } else {
            None
        },
        attention_bias: family.chooses_biases() && flag(config, "attention_bias", false)?,
        mlp_bias: family == Family::Llama && flag(config, "mlp_bias", false)?,
        tied: flag(config, "tie_word_embeddings", family.is_gemma())?,
    })
}

/// What would silently give other texts.
fn refuse_what_is_unknown(config: &Json, family: Family) -> Result<(), FieldError> {
    let given = |field: &str| config.get(field).filter(|value| !value.is_null());
    for field in ["hidden_act", "hidden_activation", "activation_function"] {
        let plain = if family == Family::Bert {
            "gelu"
        } else {
            "silu"
        };
        let known = [plain, "gelu_new", "gelu_pytorch_tanh"];
        if let Some(other) = given(field).filter(|act| !known.iter().any(|known| *act == known)) {
            return wrong(
                field,
                format!("is {other}; supported are {}", known.join(", ")),
            );
        }
    }
    if given("quantization_config").is_some() {
        let supported = "supported are weights of float32, bfloat16 and float16";
        return wrong("quantization_config", format!("is given; {supported}"));
    }
    let mut layers = given("layer_types")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let known = ["full_attention", "sliding_attention"];
    if let Some(other) = layers.find(|kind| !known.iter().any(|known| *kind == known)) {
        return wrong(
            "layer_types",
            format!("has {other}; supported are {}", known.join(" and ")),
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
    let head_dim = shape.head_dim;
    let all = u64::from(shape.heads) * u64::from(head_dim);
    if shape.family.divides_hidden() && all != u64::from(shape.hidden) {
        let reason = format!(
            "times heads is {all}, not the hidden size, {}",
            shape.hidden
        );
        return wrong("head_dim", reason);
    }
    let turns = !matches!(shape.family, Family::Gpt2 | Family::Bert);
    if turns && !head_dim.is_multiple_of(2) {
        return wrong("head_dim", format!("is {head_dim}; it must be even"));
    }
    Ok(())
}

pub(super) fn number(config: &Json, field: &str) -> Result<Option<u32>, FieldError> {
    let Some(value) = config.get(field).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
        Some(number) if number > NUMBER_MAX => wrong(
            field,
            format!("is {number}; supported are up to {NUMBER_MAX}"),
        ),
        Some(number) if number > 0 => Ok(Some(number)),
        _ => wrong(field, format!("is a positive integer, not {value}")),
    }
}

pub(super) fn float(config: &Json, field: &str, absent: f64) -> f64 {
    config.get(field).and_then(Value::as_f64).unwrap_or(absent)
}

pub(super) fn flag(config: &Json, field: &str, absent: bool) -> Result<bool, FieldError> {
    match config.get(field) {
        None | Some(Value::Null) => Ok(absent),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => wrong(field, format!("is true or false, not {other}")),
    }
}

fn partial_rotary(config: &Json) -> f64 {
    let outer = float(config, "partial_rotary_factor", 1.0);
    let inner = config.get("rope_parameters").and_then(Value::as_object);
    inner.map_or(outer, |inner| float(inner, "partial_rotary_factor", outer))
}

/// Of layers without a window, where those with one have angles of their own.
fn rope(config: &Json, family: Family) -> Result<(f64, Rope), FieldError> {
    let theta = if family == Family::Gemma3 {
        1_000_000.0
    } else {
        10_000.0
    };
    let outer = float(config, "rope_theta", theta);
    let given = |field: &'static str| {
        let mut value = config.get(field).and_then(Value::as_object)?;
        if family == Family::Gemma3 && field == "rope_parameters" {
            value = value.get("full_attention").and_then(Value::as_object)?;
        }
        Some((field, value.clone()))
    };
    let Some((field, mut value)) = given("rope_scaling").or_else(|| given("rope_parameters"))
    else {
        return Ok((outer, Rope::Default));
    };
    let theta = float(&value, "rope_theta", outer);
    if let Some(kind) = value.get("type").cloned() {
        value.entry("rope_type").or_insert(kind);
    }
    value.entry("rope_type").or_insert(json!("default"));
    if family == Family::Phi3 {
        // Older files say `yarn` and mean this; and keep the context of training outside.
        if value["rope_type"] == "yarn" {
            value.insert("rope_type".to_owned(), json!("longrope"));
        }
        if let Some(context) = number(config, "original_max_position_embeddings")? {
            value.insert(
                "original_max_position_embeddings".to_owned(),
                json!(context),
            );
        }
    }
    match serde_json::from_value(Value::Object(value)) {
        Ok(rope) => Ok((theta, rope)),
        Err(error) => wrong(field, format!("has no use: {error}")),
    }
}
