//! The router's metrics. Owns: their names, labels and buckets. Labels are bounded: model, outcome, reason, source;
//! never a program, a call or a tenant.

/// What each metric is called, and says.
mod table;

use lps_api::ids::ModelName;
use lps_api::protocol::CallUsage;
use lps_api::quantity::Micros;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::message::{IdentitySource, Outcome};
use crate::process_table::Sizes;
use crate::state::view::{CallView, ProgramSummary};
use table::*;
pub use table::{ALL, Description};

/// From 10 µs: what the router adds.
const FINE: [f64; 10] = [1e-5, 2e-5, 5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 0.02, 0.1];
/// From 1 ms to 2 h: waits, calls and programs.
const COARSE: [f64; 16] = [
    0.001, 0.005, 0.02, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, 1800.0,
    7200.0,
];

/// Handles to all series; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    calls: IntCounterVec,
    refused: IntCounterVec,
    queue_wait: HistogramVec,
    wait: HistogramVec,
    overhead: HistogramVec,
    service: HistogramVec,
    tokens: IntCounterVec,
    sources: IntCounterVec,
    attempts: IntCounterVec,
    resumed: IntCounterVec,
    program_completion: HistogramVec,
    program_service: HistogramVec,
    program_path: HistogramVec,
    moves: IntCounterVec,
    waiting: IntGaugeVec,
    running: IntGaugeVec,
    engines: IntGaugeVec,
    desired: IntGaugeVec,
    recommended: IntGaugeVec,
    capacity: IntGaugeVec,
    decisions: IntCounterVec,
    learned: IntGaugeVec,
    attached: IntCounterVec,
    spans: IntCounterVec,
    logged: IntCounterVec,
    kept: IntGaugeVec,
    denied: IntCounterVec,
    keys_file: IntGaugeVec,
    certificate_valid: IntGaugeVec,
    certificate_expires: IntGaugeVec,
}

/// To whom a certificate is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// At the router's port.
    Clients,
    /// On connections to them.
    Engines,
}

/// A pool's gauges.
#[derive(Debug, Clone, Copy, Default)]
pub struct PoolFigures {
    /// Ready calls.
    pub waiting: u32,
    /// Calls at engines.
    pub running: u32,
    /// Engines that answer.
    pub engines: u32,
    /// Engines that are asked for.
    pub desired: u32,
    /// Engines that the load calls for.
    pub recommended: u32,
    /// Engines that take calls or will soon.
    pub capacity: u32,
}

impl Metrics {
    /// Registers every metric.
    ///
    /// # Panics
    /// When the registry has one of the names already: a registry belongs to one router.
    pub fn register(registry: &Registry) -> Self {
        Self {
            calls: counter(registry, CALLS),
            refused: counter(registry, REFUSED),
            queue_wait: histogram(registry, QUEUE_WAIT, &COARSE),
            wait: histogram(registry, WAIT, &COARSE),
            overhead: histogram(registry, OVERHEAD, &FINE),
            service: histogram(registry, SERVICE, &COARSE),
            tokens: counter(registry, TOKENS),
            sources: counter(registry, SOURCES),
            attempts: counter(registry, ATTEMPTS),
            resumed: counter(registry, RESUMED),
            program_completion: histogram(registry, PROGRAM_COMPLETION, &COARSE),
            program_service: histogram(registry, PROGRAM_SERVICE, &COARSE),
            program_path: histogram(registry, PROGRAM_PATH, &COARSE),
            moves: counter(registry, MOVES),
            waiting: gauge(registry, WAITING),
            running: gauge(registry, RUNNING),
            engines: gauge(registry, ENGINES),
            desired: gauge(registry, DESIRED),
            recommended: gauge(registry, RECOMMENDED),
            capacity: gauge(registry, CAPACITY),
            decisions: counter(registry, DECISIONS),
            learned: gauge(registry, LEARNED),
            attached: counter(registry, ATTACHED),
            spans: counter(registry, SPANS),
            logged: counter(registry, LOGGED),
            kept: gauge(registry, KEPT),
            denied: counter(registry, DENIED),
            keys_file: gauge(registry, KEYS_FILE),
            certificate_valid: gauge(registry, CERTIFICATE_VALID),
            certificate_expires: gauge(registry, CERTIFICATE_EXPIRES),
        }
    }

    /// A call ended, with the figures of its last attempt.
    pub fn call_ended(&self, model: &ModelName, outcome: Outcome, usage: Option<CallUsage>) {
        let model = model.as_str();
        let name = match outcome {
            Outcome::Completed => "completed",
            Outcome::Cancelled => "cancelled",
            Outcome::Failed => "failed",
        };
        self.calls.with_label_values(&[model, name]).inc();
        let Some(usage) = usage else { return };
        self.service
            .with_label_values(&[model])
            .observe(usage.executor_us.as_secs_f64());
        let output = if outcome == Outcome::Completed {
            "output"
        } else {
            "cancelled"
        };
        for (kind, tokens) in [
            ("prompt", usage.prompt_tokens),
            ("cached", usage.cached_tokens),
            (output, usage.output_tokens),
        ] {
            self.tokens
                .with_label_values(&[model, kind])
                .inc_by(u64::from(tokens.0));
        }
    }

    /// A call was not let in.
    pub fn refused(&self, reason: &'static str) {
        self.refused.with_label_values(&[reason]).inc();
    }

    /// A call was let in.
    pub fn identified(&self, source: IdentitySource) {
        self.sources.with_label_values(&[source.as_str()]).inc();
    }

    /// A call was sent to an engine after this time in the queue.
    pub fn dispatched(&self, model: &ModelName, waited: Micros) {
        self.queue_wait
            .with_label_values(&[model.as_str()])
            .observe(waited.as_secs_f64());
    }

