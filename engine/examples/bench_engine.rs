//! The engine as one arm of `make bench-engine`: core and model in one thread, as the engine's own thread drives them,
//! without HTTP. Owns: the contract of an arm (`scripts/bench/runner.py` says it in words) for this engine. Must not
//! know the other arms, nor what is made of the times.
//!
//!     echo '{"model":"DIR","dtype":"bfloat16",…}' | cargo run --release -p lps-engine --example bench_engine

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, anyhow, ensure};
use clap::ValueEnum;
use lps_api::ids::{CallId, ProgramId};
use lps_api::quantity::{Attempt, Micros, Order};
use lps_engine::config::BLOCK_TOKENS;
use lps_engine::model::directory::{ModelDirectory, Source};
use lps_engine::model::progress::Progress;
use lps_engine::model::sim::SimCost;
use lps_engine::model::torch::process;
use lps_engine::model::{
    self, Device, Dtype, KernelsAsked, KvSize, LoadOptions, Loaded, Quantization,
};
use lps_engine_core::core::{Batching, Config, Core, Effect, Preemption};
use lps_engine_core::model::Unmasked;
use lps_engine_core::request::{Request, SamplingParams, Stopping};
use serde::Deserialize;

/// Tokens of a sequence before its decoding counts: the first comes with the prompt, the second pays for what happens
/// once in a new shape of batch.
const SETTLED: usize = 2;
/// As `lps-engine` has it.
const MAX_BATCHED_TOKENS: u32 = 1024;

#[derive(Deserialize)]
struct Job {
    model: PathBuf,
    dtype: String,
    /// As for `lps-engine --kernels`.
    #[serde(default)]
    kernels: Option<String>,
    threads: NonZeroUsize,
    max_model_len: u32,
    max_num_seqs: u32,
    kv_bytes: u64,
    warm_up: Vec<u32>,
    workloads: Vec<Workload>,
}

#[derive(Deserialize)]
struct Workload {
    name: String,
    prompts: Vec<Vec<u32>>,
    steps: usize,
}

struct Bench {
    core: Core,
    loaded: Loaded,
    calls: u64,
}

/// What one workload took.
#[derive(Default)]
struct Times {
    first_s: f64,
    decode_s: f64,
    decode_tokens: usize,
}

fn main() -> anyhow::Result<()> {
    // libtorch's threads are settled before the job is read: this may replace the process by itself.
    let cores = std::thread::available_parallelism().ok();
    process::init(Device::Cpu, cores)?;
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    let job: Job = serde_json::from_str(&line).context("the job on standard input")?;
    ensure!(
        Some(job.threads) == cores,
        "{} threads are wanted, but the process may run on {cores:?} cores",
        job.threads
    );
    let mut bench = Bench::load(&job)?;
    bench.run(std::slice::from_ref(&job.warm_up), 0)?;
    let version = concat!("lps-engine ", env!("CARGO_PKG_VERSION"), ", torch 2.11.0");
    say(&serde_json::json!({"ready": version}))?;
    for workload in &job.workloads {
        let times = bench.run(&workload.prompts, workload.steps)?;
        say(&serde_json::json!({
            "workload": workload.name,
            "first_s": times.first_s,
            "decode_s": times.decode_s,
            "decode_tokens": times.decode_tokens,
        }))?;
    }
    Ok(())
}

fn say(value: &serde_json::Value) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{value}")?;
    out.flush()
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

