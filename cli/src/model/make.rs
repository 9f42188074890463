//! Writing a checkpoint with random weights in Hugging Face layout. Owns: sizes by name, and which files there are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use super::config_json::{self, END_TOKEN, Generation};
use super::pooling::Pooling;
use super::safetensors_file;
pub use super::safetensors_file::StoredType;
use super::shape::{Family, Rope, Shape, Weight};

/// Tokens of that tokenizer: a vocabulary has at least these.
const TOKENIZER_TOKENS: u32 = 1536;

const TEMPLATE: &str = "chat_template.jinja";

/// The demo model's tokenizer and template.
const TEXT_FILES: [(&str, &[u8]); 3] = [
    (
        "tokenizer.json",
        include_bytes!("../../../engine/models/demo/tokenizer.json"),
    ),
    (
        "tokenizer_config.json",
        include_bytes!("../../../engine/models/demo/tokenizer_config.json"),
    ),
    (
        TEMPLATE,
        include_bytes!("../../../engine/models/demo/chat_template.jinja"),
    ),
];

/// Sizes by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Size {
    /// A fraction of a million parameters.
    Tiny,
    /// The shape of SmolLM2-135M (llama).
    #[value(name = "smollm-135m")]
    Smollm135m,
    /// The shape of Qwen3-0.6B (qwen3).
    #[value(name = "qwen3-0.6b")]
    Qwen3Of600m,
}

/// What to make. Each dimension that is not given is the size's.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// Folder to write; it must not hold a checkpoint.
    pub out: PathBuf,
    /// Kind of model [default: the size's; llama for tiny].
    #[arg(long)]
    pub family: Option<Family>,
    /// Dimensions to start from.
    #[arg(long, value_enum, default_value_t = Size::Tiny)]
    pub size: Size,
    /// Weights are a function of this number.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Type in which weights are stored.
    #[arg(long, value_enum, default_value_t = StoredType::Bfloat16)]
    pub dtype: StoredType,
    /// Whether the embedding is the output layer too [default: the size's].
    #[arg(long, num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub tied: Option<bool>,
    /// Files that the weights are spread over.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub shards: u32,
    /// Generation of transformers whose `config.json` is written.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u8).range(4..=5))]
    pub config_generation: u8,
    /// How a text's tokens become one vector [default: mean for bert, last for qwen3-embedding].
    #[arg(long, value_enum)]
    pub pooling: Option<Pooling>,
    /// Single dimensions.
    #[command(flatten)]
    pub dimensions: Dimensions,
}

/// Single dimensions, over those of the size.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Dimensions [default: the size's]")]
pub struct Dimensions {
    /// Tokens of the vocabulary.
    #[arg(long, value_parser = clap::value_parser!(u32).range(i64::from(TOKENIZER_TOKENS)..))]
    pub vocab: Option<u32>,
    /// Width of the residual stream.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub hidden: Option<u32>,
    /// Width of the gated layer.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub intermediate: Option<u32>,
    /// Layers.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub layers: Option<u32>,
    /// Query heads.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub heads: Option<u32>,
    /// Key-value heads.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub kv_heads: Option<u32>,
    /// Numbers of a head.
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..))]
    pub head_dim: Option<u32>,
    /// Longest sequence.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub context_length: Option<u32>,
    /// Base of the rotation angles.
    #[arg(long)]
    pub rope_theta: Option<f64>,
    /// Stretching of the angles, as JSON: '{"rope_type": "linear", "factor": 2}'.
    #[arg(long, value_parser = rope_from_json)]
    pub rope: Option<Rope>,
    /// Share of each head that is turned (phi3).
    #[arg(long)]
    pub partial_rotary: Option<f64>,
    /// Tokens that layers with a window see [default: no layer has one].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub window: Option<u32>,
    /// Give attention's products a bias.
    #[arg(long)]
    pub attention_bias: bool,
}

