//! Which trace a call is in, and what it hangs from.

use lps_api::ids::{ClassName, EngineId, ModelName, ProgramId, TenantId, ThreadId};
use lps_api::quantity::{Attempt, Micros, Tokens};
use opentelemetry::Value;
use opentelemetry::trace::Status;
use prometheus::Registry;

use super::*;
use crate::message::Event;
use crate::state::State;
use crate::state::view::{Phase, Reason, WaitView};

const CLIENTS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
const UNSAMPLED: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const ANOTHER: &str = "00-1af7651916cd43dd8448eb211c80319c-c7ad6b7169203331-01";

struct Rig {
    traces: Traces,
    spans: mpsc::Receiver<Ended>,
    program: ProgramKey,
}

fn rig(ratio: f64) -> Rig {
    let (sender, spans) = mpsc::channel(8);
    let sink = Sink {
        spans: sender,
        ratio,
        metrics: Metrics::register(&Registry::new()),
    };
    Rig {
        traces: Traces::new(Some(sink)),
        spans,
        program: ProgramKey {
            tenant: TenantId::anonymous(),
            program: ProgramId::parse("p").unwrap(),
        },
    }
}

impl Rig {
    /// A call that comes and ends.
    fn call(&mut self, id: &str, traceparent: Option<&str>, parents: &[&str]) -> Option<Ended> {
        let said = traceparent.and_then(Said::read);
        self.traces.begin(&self.program, said.as_ref());
        let call = Call {
            program: &self.program,
            said,
            path: "/v1/chat/completions",
            now: Micros(40),
        };
        self.traces.call_ended(call, &view(id, parents));
        self.spans.try_recv().ok()
    }
}

impl Rig {
    /// The program ends.
    fn end(&mut self) {
        let mut state = State::new();
        let opened = Event::ProgramOpened {
            program: self.program.clone(),
            class: ClassName::unnamed(),
            ttl: None,
            blocks: None,
        };
        state.on(opened, Micros(1));
        let view = state.program(&self.program).unwrap();
        self.traces.program_ended(&self.program, &view.summary);
        self.spans.try_recv().unwrap();
    }
}

fn call_id(name: &str) -> CallId {
    CallId::parse(name).unwrap()
}

fn view(id: &str, parents: &[&str]) -> CallView {
    CallView {
        id: call_id(id),
        program: ProgramId::parse("p").unwrap(),
        thread: ThreadId::main(),
        parents: Some(parents.iter().map(|name| call_id(name)).collect()),
        model: ModelName::parse("m").unwrap(),
        state: Phase::Completed,
        attempt: Attempt(1),
        engine: Some(EngineId::parse("e").unwrap()),
        ready_us: Micros(10),
        ended_us: Some(Micros(30)),
        service_us: Micros(12),
        wait_us: Micros(8),
        waits: vec![WaitView {
            reason: Reason::NoCapacity,
            wait_us: Micros(8),
        }],
        p_us: Micros::ZERO,
        queue: 1,
        quantum_left_us: None,
        demotions: 0,
        promotions: 0,
        preemptions: 0,
        moved: false,
        prompt_tokens: Tokens(5),
        cached_tokens: Tokens(4),
        output_tokens: Tokens(3),
        explain: None,
    }
}

#[test]
fn a_program_is_one_trace_and_a_join_links_to_its_parents() {
    let mut rig = rig(1.0);
    let (a, b) = (
        rig.call("a", None, &[]).unwrap(),
        rig.call("b", None, &[]).unwrap(),
    );
    let join = rig.call("c", None, &["a", "b"]).unwrap();
    let trace = a.context.trace_id();
    assert_ne!(trace, TraceId::INVALID);
    assert_eq!(
        (b.context.trace_id(), join.context.trace_id()),
        (trace, trace)
    );
    assert_eq!(a.parent, join.parent, "all hang from the program");
    let linked: Vec<_> = join
        .links
        .iter()
        .map(|link| link.span_context.span_id())
        .collect();
    assert_eq!(linked, [a.context.span_id(), b.context.span_id()]);
    assert!((join.start, join.end) == (Micros(10), Micros(30)));
    assert_eq!(
        (join.name.as_ref(), &join.status),
        ("chat m", &Status::Unset)
    );
    let found = |name| join.attributes.iter().find(|it| it.key.as_str() == name);
    assert_eq!(
        found("gen_ai.conversation.id").unwrap().value,
        Value::from("p")
    );
    assert_eq!(
        found("lps.wait.no_capacity_us").unwrap().value,
        Value::from(8)
    );
}

