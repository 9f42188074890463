//! Models that make vectors: an encoder, or a decoder without its output layer. Owns: loading one, and the way of texts
//! from tokens to vectors. There are no KV pages: a text is computed whole, in one step, and nothing of it stays.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// BERT: how its `config.json` is read.
mod bert;
/// The encoder: every token sees every other.
mod encoder;
/// A decoder up to its last norm: every token sees those before it.
mod causal;
/// From texts to rows.
mod rows;
/// From a text's tokens to its vector.
mod pooling;

use lps_engine_core::batch::Texts;
use lps_engine_core::model::{Embedder, StepError};
use tch::{TchError, Tensor};

use crate::kernels::Kernels;
use crate::kernels::choice::Choice;
use crate::kernels::native::{self, InferenceMode};
use crate::model::directory::ModelDirectory;
use crate::model::embedding::{Embedding, Pool};
use crate::model::torch::architecture::Architecture;
use crate::model::torch::config::Fields;
use crate::model::torch::embedding::causal::Causal;
use crate::model::torch::embedding::encoder::Encoder;
use crate::model::torch::embedding::rows::Rows;
use crate::model::torch::weights::{Placement, Weights};
use crate::model::torch::{check_fits, families, kind_of, refused, set_threads, useful_threads};
use crate::model::{Device, Error, KernelsAsked, LoadOptions};

/// What makes the tokens' vectors.
#[derive(Debug)]
enum Body {
    Encoder(Encoder),
    Causal(Causal),
}

/// A checkpoint that makes vectors.
struct TorchEmbedder {
    body: Body,
    kernels: Box<dyn Kernels>,
    pools: Vec<Pool>,
    device: tch::Device,
}

/// Loads one.
///
/// # Errors
/// One line that names the file, the field and what is supported.
pub fn load(
    directory: &ModelDirectory,
    embedding: &Embedding,
    options: &LoadOptions,
) -> Result<Box<dyn Embedder + Send>, Error> {
    let device = match options.device {
        Device::Cpu => tch::Device::Cpu,
        Device::Cuda => tch::Device::Cuda(0),
    };
    refuse_what_is_for_texts(options)?;
    let begun = InferenceMode::begin();
    let _inference = begun.map_err(|error| refused(options.device, native::reason(error)))?;
    let fields = Fields::of(directory);
    let weights = Weights::open(&directory.files, &options.progress)?;
    let place = |architecture: &Architecture| {
        set_threads(Choice::Operators, useful_threads(architecture));
        check_fits(architecture, &weights, Choice::Operators, options)?;
        Ok::<_, Error>(Placement {
            kind: kind_of(options, architecture),
            device,
            kernels: Choice::Operators,
        })
    };
    let body = match fields.text("model_type")? {
        Some("bert") => {
            let bert = bert::read(&fields)?;
            let placement = place(&bert.parts)?;
            Body::Encoder(Encoder::load(&bert, &weights, placement)?)
        }
        Some("qwen3") => {
            let architecture = families::read(directory)?;
            let placement = place(&architecture)?;
            let positions = i64::from(options.max_model_len);
            Body::Causal(Causal::load(
                &architecture,
                &weights,
                (placement, positions),
                &fields,
            )?)
        }
        other => {
            let found = other.map_or("is missing".to_owned(), |name| format!("is {name:?}"));
            let reason = format!("{found}; supported for embeddings are bert and qwen3");
            return fields.fail("model_type", reason);
        }
    };
    weights.release();
    Ok(Box::new(TorchEmbedder {
        body,
        kernels: Choice::Operators.kernels(),
        pools: embedding.pools.clone(),
        device,
    }))
}

/// Vectors are computed by libtorch's operators.
fn refuse_what_is_for_texts(options: &LoadOptions) -> Result<(), Error> {
    let flag = match (options.quantization, options.kernels) {
        (Some(_), _) => "--quantization".to_owned(),
        (None, KernelsAsked::Level(level)) => format!("--kernels {level}"),
        (None, KernelsAsked::Auto | KernelsAsked::Operators) => return Ok(()),
    };
    Err(Error::Device {
        device: format!("{:?}", options.device).to_lowercase(),
        reason: format!("{flag} is for models that make text"),
    })
}

impl TorchEmbedder {
    fn vectors(&self, texts: &Texts<'_>) -> Result<Vec<Vec<f32>>, TchError> {
        let _inference = InferenceMode::begin()?;
        let rows = Rows::new(texts, self.device)?;
        let tokens = match &self.body {
            Body::Encoder(encoder) => encoder.forward(&*self.kernels, &rows)?,
            Body::Causal(causal) => causal.forward(&*self.kernels, &rows)?,
        };
        let vectors = rows
            .spans
            .iter()
            .map(|span| pooling::pool(&self.pools, &tokens, *span))
            .collect::<Result<Vec<_>, _>>()?;
        let vectors = Tensor::f_cat(&vectors, 0)?.f_to_device(tch::Device::Cpu)?;
        let (_, width) = vectors.size2()?;
        let width = width.unsigned_abs() as usize;
        let mut flat = vec![0.0; width * rows.places.len()];
        let len = flat.len();
        vectors.f_copy_data(&mut flat, len)?;
        let mut given = vec![Vec::new(); rows.places.len()];
        for (vector, place) in flat.chunks_exact(width).zip(&rows.places) {
            given[*place] = vector.to_vec();
        }
        Ok(given)
    }
}

impl Embedder for TorchEmbedder {
    fn embed(&mut self, texts: &Texts<'_>) -> Result<Vec<Vec<f32>>, StepError> {
        self.vectors(texts).map_err(|error| StepError {
            step: texts.step,
            tokens: texts.count(),
            reason: native::reason(error),
        })
    }
}
