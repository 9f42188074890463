//! Configuration: flag over environment over default. Owns: every setting of the process, its range and its default;
//! what is wrong is told before anything is opened.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use lps_api::ids::{EngineId, ModelName};
use lps_api::quantity::Micros;
use lps_api::wellknown::port;
use lps_engine_core::core::{Batching, Preemption};
use lps_runtime::telemetry::Format;
use lps_runtime::tls::Pair;

use crate::model::directory::Source;
use crate::model::sim::SimCost;
use crate::model::{Device, Dtype, KernelsAsked, KvSize, Quantization};

/// Tokens of one KV page.
pub const BLOCK_TOKENS: u32 = 16;

/// Why a configuration has no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{flag}: {reason}")]
pub struct Error {
    flag: &'static str,
    reason: String,
}

// The ports' variables are not `LPS_PORT` and the like: a cluster gives that name to every pod beside a service `lps`.
/// Serves one model over HTTP.
#[derive(Debug, Clone, Parser)]
#[command(name = "lps-engine", version)]
pub struct Config {
    /// Folder in Hugging Face layout, or `builtin:demo`, `builtin:sim` or `builtin:sim-embedding`.
    #[arg(long, env = "LPS_MODEL", value_name = "DIR|builtin:NAME")]
    pub model: Source,
    /// Name by which clients ask for it [default: the folder's].
    #[arg(long, env = "LPS_MODEL_NAME")]
    pub model_name: Option<String>,
    /// Type of weights, activations and KV [default: the checkpoint's; float32 for builtin:demo].
    #[arg(long, env = "LPS_DTYPE")]
    pub dtype: Option<Dtype>,
    /// Where tensors live.
    #[arg(long, env = "LPS_DEVICE", default_value = "cpu")]
    pub device: Device,
    /// What computes: `auto`, the engine's own kernels where they are (`portable`, `avx2`, `avx512`, `avx512-bf16`), or
    /// libtorch's `operators`.
    #[arg(long, env = "LPS_KERNELS", default_value = "auto")]
    pub kernels: KernelsAsked,
    /// Rounds weights while they are loaded.
    #[arg(long, env = "LPS_QUANTIZATION")]
    pub quantization: Option<Quantization>,
    /// Threads that compute [default: as many as the processor set and the control group give].
    #[arg(long, env = "LPS_THREADS")]
    pub threads: Option<NonZeroUsize>,
    /// Address to listen on.
    #[arg(long, env = "LPS_HOST", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port of the API; 0 takes a free one.
    #[arg(long, env = "LPS_HTTP_PORT", default_value_t = port::ENGINE)]
    pub port: u16,
    /// Port of `/metrics`, `/healthz`, `/readyz` and `/log-level` [default: the next one, or a free one].
    #[arg(long, env = "LPS_HTTP_ADMIN_PORT")]
    pub admin_port: Option<u16>,
    /// Certificates of this engine, its own first, as PEM; read again when they change. Unset: plain HTTP for everybody.
    #[arg(long, env = "LPS_TLS_CERT", value_name = "FILE", requires_all = ["tls_key", "tls_client_ca"])]
    pub tls_cert: Option<PathBuf>,
    /// The key of the first of these certificates, as PEM.
    #[arg(long, env = "LPS_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Authorities, as PEM: only a client with a certificate of one of them, a router, may call.
    #[arg(
        long,
        env = "LPS_TLS_CLIENT_CA",
        value_name = "FILE",
        requires = "tls_cert"
    )]
    pub tls_client_ca: Option<PathBuf>,
    /// Where the addresses are written, API first, a line each, once both are listened on.
    #[arg(long, env = "LPS_ADDRESS_FILE")]
    pub address_file: Option<PathBuf>,
    /// Name of this engine, unique among those of a router [default: made at start].
    #[arg(long, env = "LPS_ENGINE_ID")]
    pub engine_id: Option<EngineId>,
    /// Most sequences in one batch.
    #[arg(long, env = "LPS_MAX_NUM_SEQS", default_value_t = 32)]
    pub max_num_seqs: u32,
    /// Most tokens of one step.
    #[arg(long, env = "LPS_MAX_BATCHED_TOKENS", default_value_t = 1024)]
    pub max_batched_tokens: u32,
    /// Longest prompt plus output of one choice [default: the model's context].
    #[arg(long, env = "LPS_MAX_MODEL_LEN")]
    pub max_model_len: Option<u32>,
    /// Most calls held, waiting ones included.
    #[arg(long, env = "LPS_MAX_CALLS", default_value_t = 4096)]
    pub max_calls: u32,
    /// Size of the KV cache, such as 512Mi.
    #[arg(long, env = "LPS_KV_CACHE_SIZE", value_parser = parse_bytes, conflicts_with = "kv_cache_fraction")]
    pub kv_cache_size: Option<u64>,
    /// Share of the memory that is free with weights loaded, at most what full batches need [default: 0.3; cuda 0.9].
    #[arg(long, env = "LPS_KV_CACHE_FRACTION")]
    pub kv_cache_fraction: Option<f64>,
    /// How steps are filled: `continuous`, `static`, or `timeout:MS`.
    #[arg(long, env = "LPS_BATCHING", default_value = "continuous", value_parser = parse_batching)]
    pub batching: Batching,
    /// What becomes of a preempted sequence's pages: `keep` or `recompute`.
    #[arg(long, env = "LPS_PREEMPTION", default_value = "keep", value_parser = parse_preemption)]
    pub preemption: Preemption,
    /// Every prompt is computed from its start.
    #[arg(long, env = "LPS_NO_PREFIX_CACHE")]
    pub no_prefix_cache: bool,
    /// With the call's name, the seed of calls that bring none.
    #[arg(long, env = "LPS_SEED", default_value_t = 0)]
    pub seed: u64,
    /// File (.jsonl) that gets one JSON line for each step; or a folder, for ENGINE.jsonl.
    #[arg(long, env = "LPS_STEP_LOG")]
    pub step_log: Option<PathBuf>,
    /// Ends this process when its parent does, however that ends.
    #[arg(long, env = "LPS_EXIT_WITH_PARENT")]
    pub exit_with_parent: bool,
    /// Logs for people (`plain`) or as JSON lines (`json`).
    #[arg(long, env = "LPS_LOG_FORMAT", default_value_t = Format::Plain)]
    pub log_format: Format,
    /// `error`, `warn`, `info`, `debug`, `trace`, or a list of module=level.
    #[arg(long, env = "LPS_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
    /// builtin:sim: duration of each step, in µs.
    #[arg(long, env = "LPS_SIM_STEP_US", default_value_t = 0)]
    pub sim_step_us: u64,
    /// builtin:sim: duration added for each prompt token of a step, in µs.
    #[arg(long, env = "LPS_SIM_PREFILL_TOKEN_US", default_value_t = 0)]
    pub sim_prefill_token_us: u64,
    /// builtin:sim: duration added for each decoding sequence of a step, in µs.
    #[arg(long, env = "LPS_SIM_DECODE_US", default_value_t = 0)]
    pub sim_decode_us: u64,
    /// builtin:sim: mean length of an answer; 0: answers end at their limit only.
    #[arg(long, env = "LPS_SIM_OUTPUT_TOKENS", default_value_t = 64)]
    pub sim_output_tokens: u32,
}