#[test]
fn a_clients_trace_is_the_programs_and_its_span_the_parent() {
    let mut rig = rig(0.0);
    let said = Said::read(CLIENTS).unwrap();
    let first = rig.call("a", Some(CLIENTS), &[]).unwrap();
    assert_eq!(
        (first.context.trace_id(), first.parent),
        (said.trace, said.span)
    );
    assert!(first.parent_is_remote && first.links.is_empty());
    // Another trace does not break the program's apart.
    let second = rig.call("b", Some(ANOTHER), &["a"]).unwrap();
    assert_eq!(second.context.trace_id(), said.trace);
    let linked: Vec<_> = second
        .links
        .iter()
        .map(|link| link.span_context.trace_id())
        .collect();
    assert_eq!(linked, [said.trace, Said::read(ANOTHER).unwrap().trace]);
    let program = rig.program.clone();
    let told = rig
        .traces
        .parent_of_engines(&program, &call_id("b"))
        .unwrap();
    let told = Said::read(&told).unwrap();
    assert_eq!(
        (told.trace, told.span),
        (said.trace, second.context.span_id())
    );
}

#[test]
fn who_says_it_decides_what_is_sampled_and_else_the_ratio() {
    assert!(rig(1.0).call("a", Some(UNSAMPLED), &[]).is_none());
    assert!(rig(0.0).call("a", None, &[]).is_none());
    let sampled = (0..400).filter(|_| rig(0.5).call("a", None, &[]).is_some());
    assert!((100..300).contains(&sampled.count()), "200 of 400, 10 σ");
}

#[test]
fn nothing_is_remembered_of_programs_that_are_gone() {
    let mut rig = rig(1.0);
    rig.call("a", None, &[]);
    rig.end();
    assert!(rig.traces.roots.is_empty());
    let off = &mut Traces::new(None);
    off.begin(&rig.program, None);
    assert!(off.roots.is_empty());
}

#[test]
fn no_room_loses_spans_and_waits_for_nothing() {
    let mut rig = rig(1.0);
    for _ in 0..20 {
        let call = Call {
            program: &rig.program.clone(),
            said: None,
            path: "/v1/embeddings",
            now: Micros(2),
        };
        rig.traces.begin(call.program, None);
        rig.traces.call_ended(call, &view("a", &[]));
    }
    let kept = std::iter::from_fn(|| rig.spans.try_recv().ok());
    assert_eq!(kept.count(), 8);
}

#[test]
fn only_a_traceparent_is_one() {
    assert!(Said::read(CLIENTS).unwrap().is_sampled);
    assert!(!Said::read(UNSAMPLED).unwrap().is_sampled);
    for other in [
        "",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-x",
    ] {
        assert_eq!(Said::read(other), None, "{other}");
    }
    assert!(
        Said::read(&CLIENTS.replacen("00", "01", 1)).is_some(),
        "a later version"
    );
}

#[test]
fn a_program_that_goes_on_after_its_end_has_another_span_in_its_trace() {
    let mut rig = rig(1.0);
    let first = rig.call("a", None, &[]).unwrap();
    rig.end();
    let later = rig.call("b", None, &["a"]).unwrap();
    assert_eq!(first.context.trace_id(), later.context.trace_id());
    assert_ne!(first.parent, later.parent, "a span ends once");
}
