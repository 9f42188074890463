//! The model behind the engine: which one, from where, with how much memory. Owns: the choice, and the words in which
//! a loader is asked and answers. Must not know HTTP, calls or text; only `torch` knows tensors.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// The simulated model: deterministic tokens at a chosen pace.
pub mod sim;
/// The simulated embedding model: a vector that is a function of the text.
pub mod sim_embedder;
/// The models on libtorch.
#[cfg(feature = "torch")]
pub mod torch;
/// What a checkpoint says about being made for vectors.
pub mod embedding;
/// What a checkpoint's directory says about itself, apart from weights.
pub mod directory;
/// How many KV pages the memory gives.
pub mod memory;
/// How far loading is.
pub mod progress;

use std::str::FromStr;

use lps_engine_core::model::{Embedder, Model};
use lps_engine_core::request::TokenId;
use lps_engine_kernels::level::Level;

use crate::model::directory::ModelDirectory;
use crate::model::embedding::Embedding;
use crate::model::progress::Progress;
use crate::model::sim::{SimCost, SimModel};
use crate::model::sim_embedder::SimEmbedder;

/// What is said of a file that must be there and is not.
fn missing() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::NotFound, "there is no such file")
}

/// Why a model cannot be loaded: one line that names the file and the field, and what is supported.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file is not there or cannot be read.
    #[error("{}: cannot be read: {source}", line(file))]
    Read {
        /// Its path.
        file: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file's content has no use.
    #[error("{}: {}", line(file), line(reason))]
    File {
        /// Its path.
        file: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A field of a JSON file has no use.
    #[error("{}: field `{}` {}", line(file), line(field), line(reason))]
    Field {
        /// The file's path.
        file: String,
        /// The field, with dots.
        field: String,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// Too little memory.
    #[error(transparent)]
    Memory(#[from] memory::Error),
    /// The device is not there or refuses.
    #[error("device {device}: {reason}")]
    Device {
        /// As it was asked for.
        device: String,
        /// What the library said.
        reason: String,
    },
    /// Only the simulated model is in this binary.
    #[error(
        "this build has no libtorch, so it serves builtin:sim and builtin:sim-embedding only; build with default features for {0}"
    )]
    NoTorch(String),
}

/// Characters of what is quoted from a file: its beginning and its end.
const QUOTED_MAX: (usize, usize) = (300, 200);

/// A part of a message, which may quote what stands in a file, or be its name: on one line and not long, whatever that is.
pub(crate) fn line(text: &str) -> String {
    let (head, tail) = QUOTED_MAX;
    let count = text.chars().count();
    let mut line = String::new();
    for (index, character) in text.chars().enumerate() {
        if count > head + tail && (head..count - tail).contains(&index) {
            if index == head {
                line.push_str(" … ");
            }
        } else if character.is_control() {
            line.extend(character.escape_default());
        } else {
            line.push(character);
        }
    }
    line
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The first CUDA device that is visible.
    Cuda,
}

/// In which type weights, activations and KV are held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    /// 32 bits.
    Float32,
    /// 16 bits with the exponent of 32.
    Bfloat16,
}

/// Which kernels compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KernelsAsked {
    /// On a processor our own, on the best level that it has; elsewhere libtorch's operators.
    #[default]
    Auto,
    /// Libtorch's operators.
    Operators,
    /// Our own, on this level.
    Level(Level),
}

impl FromStr for KernelsAsked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "operators" => Ok(Self::Operators),
            level => level
                .parse()
                .map(Self::Level)
                .map_err(|error: String| format!("{error}, auto, operators")),
        }
    }
}

/// To how many bits weights are rounded when they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Quantization {
    /// Eight, with a scale for each output of a product.
    Int8,
}

/// How large the KV pool is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum KvSize {
    /// So many bytes.
    Bytes(u64),
    /// This share of the memory that is free once weights are loaded, in `(0, 1]`; at most what
    /// [`LoadOptions::sequence_blocks_max`] can use.
    FreeFraction(f64),
}

