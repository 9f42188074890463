//! The models on libtorch. Owns: loading a checkpoint, the KV pool, and running steps on them. The only modules besides
//! `kernels` that know tensors.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Whether a CUDA device computes what it should, and how fast.
pub mod gpu_check;
/// Models that make vectors.
pub mod embedding;
/// The families of decoders: how each describes itself.
pub mod families;
/// Fields of `config.json`.
pub mod config;
/// The decoder of all families.
pub mod decoder;
/// Decoding as CUDA graphs.
pub mod decode_graphs;
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

use lps_engine_core::batch::{Batch, Outputs, Sample};
use lps_engine_core::model::{Masks, Model, StepError};
use lps_engine_core::sampler;
use tch::{Kind, TchError, Tensor};

use crate::kernels::Kernels;
use crate::kernels::choice::Choice;
use crate::kernels::cuda::library::Library;
use crate::kernels::cuda::paged;
use crate::kernels::native::{self, InferenceMode};
use crate::kernels::pages::LayerPages;
use crate::kernels::processor;
use crate::model::directory::ModelDirectory;
use crate::model::torch::architecture::Architecture;
use crate::model::torch::decode_graphs::{DecodeGraphs, Limits};
use crate::model::torch::decoder::Decoder;
use crate::model::torch::step::{Inputs, StepShape};
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
    /// On CUDA, with kernels that a graph can hold.
    graphs: Option<DecodeGraphs>,
}

/// Loads a checkpoint.
///
/// # Errors
/// One line that names the file, the field and what is supported.
pub fn load(directory: &ModelDirectory, options: &LoadOptions) -> Result<Loaded, Error> {
    let architecture = families::read(directory)?;
    let fail = |reason| refused(options.device, reason);
    let threads = useful_threads(&architecture);
    let kernels = choose(options, threads).map_err(fail)?;
    set_threads(kernels, threads);
    if options.device == Device::Cuda {
        let begun = on_device().and_then(Library::begin_stream);
        begun.map_err(|error| fail(native::reason(error)))?;
    }
    let weights = Weights::open(&directory.files, &options.progress)?;
    check_fits(&architecture, &weights, kernels, options)?;
    let (model, kv_blocks) = TorchModel::new(architecture, &weights, options, kernels)?;
    Ok(Loaded {
        model: Box::new(model),
        kv_blocks,
        vocab_size: directory.vocab_size,
        max_model_len: options.max_model_len,
    })
}

/// Whether the weights that are multiplied with fit into memory.
fn check_fits(
    architecture: &Architecture,
    weights: &Weights,
    kernels: Choice,
    options: &LoadOptions,
) -> Result<(), Error> {
    let multiplied = architecture.multiplied().unsigned_abs();
    // Sizes that the files do not have are refused by name when they are compared.
    let numbers = multiplied.min(weights.numbers());
    let bytes = numbers * kernels.weight_bytes(kind_of(options, architecture));
    let free_bytes = free_bytes(options);
    let free_bytes = free_bytes.map_err(|error| refused(options.device, native::reason(error)))?;
    Ok(memory::weights_fit(bytes, free_bytes)?)
}

/// What is free where weights and pages go.
fn free_bytes(options: &LoadOptions) -> Result<u64, TchError> {
    match options.device {
        Device::Cpu => Ok(memory::free_bytes()),
        Device::Cuda => Ok(on_device()?.memory()?.free_bytes),
    }
}

/// The type of weights, activations and pages.
fn kind_of(options: &LoadOptions, architecture: &Architecture) -> Kind {
    match options.dtype.or(architecture.dtype) {
        Some(Dtype::Bfloat16) => Kind::BFloat16,
        Some(Dtype::Float32) | None => Kind::Float,
    }
}

fn refused(device: Device, reason: String) -> Error {
    let device = format!("{device:?}").to_lowercase();
    Error::Device { device, reason }
}

/// What `process::init` has loaded.
fn on_device() -> Result<Library, TchError> {
    let nothing = || TchError::Torch("CUDA is not loaded".to_owned());
    Library::loaded().ok_or_else(nothing)
}

/// Own kernels where there are some for the device.
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
        (KernelsAsked::Auto, Device::Cuda) => on_device().map(Choice::Cuda).map_err(native::reason),
        (KernelsAsked::Operators, _) => Ok(Choice::Operators),
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
        Choice::Operators | Choice::Cuda(_) => i32::try_from(threads.get()).unwrap_or(1),
    };
    tch::set_num_threads(threads);
}

