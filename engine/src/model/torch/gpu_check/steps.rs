//! Whole steps of a model whose weights are drawn: graphs against the same operators one by one, and the times of both.
//! Owns: the models' shapes and the batches.

use lps_engine_core::batch::{Batch, BatchSequence, BlockId, Sample, SequenceId};
use lps_engine_core::request::{SamplingParams, TokenId};
use serde::Serialize;
use serde_json::{Value, json};
use tch::{Kind, TchError};

use crate::kernels::choice::Choice;
use crate::kernels::cuda::cases::difference;
use crate::kernels::native::InferenceMode;
use crate::kernels::pages::LayerPages;
use crate::model::progress::Progress;
use crate::model::sim::SimCost;
use crate::model::torch::config::Fields;
use crate::model::torch::gpu_check::timing::ms_of;
use crate::model::torch::gpu_check::{Check, Error, Target, say};
use crate::model::torch::weights::Weights;
use crate::model::torch::{TorchModel, families};
use crate::model::{Device, Dtype, KernelsAsked, KvSize, LoadOptions};

const BLOCK_TOKENS: usize = 16;

/// Below this there is no room for the large model and its pages.
const LARGE_BYTES: u64 = 60 << 30;

/// Whose steps, and which.
#[derive(Debug)]
pub(super) struct Model {
    pub(super) name: &'static str,
    config: Value,
    dtype: Dtype,
    /// Tokens before each step.
    context: usize,
    batches: &'static [usize],
    prompt: usize,
    runs: usize,
}

/// One kind of step.
#[derive(Debug, Serialize)]
pub(super) struct StepTime {
    what: &'static str,
    sequences: usize,
    tokens: usize,
    context: usize,
    /// Operator by operator.
    eager_ms: f64,
    /// As a graph.
    graph_ms: Option<f64>,
    /// By the faster way.
    tokens_per_s: f64,
}

impl Model {
    /// The largest that there is room for.
    pub(super) fn fitting(memory_bytes: u64) -> Self {
        let (name, config) = if memory_bytes >= LARGE_BYTES {
            ("Llama-3.1-8B", llama([128_256, 4096, 14_336, 32], [32, 8]))
        } else {
            ("Llama-3.2-1B", llama([128_256, 2048, 8192, 16], [32, 8]))
        };
        Self {
            name,
            config,
            dtype: Dtype::Bfloat16,
            context: 1024,
            batches: &[1, 3, 8, 32, 64, 256],
            prompt: 2048,
            runs: 10,
        }
    }

    #[cfg(test)]
    pub(super) fn small() -> Self {
        Self {
            name: "tiny",
            config: llama([1000, 64, 128, 2], [4, 2]),
            dtype: Dtype::Float32,
            context: 40,
            batches: &[1, 3],
            prompt: 20,
            runs: 1,
        }
    }

    /// Pages for the largest batch, or for the prompt where that is more.
    fn pages(&self) -> usize {
        let of_batch = self.sequences_max() * (self.context + 1).div_ceil(BLOCK_TOKENS);
        of_batch.max(self.prompt.div_ceil(BLOCK_TOKENS))
    }

    fn longest(&self) -> usize {
        self.prompt.max(self.context + 1)
    }

    fn sequences_max(&self) -> usize {
        self.batches.iter().copied().max().unwrap_or(1)
    }
}

/// `config.json` of a Llama.
fn llama([vocabulary, hidden, intermediate, layers]: [i64; 4], heads: [i64; 2]) -> Value {
    json!({
        "model_type": "llama", "hidden_act": "silu", "vocab_size": vocabulary, "hidden_size": hidden,
        "intermediate_size": intermediate, "num_attention_heads": heads[0], "num_key_value_heads": heads[1],
        "num_hidden_layers": layers, "rms_norm_eps": 1e-5, "rope_theta": 500_000.0,
    })
}

/// Checks, then times.
pub(super) fn run(target: Target, asked: &Model) -> Result<(Vec<Check>, Vec<StepTime>), Error> {
    let mut model = load(target, asked)?;
    let _inference = InferenceMode::begin()?;
    for pages in &mut model.pages {
        if let LayerPages::Tensors(pages) = pages {
            let _ = pages.keys.f_uniform_(-1.0, 1.0)?;
            let _ = pages.values.f_uniform_(-1.0, 1.0)?;
        }
    }
    let (mut checks, mut times) = (Vec::new(), Vec::new());
    for count in asked.batches {
        let tokens = Tokens::new(*count, asked.context + 1);
        let batch = tokens.batch(1);
        let replayed = model.logits_of(&batch)?;
        let graph_ms = ms_of(target.library, asked.runs, || {
            model.logits_of(&batch).map(drop)
        })?;
        let graphs = model.graphs.take();
        let eager = model.logits_of(&batch)?;
        let eager_ms = ms_of(target.library, asked.runs, || {
            model.logits_of(&batch).map(drop)
        })?;
        model.graphs = graphs;
        let largest = eager.f_abs()?.f_max()?.f_double_value(&[])?;
        let share = match asked.dtype {
            Dtype::Float32 => 1e-4,
            Dtype::Bfloat16 => 2e-2,
        };
        let what = format!("graph, {count} sequences: logits as operator by operator");
        let worst = difference(&replayed, &eager)?;
        checks.push(Check::new(what, (worst, share * largest)));
        times.push(StepTime::new("decode", &batch, eager_ms, Some(graph_ms)));
    }
    let tokens = Tokens::new(1, asked.prompt);
    let batch = tokens.batch(asked.prompt);
    let ms = ms_of(target.library, asked.runs, || {
        model.logits_of(&batch).map(drop)
    })?;
    times.push(StepTime::new("prefill", &batch, ms, None));
    Ok((checks, times))
}

