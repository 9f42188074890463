//! What a simulation leaves. Owns: one entry for each call and program, and the slices in which calls ran.

use std::collections::BTreeSet;

use lps_api::ids::{CallId, EngineId};
use lps_api::quantity::Micros;
use lps_router::message::{CallKey, Refusal};
use lps_router::scheduler::Residency;
use lps_router::state::view::{CallView, ProgramSummary, WaitView};

use super::clients::At;
use super::naming::Put;
use crate::workload::Workload;

/// What a simulation leaves.
#[derive(Debug, Default)]
pub struct Record {
    /// By program, as in the workload; `None` for one that did not end.
    pub programs: Vec<Option<ProgramEnd>>,
    /// By program and call, as in the workload.
    pub calls: Vec<Vec<Option<CallEnd>>>,
    /// Where calls were put, in order of arrival.
    pub(crate) put: Vec<Put>,
    /// In order of their ends.
    pub slices: Vec<Slice>,
    /// Time that calls waited, by reason.
    pub waits: Vec<WaitView>,
    /// What became of the working sets.
    pub residency: Residency,
    /// Calls that were refused, why, and how many calls their programs did not send therefore, those included.
    pub refused: Vec<(At, Refusal, usize)>,
    /// Prompt tokens that engines computed, output that they computed again among them.
    pub computed_tokens: u64,
    /// Executor time of calls that ended, as engines told it; of those that died with their engines, as far as it was
    /// heard.
    pub observed: Micros,
    /// Faults that happened.
    pub faults: u64,
    /// Calls that were sent to engines, those that were sent again among them.
    pub dispatches: u64,
    /// Of all calls the longest wait in dispatches, over one more than the calls that were held when it came: no call
    /// of the first queue waits longer than `oldest_every` where all fit.
    pub starvation: f64,
}

impl Record {
    pub(super) fn new(workload: &Workload) -> Self {
        let programs = &workload.programs;
        Self {
            programs: vec![None; programs.len()],
            calls: programs.iter().map(|p| vec![None; p.calls.len()]).collect(),
            ..Self::default()
        }
    }

    /// Programs of which a call was refused.
    pub(super) fn refused_programs(&self) -> BTreeSet<usize> {
        self.refused.iter().map(|(at, ..)| at.0).collect()
    }

    /// A call was dispatched, so many dispatches after it came.
    pub(super) fn passed(&mut self, (dispatches, older): (u64, u64)) {
        self.starvation = self.starvation.max(dispatches as f64 / older as f64);
    }

    /// A call ran; a slice that goes on from one before is merged with it.
    pub(super) fn add_slice(
        &mut self,
        (program, call): At,
        engine: &EngineId,
        (start, end): (Micros, Micros),
    ) {
        if start == end {
            return;
        }
        let recent = self.slices.iter_mut().rev();
        let mut recent = recent.take_while(|slice| slice.end >= start);
        let adjacent = recent.find(|slice| {
            (slice.program, slice.call, &slice.engine, slice.end) == (program, call, engine, start)
        });
        match adjacent {
            Some(slice) => slice.end = end,
            None => self.slices.push(Slice {
                program,
                call,
                engine: engine.clone(),
                start,
                end,
            }),
        }
    }
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

/// The call with such a name.
pub(super) fn key(name: &CallId) -> Option<CallKey> {
    name.as_str().strip_prefix('c')?.parse().ok().map(CallKey)
}
