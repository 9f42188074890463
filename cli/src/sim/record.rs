//! What a simulation leaves. Owns: one entry for each call and program, and the slices in which calls ran.

use lps_api::ids::{CallId, EngineId};
use lps_api::quantity::Micros;
use lps_router::message::CallKey;
use lps_router::scheduler::Residency;
use lps_router::state::view::{CallView, ProgramSummary, WaitView};

/// What a simulation leaves.
#[derive(Debug, Default)]
pub struct Record {
    /// By program, as in the workload; `None` for one that did not end.
    pub programs: Vec<Option<ProgramEnd>>,
    /// By program and call, as in the workload.
    pub calls: Vec<Vec<Option<CallEnd>>>,
    /// In order of their ends.
    pub slices: Vec<Slice>,
    /// Time that calls waited, by reason.
    pub waits: Vec<WaitView>,
    /// What became of the working sets.
    pub residency: Residency,
}

/// A program's end.
#[derive(Debug, Clone)]
pub struct ProgramEnd {
    /// When.
    pub end: Micros,
    /// Its row.
    pub row: ProgramSummary,
}

/// A call's end.
#[derive(Debug, Clone)]
pub struct CallEnd {
    /// When it first ran.
    pub start: Micros,
    /// All that the state knows.
    pub view: CallView,
}

/// Time for which a call ran without a pause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Index of the program.
    pub program: usize,
    /// Index of the call in it.
    pub call: usize,
    /// Where.
    pub engine: EngineId,
    /// From.
    pub start: Micros,
    /// To.
    pub end: Micros,
}

/// A call's name in the state: names in a workload are unique in their programs only.
pub(super) fn name(key: CallKey) -> anyhow::Result<CallId> {
    Ok(CallId::parse(&format!("c{}", key.0))?)
}