/// Tries the kernels on the CUDA device that is there, times it, and writes a report.
#[derive(Debug, Clone, Parser)]
#[command(name = "gpu-check")]
pub struct GpuCheck {
    /// File (.json) that gets the report.
    #[arg(long)]
    pub out: PathBuf,
}

/// What the process is asked to do.
#[derive(Debug)]
pub enum Task {
    /// To serve.
    Serve(Box<Config>),
    /// To look at the device.
    GpuCheck(GpuCheck),
}

impl Task {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// What is wrong with them; or help, where that was asked for.
    pub fn parse() -> Result<Self, clap::Error> {
        Self::of(&Self::command().try_get_matches()?)
    }

    fn command() -> clap::Command {
        Config::command()
            .subcommand(GpuCheck::command())
            .subcommand_negates_reqs(true)
            .args_conflicts_with_subcommands(true)
    }

    fn of(matches: &ArgMatches) -> Result<Self, clap::Error> {
        match matches.subcommand() {
            Some((_, check)) => GpuCheck::from_arg_matches(check).map(Self::GpuCheck),
            None => Config::from_arg_matches(matches).map(|config| Self::Serve(Box::new(config))),
        }
    }
}

impl Config {
    /// Checks what holds between settings.
    ///
    /// # Errors
    /// When a setting has no use; the message names its flag.
    pub fn check(&self) -> Result<(), Error> {
        let positive = [
            ("--max-num-seqs", self.max_num_seqs),
            ("--max-batched-tokens", self.max_batched_tokens),
            ("--max-model-len", self.max_model_len.unwrap_or(1)),
            ("--max-calls", self.max_calls),
        ];
        for (flag, value) in positive {
            ensure(flag, value > 0, || "is at least 1".to_owned())?;
        }
        let (sequences, tokens) = (self.max_num_seqs, self.max_batched_tokens);
        ensure("--max-batched-tokens", tokens >= sequences, || {
            format!(
                "is at least --max-num-seqs ({sequences}), not {tokens}: every sequence decodes a token a step"
            )
        })?;
        if let Some(fraction) = self.kv_cache_fraction {
            let fits = fraction > 0.0 && fraction <= 1.0;
            ensure("--kv-cache-fraction", fits, || {
                format!("is above 0 and at most 1, not {fraction}")
            })?;
        }
        let same_port = self.admin_port == Some(self.port) && self.port != 0;
        ensure("--admin-port", !same_port, || {
            "is the same as --port".to_owned()
        })?;
        self.name().map(|_| ())
    }

