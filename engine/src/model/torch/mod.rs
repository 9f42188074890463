//! The models on libtorch. Owns: loading a checkpoint, the KV pool, and running steps on them. The only modules besides
//! `kernels` that know tensors.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Models that make vectors.
pub mod embedding;
/// The families of decoders: how each describes itself.
pub mod families;
/// Fields of `config.json`.
pub mod config;
/// The decoder of all families.
pub mod decoder;
/// The parts of a layer.
pub mod layers;
/// From a batch to what the layers read.
pub mod step;
/// Weights by name.
pub mod weights;
/// What a decoder is made of.
pub mod architecture;
/// Angles of the rotary position embedding.
pub mod rope;
/// Libtorch's threads and devices, set once before anything else.
pub mod process;

use std::num::NonZeroUsize;

use lps_engine_core::batch::{Batch, Outputs};
use lps_engine_core::model::{Model, StepError};
use lps_engine_core::sampler;
use tch::{Kind, TchError, Tensor};

use crate::kernels::Kernels;
use crate::kernels::choice::Choice;
use crate::kernels::native::{self, InferenceMode};
use crate::kernels::pages::LayerPages;
use crate::kernels::processor;
use crate::model::directory::ModelDirectory;
use crate::model::torch::architecture::Architecture;
use crate::model::torch::decoder::Decoder;
use crate::model::torch::step::StepShape;
use crate::model::torch::weights::{Placement, Weights};
use crate::model::{Device, Dtype, Error, KernelsAsked, LoadOptions, Loaded, memory};

/// Numbers that a token is multiplied with, for which a further thread is worth it.
const MULTIPLIED_PER_THREAD: i64 = 16_000_000;

/// A checkpoint and its KV pool.
struct TorchModel {
    decoder: Decoder,
    pages: Vec<LayerPages>,
    kernels: Box<dyn Kernels>,
    shape: StepShape,
}

/// Loads a checkpoint.
///
/// # Errors
/// One line that names the file, the field and what is supported.
pub fn load(directory: &ModelDirectory, options: &LoadOptions) -> Result<Loaded, Error> {
    let architecture = families::read(directory)?;
    let device = match options.device {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda => tch::Device::Cuda(0),
    };
    let fail = |error: TchError| Error::Device {
        device: format!("{:?}", options.device).to_lowercase(),
        reason: process::reason(error),
    };
    let _inference = InferenceMode::begin().map_err(fail)?;
    let kind = match options.dtype.or(architecture.dtype) {
        Some(Dtype::Bfloat16) => Kind::BFloat16,
        Some(Dtype::Float32) | None => Kind::Float,
    };
    let threads = useful_threads(&architecture);
    let kernels = choose(options, threads).map_err(|reason| Error::Device {
        device: format!("{:?}", options.device).to_lowercase(),
        reason,
    })?;
    set_threads(kernels, threads);
    let weights = Weights::open(&directory.files, &options.progress)?;
    // Sizes that the files do not have are refused by name when they are compared.
    let numbers = architecture
        .multiplied()
        .unsigned_abs()
        .min(weights.numbers());
    let weight_bytes = numbers * kernels.weight_bytes(kind);
    memory::weights_fit(weight_bytes, free_bytes(options).map_err(fail)?)?;
    let placement = Placement {
        kind,
        device,
        kernels,
    };
    let positions = i64::from(options.max_model_len);
    let decoder = Decoder::load(architecture, &weights, placement, positions)?;
    let block_tokens = i64::from(options.block_tokens);
    let block_bytes = kernels.block_bytes(&decoder.pool(1, block_tokens)) * decoder.layers() as u64;
    let kv_blocks = options.kv_blocks(block_bytes, free_bytes(options).map_err(fail)?)?;
    let pool = decoder.pool(i64::from(kv_blocks), block_tokens);
    let pages = (0..decoder.layers())
        .map(|_| kernels.pages(&pool))
        .collect::<Result<_, _>>()
        .map_err(fail)?;
    let shape = StepShape {
        block_tokens: options.block_tokens as usize,
        kind,
        device,
        windows: decoder.windows().to_vec(),
    };
    let model = TorchModel {
        decoder,
        pages,
        kernels: kernels.kernels(),
        shape,
    };
    Ok(Loaded {
        model: Box::new(model),
        kv_blocks,
        vocab_size: directory.vocab_size,
        max_model_len: options.max_model_len,
    })
}

