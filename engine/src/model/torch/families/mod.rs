//! The families of decoders, a file each: how its `config.json` is read, and what sets it apart from Llama. Owns: which
//! there are. Knows no tensor.
//!
//! A family is a description, not code that runs. All of them are one shape: norm, attention, norm, two or three
//! products, each added to the stream. What differs (which norms, biases, windows, angles, caps) is data, in words that
//! [`architecture`](crate::model::torch::architecture) defines. So one decoder runs all: a kernel, a fused product or a
//! captured graph is made once, a test of paging covers the same code in every family, and a new family is a file of the
//! length of what is new in it. Eight decoders of their own would repeat the loop over layers eight times.
//!
//! Defaults of fields are those of Hugging Face transformers. What a file asks for and its family does not do is
//! refused by name: a text that is quietly another one is worse than none.

mod gemma2;
mod gemma3;
mod gpt2;
mod llama;
mod mistral;
mod phi3;
mod qwen2;
mod qwen3;

use crate::model::Error;
use crate::model::directory::ModelDirectory;
use crate::model::torch::architecture::Architecture;
use crate::model::torch::config::Fields;

type Read = fn(&Fields<'_>) -> Result<Architecture, Error>;

/// By `model_type`.
const FAMILIES: [(&str, Read); 8] = [
    ("llama", llama::read),
    ("mistral", mistral::read),
    ("qwen2", qwen2::read),
    ("qwen3", qwen3::read),
    ("phi3", phi3::read),
    ("gemma2", gemma2::read),
    ("gemma3_text", gemma3::read),
    ("gpt2", gpt2::read),
];

/// Reads what a checkpoint is made of.
///
/// # Errors
/// One line that names the field, and what is supported.
pub fn read(directory: &ModelDirectory) -> Result<Architecture, Error> {
    of_fields(&Fields::of(directory))
}

/// The same of the fields of its `config.json` alone.
///
/// # Errors
/// As [`read`].
pub fn of_fields(fields: &Fields<'_>) -> Result<Architecture, Error> {
    let found = fields.text("model_type")?;
    let family = FAMILIES.iter().find(|(name, _)| Some(*name) == found);
    let Some((_, read)) = family else {
        let found = found.map_or("is missing".to_owned(), |name| format!("is {name:?}"));
        let names = FAMILIES.map(|(name, _)| name).join(", ");
        return fields.fail("model_type", format!("{found}; supported are {names}"));
    };
    if fields.get("quantization_config").is_some() {
        let reason = "is given; supported are weights of float32, bfloat16 and float16";
        return fields.fail("quantization_config", reason.to_owned());
    }
    let architecture = read(fields)?;
    let (heads, kv_heads) = (architecture.heads, architecture.kv_heads);
    if heads % kv_heads != 0 {
        let reason = format!("is {kv_heads}, which does not divide num_attention_heads, {heads}");
        return fields.fail("num_key_value_heads", reason);
    }
    Ok(architecture)
}