    /// The name that clients use.
    ///
    /// # Errors
    /// When it is none.
    pub fn name(&self) -> Result<ModelName, Error> {
        let name = self.model_name.clone();
        let name = name.unwrap_or_else(|| self.model.default_name());
        ModelName::parse(&name).map_err(|error| Error {
            flag: "--model-name",
            reason: format!("{name:?} is no name: {error}"),
        })
    }

    /// The admin server's port.
    pub fn admin_port(&self) -> u16 {
        self.admin_port.unwrap_or(if self.port == 0 {
            0
        } else {
            self.port.wrapping_add(1)
        })
    }

    /// What routers are shown, and whose certificates they have, where they are asked for one.
    pub fn tls(&self) -> Option<(Pair, PathBuf)> {
        let own = Pair {
            cert: self.tls_cert.clone()?,
            key: self.tls_key.clone()?,
        };
        Some((own, self.tls_client_ca.clone()?))
    }

    /// Size of the KV pool.
    pub fn kv(&self) -> KvSize {
        let default = match self.device {
            Device::Cpu => 0.3,
            Device::Cuda => 0.9,
        };
        match self.kv_cache_size {
            Some(bytes) => KvSize::Bytes(bytes),
            None => KvSize::FreeFraction(self.kv_cache_fraction.unwrap_or(default)),
        }
    }

    /// The longest prompt plus output, given the model's context.
    ///
    /// # Errors
    /// When more is asked for than the model has.
    pub fn model_len(&self, context_tokens: u32) -> Result<u32, Error> {
        let asked = self.max_model_len.unwrap_or(context_tokens);
        ensure("--max-model-len", asked <= context_tokens, || {
            format!("is {asked}, but the model's context has {context_tokens} tokens")
        })?;
        Ok(asked)
    }

    /// Checks what a model that makes vectors cannot do.
    ///
    /// # Errors
    /// When it is asked for.
    pub fn check_for_vectors(&self) -> Result<(), Error> {
        let plain = self.batching == Batching::Continuous;
        ensure("--batching", plain, || {
            "is continuous for a model that makes vectors: a text takes one step".to_owned()
        })
    }

    /// The simulated model's pace.
    pub fn sim(&self) -> SimCost {
        SimCost {
            step_us: self.sim_step_us,
            prefill_token_us: self.sim_prefill_token_us,
            decode_us: self.sim_decode_us,
            output_tokens_mean: self.sim_output_tokens,
        }
    }
}

fn ensure(flag: &'static str, holds: bool, reason: impl FnOnce() -> String) -> Result<(), Error> {
    if holds {
        return Ok(());
    }
    let reason = reason();
    Err(Error { flag, reason })
}

fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, u64); 8] = [
        ("Ki", 1 << 10),
        ("Mi", 1 << 20),
        ("Gi", 1 << 30),
        ("Ti", 1 << 40),
        ("k", 1_000),
        ("M", 1_000_000),
        ("G", 1_000_000_000),
        ("T", 1_000_000_000_000),
    ];
    let unit = UNITS.iter().find(|(unit, _)| text.ends_with(unit));
    let (digits, unit) = unit.map_or((text, 1), |(unit, size)| {
        (text.trim_end_matches(unit), *size)
    });
    let bytes = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "a size is a number with Ki, Mi, Gi or Ti, such as 512Mi".to_owned())
}

fn parse_batching(text: &str) -> Result<Batching, String> {
    let timeout = |text: &str| {
        text.strip_prefix("timeout:")?
            .parse()
            .ok()
            .map(Micros::from_millis)
    };
    match text {
        "continuous" => Ok(Batching::Continuous),
        "static" => Ok(Batching::Static),
        _ => timeout(text)
            .map(Batching::Timeout)
            .ok_or_else(|| "batching is continuous, static or timeout:MS".to_owned()),
    }
}

fn parse_preemption(text: &str) -> Result<Preemption, String> {
    match text {
        "keep" => Ok(Preemption::Keep),
        "recompute" => Ok(Preemption::Recompute),
        _ => Err("preemption is keep or recompute".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: &str) -> Result<Config, String> {
        let flags = ["lps-engine"].into_iter().chain(flags.split_whitespace());
        let config = Config::try_parse_from(flags).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())?;
        Ok(config)
    }

    #[test]
    fn what_is_wrong_is_told_with_its_flag() {
        for (flags, expected) in [
            ("", "--model"),
            (
                "--model builtin:other",
                "builtin:demo, builtin:sim and builtin:sim-embedding",
            ),
            (
                "--model builtin:sim --max-num-seqs 0",
                "--max-num-seqs: is at least 1",
            ),
            (
                "--model builtin:sim --max-num-seqs 9 --max-batched-tokens 8",
                "--max-batched-tokens: is at least --max-num-seqs (9)",
            ),
            ("--model builtin:sim --kv-cache-size 1X", "512Mi"),
            (
                "--model builtin:sim --kv-cache-fraction 1.5",
                "--kv-cache-fraction: is above 0",
            ),
            ("--model builtin:sim --batching sometimes", "timeout:MS"),
            (
                "--model builtin:sim --port 9 --admin-port 9",
                "--admin-port: is the same",
            ),
            (
                "--model builtin:sim --model-name a,b",
                "--model-name: \"a,b\" is no name",
            ),
            ("--model builtin:sim --dtype int4", "--dtype"),
            ("--model builtin:sim --kernels sse9", "portable, avx2"),
            ("--model builtin:sim --quantization int2", "--quantization"),
        ] {
            let error = config(flags).expect_err(flags);
            assert!(error.contains(expected), "{flags}: {error}");
        }
    }

    #[test]
    fn a_task_is_to_serve_unless_it_is_named() {
        let task = |flags: &str| {
            let flags = ["lps-engine"].into_iter().chain(flags.split_whitespace());
            Task::of(&Task::command().try_get_matches_from(flags)?)
        };
        let serve = task("--model builtin:sim --port 9").unwrap();
        assert!(matches!(serve, Task::Serve(config) if config.port == 9));
        let check = task("gpu-check --out report.json").unwrap();
        assert!(matches!(check, Task::GpuCheck(check) if check.out.ends_with("report.json")));
        let error = task("gpu-check").unwrap_err().to_string();
        assert!(error.contains("--out"), "{error}");
        let error = task("").unwrap_err().to_string();
        assert!(error.contains("--model"), "{error}");
    }

    #[test]
    fn settings_become_what_they_mean() {
        let config =
            config("--model builtin:demo --kv-cache-size 2Gi --batching timeout:20 --port 9000")
                .unwrap();
        assert_eq!(config.kv(), KvSize::Bytes(2 << 30));
        assert_eq!(config.batching, Batching::Timeout(Micros::from_millis(20)));
        assert_eq!(config.admin_port(), 9001);
        assert_eq!(config.name().unwrap().as_str(), "demo");
        assert_eq!(config.model_len(2048).unwrap(), 2048);
        let long = Config {
            max_model_len: Some(4096),
            ..config
        };
        let error = long.model_len(2048).unwrap_err().to_string();
        assert_eq!(
            error,
            "--max-model-len: is 4096, but the model's context has 2048 tokens"
        );
    }
}
