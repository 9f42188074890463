//! What a checkpoint's directory says about itself, apart from weights: a folder in Hugging Face layout, or one that is
//! built into the binary. Owns: reading and checking the generic facts that text and limits need. Knows no tensor.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

use lps_engine_core::request::TokenId;
use serde_json::{Map, Value};

use crate::model::{Dtype, Error, missing};

/// What a JSON file of a checkpoint holds.
pub type Json = Map<String, Value>;

/// A file built into the binary.
type Builtin = (&'static str, &'static [u8]);

/// The demo model: Qwen3 layout, 2.7 million parameters.
const DEMO: &[Builtin] = &[
    (
        "config.json",
        include_bytes!("../../models/demo/config.json"),
    ),
    (
        "generation_config.json",
        include_bytes!("../../models/demo/generation_config.json"),
    ),
    (
        "tokenizer.json",
        include_bytes!("../../models/demo/tokenizer.json"),
    ),
    (
        "tokenizer_config.json",
        include_bytes!("../../models/demo/tokenizer_config.json"),
    ),
    (
        "chat_template.jinja",
        include_bytes!("../../models/demo/chat_template.jinja"),
    ),
    (
        "model.safetensors",
        include_bytes!("../../models/demo/model.safetensors"),
    ),
];

/// Where the simulated model's context ends, unless a shorter one is asked for.
const SIM_CONTEXT_TOKENS: u32 = 32_768;

/// Which model was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A folder.
    Directory(PathBuf),
    /// The demo model.
    Demo,
    /// The simulated model; it speaks with the demo model's tokenizer and template.
    Sim,
    /// The simulated embedding model; it reads with the demo model's tokenizer.
    SimEmbedding,
}

impl std::str::FromStr for Source {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("builtin:") {
            Some("demo") => Ok(Self::Demo),
            Some("sim") => Ok(Self::Sim),
            Some("sim-embedding") => Ok(Self::SimEmbedding),
            Some(other) => Err(format!(
                "there is no builtin model {other:?}; there are builtin:demo, builtin:sim and builtin:sim-embedding"
            )),
            None if text.is_empty() => Err("a model is a folder or builtin:NAME".to_owned()),
            None => Ok(Self::Directory(PathBuf::from(text))),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory(path) => write!(f, "{}", path.display()),
            Self::Demo => f.write_str("builtin:demo"),
            Self::Sim => f.write_str("builtin:sim"),
            Self::SimEmbedding => f.write_str("builtin:sim-embedding"),
        }
    }
}

impl Source {
    /// The name by which clients ask for it when none is given: the folder's.
    pub fn default_name(&self) -> String {
        match self {
            Self::Demo => "demo".to_owned(),
            Self::Sim => "sim".to_owned(),
            Self::SimEmbedding => "sim-embedding".to_owned(),
            Self::Directory(path) => {
                let full = path.canonicalize().unwrap_or_else(|_| path.clone());
                let name = full.file_name().unwrap_or(full.as_os_str());
                name.to_string_lossy().into_owned()
            }
        }
    }
}

/// Where a checkpoint's files are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Files {
    /// In a folder.
    Directory(PathBuf),
    /// In the binary, by name.
    Builtin(&'static [Builtin]),
}

/// One file that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum File {
    /// To be read or mapped.
    Path(PathBuf),
    /// In memory for the life of the process.
    Memory(&'static [u8]),
}

impl Files {
    /// Where a file is; `None` when there is none of that name. Weights are mapped from here.
    pub fn locate(&self, name: &str) -> Option<File> {
        match self {
            Self::Directory(folder) => {
                let path = folder.join(name);
                path.is_file().then_some(File::Path(path))
            }
            Self::Builtin(files) => files
                .iter()
                .find(|(file, _)| *file == name)
                .map(|(_, bytes)| File::Memory(bytes)),
        }
    }