    /// What the table says of a call that ended: its waits by reason, its moves between queues.
    pub fn call_moved(&self, call: &CallView) {
        let model = call.model.as_str();
        for wait in &call.waits {
            let series = self.wait.with_label_values(&[model, wait.reason.as_str()]);
            series.observe(wait.wait_us.as_secs_f64());
        }
        for (kind, count) in [
            ("demotion", call.demotions),
            ("promotion", call.promotions),
            ("preemption", call.preemptions),
        ] {
            self.moves
                .with_label_values(&[model, kind])
                .inc_by(u64::from(count));
        }
    }

    /// The router itself took this long for a call.
    pub fn overhead(&self, model: &ModelName, time: Micros) {
        self.overhead
            .with_label_values(&[model.as_str()])
            .observe(time.as_secs_f64());
    }

    /// An attempt gave no answer.
    pub fn attempt_failed(&self, model: &ModelName, cause: &'static str) {
        self.attempts
            .with_label_values(&[model.as_str(), cause])
            .inc();
    }

    /// Another engine is asked to go on with a stream.
    pub fn resumed(&self, model: &ModelName) {
        self.resumed.with_label_values(&[model.as_str()]).inc();
    }

    /// A program ended.
    pub fn program_ended(&self, model: &ModelName, program: &ProgramSummary) {
        let label = [model.as_str()];
        let end = program.last_completion_us.unwrap_or(program.arrived_us);
        for (series, time) in [
            (
                &self.program_completion,
                end.saturating_sub(program.arrived_us),
            ),
            (&self.program_service, program.service_total_us),
            (&self.program_path, program.critical_path_us),
        ] {
            series.with_label_values(&label).observe(time.as_secs_f64());
        }
    }

    /// A pool's present figures.
    pub fn pool(&self, model: &ModelName, figures: PoolFigures) {
        for (series, count) in [
            (&self.waiting, figures.waiting),
            (&self.running, figures.running),
            (&self.engines, figures.engines),
            (&self.desired, figures.desired),
            (&self.recommended, figures.recommended),
            (&self.capacity, figures.capacity),
        ] {
            series
                .with_label_values(&[model.as_str()])
                .set(i64::from(count));
        }
    }

    /// So many finished programs are remembered.
    pub fn learned(&self, model: &ModelName, programs: usize) {
        let programs = i64::try_from(programs).unwrap_or(i64::MAX);
        self.learned
            .with_label_values(&[model.as_str()])
            .set(programs);
    }

    /// A retry waits for the answer of its call, which still runs.
    pub fn attached(&self) {
        self.attached.with_label_values::<&str>(&[]).inc();
    }

    /// What became of the lines of so many programs.
    pub fn logged_programs(&self, outcome: &'static str, count: u64) {
        self.logged.with_label_values(&[outcome]).inc_by(count);
    }

    /// What became of so many spans.
    pub fn spans(&self, outcome: &'static str, count: u64) {
        self.spans.with_label_values(&[outcome]).inc_by(count);
    }

    /// So much is kept now, and so many tasks live in the process.
    pub fn kept(&self, sizes: Sizes, tasks: usize) {
        for (what, count) in [
            ("live_programs", sizes.live_programs),
            ("ended_programs", sizes.ended_programs),
            ("open_calls", sizes.open_calls),
            ("known_calls", sizes.known_calls),
            ("tasks", tasks),
        ] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.kept.with_label_values(&[what]).set(count);
        }
    }

    /// A request was refused for its key.
    pub fn denied(&self, reason: &'static str) {
        self.denied.with_label_values(&[reason]).inc();
    }

    /// Whether the keys in use are those of the file.
    pub fn keys_file_is_valid(&self, is_valid: bool) {
        let gauge = self.keys_file.with_label_values::<&str>(&[]);
        gauge.set(i64::from(is_valid));
    }

    /// When the certificate in use expires, in seconds since 1970; `None`: the one of before stays in use.
    pub fn certificate(&self, shown: Shown, expires_unix_s: Option<u64>) {
        let label = [match shown {
            Shown::Clients => "clients",
            Shown::Engines => "engines",
        }];
        let valid = self.certificate_valid.with_label_values(&label);
        valid.set(i64::from(expires_unix_s.is_some()));
        if let Some(at) = expires_unix_s {
            let expires = self.certificate_expires.with_label_values(&label);
            expires.set(i64::try_from(at).unwrap_or(i64::MAX));
        }
    }

    /// Another number of engines is asked for.
    pub fn scaled(&self, model: &ModelName, (from, to): (u32, u32), reason: &'static str) {
        let direction = if to > from { "up" } else { "down" };
        self.decisions
            .with_label_values(&[model.as_str(), direction, reason])
            .inc();
    }
}

fn counter(registry: &Registry, metric: Description) -> IntCounterVec {
    let vector = IntCounterVec::new(Opts::new(metric.name, metric.help), metric.labels);
    registered(registry, vector)
}

fn gauge(registry: &Registry, metric: Description) -> IntGaugeVec {
    let vector = IntGaugeVec::new(Opts::new(metric.name, metric.help), metric.labels);
    registered(registry, vector)
}

fn histogram(registry: &Registry, metric: Description, buckets: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(metric.name, metric.help).buckets(buckets.to_vec());
    registered(registry, HistogramVec::new(options, metric.labels))
}

fn registered<C: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("names and labels in the table are valid");
    registry
        .register(Box::new(collector.clone()))
        .expect("a registry belongs to one router");
    collector
}

#[cfg(test)]
mod tests;