/// What a loader is asked for.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// `None`: the checkpoint's own; 16-bit floats of any kind become bfloat16 on a CPU.
    pub dtype: Option<Dtype>,
    /// Where.
    pub device: Device,
    /// With what.
    pub kernels: KernelsAsked,
    /// `None`: weights stay as they are.
    pub quantization: Option<Quantization>,
    /// Tokens of one KV page.
    pub block_tokens: u32,
    /// Size of the KV pool.
    pub kv: KvSize,
    /// Longest prompt plus output of one sequence: what was asked for, already within the checkpoint's context.
    pub max_model_len: u32,
    /// Most sequences in one batch.
    pub max_num_seqs: u32,
    /// Most tokens of one step.
    pub max_batched_tokens: u32,
    /// For the simulated model: how long its steps take and which tokens it may say.
    pub sim: SimCost,
    /// Tokens that are printable text by themselves; only the simulated model draws from them.
    pub printable_tokens: Vec<TokenId>,
    /// Told how far loading is.
    pub progress: Progress,
}

impl LoadOptions {
    /// Pages that `max_num_seqs` sequences of `max_model_len` fill: more would never be used, except by the cache.
    pub fn sequence_blocks_max(&self) -> u64 {
        u64::from(self.max_num_seqs) * u64::from(self.max_model_len.div_ceil(self.block_tokens))
    }

    /// How many KV pages there will be, given what one page takes over all layers and what is free with weights
    /// loaded. A loader calls this once and allocates as many.
    ///
    /// # Errors
    /// When that is less than one sequence of `max_model_len` needs.
    pub fn kv_blocks(&self, block_bytes: u64, free_bytes: u64) -> Result<u32, memory::Error> {
        memory::kv_blocks(&memory::Demand {
            kv: self.kv,
            block_bytes,
            free_bytes,
            blocks_min: u64::from(self.max_model_len.div_ceil(self.block_tokens)),
            blocks_useful: self.sequence_blocks_max(),
        })
    }
}

/// A model ready to run.
pub struct Loaded {
    /// What computes.
    pub model: Box<dyn Model + Send>,
    /// Pages of its KV pool.
    pub kv_blocks: u32,
    /// Tokens that it can say, `0..vocab_size`.
    pub vocab_size: u32,
    /// Longest prompt plus output of one sequence.
    pub max_model_len: u32,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loaded")
            .field("kv_blocks", &self.kv_blocks)
            .field("vocab_size", &self.vocab_size)
            .field("max_model_len", &self.max_model_len)
            .finish_non_exhaustive()
    }
}

/// Loads what the directory holds. Takes seconds and memory: call it where blocking is no harm, in the thread that
/// will own the model.
///
/// # Errors
/// One line that names the file, the field and what is supported.
pub fn load(directory: &ModelDirectory, options: &LoadOptions) -> Result<Loaded, Error> {
    if directory.is_sim() {
        return SimModel::load(directory, options);
    }
    #[cfg(feature = "torch")]
    return torch::load(directory, options);
    #[cfg(not(feature = "torch"))]
    Err(Error::NoTorch(directory.to_string()))
}

/// Loads a checkpoint that makes vectors, as [`load`] does one that makes text.
///
/// # Errors
/// One line that names the file, the field and what is supported.
pub fn load_embedder(
    directory: &ModelDirectory,
    embedding: &Embedding,
    options: &LoadOptions,
) -> Result<Box<dyn Embedder + Send>, Error> {
    if directory.is_sim() {
        return Ok(Box::new(SimEmbedder::new(embedding, options.sim)));
    }
    #[cfg(feature = "torch")]
    return torch::embedding::load(directory, embedding, options);
    #[cfg(not(feature = "torch"))]
    Err(Error::NoTorch(directory.to_string()))
}
