//! Speed of the model alone, without server and scheduler: decode at several batch sizes, and prefill. Prints one line
//! of JSON, as `scripts/bench_transformers.py` does for the same checkpoint and work.
//!
//!     cargo run --release -p lps-engine --example bench_model -- DIR [float32|bfloat16]

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use lps_engine::model::directory::{ModelDirectory, Source};
use lps_engine::model::sim::SimCost;
use lps_engine::model::torch::process;
use lps_engine::model::{self, Device, Dtype, KvSize, LoadOptions, Loaded};
use lps_engine_core::batch::{Batch, BatchSequence, Sample, SequenceId};
use lps_engine_core::request::SamplingParams;

const BLOCK_TOKENS: usize = 16;
const PROMPT_TOKENS: usize = 128;
const PREFILL_TOKENS: usize = 512;
const DECODE_STEPS: usize = 48;
const BATCHES: [usize; 2] = [1, 8];

struct Sequence {
    tokens: Vec<u32>,
    computed: usize,
    blocks: Vec<u32>,
}

struct Bench {
    loaded: Loaded,
    step: u64,
}

fn main() -> anyhow::Result<()> {
    process::init(Device::Cpu, None)?;
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().context("usage: bench_model DIR [DTYPE]")?);
    let dtype = match arguments.next().as_deref() {
        None | Some("bfloat16") => Dtype::Bfloat16,
        Some("float32") => Dtype::Float32,
        Some(other) => bail!("{other} is neither float32 nor bfloat16"),
    };
    let directory = ModelDirectory::open(&Source::Directory(folder))?;
    let start = now();
    let loaded = model::load(&directory, &options(dtype))?;
    let mut result = serde_json::json!({"load_s": round(start.elapsed().as_secs_f64())});
    let mut bench = Bench { loaded, step: 0 };
    bench.prefill(PREFILL_TOKENS)?;
    result["prefill_tok_s"] = round(bench.prefill(PREFILL_TOKENS)?).into();
    for batch in BATCHES {
        result[format!("decode_{batch}_tok_s")] = round(bench.decode(batch)?).into();
    }
    #[expect(clippy::print_stdout, reason = "the result of the program")]
    {
        println!("{result}");
    }
    Ok(())
}

fn options(dtype: Dtype) -> LoadOptions {
    LoadOptions {
        dtype: Some(dtype),
        device: Device::Cpu,
        block_tokens: BLOCK_TOKENS as u32,
        kv: KvSize::Bytes(1 << 30),
        max_model_len: 1024,
        max_num_seqs: 8,
        max_batched_tokens: 1024,
        sim: SimCost::default(),
        printable_tokens: Vec::new(),
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

impl Bench {
    /// Tokens a second of one prompt.
    fn prefill(&mut self, tokens: usize) -> anyhow::Result<f64> {
        let mut sequences = sequences(1, tokens);
        let start = now();
        self.run(&mut sequences)?;
        Ok(tokens as f64 / start.elapsed().as_secs_f64())
    }

    /// Tokens a second of so many sequences.
    fn decode(&mut self, batch: usize) -> anyhow::Result<f64> {
        let mut sequences = sequences(batch, PROMPT_TOKENS);
        self.run(&mut sequences)?;
        self.run(&mut sequences)?;
        let start = now();
        for _ in 0..DECODE_STEPS {
            self.run(&mut sequences)?;
        }
        Ok((batch * DECODE_STEPS) as f64 / start.elapsed().as_secs_f64())
    }

    /// One step that computes all that is not computed, and draws greedily.
    fn run(&mut self, sequences: &mut [Sequence]) -> anyhow::Result<()> {
        self.step += 1;
        let params = SamplingParams::default();
        let members = sequences
            .iter()
            .enumerate()
            .map(|(index, sequence)| BatchSequence {
                id: SequenceId(index as u64),
                tokens: &sequence.tokens,
                prompt_len: sequence.tokens.len(),
                computed: sequence.computed,
                len: sequence.tokens.len() - sequence.computed,
                blocks: &sequence.blocks,
                sample: Some(Sample {
                    params: &params,
                    choice: 0,
                    forbidden: &[],
                }),
            });
        let batch = Batch {
            step: self.step,
            sequences: members.collect(),
        };
        let outputs = self.loaded.model.step(&batch)?;
        for (sequence, (_, sampled)) in sequences.iter_mut().zip(outputs.sampled) {
            sequence.computed = sequence.tokens.len();
            sequence.tokens.push(sampled.token);
        }
        Ok(())
    }
}

/// Prompts of equal length and different tokens, with pages of their own.
fn sequences(count: usize, tokens: usize) -> Vec<Sequence> {
    let pages = (tokens + DECODE_STEPS + 2).div_ceil(BLOCK_TOKENS) as u32;
    (0..count as u32)
        .map(|index| Sequence {
            tokens: (0..tokens as u32)
                .map(|place| (place * 37 + index * 101) % 1500 + 3)
                .collect(),
            computed: 0,
            blocks: (index * pages..(index + 1) * pages).collect(),
        })
        .collect()
}
