//! What `config.json` says about the layers, in both generations of Hugging Face transformers. Owns: names, defaults and
//! which of them are supported. Knows no tensor.

use serde_json::Value;

use crate::model::directory::{Json, ModelDirectory};
use crate::model::torch::rope::{Llama3, RopeScaling};
use crate::model::{Dtype, Error};

/// What a decoder is made of. All numbers are at least 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Architecture {
    /// Tokens of the vocabulary.
    pub vocab_size: i64,
    /// Width of the residual stream.
    pub hidden: i64,
    /// Width of the gated layer.
    pub intermediate: i64,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: i64,
    /// Key-value heads; divides `heads`.
    pub kv_heads: i64,
    /// Numbers of a head; even.
    pub head_dim: i64,
    /// Added to the mean square in norms.
    pub epsilon: f64,
    /// Base of the rotation angles.
    pub rope_theta: f64,
    /// How angles are stretched beyond the context of training.
    pub rope_scaling: RopeScaling,
    /// Whether queries, keys, values and the attention's output have a bias.
    pub attention_bias: bool,
    /// Whether the gated layer has.
    pub mlp_bias: bool,
    /// Whether each head of queries and keys has a norm of its own.
    pub head_norm: bool,
    /// Whether the embedding is the output layer too.
    pub tied: bool,
    /// The type that the file asks for.
    pub dtype: Option<Dtype>,
}

const SUPPORTED: &str = "supported are llama and qwen3";

impl Architecture {
    /// Reads it.
    ///
    /// # Errors
    /// One line that names the field, and what is supported.
    pub fn read(directory: &ModelDirectory) -> Result<Self, Error> {
        let fields = Fields {
            file: directory.files.path("config.json"),
            object: &directory.config,
        };
        let family = match fields.text("model_type")? {
            Some("llama") => Family::Llama,
            Some("qwen3") => Family::Qwen3,
            Some(other) => return fields.fail("model_type", format!("is {other:?}; {SUPPORTED}")),
            None => return fields.fail("model_type", format!("is missing; {SUPPORTED}")),
        };
        fields.refuse_what_is_unknown()?;
        let heads = fields.required("num_attention_heads")?;
        let hidden = fields.required("hidden_size")?;
        let (head_dim, kv_heads) = match family {
            Family::Llama => (hidden / heads, heads),
            Family::Qwen3 => (128, 32),
        };
        let (rope_theta, rope_scaling) = fields.rope()?;
        let architecture = Self {
            vocab_size: fields.required("vocab_size")?,
            hidden,
            intermediate: fields.required("intermediate_size")?,
            layers: fields.required("num_hidden_layers")?.unsigned_abs() as usize,
            heads,
            kv_heads: fields.number("num_key_value_heads")?.unwrap_or(kv_heads),
            head_dim: fields.number("head_dim")?.unwrap_or(head_dim),
            epsilon: fields
                .float(&directory.config, "rms_norm_eps")?
                .unwrap_or(1e-6),
            rope_theta,
            rope_scaling,
            attention_bias: fields.flag("attention_bias")?,
            mlp_bias: fields.flag("mlp_bias")?,
            head_norm: family == Family::Qwen3,
            tied: fields.flag("tie_word_embeddings")?,
            dtype: fields.dtype()?,
        };
        architecture.check(&fields)?;
        Ok(architecture)
    }

    /// Numbers that one token is multiplied with.
    pub fn multiplied(&self) -> i64 {
        let attention = 2 * (self.heads + self.kv_heads) * self.head_dim * self.hidden;
        let gated = 3 * self.intermediate * self.hidden;
        self.layers as i64 * (attention + gated) + self.vocab_size * self.hidden
    }

    fn check(&self, fields: &Fields<'_>) -> Result<(), Error> {
        if self.heads % self.kv_heads != 0 {
            let reason = format!(
                "is {}, which does not divide num_attention_heads, {}",
                self.kv_heads, self.heads
            );
            return fields.fail("num_key_value_heads", reason);
        }
        if self.head_dim % 2 != 0 {
            return fields.fail("head_dim", format!("is {}; it must be even", self.head_dim));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Family {
    Llama,
    Qwen3,
}

struct Fields<'a> {
    file: String,
    object: &'a Json,
}

impl<'a> Fields<'a> {
    fn fail<T>(&self, field: &str, reason: String) -> Result<T, Error> {
        let (file, field) = (self.file.clone(), field.to_owned());
        Err(Error::Field {
            file,
            field,
            reason,
        })
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|value| !value.is_null())
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, Error> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => self.fail(name, format!("is a string, not {other}")),
        }
    }

