//! Calls and programs that ended, as spans by the conventions of OpenTelemetry for generative AI
//! (semantic-conventions-genai, status Development). Owns: names and attributes. Bodies are never in them.

use std::borrow::Cow;

use lps_api::ids::{ProgramId, TenantId};
use lps_api::quantity::Micros;
use opentelemetry::trace::{
    Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{KeyValue, Value};

use super::{Root, Said};
use crate::message::ProgramKey;
use crate::state::view::{CallView, Phase, ProgramSummary};

/// A span that is complete.
#[derive(Debug)]
pub struct Ended {
    pub(super) context: SpanContext,
    pub(super) parent: SpanId,
    pub(super) parent_is_remote: bool,
    pub(super) kind: SpanKind,
    pub(super) name: Cow<'static, str>,
    pub(super) start: Micros,
    pub(super) end: Micros,
    pub(super) attributes: Vec<KeyValue>,
    pub(super) links: Vec<Link>,
    pub(super) status: Status,
}

/// What of a call the process table does not know.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Its program.
    pub program: &'a ProgramKey,
    /// What its client's `traceparent` says.
    pub said: Option<Said>,
    /// Where it was posted.
    pub path: &'static str,
    /// The time.
    pub now: Micros,
}

impl Call<'_> {
    /// The call's span, in its program's trace: below its client's span where that is of the same trace, else below the
    /// program's. Calls that it depends on, and a client's span of another trace, are links.
    pub(super) fn ended(
        &self,
        (root, span): (Root, SpanId),
        parents: Vec<SpanId>,
        view: &CallView,
    ) -> Ended {
        let (own, other): (Option<Said>, Option<Said>) = match self.said {
            Some(said) if said.trace == root.trace => (Some(said), None),
            said => (None, said),
        };
        let before = parents
            .into_iter()
            .map(|parent| root.context(parent, false));
        let elsewhere = other.map(|said| context((said.trace, said.span), said.is_sampled, true));
        let links = before.chain(elsewhere).map(Link::with_context);
        let operation = operation(self.path);
        Ended {
            context: root.context(span, false),
            parent: own.map_or(root.span, |said| said.span),
            parent_is_remote: own.is_some(),
            kind: SpanKind::Server,
            name: format!("{operation} {}", view.model).into(),
            start: view.ready_us,
            end: view.ended_us.unwrap_or(self.now),
            attributes: self.attributes(operation, view),
            links: links.collect(),
            status: match view.state {
                Phase::Failed => Status::error("failed"),
                _ => Status::Unset,
            },
        }
    }

    fn attributes(&self, operation: &'static str, view: &CallView) -> Vec<KeyValue> {
        let mut attributes = vec![
            say("gen_ai.operation.name", operation),
            say("gen_ai.request.model", text(&view.model)),
            say("gen_ai.usage.input_tokens", i64::from(view.prompt_tokens.0)),
            say(
                "gen_ai.usage.cache_read.input_tokens",
                i64::from(view.cached_tokens.0),
            ),
            say(
                "gen_ai.usage.output_tokens",
                i64::from(view.output_tokens.0),
            ),
            say("lps.call.id", text(&view.id)),
            say("lps.thread.id", text(&view.thread)),
            say("lps.state", view.state.as_str()),
            say("lps.queue", i64::from(view.queue)),
            say("lps.attempts", i64::from(view.attempt.0)),
            say("lps.preemptions", i64::from(view.preemptions)),
            say("lps.service_us", micros(view.service_us)),
            say("lps.wait_us", micros(view.wait_us)),
        ];
        attributes.extend(common(&view.program, &self.program.tenant));
        attributes.extend(
            view.engine
                .as_ref()
                .map(|engine| say("lps.engine", text(engine))),
        );
        attributes.extend(view.waits.iter().map(|wait| {
            let name = format!("lps.wait.{}_us", wait.reason.as_str());
            KeyValue::new(name, micros(wait.wait_us))
        }));
        if matches!(view.state, Phase::Failed | Phase::Cancelled) {
            attributes.push(say("error.type", view.state.as_str()));
        }
        attributes
    }
}

/// The program's own span, above those of its calls.
pub(super) fn program(root: Root, summary: &ProgramSummary) -> Ended {
    let mut attributes = vec![
        say("gen_ai.operation.name", "invoke_workflow"),
        say("gen_ai.workflow.name", text(&summary.class)),
        say("gen_ai.usage.input_tokens", number(summary.prompt_tokens)),
        say(
            "gen_ai.usage.cache_read.input_tokens",
            number(summary.cached_tokens),
        ),
        say("gen_ai.usage.output_tokens", number(summary.output_tokens)),
        say("lps.program.source", summary.source.as_str()),
        say("lps.service_us", micros(summary.service_total_us)),
        say("lps.critical_path_us", micros(summary.critical_path_us)),
        say("lps.wait_us", micros(summary.wait_total_us)),
    ];
    attributes.extend(common(&summary.id, &summary.tenant));
    Ended {
        context: root.context(root.span, false),
        parent: root.parent.unwrap_or(SpanId::INVALID),
        parent_is_remote: root.parent.is_some(),
        kind: SpanKind::Internal,
        name: format!("invoke_workflow {}", summary.class).into(),
        start: summary.arrived_us,
        end: summary.last_completion_us.unwrap_or(summary.arrived_us),
        attributes,
        links: Vec::new(),
        status: Status::Unset,
    }
}

impl Root {
    fn context(&self, span: SpanId, is_remote: bool) -> SpanContext {
        context((self.trace, span), self.is_sampled, is_remote)
    }
}

fn context((trace, span): (TraceId, SpanId), is_sampled: bool, is_remote: bool) -> SpanContext {
    let flags = TraceFlags::default().with_sampled(is_sampled);
    SpanContext::new(trace, span, flags, is_remote, TraceState::default())
}

fn operation(path: &str) -> &'static str {
    match path {
        "/v1/completions" => "text_completion",
        "/v1/embeddings" => "embeddings",
        _ => "chat",
    }
}

/// What a span says of whose it is, whatever it is of.
fn common(program: &ProgramId, tenant: &TenantId) -> [KeyValue; 3] {
    [
        say("gen_ai.provider.name", "lps"),
        say("gen_ai.conversation.id", text(program)),
        say("lps.tenant", text(tenant)),
    ]
}

fn say(name: &'static str, value: impl Into<Value>) -> KeyValue {
    KeyValue::new(name, value)
}

fn text(name: &impl std::fmt::Display) -> String {
    name.to_string()
}

fn micros(time: Micros) -> i64 {
    number(time.0)
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
