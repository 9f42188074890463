//! The production core and model without a server: prompts in, tokens and logits out. Owns: making and loading golden
//! checkpoints, and driving steps.

use std::collections::BTreeMap;
use std::path::Path;

use lps_api::ids::{CallId, ProgramId};
use lps_api::quantity::{Attempt, Micros, Order};
use lps_cli::model::make::{self, Options, Size, StoredType};
use lps_cli::model::pooling::Pooling;
use lps_cli::model::shape::{Family, Rope};
use lps_engine::model::directory::{ModelDirectory, Source};
use lps_engine::model::embedding::Embedding;
use lps_engine::model::progress::Progress;
use lps_engine::model::{
    self, Device, Dtype, Error, KernelsAsked, KvSize, LoadOptions, Loaded, Quantization,
};
use lps_engine_core::core::{Batching, Config, Core, Effect, Preemption};
use lps_engine_core::model::{Embedder, Unmasked};
use lps_engine_core::request::{Request, SamplingParams, Stopping, TokenId};
use lps_engine_kernels::level::Level;
use serde::Deserialize;

/// A checkpoint as `tests/goldens/cases.json` or `embedding_cases.json` describes it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Case {
    family: Family,
    seed: u64,
    dtype: StoredType,
    tied: bool,
    shards: u32,
    config_generation: u8,
    pooling: Option<Pooling>,
    dimensions: Dimensions,
}

#[derive(Debug, Clone, Deserialize)]
struct Dimensions {
    vocab: u32,
    hidden: u32,
    intermediate: u32,
    layers: u32,
    heads: u32,
    kv_heads: u32,
    head_dim: u32,
    context: u32,
    rope_theta: f64,
    rope: Rope,
    #[serde(default = "whole")]
    partial_rotary: f64,
    window: Option<u32>,
    attention_bias: bool,
}

fn whole() -> f64 {
    1.0
}

impl Case {
    pub(crate) fn all() -> BTreeMap<String, Self> {
        serde_json::from_str(&golden_file("cases.json")).expect("cases.json")
    }

    /// Those that make vectors.
    pub(crate) fn all_of_embeddings() -> BTreeMap<String, Self> {
        let text = golden_file("embedding_cases.json");
        serde_json::from_str(&text).expect("embedding_cases.json")
    }

    /// The same with another generation's `config.json`.
    pub(crate) fn of_generation(&self, config_generation: u8) -> Self {
        Self {
            config_generation,
            ..self.clone()
        }
    }

    pub(crate) fn make(&self, out: &Path) {
        let d = &self.dimensions;
        let dimensions = make::Dimensions {
            vocab: Some(d.vocab),
            hidden: Some(d.hidden),
            intermediate: Some(d.intermediate),
            layers: Some(d.layers),
            heads: Some(d.heads),
            kv_heads: Some(d.kv_heads),
            head_dim: Some(d.head_dim),
            context_length: Some(d.context),
            rope_theta: Some(d.rope_theta),
            rope: Some(d.rope.clone()),
            partial_rotary: Some(d.partial_rotary),
            window: d.window,
            attention_bias: d.attention_bias,
        };
        let options = Options {
            family: Some(self.family),
            size: Size::Tiny,
            seed: self.seed,
            dtype: self.dtype,
            tied: Some(self.tied),
            shards: self.shards,
            config_generation: self.config_generation,
            pooling: self.pooling,
            dimensions,
            ..Options::new(out)
        };
        make::make(&options).expect("the folder is new");
    }
}

