//! Reading a checkpoint critically, without loading it: which files there are, whether fields have a use, whether each
//! weight is there in its shape, whether files are whole. Owns: the order of the questions, and the summary.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};

use super::config_json;
use super::safetensors_file::{self, Entry, StoredType};
use super::shape::{Family, Shape};
use crate::console;

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// What is wrong: the file, and what about it.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct Problem {
    file: PathBuf,
    reason: String,
}

/// A checkpoint in numbers.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// Its folder.
    pub folder: PathBuf,
    /// All numbers of its layers.
    #[serde(flatten)]
    pub shape: Shape,
    /// Numbers in all weights.
    pub parameters: u64,
    /// Bytes of all weights.
    pub weights_bytes: u64,
    /// Files of weights.
    pub weight_files: usize,
    /// Types in which weights are stored.
    pub stored: Vec<StoredType>,
    /// Bytes of keys and values of one token, with 16 bits a number.
    pub kv_bytes_per_token: u64,
    /// Weights that no layer asks for; they are passed over.
    pub unused: Vec<String>,
    /// Files that text needs and that are not there.
    pub missing_text_files: Vec<&'static str>,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = &self.shape;
        let stored: Vec<_> = self.stored.iter().map(|kind| kind.config_name()).collect();
        writeln!(
            f,
            "{}: {} with {:.1} M parameters, {} ({:.1} MB in {} {})",
            self.folder.display(),
            s.family.model_type(),
            self.parameters as f64 / 1e6,
            stored.join(" and "),
            self.weights_bytes as f64 / 1e6,
            self.weight_files,
            if self.weight_files == 1 {
                "file"
            } else {
                "files"
            },
        )?;
        writeln!(
            f,
            "  {} layers, hidden {}, intermediate {}, {} query and {} key-value heads of {}, vocabulary {}, {} embeddings",
            s.layers,
            s.hidden,
            s.intermediate,
            s.heads,
            s.kv_heads,
            s.head_dim,
            s.vocab,
            if s.tied { "tied" } else { "untied" },
        )?;
        if s.family.makes_vectors() {
            write!(f, "  context {} tokens; makes vectors", s.context)?;
        } else {
            write!(
                f,
                "  context {} tokens, {} bytes of keys and values a token (bfloat16)",
                s.context, self.kv_bytes_per_token
            )?;
        }
        if !self.unused.is_empty() {
            let first = console::plain(&self.unused[0]);
            write!(
                f,
                "\n  passed over: {} weights that no layer asks for, {first} first",
                self.unused.len()
            )?;
        }
        for file in &self.missing_text_files {
            write!(f, "\n  missing: {file}; text cannot be served without it")?;
        }
        Ok(())
    }
}

/// Checks a folder.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(folder: &Path) -> Result<Summary, Problem> {
    let config_path = folder.join("config.json");
    let mut shape = config_json::read(&read_json(&config_path)?).map_err(|error| Problem {
        file: config_path,
        reason: format!("field `{}` {}", error.field, error.reason),
    })?;
    if shape.family == Family::Qwen3 && folder.join("modules.json").is_file() {
        shape.family = Family::Qwen3Embedding;
        shape.tied = true;
    }
    let files = weight_files(folder)?;
    let mut entries = BTreeMap::new();
    for file in &files {
        let path = folder.join(file);
        let header = safetensors_file::read_header(&path).map_err(|reason| Problem {
            file: path.clone(),
            reason,
        })?;
        entries.extend(
            header
                .into_iter()
                .map(|(name, entry)| (name, (path.clone(), entry))),
        );
    }
    let found = Found {
        folder,
        single: files.len() == 1,
        entries,
    };
    let mut summary = found.compare(shape)?;
    summary.weight_files = files.len();
    let tokenizer = folder.join("tokenizer.json");
    if tokenizer.is_file() {
        read_json(&tokenizer)?;
    } else {
        summary.missing_text_files.push("tokenizer.json");
    }
    Ok(summary)
}

fn read_json(path: &Path) -> Result<Map<String, Value>, Problem> {
    let problem = |reason| Problem {
        file: path.to_path_buf(),
        reason,
    };
    let bytes = std::fs::read(path).map_err(|error| problem(format!("cannot be read: {error}")))?;
    serde_json::from_slice(&bytes).map_err(|error| problem(format!("is no JSON object: {error}")))
}

/// The single file, or those that the index names.
fn weight_files(folder: &Path) -> Result<Vec<String>, Problem> {
    let path = folder.join(INDEX);
    if !path.is_file() {
        return Ok(vec![SINGLE.to_owned()]);
    }
    let index = read_json(&path)?;
    let names = index
        .get("weight_map")
        .and_then(Value::as_object)
        .map(|map| {
            let names = map.values().map(|name| name.as_str().map(str::to_owned));
            names.collect::<Option<BTreeSet<_>>>()
        });
    match names {
        Some(Some(names)) if names.iter().all(|name| !name.contains(['/', '\\'])) => {
            Ok(names.into_iter().collect())
        }
        _ => Err(Problem {
            file: path,
            reason: "field `weight_map` is no object from weights to files of this folder"
                .to_owned(),
        }),
    }
}

struct Found<'a> {
    folder: &'a Path,
    single: bool,
    entries: BTreeMap<String, (PathBuf, Entry)>,
}

