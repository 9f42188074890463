//! What a checkpoint says about being made for vectors instead of text, in the files that sentence-transformers writes:
//! `modules.json`, the pooling's `config.json`, `sentence_bert_config.json`, `config_sentence_transformers.json`. Owns:
//! telling an embedding checkpoint from a generating one, and which of what these files can say is served. Knows no
//! tensor and no weight.

use std::path::{Component, Path};

use serde::Deserialize;
use serde_json::Value;

use crate::model::Error;
use crate::model::directory::{Json, ModelDirectory};

const MODULES: &str = "modules.json";
/// Where the pooling stands when no `modules.json` says it.
const POOLING: &str = "1_Pooling";
const CONFIG: &str = "config.json";

/// Encoders: they have no next token, so vectors are all that they make.
const ENCODERS: [&str; 1] = ["bert"];
/// Decoders that are published with vectors of which a beginning is a vector too (Matryoshka), without a field for it.
const SHORTENABLE: [&str; 1] = ["qwen3"];

/// Numbers of a vector of the simulated model.
pub const SIM_DIMENSIONS: u32 = 64;

/// Tokens of the texts of one request, at most, and so of one text.
pub const TOKENS_MAX: u32 = 1 << 20;

/// What becomes of a text's tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pool {
    /// The first token's vector.
    First,
    /// The greatest number at each place.
    Max,
    /// The mean.
    Mean,
    /// The sum over the root of the number of tokens.
    MeanSqrt,
    /// The mean, where a token counts as often as its place, from 1.
    WeightedMean,
    /// The last token's vector.
    Last,
}

/// As `pooling_mode` has them, and as the flags of before; in the order in which several flags are put together.
const POOLS: [(&str, &str, Pool); 6] = [
    ("cls", "pooling_mode_cls_token", Pool::First),
    ("max", "pooling_mode_max_tokens", Pool::Max),
    ("mean", "pooling_mode_mean_tokens", Pool::Mean),
    (
        "mean_sqrt_len_tokens",
        "pooling_mode_mean_sqrt_len_tokens",
        Pool::MeanSqrt,
    ),
    (
        "weightedmean",
        "pooling_mode_weightedmean_tokens",
        Pool::WeightedMean,
    ),
    ("lasttoken", "pooling_mode_lasttoken", Pool::Last),
];

/// Whether a vector may be cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shortening {
    /// No: every number counts alike.
    None,
    /// To any length.
    Any,
    /// To these.
    To(Vec<u32>),
}

/// An embedding checkpoint, apart from its layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Embedding {
    /// One after the other they make the vector; at least one.
    pub pools: Vec<Pool>,
    /// Whether vectors are brought to the length 1.
    pub normalise: bool,
    /// Numbers of a vector.
    pub dimensions: u32,
    /// Longest text in tokens, where that is less than the model's context.
    pub tokens_max: Option<u32>,
    /// Put before every text.
    pub prompt: String,
    /// Whether vectors may be cut.
    pub shortening: Shortening,
}

#[derive(Deserialize)]
struct Module {
    path: String,
    r#type: String,
}

impl Embedding {
    /// `None` for a checkpoint that makes text. One that makes vectors has `modules.json` or `1_Pooling/config.json`, or
    /// is an encoder; an encoder without these files is pooled as sentence-transformers does it then: by the mean.
    ///
    /// # Errors
    /// One line that names the file, the field and what is supported.
    pub fn read(directory: &ModelDirectory) -> Result<Option<Self>, Error> {
        if directory.is_sim() {
            return Ok(directory.is_sim_of_vectors().then(Self::simulated));
        }
        let files = Reader { directory };
        let modules = files.modules()?;
        let pooling_folder = match &modules {
            Some(modules) => modules.pooling.clone(),
            None => POOLING.to_owned(),
        };
        let pooling = files.json(&format!("{pooling_folder}/{CONFIG}"))?;
        let model_type = directory.config.get("model_type").and_then(Value::as_str);
        let is_one_of = |names: &[&str]| model_type.is_some_and(|name| names.contains(&name));
        if modules.is_none() && pooling.is_none() && !is_one_of(&ENCODERS) {
            return Ok(None);
        }
        let (pools, includes_prompt) = match &pooling {
            None if modules.is_some() => {
                return files.fail(
                    MODULES,
                    "type",
                    format!("names a pooling, but {pooling_folder}/{CONFIG} is not there"),
                );
            }
            None => (vec![Pool::Mean], true),
            Some(pooling) => files.pools(&format!("{pooling_folder}/{CONFIG}"), pooling)?,
        };
        let prompt = files.prompt()?;
        if !prompt.is_empty() && !includes_prompt {
            let reason = "is false beside a default prompt; supported is a prompt that counts";
            let file = format!("{pooling_folder}/{CONFIG}");
            return files.fail(&file, "include_prompt", reason.to_owned());
        }
        let hidden = files.number(CONFIG, &directory.config, "hidden_size")?;
        let Some(hidden) = hidden else {
            return files.fail(CONFIG, "hidden_size", "is missing".to_owned());
        };
        Ok(Some(Self {
            dimensions: hidden.saturating_mul(pools.len() as u32),
            pools,
            normalise: modules.is_some_and(|modules| modules.normalise),
            tokens_max: files.tokens_max()?,
            prompt,
            shortening: files.shortening(is_one_of(&SHORTENABLE))?,
        }))
    }