pub(crate) fn golden_file(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("goldens")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Libtorch's operators, and our own kernels on every level that this processor has.
pub(crate) fn all_kernels() -> Vec<KernelsAsked> {
    let here = Level::ALL.into_iter().filter(|level| level.is_here());
    let own = here.map(KernelsAsked::Level);
    std::iter::once(KernelsAsked::Operators)
        .chain(own)
        .collect()
}

/// With pages of 16.
fn load_options(dtype: Dtype, kernels: KernelsAsked) -> LoadOptions {
    LoadOptions {
        dtype: Some(dtype),
        kernels,
        quantization: None,
        device: Device::Cpu,
        block_tokens: 16,
        kv: KvSize::Bytes(64 << 20),
        max_model_len: 512,
        max_num_seqs: 32,
        max_batched_tokens: 4096,
        sim: model::sim::SimCost::default(),
        printable_tokens: Vec::new(),
        progress: Progress::silent(),
    }
}

/// Loads with weights of 8 bits.
pub(crate) fn load_bytes(source: &Source, kernels: KernelsAsked) -> Result<Loaded, Error> {
    let options = LoadOptions {
        quantization: Some(Quantization::Int8),
        ..load_options(Dtype::Bfloat16, kernels)
    };
    model::load(&ModelDirectory::open(source)?, &options)
}

/// Loads what makes text.
pub(crate) fn load(source: &Source, dtype: Dtype, kernels: KernelsAsked) -> Result<Loaded, Error> {
    let options = load_options(dtype, kernels);
    model::load(&ModelDirectory::open(source)?, &options)
}

/// What makes vectors, and what its files say about them.
pub(crate) type LoadedEmbedder = (Box<dyn Embedder + Send>, Embedding);

/// Loads what makes vectors.
pub(crate) fn load_embedder(
    folder: &Path,
    dtype: Dtype,
    kernels: KernelsAsked,
) -> Result<LoadedEmbedder, Error> {
    let directory = ModelDirectory::open(&Source::Directory(folder.to_path_buf()))?;
    let embedding = Embedding::read(&directory)?.expect("it makes vectors");
    let options = load_options(dtype, kernels);
    let embedder = model::load_embedder(&directory, &embedding, &options)?;
    Ok((embedder, embedding))
}

/// A golden checkpoint, made and loaded.
pub(crate) fn load_case(case: &Case, dtype: Dtype, kernels: KernelsAsked) -> Loaded {
    let folder = tempfile::tempdir().expect("a temporary folder");
    case.make(folder.path());
    let source = Source::Directory(folder.path().to_path_buf());
    load(&source, dtype, kernels).expect("a golden checkpoint loads")
}

/// How work is cut into steps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    pub(crate) batched_tokens: u32,
    pub(crate) sequences: u32,
    pub(crate) kv_blocks: u32,
    pub(crate) prefix_cache: bool,
    pub(crate) preemption: Preemption,
}

impl Cut {
    /// Everything at once.
    pub(crate) const WHOLE: Self = Self {
        batched_tokens: 4096,
        sequences: 32,
        kv_blocks: 1024,
        prefix_cache: false,
        preemption: Preemption::Recompute,
    };
}

/// What came of one prompt.
#[derive(Debug, Clone, Default)]
pub(crate) struct Text {
    pub(crate) tokens: Vec<TokenId>,
    /// Of each token drawn, the log-probabilities of the whole vocabulary.
    pub(crate) logprobs: Vec<Vec<f32>>,
}

/// What came of all.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) texts: Vec<Text>,
    /// Tokens that the model ran through its layers.
    pub(crate) computed: usize,
}

/// Greedy texts of so many tokens for all prompts, called in order.
pub(crate) fn run(loaded: &mut Loaded, prompts: &[Vec<TokenId>], tokens: u32, cut: Cut) -> Run {
    let mut core = Core::new(Config {
        max_num_seqs: cut.sequences,
        max_batched_tokens: cut.batched_tokens,
        max_model_len: loaded.max_model_len,
        block_tokens: 16,
        kv_blocks: cut.kv_blocks.min(loaded.kv_blocks),
        max_calls: 1000,
        batching: Batching::Continuous,
        prefix_cache: cut.prefix_cache,
        preemption: cut.preemption,
    });
    for (index, prompt) in prompts.iter().enumerate() {
        let request = greedy(index, prompt, tokens, loaded.vocab_size);
        core.add(request, Micros::ZERO).expect("there is room");
    }
    let mut run = Run {
        texts: vec![Text::default(); prompts.len()],
        computed: 0,
    };
    let mut now = Micros::ZERO;
    while let Some(batch) = core.schedule(now) {
        run.computed += batch.tokens();
        let outputs = loaded.model.step(&batch, &mut Unmasked).expect("a step");
        now += Micros(1);
        for effect in core.complete(outputs, Micros(1)) {
            if let Effect::Token { call, sampled, .. } = effect {
                let index: usize = call.as_str().parse().expect("calls are numbered");
                let text = &mut run.texts[index];
                let mut row = vec![f32::NEG_INFINITY; loaded.vocab_size as usize];
                for (token, logprob) in sampled.logprobs.expect("they were asked for").top {
                    row[token as usize] = logprob;
                }
                text.tokens.push(sampled.token);
                text.logprobs.push(row);
            }
        }
        core.check_integrity();
    }
    run
}

fn greedy(index: usize, prompt: &[TokenId], tokens: u32, vocabulary: u32) -> Request {
    Request {
        call: CallId::parse(&index.to_string()).expect("a number"),
        attempt: Attempt(0),
        program: ProgramId::parse("goldens").expect("a word"),
        order: Order {
            queue: 0,
            rank: index as i64,
        },
        prompt: prompt.into(),
        resumed: Vec::new(),
        cache_salt: 0,
        choices: 1,
        sampling: SamplingParams {
            logprobs: Some(vocabulary),
            ..SamplingParams::default()
        },
        stopping: Stopping {
            max_tokens: tokens,
            min_tokens: 0,
            stop_tokens: Vec::new(),
        },
    }
}