fn rope_from_json(text: &str) -> Result<Rope, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl Options {
    /// A tiny model with all defaults.
    pub fn new(out: &Path) -> Self {
        Self {
            out: out.to_path_buf(),
            family: None,
            size: Size::Tiny,
            seed: 0,
            dtype: StoredType::Bfloat16,
            tied: None,
            shards: 1,
            config_generation: 5,
            pooling: None,
            dimensions: Dimensions::default(),
        }
    }

    fn generation(&self) -> Generation {
        match self.config_generation {
            4 => Generation::Four,
            _ => Generation::Five,
        }
    }

    /// All numbers of what is made.
    pub fn shape(&self) -> Shape {
        let base = self.size.shape();
        let d = &self.dimensions;
        let family = self.family.unwrap_or(base.family);
        let (hidden, heads) = (
            d.hidden.unwrap_or(base.hidden),
            d.heads.unwrap_or(base.heads),
        );
        let (kv_heads, head_dim) = match family {
            Family::Gpt2 | Family::Bert => (heads, hidden / heads),
            Family::Phi3 => (base.kv_heads, hidden / heads),
            _ => (base.kv_heads, base.head_dim),
        };
        Shape {
            family,
            vocab: d.vocab.unwrap_or(base.vocab),
            hidden,
            intermediate: d.intermediate.unwrap_or(base.intermediate),
            layers: d.layers.unwrap_or(base.layers),
            heads,
            kv_heads: d.kv_heads.unwrap_or(kv_heads),
            head_dim: d.head_dim.unwrap_or(head_dim),
            context: d.context_length.unwrap_or(base.context),
            rope_theta: d.rope_theta.unwrap_or(base.rope_theta),
            rope: d.rope.clone().unwrap_or(base.rope),
            partial_rotary: d.partial_rotary.unwrap_or(base.partial_rotary),
            window: d.window,
            attention_bias: d.attention_bias,
            // What makes vectors has no output layer.
            tied: family.makes_vectors() || self.tied.unwrap_or(base.tied),
            ..base
        }
    }
}

impl Size {
    fn shape(self) -> Shape {
        let tiny = Shape {
            family: Family::Llama,
            vocab: TOKENIZER_TOKENS,
            hidden: 64,
            intermediate: 128,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 16,
            context: 2048,
            epsilon: 1e-5,
            rope_theta: 10_000.0,
            rope: Rope::Default,
            partial_rotary: 1.0,
            window: None,
            attention_bias: false,
            mlp_bias: false,
            tied: false,
        };
        match self {
            Self::Tiny => tiny,
            Self::Smollm135m => Shape {
                vocab: 49_152,
                hidden: 576,
                intermediate: 1536,
                layers: 30,
                heads: 9,
                kv_heads: 3,
                head_dim: 64,
                context: 8192,
                rope_theta: 100_000.0,
                tied: true,
                ..tiny
            },
            Self::Qwen3Of600m => Shape {
                family: Family::Qwen3,
                vocab: 151_936,
                hidden: 1024,
                intermediate: 3072,
                layers: 28,
                heads: 16,
                kv_heads: 8,
                head_dim: 128,
                context: 40_960,
                epsilon: 1e-6,
                rope_theta: 1_000_000.0,
                tied: true,
                ..tiny
            },
        }
    }
}