    /// Longest text, for a model of so long a context.
    pub fn longest(&self, context: u32) -> u32 {
        context
            .min(self.tokens_max.unwrap_or(context))
            .min(TOKENS_MAX)
    }

    fn simulated() -> Self {
        Self {
            pools: vec![Pool::Mean],
            normalise: true,
            dimensions: SIM_DIMENSIONS,
            tokens_max: None,
            prompt: String::new(),
            shortening: Shortening::Any,
        }
    }
}

/// What `modules.json` lists.
struct Modules {
    /// The pooling's folder.
    pooling: String,
    normalise: bool,
}

/// The files of one checkpoint.
struct Reader<'a> {
    directory: &'a ModelDirectory,
}

impl Reader<'_> {
    fn fail<T>(&self, file: &str, field: &str, reason: String) -> Result<T, Error> {
        Err(Error::Field {
            file: self.directory.files.path(file),
            field: field.to_owned(),
            reason,
        })
    }

    fn json(&self, file: &str) -> Result<Option<Json>, Error> {
        self.directory.files.json(file)
    }

    fn modules(&self) -> Result<Option<Modules>, Error> {
        let Some(bytes) = self.directory.files.bytes(MODULES)? else {
            return Ok(None);
        };
        let modules: Vec<Module> = serde_json::from_slice(&bytes).map_err(|error| Error::File {
            file: self.directory.files.path(MODULES),
            reason: format!("is no list of modules with type and path: {error}"),
        })?;
        // The modules have had several homes; their names stayed.
        let kinds: Vec<_> = modules
            .iter()
            .map(|module| module.r#type.rsplit('.').next().unwrap_or_default())
            .collect();
        let normalise = match kinds[..] {
            ["Transformer", "Pooling"] => false,
            ["Transformer", "Pooling", "Normalize"] => true,
            _ => {
                let reason = format!(
                    "lists {}; supported are Transformer, Pooling and, after these, Normalize",
                    kinds.join(", ")
                );
                return self.fail(MODULES, "type", reason);
            }
        };
        if !modules[0].path.is_empty() {
            let reason = format!(
                "puts the Transformer into {:?}; supported is the checkpoint's own folder",
                modules[0].path
            );
            return self.fail(MODULES, "path", reason);
        }
        let pooling = modules[1].path.clone();
        // A name from a file must not lead out of the folder.
        let mut parts = Path::new(&pooling).components();
        if !matches!(
            (parts.next(), parts.next()),
            (Some(Component::Normal(_)), None)
        ) {
            let reason = format!("names {pooling:?}, which is no folder of this checkpoint");
            return self.fail(MODULES, "path", reason);
        }
        Ok(Some(Modules { pooling, normalise }))
    }

    /// The pools, and whether they see the prompt.
    fn pools(&self, file: &str, pooling: &Json) -> Result<(Vec<Pool>, bool), Error> {
        let includes_prompt = self.flag(file, pooling, "include_prompt", true)?;
        let mut pools = Vec::new();
        let modes = match pooling.get("pooling_mode") {
            None | Some(Value::Null) => None,
            Some(Value::Array(modes)) => Some(modes.clone()),
            Some(mode) => Some(vec![mode.clone()]),
        };
        for mode in modes.iter().flatten() {
            let known = POOLS.iter().find(|(name, ..)| mode.as_str() == Some(*name));
            match known {
                Some((_, _, pool)) => pools.push(*pool),
                None => {
                    let names = POOLS.map(|(name, ..)| name).join(", ");
                    let reason = format!("has {mode}; supported are {names}");
                    return self.fail(file, "pooling_mode", reason);
                }
            }
        }
        if modes.is_none() {
            let flags: Vec<_> = POOLS.iter().map(|(_, flag, _)| *flag).collect();
            let unknown = pooling.iter().find(|(name, value)| {
                name.starts_with("pooling_mode")
                    && !flags.contains(&name.as_str())
                    && **value != Value::Bool(false)
            });
            if let Some((name, _)) = unknown {
                let reason = format!("is set; supported are {}", flags.join(", "));
                return self.fail(file, name, reason);
            }
            for (_, flag, pool) in POOLS {
                if self.flag(file, pooling, flag, false)? {
                    pools.push(pool);
                }
            }
        }
        if pools.is_empty() {
            pools.push(Pool::Mean);
        }
        Ok((pools, includes_prompt))
    }

    fn tokens_max(&self) -> Result<Option<u32>, Error> {
        const FILE: &str = "sentence_bert_config.json";
        let Some(object) = self.json(FILE)? else {
            return Ok(None);
        };
        if self.flag(FILE, &object, "do_lower_case", false)? {
            let reason = "is true; supported is what the tokenizer does by itself";
            return self.fail(FILE, "do_lower_case", reason.to_owned());
        }
        self.number(FILE, &object, "max_seq_length")
    }

    /// The prompt that texts have where none is named.
    fn prompt(&self) -> Result<String, Error> {
        const FILE: &str = "config_sentence_transformers.json";
        let object = self.json(FILE)?.unwrap_or_default();
        let Some(name) = object
            .get("default_prompt_name")
            .filter(|name| !name.is_null())
        else {
            return Ok(String::new());
        };
        let prompts = object.get("prompts").and_then(Value::as_object);
        let prompt = name.as_str().and_then(|name| prompts?.get(name)?.as_str());
        match prompt {
            Some(prompt) => Ok(prompt.to_owned()),
            None => {
                let reason = format!("is {name}, which is none of `prompts`");
                self.fail(FILE, "default_prompt_name", reason)
            }
        }
    }

    /// Fields with vLLM's names: sentence-transformers has none for it.
    fn shortening(&self, by_family: bool) -> Result<Shortening, Error> {
        const LIST: &str = "matryoshka_dimensions";
        let config = &self.directory.config;
        if let Some(value) = config.get(LIST).filter(|value| !value.is_null()) {
            let length = |value: &Value| {
                let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
                number.filter(|number| *number > 0)
            };
            let list = value.as_array();
            let list: Option<Vec<_>> = list.and_then(|list| list.iter().map(length).collect());
            return match list.filter(|list| !list.is_empty()) {
                Some(list) => Ok(Shortening::To(list)),
                None => self.fail(CONFIG, LIST, format!("is a list of lengths, not {value}")),
            };
        }
        let any = self.flag(CONFIG, config, "is_matryoshka", by_family)?;
        Ok(if any {
            Shortening::Any
        } else {
            Shortening::None
        })
    }

    fn flag(&self, file: &str, object: &Json, name: &str, absent: bool) -> Result<bool, Error> {
        match object.get(name) {
            None | Some(Value::Null) => Ok(absent),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(other) => self.fail(file, name, format!("is true or false, not {other}")),
        }
    }

    fn number(&self, file: &str, object: &Json, name: &str) -> Result<Option<u32>, Error> {
        let Some(value) = object.get(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        match value.as_u64().and_then(|number| u32::try_from(number).ok()) {
            Some(number) if number > 0 => Ok(Some(number)),
            _ => self.fail(file, name, format!("is a positive integer, not {value}")),
        }
    }
}

/// Brings a vector to the length 1; one without a direction stays.
pub fn normalise(vector: &mut [f32]) {
    let sum: f64 = vector.iter().map(|n| f64::from(*n) * f64::from(*n)).sum();
    let length = sum.sqrt().max(1e-12);
    for number in vector {
        *number = (f64::from(*number) / length) as f32;
    }
}

#[cfg(test)]
mod tests;
