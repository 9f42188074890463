//! OpenTelemetry: a program is one trace, its calls are spans. Owns: which trace a program has, for as long as it lives,
//! and telling spans when they end. What is not sampled costs an entry of a table.

/// Which trace and which span, and how W3C writes them.
mod context;
/// What ended, as a span.
mod span;
/// Sending spans.
mod export;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use lps_api::ids::CallId;
use opentelemetry::trace::{SpanId, TraceId};
use tokio::sync::mpsc;

use crate::message::ProgramKey;
use crate::metrics::Metrics;
use crate::state::view::{CallView, ProgramSummary};
pub use context::Said;
pub(crate) use export::start;
pub use export::{Error, Settings};
pub use span::{Call, Ended};

/// Where spans go when they end, where somebody takes them.
#[derive(Debug, Clone)]
pub struct Sink {
    spans: mpsc::Sender<Ended>,
    ratio: f64,
    metrics: Metrics,
}

/// The traces of live programs.
#[derive(Debug)]
pub struct Traces {
    sink: Option<Sink>,
    roots: HashMap<ProgramKey, Root>,
    /// How many began. A program that goes on after its end has another span in its trace: a span ends once.
    begun: u64,
    /// Ids are hashes of names, seeded anew by each start of the process.
    ids: RandomState,
}

/// A program's trace.
#[derive(Debug, Clone, Copy)]
struct Root {
    trace: TraceId,
    /// The program's own span.
    span: SpanId,
    /// The client's span that its first call named.
    parent: Option<SpanId>,
    is_sampled: bool,
}

impl Traces {
    /// None at all without a sink.
    pub fn new(sink: Option<Sink>) -> Self {
        Self {
            sink,
            roots: HashMap::new(),
            begun: 0,
            ids: RandomState::new(),
        }
    }

    /// A call of a program came. The first decides: its client's trace, or one of the program's own.
    pub fn begin(&mut self, program: &ProgramKey, said: Option<&Said>) {
        let Some(sink) = &self.sink else {
            return;
        };
        if self.roots.contains_key(program) {
            return;
        }
        self.begun += 1;
        let halves = [
            self.ids.hash_one((program, "first half of the trace")),
            self.ids.hash_one((program, "second half of the trace")),
        ];
        let own = u128::from(halves[0]) << 64 | u128::from(halves[1]);
        let drawn = context::is_sampled(halves[1], sink.ratio);
        let root = Root {
            trace: said.map_or_else(|| TraceId::from(own), |said| said.trace),
            span: SpanId::from(self.ids.hash_one((program, self.begun))),
            parent: said.map(|said| said.span),
            is_sampled: said.map_or(drawn, |said| said.is_sampled),
        };
        self.roots.insert(program.clone(), root);
    }

    /// What an engine is told of a call's span, as `traceparent`.
    pub fn parent_of_engines(&self, program: &ProgramKey, call: &CallId) -> Option<String> {
        let root = self.roots.get(program)?;
        let span = self.span_of(program, call);
        Some(context::written(root.trace, span, root.is_sampled))
    }

    /// A call ended.
    pub fn call_ended(&self, call: Call<'_>, view: &CallView) {
        let Some((sink, root)) = self.sampled(call.program) else {
            return;
        };
        let parents = view.parents.iter().flatten();
        let parents = parents.map(|parent| self.span_of(call.program, parent));
        let span = self.span_of(call.program, &view.id);
        sink.send(call.ended((root, span), parents.collect(), view));
    }

    /// A program ended: its trace is complete.
    pub fn program_ended(&mut self, program: &ProgramKey, summary: &ProgramSummary) {
        if let Some((sink, root)) = self.sampled(program) {
            sink.send(span::program(root, summary));
        }
        self.roots.remove(program);
    }

    /// A program of which no call was let in.
    pub fn forget(&mut self, program: &ProgramKey) {
        self.roots.remove(program);
    }

    fn sampled(&self, program: &ProgramKey) -> Option<(&Sink, Root)> {
        let root = self.roots.get(program).filter(|root| root.is_sampled)?;
        Some((self.sink.as_ref()?, *root))
    }

    fn span_of(&self, program: &ProgramKey, call: &CallId) -> SpanId {
        SpanId::from(self.ids.hash_one((program, call)))
    }
}

impl Sink {
    /// Never waits: what there is no room for is counted, and gone.
    fn send(&self, span: Ended) {
        if self.spans.try_send(span).is_err() {
            self.metrics.spans("dropped", 1);
        }
    }
}

#[cfg(test)]
mod tests;
