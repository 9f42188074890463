//! Every metric of the table is there, and no other.

use lps_api::ids::{CallId, ClassName, ProgramId, TenantId, ThreadId};
use lps_api::quantity::{Attempt, Tokens};

use super::*;
use crate::state::view::{CallCounts, Phase, ProgramState, Reason, WaitView};

#[test]
fn every_metric_of_the_table_is_registered_once_and_no_other() {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry);
    let model = ModelName::parse("m").unwrap();
    metrics.call_ended(&model, Outcome::Completed, Some(CallUsage::default()));
    metrics.refused("full");
    metrics.identified(IdentitySource::Single);
    metrics.dispatched(&model, Micros::ZERO);
    metrics.overhead(&model, Micros::ZERO);
    metrics.attempt_failed(&model, "busy");
    metrics.resumed(&model);
    metrics.program_ended(&model, &program());
    metrics.call_moved(&call());
    metrics.pool(&model, PoolFigures::default());
    metrics.scaled(&model, (1, 2), "Load");
    metrics.learned(&model, 1);
    metrics.attached();
    metrics.spans("sent", 1);
    metrics.logged_programs("written", 1);
    metrics.kept(Sizes::default(), 1);
    metrics.denied("no_key");
    metrics.keys_file_is_valid(true);
    metrics.certificate(Shown::Clients, Some(1));
    let mut shown: Vec<_> = registry
        .gather()
        .iter()
        .map(|f| f.name().to_owned())
        .collect();
    let mut table: Vec<_> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
    shown.sort();
    table.sort();
    assert_eq!(shown, table);
}

fn program() -> ProgramSummary {
    ProgramSummary {
        id: ProgramId::parse("p").unwrap(),
        tenant: TenantId::anonymous(),
        class: ClassName::unnamed(),
        source: IdentitySource::Single,
        state: ProgramState::Ended,
        generation: 1,
        arrived_us: Micros::ZERO,
        age_us: Micros(5),
        last_completion_us: Some(Micros(5)),
        service_total_us: Micros(3),
        critical_path_us: Micros(3),
        wait_total_us: Micros(2),
        call_counts: CallCounts::default(),
        unknown_parents: 0,
        prompt_tokens: 0,
        cached_tokens: 0,
        output_tokens: 0,
        first_call: None,
    }
}

fn call() -> CallView {
    CallView {
        id: CallId::parse("c").unwrap(),
        program: ProgramId::parse("p").unwrap(),
        thread: ThreadId::main(),
        parents: None,
        model: ModelName::parse("m").unwrap(),
        state: Phase::Completed,
        attempt: Attempt(0),
        engine: None,
        ready_us: Micros::ZERO,
        ended_us: Some(Micros(5)),
        service_us: Micros(3),
        wait_us: Micros(2),
        waits: vec![WaitView {
            reason: Reason::NoCapacity,
            wait_us: Micros(2),
        }],
        p_us: Micros::ZERO,
        queue: 1,
        quantum_left_us: None,
        demotions: 1,
        promotions: 0,
        preemptions: 0,
        moved: false,
        prompt_tokens: Tokens(1),
        cached_tokens: Tokens(0),
        output_tokens: Tokens(1),
        explain: None,
    }
}