fn load(target: Target, asked: &Model) -> Result<TorchModel, Error> {
    say(&format!("{}: weights are drawn", asked.name));
    let none = serde_json::Map::new();
    let object = asked.config.as_object().unwrap_or(&none);
    let architecture = families::of_fields(&Fields::of_object(asked.name, object))?;
    let sequences = asked.sequences_max();
    let number_bytes = match asked.dtype {
        Dtype::Float32 => 4,
        Dtype::Bfloat16 => 2,
    };
    let token_bytes = 2 * architecture.kv_heads * architecture.head_dim * number_bytes;
    let layers = architecture.layers.len() as u64;
    let options = LoadOptions {
        dtype: Some(asked.dtype),
        device: match target.device {
            tch::Device::Cpu => Device::Cpu,
            _ => Device::Cuda,
        },
        kernels: KernelsAsked::Auto,
        quantization: None,
        block_tokens: BLOCK_TOKENS as u32,
        kv: KvSize::Bytes(
            (asked.pages() * BLOCK_TOKENS) as u64 * token_bytes.unsigned_abs() * layers,
        ),
        max_model_len: asked.longest() as u32,
        max_num_seqs: sequences as u32,
        max_batched_tokens: asked.prompt as u32,
        sim: SimCost::default(),
        printable_tokens: Vec::new(),
        progress: Progress::silent(),
    };
    let kernels = Choice::Cuda(target.library);
    let (model, _) = TorchModel::new(architecture, &Weights::drawn(), &options, kernels)?;
    Ok(model)
}

impl TorchModel {
    /// Of a batch in which every sequence draws.
    fn logits_of(&mut self, batch: &Batch<'_>) -> Result<tch::Tensor, TchError> {
        let nothing = || TchError::Shape("a step without logits".to_owned());
        let logits = self.logits(batch)?.ok_or_else(nothing)?;
        logits.f_to_kind(Kind::Float)
    }
}

/// Sequences of equal length, each with pages of its own.
struct Tokens {
    tokens: Vec<TokenId>,
    blocks: Vec<Vec<BlockId>>,
    params: SamplingParams,
}

impl Tokens {
    fn new(count: usize, len: usize) -> Self {
        let pages = len.div_ceil(BLOCK_TOKENS) as BlockId;
        Self {
            tokens: (0..len as TokenId).map(|place| place % 1000).collect(),
            blocks: (0..count as BlockId)
                .map(|sequence| (sequence * pages..(sequence + 1) * pages).collect())
                .collect(),
            params: SamplingParams::default(),
        }
    }

    /// The last so many tokens of each.
    fn batch(&self, new: usize) -> Batch<'_> {
        let sequences = self.blocks.iter().enumerate();
        let sequences = sequences.map(|(id, blocks)| BatchSequence {
            id: SequenceId(id as u64),
            tokens: &self.tokens,
            prompt_len: self.tokens.len(),
            computed: self.tokens.len() - new,
            len: new,
            blocks,
            sample: Some(Sample {
                params: &self.params,
                choice: 0,
                forbidden: &[],
                allowed: None,
            }),
        });
        Batch {
            step: 1,
            sequences: sequences.collect(),
        }
    }
}

impl StepTime {
    fn new(what: &'static str, batch: &Batch<'_>, eager_ms: f64, graph_ms: Option<f64>) -> Self {
        let fastest = graph_ms.map_or(eager_ms, |ms| ms.min(eager_ms));
        let (sequences, tokens) = (batch.sequences.len(), batch.tokens());
        let tokens_per_s = tokens as f64 / fastest * 1e3;
        let graph = graph_ms.map_or(String::new(), |ms| format!(", {ms:.2} ms as a graph"));
        say(&format!(
            "{what}, {sequences} sequences, {tokens} tokens: {eager_ms:.2} ms{graph}, {tokens_per_s:.0} tokens/s"
        ));
        Self {
            what,
            sequences,
            tokens,
            context: batch.sequences.first().map_or(0, |one| one.computed),
            eager_ms,
            graph_ms,
            tokens_per_s,
        }
    }
}