    /// The whole content of a (small) file; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it is there and cannot be read.
    pub fn bytes(&self, name: &str) -> Result<Option<Cow<'static, [u8]>>, Error> {
        match self.locate(name) {
            None => Ok(None),
            Some(File::Memory(bytes)) => Ok(Some(Cow::Borrowed(bytes))),
            Some(File::Path(path)) => match std::fs::read(&path) {
                Ok(bytes) => Ok(Some(Cow::Owned(bytes))),
                Err(source) => Err(Error::Read {
                    file: path.display().to_string(),
                    source,
                }),
            },
        }
    }

    /// As [`Files::bytes`], for a file that must be there.
    ///
    /// # Errors
    /// When it is not there, or cannot be read.
    pub fn required(&self, name: &str) -> Result<Cow<'static, [u8]>, Error> {
        self.bytes(name)?.ok_or_else(|| Error::Read {
            file: self.path(name),
            source: missing(),
        })
    }

    /// A JSON object; `None` when there is none of that name.
    ///
    /// # Errors
    /// When it is there and is no JSON object.
    pub fn json(&self, name: &str) -> Result<Option<Json>, Error> {
        let Some(bytes) = self.bytes(name)? else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(object) => Ok(Some(object)),
            Err(error) => Err(Error::File {
                file: self.path(name),
                reason: format!("is no JSON object: {error}"),
            }),
        }
    }

    /// How a file is called in messages.
    pub fn path(&self, name: &str) -> String {
        match self {
            Self::Directory(folder) => folder.join(name).display().to_string(),
            Self::Builtin(_) => format!("builtin:{name}"),
        }
    }
}

/// Defaults of `generation_config.json`: below the request's own fields, above OpenAI's defaults.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GenerationDefaults {
    /// As in a request.
    pub temperature: Option<f32>,
    /// As in a request.
    pub top_p: Option<f32>,
    /// As in a request.
    pub top_k: Option<u32>,
    /// As in a request.
    pub min_p: Option<f32>,
    /// As in a request.
    pub repetition_penalty: Option<f32>,
}

/// A checkpoint's directory, read and checked as far as text and limits need it.
#[derive(Debug, Clone)]
pub struct ModelDirectory {
    source: Source,
    /// Where its files are.
    pub files: Files,
    /// `config.json` as it is, for the loader.
    pub config: Json,
    /// Longest prompt plus output that the model was made for.
    pub context_tokens: u32,
    /// Tokens of the output layer.
    pub vocab_size: u32,
    /// Tokens that end an answer: those of `generation_config.json` over those of `config.json`.
    pub end_tokens: Vec<TokenId>,
    /// Sampling defaults.
    pub generation: GenerationDefaults,
}

impl fmt::Display for ModelDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl ModelDirectory {
    /// Reads the generic facts.
    ///
    /// # Errors
    /// One line that names the file and the field.
    pub fn open(source: &Source) -> Result<Self, Error> {
        let files = match source {
            Source::Directory(path) => Files::Directory(checked_folder(path)?),
            Source::Demo | Source::Sim | Source::SimEmbedding => Files::Builtin(DEMO),
        };
        let Some(config) = files.json("config.json")? else {
            return Err(Error::Read {
                file: files.path("config.json"),
                source: missing(),
            });
        };
        let generation = files.json("generation_config.json")?.unwrap_or_default();
        let facts = Facts {
            file: files.path("config.json"),
            object: &config,
        };
        let context_tokens = match source {
            Source::Sim | Source::SimEmbedding => SIM_CONTEXT_TOKENS,
            _ => facts.first_number(&[
                "max_position_embeddings",
                "n_positions",
                "max_sequence_length",
                "seq_length",
            ])?,
        };
        let vocab_size = facts.first_number(&["vocab_size"])?;
        let of_generation = Facts {
            file: files.path("generation_config.json"),
            object: &generation,
        };
        let mut end_tokens = of_generation.tokens("eos_token_id")?;
        if end_tokens.is_empty() {
            end_tokens = facts.tokens("eos_token_id")?;
        }
        let generation = of_generation.defaults();
        Ok(Self {
            source: source.clone(),
            context_tokens,
            vocab_size,
            end_tokens,
            generation,
            files,
            config,
        })
    }

    /// The type to compute in when none is asked for; `None`: the checkpoint's own. The demo model is small enough for
    /// 32 bits, and in these a text does not depend on what else is in the batch: a tie of two tokens that rounding
    /// decides is rarer by five orders of magnitude than in 16.
    pub fn dtype_preferred(&self) -> Option<Dtype> {
        (self.source == Source::Demo).then_some(Dtype::Float32)
    }

    /// Whether the model is simulated: no weights are read.
    pub fn is_sim(&self) -> bool {
        matches!(self.source, Source::Sim | Source::SimEmbedding)
    }

    /// Whether it is simulated and makes vectors.
    pub fn is_sim_of_vectors(&self) -> bool {
        self.source == Source::SimEmbedding
    }
}

