//! Counters and gauges of the loop. The gauges that gateways read have vLLM's names.

use lps_api::protocol::{CallState, CallUsage, Load};
use lps_api::quantity::Micros;
use lps_engine_core::defect::Defect;
use prometheus::{Gauge, Histogram, HistogramOpts, IntCounter, IntGauge, Opts, Registry};

/// Name, what it counts. One table, so that a reference can be made of it.
pub const METRICS: [(&str, &str); 15] = [
    (
        "vllm:num_requests_running",
        "Sequences in the running batch",
    ),
    (
        "vllm:num_requests_waiting",
        "Calls that wait for a slot, preempted ones included",
    ),
    (
        "vllm:kv_cache_usage_perc",
        "Share of KV pages that sequences reference, 0 to 1",
    ),
    ("lps_engine_kv_blocks_free", "Pages that hold nothing"),
    (
        "lps_engine_kv_blocks_cached",
        "Unreferenced pages that the prefix cache can serve",
    ),
    ("lps_engine_steps_total", "Steps computed"),
    ("lps_engine_step_seconds", "Duration of a step"),
    ("lps_engine_step_tokens", "New tokens of a step"),
    (
        "lps_engine_preemptions_total",
        "Calls that fell out of the batch",
    ),
    ("lps_engine_calls_total", "Calls that ended by themselves"),
    (
        "lps_engine_calls_cancelled_total",
        "Calls that a cancel ended",
    ),
    (
        "lps_engine_numeric_errors_total",
        "Calls that ended because the model gave not-a-number or infinity",
    ),
    (
        "lps_engine_grammar_errors_total",
        "Calls that ended because their grammar allowed no token",
    ),
    ("vllm:prompt_tokens_total", "Prompt tokens of ended calls"),
    (
        "vllm:generation_tokens_total",
        "Output tokens of ended calls",
    ),
];

const STEP_SECONDS: [f64; 12] = [
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0,
];
const STEP_TOKENS: [f64; 11] = [
    1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0,
];

/// The loop's figures.
#[derive(Debug, Clone)]
pub struct Metrics {
    running: IntGauge,
    waiting: IntGauge,
    kv_usage: Gauge,
    kv_free: IntGauge,
    kv_cached: IntGauge,
    steps: IntCounter,
    step_seconds: Histogram,
    step_tokens: Histogram,
    preemptions: IntCounter,
    calls: IntCounter,
    cancelled: IntCounter,
    numeric_errors: IntCounter,
    grammar_errors: IntCounter,
    prompt_tokens: IntCounter,
    output_tokens: IntCounter,
    kv_blocks_total: f64,
}

impl Metrics {
    /// Registers all figures. `kv_blocks_total` is set by [`Metrics::sized`] once it is known.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let opts = |index: usize| Opts::new(METRICS[index].0, METRICS[index].1);
        let gauge = |index| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::with_opts(opts(index))?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let counter = |index| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::with_opts(opts(index))?;
            registry
                .register(Box::new(counter.clone()))
                .map(|()| counter)
        };
        let histogram = |index, buckets: &[f64]| -> Result<Histogram, prometheus::Error> {
            let histogram =
                Histogram::with_opts(HistogramOpts::from(opts(index)).buckets(buckets.to_vec()))?;
            registry
                .register(Box::new(histogram.clone()))
                .map(|()| histogram)
        };
        let kv_usage = Gauge::with_opts(opts(2))?;
        registry.register(Box::new(kv_usage.clone()))?;
        Ok(Self {
            running: gauge(0)?,
            waiting: gauge(1)?,
            kv_usage,
            kv_free: gauge(3)?,
            kv_cached: gauge(4)?,
            steps: counter(5)?,
            step_seconds: histogram(6, &STEP_SECONDS)?,
            step_tokens: histogram(7, &STEP_TOKENS)?,
            preemptions: counter(8)?,
            calls: counter(9)?,
            cancelled: counter(10)?,
            numeric_errors: counter(11)?,
            grammar_errors: counter(12)?,
            prompt_tokens: counter(13)?,
            output_tokens: counter(14)?,
            kv_blocks_total: 0.0,
        })
    }

    /// The size of the pool.
    #[must_use]
    pub fn sized(mut self, kv_blocks_total: u32) -> Self {
        self.kv_blocks_total = f64::from(kv_blocks_total);
        self
    }

    pub(super) fn step(&self, tokens: usize, duration: Micros) {
        self.steps.inc();
        self.step_seconds.observe(duration.as_secs_f64());
        self.step_tokens.observe(tokens as f64);
    }

    pub(super) fn preempted(&self, calls: usize) {
        self.preemptions.inc_by(calls as u64);
    }

    /// A call ended in this state, of a defect if it failed.
    pub(super) fn ended(&self, usage: &CallUsage, state: CallState, defect: Option<Defect>) {
        match state {
            CallState::Cancelled => self.cancelled.inc(),
            CallState::Failed if defect == Some(Defect::NothingAllowed) => {
                self.grammar_errors.inc();
            }
            CallState::Failed => self.numeric_errors.inc(),
            _ => self.calls.inc(),
        }
        self.prompt_tokens.inc_by(u64::from(usage.prompt_tokens.0));
        self.output_tokens.inc_by(u64::from(usage.output_tokens.0));
    }

    pub(super) fn load(&self, load: &Load) {
        self.running.set(i64::from(load.running));
        self.waiting.set(i64::from(load.waiting));
        self.kv_free.set(i64::from(load.kv_blocks_free));
        self.kv_cached.set(i64::from(load.kv_blocks_cached));
        let unused = f64::from(load.kv_blocks_free + load.kv_blocks_cached);
        if self.kv_blocks_total > 0.0 {
            self.kv_usage.set(1.0 - unused / self.kv_blocks_total);
        }
    }
}