/// What is free where weights and pages go.
fn free_bytes(options: &LoadOptions) -> Result<u64, TchError> {
    match options.device {
        Device::Cpu => Ok(memory::free_bytes()),
        Device::Cuda => native::device_free_bytes(),
    }
}

/// Our own kernels are for a processor; elsewhere libtorch's operators compute.
fn choose(options: &LoadOptions, threads: NonZeroUsize) -> Result<Choice, String> {
    let bytes = options.quantization.is_some();
    match (options.kernels, options.device) {
        (KernelsAsked::Auto, Device::Cpu) => Choice::own(None, bytes, threads),
        (KernelsAsked::Level(level), Device::Cpu) => Choice::own(Some(level), bytes, threads),
        (KernelsAsked::Level(level), Device::Cuda) => {
            Err(format!("--kernels {level} are for a processor"))
        }
        (KernelsAsked::Auto | KernelsAsked::Operators, _) if bytes => {
            Err("--quantization needs the engine's own kernels, on a processor".to_owned())
        }
        (KernelsAsked::Auto | KernelsAsked::Operators, _) => Ok(Choice::Operators),
    }
}

/// Waking a thread for a small product costs more than it saves: the demo model is twice as fast on one thread as on
/// two, and two engines on two processors do not wait for each other.
fn useful_threads(architecture: &Architecture) -> NonZeroUsize {
    let useful = 1 + architecture.multiplied() / MULTIPLIED_PER_THREAD;
    let given = i64::from(tch::get_num_threads());
    let threads = useful.min(given).max(1).unsigned_abs() as usize;
    tracing::debug!(threads, given, "threads compute");
    NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN)
}

/// Beside our own threads libtorch needs none: what is left to it is little, and its threads would spin against ours.
fn set_threads(kernels: Choice, threads: NonZeroUsize) {
    let threads = match kernels {
        Choice::Own { level, bytes, .. } => {
            tracing::info!(level = %level.level(), bytes, threads, "the engine's own kernels");
            1
        }
        Choice::Operators => i32::try_from(threads.get()).unwrap_or(1),
    };
    tch::set_num_threads(threads);
}

impl TorchModel {
    /// 32-bit logits, `[sequences that draw, vocabulary]` in the batch's order; nothing when none draws.
    fn logits(&mut self, batch: &Batch<'_>) -> Result<Option<Tensor>, TchError> {
        let inputs = self.shape.inputs(batch)?;
        let logits = self
            .decoder
            .forward(&*self.kernels, &mut self.pages, &inputs)?;
        let on_processor = |logits: Tensor| {
            logits
                .f_to_kind(Kind::Float)?
                .f_to_device(tch::Device::Cpu)?
                .f_contiguous()
        };
        logits.map(on_processor).transpose()
    }

    fn draw(&mut self, batch: &Batch<'_>) -> Result<Outputs, TchError> {
        let _inference = InferenceMode::begin()?;
        let Some(mut logits) = self.logits(batch)? else {
            return Ok(Outputs {
                sampled: Vec::new(),
            });
        };
        let (_, width) = logits.size2()?;
        let rows = processor::floats_mut(&mut logits)?;
        let drawing = batch
            .sequences
            .iter()
            .filter_map(|sequence| Some((sequence, sequence.sample.as_ref()?)));
        let sampled = drawing
            .zip(rows.chunks_exact_mut(width.unsigned_abs() as usize))
            .map(|((sequence, sample), logits)| {
                let drawn = sampler::sample(logits, sample, sequence.tokens, sequence.prompt_len);
                (sequence.id, drawn)
            })
            .collect();
        Ok(Outputs { sampled })
    }
}

impl Model for TorchModel {
    fn step(&mut self, batch: &Batch<'_>) -> Result<Outputs, StepError> {
        self.draw(batch).map_err(|error| StepError {
            step: batch.step,
            tokens: batch.tokens(),
            reason: process::reason(error),
        })
    }
}