fn checked_folder(path: &Path) -> Result<PathBuf, Error> {
    let reason = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => return Ok(path.to_path_buf()),
        Ok(_) => {
            return Err(Error::File {
                file: path.display().to_string(),
                reason: "is no folder; --model takes a folder in Hugging Face layout".to_owned(),
            });
        }
        Err(error) => error,
    };
    Err(Error::Read {
        file: path.display().to_string(),
        source: reason,
    })
}

/// One JSON file under checking.
struct Facts<'a> {
    file: String,
    object: &'a Json,
}

impl Facts<'_> {
    fn error(&self, field: &str, reason: String) -> Error {
        Error::Field {
            file: self.file.clone(),
            field: field.to_owned(),
            reason,
        }
    }

    /// A positive number under the first of the names that is there. Models with a vision part keep the text model's
    /// numbers one level below, in `text_config`.
    fn first_number(&self, names: &[&str]) -> Result<u32, Error> {
        let text = self.object.get("text_config").and_then(Value::as_object);
        for object in [Some(self.object), text].into_iter().flatten() {
            for name in names {
                let Some(value) = object.get(*name).filter(|value| !value.is_null()) else {
                    continue;
                };
                let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
                return number.filter(|number| *number > 0).ok_or_else(|| {
                    self.error(name, format!("is a positive integer, not {value}"))
                });
            }
        }
        Err(self.error(names[0], "is missing".to_owned()))
    }

    /// One token id, a list of them, or none.
    fn tokens(&self, field: &str) -> Result<Vec<TokenId>, Error> {
        let token = |value: &Value| value.as_u64().and_then(|id| u32::try_from(id).ok());
        let tokens = match self.object.get(field) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(token).collect(),
            Some(value) => token(value).map(|id| vec![id]),
        };
        tokens.ok_or_else(|| {
            let value = &self.object[field];
            self.error(
                field,
                format!("is a token id or a list of them, not {value}"),
            )
        })
    }

    /// Values that a request could not have are passed over: the file is a suggestion.
    fn defaults(&self) -> GenerationDefaults {
        let number = |name: &str| self.object.get(name).and_then(Value::as_f64);
        let positive = |name: &str| number(name).filter(|n| *n > 0.0).map(|n| n as f32);
        let greedy = self.object.get("do_sample") == Some(&Value::Bool(false));
        GenerationDefaults {
            temperature: if greedy {
                Some(0.0)
            } else {
                positive("temperature")
            },
            top_p: positive("top_p").filter(|p| *p <= 1.0),
            top_k: self
                .object
                .get("top_k")
                .and_then(Value::as_u64)
                .and_then(|k| u32::try_from(k).ok()),
            min_p: positive("min_p").filter(|p| *p <= 1.0),
            repetition_penalty: positive("repetition_penalty"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_demo_model_is_inside() {
        let demo = ModelDirectory::open(&Source::Demo).unwrap();
        assert_eq!((demo.context_tokens, demo.vocab_size), (2048, 1536));
        assert_eq!(demo.end_tokens, [2]);
        assert!(!demo.is_sim());
        assert!(matches!(
            demo.files.locate("model.safetensors"),
            Some(File::Memory(_))
        ));
    }

    #[test]
    fn a_wrong_directory_is_named() {
        let guard = tempfile::tempdir().unwrap();
        let folder = guard.path().to_path_buf();
        let open = |config: &str| {
            std::fs::write(folder.join("config.json"), config).unwrap();
            ModelDirectory::open(&Source::Directory(folder.clone()))
        };
        for (config, expected) in [
            ("{", "config.json: is no JSON object"),
            ("{}", "field `max_position_embeddings` is missing"),
            (
                r#"{"max_position_embeddings": -1}"#,
                "field `max_position_embeddings` is a positive integer, not -1",
            ),
            (
                r#"{"max_position_embeddings": 8, "vocab_size": 4, "eos_token_id": "x"}"#,
                "field `eos_token_id` is a token id or a list of them, not \"x\"",
            ),
        ] {
            let error = open(config).expect_err(config).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let good = open(r#"{"n_positions": 8, "vocab_size": 4, "eos_token_id": [1, 2]}"#).unwrap();
        assert_eq!(good.end_tokens, [1, 2]);
        drop(guard);
        let error = open_missing(&folder).to_string();
        assert!(error.contains("o such file"), "{error}");
    }

    fn open_missing(folder: &Path) -> Error {
        ModelDirectory::open(&Source::Directory(folder.to_path_buf())).expect_err("it is gone")
    }
}