impl Found<'_> {
    fn compare(mut self, shape: Shape) -> Result<Summary, Problem> {
        let (mut parameters, mut weights_bytes) = (0, 0);
        let mut stored = Vec::new();
        for weight in shape.weights() {
            let body = weight.name.split_once('.').map_or("", |(_, body)| body);
            let mut found = self.entries.remove(&weight.name);
            if shape.family == Family::Bert && found.is_none() {
                found = self.entries.remove(&format!("bert.{}", weight.name));
            }
            // The body of a model that was saved without its output layer has names without the first part.
            let Some((file, entry)) = found.or_else(|| self.entries.remove(body)) else {
                let file = self.folder.join(if self.single { SINGLE } else { INDEX });
                return Err(Problem {
                    file,
                    reason: format!("weight `{}` is missing", weight.name),
                });
            };
            if entry.shape != weight.shape {
                let reason = format!(
                    "weight `{}` has shape {:?}; config.json asks for {:?}",
                    weight.name, entry.shape, weight.shape
                );
                return Err(Problem { file, reason });
            }
            let Some(kind) = StoredType::of_header(&entry.dtype) else {
                let reason = format!(
                    "weight `{}` is of type {}; supported are F32, BF16 and F16",
                    weight.name,
                    console::plain(&entry.dtype)
                );
                return Err(Problem { file, reason });
            };
            if !stored.contains(&kind) {
                stored.push(kind);
            }
            parameters += weight.numbers();
            weights_bytes += weight.numbers() * kind.bytes();
        }
        Ok(Summary {
            folder: self.folder.to_path_buf(),
            kv_bytes_per_token: 2 * shape.kv_numbers_per_token(),
            shape,
            parameters,
            weights_bytes,
            weight_files: 1,
            stored,
            unused: self.entries.into_keys().collect(),
            missing_text_files: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::make::{Dimensions, Options, make};

    fn sharded(folder: &Path) -> Options {
        let dimensions = Dimensions {
            heads: Some(3),
            kv_heads: Some(1),
            ..Dimensions::default()
        };
        Options {
            family: Some(Family::Qwen3),
            shards: 3,
            dimensions,
            ..Options::new(folder)
        }
    }

    fn problem(folder: &Path) -> String {
        check(folder).expect_err("it is broken").to_string()
    }

    #[test]
    fn what_is_made_is_found_whole() {
        for generation in [4, 5] {
            let folder = tempfile::tempdir().unwrap();
            let out = folder.path().join("model");
            make(&Options {
                config_generation: generation,
                ..sharded(&out)
            })
            .unwrap();
            let summary = check(&out).unwrap();
            assert_eq!(summary.shape, sharded(&out).shape());
            assert_eq!((summary.weight_files, summary.unused.len()), (3, 0));
            assert_eq!(summary.kv_bytes_per_token, 2 * 2 * 2 * 16);
        }
    }

    #[test]
    fn what_is_made_for_vectors_is_found_whole() {
        for (family, generation) in [
            (Family::Bert, 4),
            (Family::Bert, 5),
            (Family::Qwen3Embedding, 4),
            (Family::Qwen3Embedding, 5),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let options = Options {
                family: Some(family),
                config_generation: generation,
                ..Options::new(folder.path())
            };
            make(&options).unwrap();
            let summary = check(folder.path()).unwrap();
            assert_eq!(summary.shape, options.shape());
            assert_eq!((summary.unused.len(), summary.kv_bytes_per_token), (0, 0));
            assert!(summary.to_string().contains("makes vectors"));
        }
    }

    #[test]
    fn a_full_folder_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        make(&Options::new(folder.path())).unwrap();
        let error = make(&Options::new(folder.path())).expect_err("it is full");
        assert!(
            error.to_string().contains("holds a checkpoint already"),
            "{error}"
        );
    }

    #[test]
    fn what_is_broken_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path();
        make(&sharded(out)).unwrap();
        let shard = out.join("model-00002-of-00003.safetensors");
        let whole = fs::read(&shard).unwrap();
        fs::write(&shard, &whole[..whole.len() - 5]).unwrap();
        assert!(
            problem(out).contains("model-00002-of-00003.safetensors: has "),
            "{}",
            problem(out)
        );
        fs::write(&shard, &whole[..5]).unwrap();
        assert!(problem(out).contains("it has 5 bytes"), "{}", problem(out));
        fs::remove_file(&shard).unwrap();
        assert!(problem(out).contains("model-00002-of-00003.safetensors: cannot be read"));
        fs::write(&shard, &whole).unwrap();

        let config = fs::read_to_string(out.join("config.json")).unwrap();
        for (from, to, expected) in [
            (
                "\"hidden_size\": 64",
                "\"hidden_size\": 65",
                "config.json asks for [1536, 65]",
            ),
            (
                "\"hidden_size\": 64",
                "\"hidden_size\": -1",
                "field `hidden_size` is a positive integer",
            ),
            (
                "\"qwen3\"",
                "\"bloom\"",
                "field `model_type` is bloom; supported are llama, mistral,",
            ),
            (
                "\"num_hidden_layers\": 2",
                "\"num_hidden_layers\": 3",
                "weight `model.layers.2",
            ),
            (
                "\"num_key_value_heads\": 1",
                "\"num_key_value_heads\": 2",
                "does not divide",
            ),
        ] {
            let broken = config.replace(from, to);
            assert_ne!(broken, config, "{from}");
            fs::write(out.join("config.json"), broken).unwrap();
            assert!(problem(out).contains(expected), "{}", problem(out));
        }
    }
}