    fn number(&self, name: &str) -> Result<Option<i64>, Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match value.as_i64() {
            Some(number) if (1..=i64::from(i32::MAX)).contains(&number) => Ok(Some(number)),
            _ => self.fail(name, format!("is a positive integer, not {value}")),
        }
    }

    fn required(&self, name: &str) -> Result<i64, Error> {
        match self.number(name)? {
            Some(number) => Ok(number),
            None => self.fail(name, "is missing".to_owned()),
        }
    }

    fn float(&self, object: &Json, name: &str) -> Result<Option<f64>, Error> {
        match object.get(name).filter(|value| !value.is_null()) {
            None => Ok(None),
            Some(value) => match value.as_f64() {
                Some(number) if number.is_finite() && number > 0.0 => Ok(Some(number)),
                _ => self.fail(name, format!("is a positive number, not {value}")),
            },
        }
    }

    fn flag(&self, name: &str) -> Result<bool, Error> {
        match self.get(name) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => self.fail(name, format!("is true or false, not {other}")),
        }
    }

    /// What would silently give other texts is refused.
    fn refuse_what_is_unknown(&self) -> Result<(), Error> {
        match self.text("hidden_act")? {
            None | Some("silu") => {}
            Some(other) => {
                return self.fail("hidden_act", format!("is {other:?}; supported is silu"));
            }
        }
        if self.get("quantization_config").is_some() {
            let reason = "is given; supported are weights of float32, bfloat16 and float16";
            return self.fail("quantization_config", reason.to_owned());
        }
        if self.flag("use_sliding_window")? {
            return self.fail(
                "use_sliding_window",
                "is true; supported is full attention".to_owned(),
            );
        }
        let types = self.get("layer_types").and_then(Value::as_array);
        if let Some(other) = types
            .into_iter()
            .flatten()
            .find(|kind| *kind != "full_attention")
        {
            return self.fail(
                "layer_types",
                format!("has {other}; supported is full_attention"),
            );
        }
        Ok(())
    }

    fn dtype(&self) -> Result<Option<Dtype>, Error> {
        let name = if self.get("dtype").is_some() {
            "dtype"
        } else {
            "torch_dtype"
        };
        match self.text(name)? {
            None => Ok(None),
            Some("float32") => Ok(Some(Dtype::Float32)),
            Some("bfloat16" | "float16") => Ok(Some(Dtype::Bfloat16)),
            Some(other) => self.fail(
                name,
                format!("is {other:?}; supported are float32, bfloat16 and float16"),
            ),
        }
    }

    /// Transformers 5 keeps base and scaling together, in `rope_parameters`; before, the base stood beside
    /// `rope_scaling`, whose kind was called `type` first and `rope_type` later.
    fn rope(&self) -> Result<(f64, RopeScaling), Error> {
        let outer = self.float(self.object, "rope_theta")?;
        let found = ["rope_parameters", "rope_scaling"]
            .into_iter()
            .find_map(|name| Some((name, self.get(name)?)));
        let Some((name, value)) = found else {
            return Ok((outer.unwrap_or(10_000.0), RopeScaling::None));
        };
        let Value::Object(rope) = value else {
            return self.fail(name, format!("is an object, not {value}"));
        };
        let theta = self
            .float(rope, "rope_theta")?
            .or(outer)
            .unwrap_or(10_000.0);
        let kind = rope.get("rope_type").or_else(|| rope.get("type"));
        let need = |field: &str| match self.float(rope, field)? {
            Some(number) => Ok(number),
            None => self.fail(&format!("{name}.{field}"), "is missing".to_owned()),
        };
        let scaling = match kind.and_then(Value::as_str) {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear {
                factor: need("factor")?,
            },
            Some("llama3") => RopeScaling::Llama3(Llama3 {
                factor: need("factor")?,
                low_freq_factor: need("low_freq_factor")?,
                high_freq_factor: need("high_freq_factor")?,
                original_context: need("original_max_position_embeddings")?,
            }),
            Some(other) => {
                let reason = format!("is {other:?}; supported are default, linear and llama3");
                return self.fail(&format!("{name}.rope_type"), reason);
            }
        };
        Ok((theta, scaling))
    }
}
