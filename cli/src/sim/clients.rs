//! The clients of a simulation. Owns: which calls of the workload are to be sent when: at arrivals, and once all that a
//! call waits for has ended. It must not know the router and engines.

use std::collections::BTreeSet;

use lps_api::quantity::Micros;

use crate::workload::Workload;

/// A call of the workload: index of the program, index of the call.
pub(super) type At = (usize, usize);

/// What clients have sent and wait for.
#[derive(Debug)]
pub(super) struct Clients<'a> {
    workload: &'a Workload,
    arrivals: BTreeSet<(Micros, usize)>,
    /// Calls that will be ready.
    ready: BTreeSet<(Micros, At)>,
    /// Parents that have not ended.
    missing: Vec<Vec<usize>>,
    /// Calls of each program that have not ended.
    left: Vec<usize>,
    /// Service of each program's calls that have not ended.
    work_left: Vec<Micros>,
    programs_left: usize,
}

impl<'a> Clients<'a> {
    pub(super) fn new(workload: &'a Workload) -> Self {
        let programs = &workload.programs;
        let arrivals = programs.iter().enumerate();
        let service = |calls: &[crate::workload::CallSpec]| calls.iter().map(|c| c.service).sum();
        Self {
            workload,
            arrivals: arrivals.map(|(index, p)| (p.arrival, index)).collect(),
            ready: BTreeSet::new(),
            missing: programs
                .iter()
                .map(|p| p.calls.iter().map(|call| call.parents.len()).collect())
                .collect(),
            left: programs.iter().map(|p| p.calls.len()).collect(),
            work_left: programs.iter().map(|p| service(&p.calls)).collect(),
            programs_left: programs.iter().filter(|p| !p.calls.is_empty()).count(),
        }
    }

    /// When the next call is sent.
    pub(super) fn next(&self) -> Option<Micros> {
        let ready = self.ready.first().map(|(at, _)| *at);
        let arrival = self.arrivals.first().map(|(at, _)| *at);
        ready.into_iter().chain(arrival).min()
    }

    /// Calls that are sent now, in the order of the workload.
    pub(super) fn send(&mut self, now: Micros) -> Vec<At> {
        while let Some((at, program)) = self.arrivals.first().copied().filter(|(at, _)| *at <= now)
        {
            self.arrivals.pop_first();
            for (index, call) in self.workload.programs[program].calls.iter().enumerate() {
                if call.parents.is_empty() {
                    self.ready.insert((at + call.gap, (program, index)));
                }
            }
        }
        let mut ready: Vec<At> = Vec::new();
        while let Some((_, at)) = self.ready.first().copied().filter(|(at, _)| *at <= now) {
            self.ready.pop_first();
            ready.push(at);
        }
        ready.sort_unstable();
        ready
    }

    /// A call will be sent once more.
    pub(super) fn send_again(&mut self, at: At, when: Micros) {
        self.ready.insert((when, at));
    }

    /// A call has its answer, or will have none; others may be ready for it.
    pub(super) fn end(&mut self, (program, call): At, now: Micros) {
        let calls = &self.workload.programs[program].calls;
        self.left[program] -= 1;
        self.work_left[program] = self.work_left[program].saturating_sub(calls[call].service);
        if self.left[program] == 0 {
            self.programs_left -= 1;
        }
        for (child, spec) in calls.iter().enumerate().skip(call + 1) {
            let times = spec
                .parents
                .iter()
                .filter(|parent| **parent == call)
                .count();
            if times == 0 {
                continue;
            }
            let missing = &mut self.missing[program][child];
            *missing -= times;
            if *missing == 0 {
                self.ready.insert((now + spec.gap, (program, child)));
            }
        }
    }

    /// A program cannot go on: what it has not sent is not sent. How many calls that is.
    pub(super) fn give_up(&mut self, program: usize, open: usize) -> usize {
        self.ready.retain(|(_, at)| at.0 != program);
        for missing in &mut self.missing[program] {
            *missing = usize::MAX;
        }
        let unsent = self.left[program] - open;
        self.left[program] = open;
        if unsent > 0 && open == 0 {
            self.programs_left -= 1;
        }
        unsent
    }

    /// Whether all calls of a program have ended.
    pub(super) fn is_over(&self, program: usize) -> bool {
        self.left[program] == 0
    }

    /// Service that a program's calls will still need, if they are of the sizes that the workload says.
    pub(super) fn work_left(&self, program: usize) -> Micros {
        self.work_left[program]
    }

    /// Whether all programs are.
    pub(super) fn is_done(&self) -> bool {
        self.programs_left == 0
    }
}