impl Bench {
    fn load(job: &Job) -> anyhow::Result<Self> {
        // Weights of 8 bits stand beside activations of 16.
        let quantization = (job.dtype == "int8").then_some(Quantization::Int8);
        let dtype = if quantization.is_some() {
            Ok(Dtype::Bfloat16)
        } else {
            Dtype::from_str(&job.dtype, true)
        };
        let unknown = |_| anyhow!("the engine has no type {}", job.dtype);
        let dtype = dtype.map_err(unknown)?;
        let kernels = job.kernels.as_deref().unwrap_or("auto");
        let kernels: KernelsAsked = kernels.parse().map_err(|error: String| anyhow!(error))?;
        let directory = ModelDirectory::open(&Source::Directory(job.model.clone()))?;
        let options = LoadOptions {
            dtype: Some(dtype),
            kernels,
            quantization,
            device: Device::Cpu,
            block_tokens: BLOCK_TOKENS,
            kv: KvSize::Bytes(job.kv_bytes),
            max_model_len: job.max_model_len,
            max_num_seqs: job.max_num_seqs,
            max_batched_tokens: MAX_BATCHED_TOKENS,
            sim: SimCost::default(),
            printable_tokens: Vec::new(),
            progress: Progress::silent(),
        };
        let loaded = model::load(&directory, &options)?;
        let core = Core::new(Config {
            max_num_seqs: job.max_num_seqs,
            max_batched_tokens: MAX_BATCHED_TOKENS,
            max_model_len: loaded.max_model_len,
            block_tokens: BLOCK_TOKENS,
            kv_blocks: loaded.kv_blocks,
            max_calls: job.max_num_seqs,
            batching: Batching::Continuous,
            prefix_cache: false,
            preemption: Preemption::Keep,
        });
        Ok(Self {
            core,
            loaded,
            calls: 0,
        })
    }

    /// Runs all prompts at once until each has drawn its `steps` tokens beyond [`SETTLED`], or its first where `steps` is
    /// 0, and lets them go.
    fn run(&mut self, prompts: &[Vec<u32>], steps: usize) -> anyhow::Result<Times> {
        let calls = prompts
            .iter()
            .map(|prompt| self.submit(prompt))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let mut drawn = vec![0_usize; calls.len()];
        let mut times = Times::default();
        let start = now();
        while drawn.contains(&0) {
            self.step(&calls, &mut drawn)?;
        }
        times.first_s = start.elapsed().as_secs_f64();
        while steps > 0 && drawn.iter().any(|&tokens| tokens < SETTLED) {
            self.step(&calls, &mut drawn)?;
        }
        let (settled, before) = (now(), drawn.iter().sum::<usize>());
        for _ in 0..steps {
            self.step(&calls, &mut drawn)?;
        }
        times.decode_s = settled.elapsed().as_secs_f64();
        times.decode_tokens = drawn.iter().sum::<usize>() - before;
        ensure!(
            times.decode_tokens == steps * calls.len(),
            "{} of {} tokens were drawn: the KV pool is too small for the batch",
            times.decode_tokens,
            steps * calls.len()
        );
        for call in &calls {
            self.core.cancel(call);
        }
        Ok(times)
    }

    /// Hands in a greedy call that only the end of the context ends.
    fn submit(&mut self, prompt: &[u32]) -> anyhow::Result<CallId> {
        self.calls += 1;
        let name = format!("call-{}", self.calls);
        let call = CallId::parse(&name).context("name of a call")?;
        let request = Request {
            call: call.clone(),
            attempt: Attempt(0),
            program: ProgramId::parse(&name).context("name of a program")?,
            order: Order {
                queue: 0,
                rank: self.calls.cast_signed(),
            },
            prompt: Arc::from(prompt),
            resumed: Vec::new(),
            cache_salt: 0,
            choices: 1,
            sampling: SamplingParams::default(),
            stopping: Stopping {
                max_tokens: u32::MAX,
                min_tokens: 0,
                stop_tokens: Vec::new(),
            },
        };
        self.core.add(request, Micros(0))?;
        Ok(call)
    }

    /// One step of all calls; counts what each drew.
    fn step(&mut self, calls: &[CallId], drawn: &mut [usize]) -> anyhow::Result<()> {
        let batch = self
            .core
            .schedule(Micros(0))
            .context("calls are open, but no step is planned")?;
        let outputs = self.loaded.model.step(&batch, &mut Unmasked)?;
        for effect in self.core.complete(outputs, Micros(1)) {
            match effect {
                Effect::Token { call, .. } => {
                    let index = calls.iter().position(|other| *other == call);
                    drawn[index.context("a token of a call that is not open")?] += 1;
                }
                Effect::ChoiceEnded { call, .. } | Effect::CallEnded { call, .. } => {
                    return Err(anyhow!(
                        "{call} came to the end of its context; give a longer one"
                    ));
                }
            }
        }
        Ok(())
    }
}