/// Writes the checkpoint.
///
/// # Errors
/// When dimensions contradict each other, the folder holds a checkpoint, or it cannot be written.
pub fn make(options: &Options) -> anyhow::Result<()> {
    let shape = options.shape();
    if let Err(error) = config_json::consistent(&shape) {
        anyhow::bail!("{} {}", error.field, error.reason);
    }
    let family = shape.family.model_type();
    ensure!(
        !(shape.family == Family::Llama || shape.family.is_gemma())
            || shape.hidden.is_multiple_of(shape.heads),
        "hidden {} is no multiple of heads {}; transformers asks for that in {family}",
        shape.hidden,
        shape.heads
    );
    ensure!(
        !shape.attention_bias || shape.family.chooses_biases(),
        "{family} cannot choose to have biases around attention"
    );
    ensure!(
        shape.window.is_none()
            || !matches!(shape.family, Family::Llama | Family::Gpt2 | Family::Bert),
        "{family} has no windows"
    );
    ensure!(
        options.pooling.is_none() || shape.family.makes_vectors(),
        "{family} makes text, which is not pooled; families bert and qwen3-embedding are"
    );
    let out = &options.out;
    ensure!(
        !out.join("config.json").exists(),
        "{} holds a checkpoint already; name another folder",
        out.display()
    );
    fs::create_dir_all(out).with_context(|| format!("{} cannot be made", out.display()))?;
    write_weights(options, &named(options, &shape))?;
    let vectors = shape.family.makes_vectors();
    for (name, bytes) in TEXT_FILES {
        if !(vectors && name == TEMPLATE) {
            write_file(out, name, bytes)?;
        }
    }
    let config = config_json::write(&shape, options.dtype, options.generation());
    if vectors {
        let pooling = options.pooling.unwrap_or(Pooling::of(shape.family));
        let sizes = (shape.hidden, shape.context);
        for (name, content) in pooling.files(sizes, options.generation()) {
            write_file(out, name, format!("{content:#}\n").as_bytes())?;
        }
    } else {
        let defaults = json!({"eos_token_id": END_TOKEN, "do_sample": false});
        let defaults = format!("{defaults:#}\n");
        write_file(out, "generation_config.json", defaults.as_bytes())?;
    }
    // Last: who sees it sees a whole checkpoint.
    write_file(out, "config.json", format!("{config:#}\n").as_bytes())
}

/// The weights under the names that such a checkpoint has for them.
fn named(options: &Options, shape: &Shape) -> Vec<Weight> {
    let mut weights = shape.weights();
    let older = options.config_generation == 4;
    for weight in &mut weights {
        let bare = match shape.family {
            // As OpenAI's were converted: the body alone.
            Family::Gpt2 if shape.tied && older => weight.name.strip_prefix("transformer."),
            // As it is published: the body alone.
            Family::Qwen3Embedding if !older => weight.name.strip_prefix("model."),
            _ => None,
        };
        if let Some(bare) = bare {
            weight.name = bare.to_owned();
        } else if shape.family == Family::Bert && older {
            // As cut out of a model with a head.
            weight.name.insert_str(0, "bert.");
        }
    }
    weights
}

fn write_file(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let path = folder.join(name);
    if let Some(inner) = path.parent() {
        fs::create_dir_all(inner).with_context(|| format!("{} cannot be made", inner.display()))?;
    }
    fs::write(&path, bytes).with_context(|| format!("{} cannot be written", path.display()))
}

/// One file, or several of about equal size and an index.
fn write_weights(options: &Options, weights: &[Weight]) -> anyhow::Result<()> {
    let total: u64 = weights.iter().map(Weight::numbers).sum();
    ensure!(
        options.shards as usize <= weights.len(),
        "{} weights cannot be spread over {} files",
        weights.len(),
        options.shards
    );
    let parts = spread(weights, options.shards as usize);
    let mut map = Map::new();
    for (index, part) in parts.iter().enumerate() {
        let name = match parts.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
        let path = options.out.join(&name);
        safetensors_file::write(&path, part, options.dtype, options.seed)
            .with_context(|| format!("{} cannot be written", path.display()))?;
        map.extend(
            part.iter()
                .map(|weight| (weight.name.clone(), Value::from(name.as_str()))),
        );
    }
    if parts.len() > 1 {
        let bytes = total * options.dtype.bytes();
        let index = json!({"metadata": {"total_size": bytes}, "weight_map": map});
        write_file(
            &options.out,
            "model.safetensors.index.json",
            format!("{index:#}\n").as_bytes(),
        )?;
    }
    Ok(())
}

/// In order, into so many parts, none empty: each takes its share of what is left.
fn spread(mut weights: &[Weight], parts: usize) -> Vec<&[Weight]> {
    let mut spread = Vec::with_capacity(parts);
    for left in (1..=parts).rev() {
        let share = weights.iter().map(Weight::numbers).sum::<u64>() / left as u64;
        let (mut count, mut sum) = (0, 0);
        while count == 0 || (sum < share && weights.len() - count >= left) {
            sum += weights[count].numbers();
            count += 1;
        }
        let (part, rest) = weights.split_at(count);
        spread.push(part);
        weights = rest;
    }
    spread
}