impl TorchModel {
    /// With its pages, and how many of them the core may use.
    fn new(
        architecture: Architecture,
        weights: &Weights,
        options: &LoadOptions,
        kernels: Choice,
    ) -> Result<(Self, u32), Error> {
        let fail = |error: TchError| refused(options.device, native::reason(error));
        let _inference = InferenceMode::begin().map_err(fail)?;
        let kind = kind_of(options, &architecture);
        let device = match options.device {
            Device::Cpu => tch::Device::Cpu,
            Device::Cuda => tch::Device::Cuda(0),
        };
        let placement = Placement {
            kind,
            device,
            kernels,
        };
        let positions = i64::from(options.max_model_len);
        let decoder = Decoder::load(architecture, weights, placement, positions)?;
        let block_tokens = i64::from(options.block_tokens);
        let one = decoder.pool(1, block_tokens);
        let block_bytes = kernels.block_bytes(&one) * decoder.layers() as u64;
        let free_bytes = free_bytes(options).map_err(fail)?;
        let kv_blocks = options.kv_blocks(block_bytes, free_bytes)?;
        let shape = StepShape {
            block_tokens: options.block_tokens as usize,
            kind,
            device,
            windows: decoder.windows().to_vec(),
        };
        let graphs = match kernels {
            Choice::Cuda(library) if paged::covers(kind, one.head_dim) => {
                let limits = Limits {
                    sequences_max: options.max_num_seqs as usize,
                    pages_max: options.max_model_len.div_ceil(options.block_tokens) as usize,
                    scratch: kv_blocks,
                };
                Some(DecodeGraphs::new(library, shape.clone(), limits))
            }
            _ => None,
        };
        // Those of the core, and one that is nobody's.
        let pool = decoder.pool(
            i64::from(kv_blocks) + i64::from(graphs.is_some()),
            block_tokens,
        );
        let pages = (0..decoder.layers())
            .map(|_| kernels.pages(&pool))
            .collect::<Result<_, _>>()
            .map_err(fail)?;
        let model = Self {
            decoder,
            pages,
            kernels: kernels.kernels(),
            shape,
            graphs,
        };
        Ok((model, kv_blocks))
    }

    /// 32-bit logits, `[sequences that draw, vocabulary]` in the batch's order; nothing when none draws.
    fn logits(&mut self, batch: &Batch<'_>) -> Result<Option<Tensor>, TchError> {
        let kernels = &*self.kernels;
        let mut forward = |inputs: &Inputs| self.decoder.forward(kernels, &mut self.pages, inputs);
        let replayed = match &mut self.graphs {
            Some(graphs) => graphs.logits(batch, &mut forward)?,
            None => None,
        };
        let logits = match replayed {
            Some(logits) => Some(logits),
            None => forward(&self.shape.inputs(batch)?)?,
        };
        let on_processor = |logits: Tensor| {
            logits
                .f_to_kind(Kind::Float)?
                .f_to_device(tch::Device::Cpu)?
                .f_contiguous()
        };
        logits.map(on_processor).transpose()
    }

    fn draw(&mut self, batch: &Batch<'_>, masks: &mut dyn Masks) -> Result<Outputs, TchError> {
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
            .filter_map(|sequence| Some((sequence, sequence.sample?)));
        let sampled = drawing
            .zip(rows.chunks_exact_mut(width.unsigned_abs() as usize))
            .map(|((sequence, sample), logits)| {
                let drawn = masks.allowed(sequence.id).and_then(|allowed| {
                    let allowed = allowed.as_ref();
                    let sample = Sample { allowed, ..sample };
                    sampler::sample(logits, &sample, sequence.tokens, sequence.prompt_len)
                });
                (sequence.id, drawn)
            })
            .collect();
        Ok(Outputs { sampled })
    }
}

impl Model for TorchModel {
    fn step(&mut self, batch: &Batch<'_>, masks: &mut dyn Masks) -> Result<Outputs, StepError> {
        self.draw(batch, masks).map_err(|error| StepError {
            step: batch.step,
            tokens: batch.tokens(),
            reason: native::reason(error),
        })
    }
}
