//! Programs as they run. Owns: which call is sent when: after its parents and its gap, in the order of the workload where
//! all else is equal. One task drives all programs and owns what is recorded.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use indicatif::ProgressBar;
use lps_api::ids::TenantId;
use lps_api::quantity::Micros;
use lps_api::wellknown::header;
use serde_json::json;

use super::prompt::{Prompter, Said};
use super::record::{CallRecord, CallState, ProgramRecord, Sheet};
use super::summary::Window;
use super::wire::{Outcome, Wire};
use crate::client::{Header, path_part};
use crate::workload::content::before;
use crate::workload::{ProgramSpec, Workload};

/// How long a router may take to tell a program's row, or to end it.
const ROW_TIMEOUT: Duration = Duration::from_secs(10);

/// When programs begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pace {
    /// At their arrivals.
    Open,
    /// So many at once; one begins when another ends.
    Closed(usize),
}

/// A replay.
pub(super) struct Replay<'a> {
    pub(super) workload: &'a Workload,
    pub(super) wire: Wire<'a>,
    pub(super) prompter: Prompter,
    pub(super) pace: Pace,
    pub(super) window: Window,
    /// What stands before the programs' names at the server, so that two runs do not meet there.
    pub(super) prefix: String,
    pub(super) bar: ProgressBar,
    pub(super) sheet: RefCell<Sheet>,
}

/// What calls said and were answered, by call.
type Sayings = RefCell<Vec<Option<Rc<Said>>>>;

impl Replay<'_> {
    pub(super) fn empty_sheet(workload: &Workload) -> RefCell<Sheet> {
        let programs = workload.programs.iter().map(|program| ProgramRecord {
            calls: vec![CallRecord::default(); program.calls.len()],
            ..ProgramRecord::default()
        });
        RefCell::new(Sheet {
            programs: programs.collect(),
            end: Micros::ZERO,
        })
    }

    pub(super) fn now(&self) -> Micros {
        self.wire.clock.now().into()
    }

    /// Runs programs until all have ended; may be dropped at any time, which closes what is open.
    pub(super) async fn run(&self) {
        let programs = 0..self.workload.programs.len();
        let runs = futures::stream::iter(programs).map(|index| self.begin(index));
        let at_once = match self.pace {
            Pace::Open => self.workload.programs.len().max(1),
            Pace::Closed(programs) => programs,
        };
        runs.buffer_unordered(at_once).for_each(async |()| {}).await;
    }

    async fn begin(&self, index: usize) {
        let spec = &self.workload.programs[index];
        let arrival = match self.pace {
            Pace::Open => spec.arrival,
            Pace::Closed(_) => self.now(),
        };
        if self.window.begins(arrival) {
            self.sleep_until(arrival).await;
            self.program(index, arrival).await;
        }
        self.bar.inc(1);
    }

    async fn sleep_until(&self, time: Micros) {
        tokio::time::sleep(time.saturating_sub(self.now()).as_duration()).await;
    }

    async fn program(&self, index: usize, arrival: Micros) {
        self.sheet.borrow_mut().programs[index].arrival = Some(arrival);
        let spec = &self.workload.programs[index];
        self.open(spec).await;
        let sayings = RefCell::new(vec![None; spec.calls.len()]);
        let mut missing: Vec<usize> = spec.calls.iter().map(|call| call.parents.len()).collect();
        let mut running = FuturesUnordered::new();
        for (call, call_spec) in spec.calls.iter().enumerate() {
            if call_spec.parents.is_empty() {
                running.push(self.call((index, call), arrival, &sayings));
            }
        }
        while let Some((call, ended)) = running.next().await {
            // What depends on a call that failed is never sent; what does not, goes on.
            if !ended {
                continue;
            }
            for (child, child_spec) in spec.calls.iter().enumerate().skip(call + 1) {
                let waits_for = child_spec.parents.iter().filter(|p| **p == call).count();
                missing[child] -= waits_for;
                if waits_for > 0 && missing[child] == 0 {
                    let after = self.last_end(index, &child_spec.parents);
                    running.push(self.call((index, child), after, &sayings));
                }
            }
        }
        drop(running);
        let now = self.now();
        {
            let mut sheet = self.sheet.borrow_mut();
            let record = &mut sheet.programs[index];
            let is_done = record
                .calls
                .iter()
                .all(|call| call.state == CallState::Completed);
            let last = record.calls.iter().map(|call| call.outcome.end).max();
            record.end = last.filter(|_| is_done).map(|last| last.min(now));
        }
        self.read_row(index).await;
        self.close(spec, "end").await;
    }

    /// When the last of these calls ended.
    fn last_end(&self, program: usize, calls: &[usize]) -> Micros {
        let record = &self.sheet.borrow().programs[program];
        let ends = calls.iter().map(|call| record.calls[*call].outcome.end);
        ends.max().unwrap_or_default()
    }

    /// Sends one call when it is due; returns its index and whether it was answered.
    async fn call(
        &self,
        (program, call): (usize, usize),
        after: Micros,
        sayings: &Sayings,
    ) -> (usize, bool) {
        let spec = &self.workload.programs[program];
        let call_spec = &spec.calls[call];
        let ready = after + call_spec.gap;
        self.sleep_until(ready).await;
        let earlier = before(spec, call).and_then(|before| sayings.borrow()[before].clone());
        let said = self.prompter.prompt(spec, call_spec, earlier.as_deref());
        let now = self.now();
        self.record((program, call), |record| {
            record.state = CallState::Open;
            record.ready = Some(ready);
            record.outcome.sent = now;
        });
        let outcome = self.send(spec, call, &said).await;
        let state = match &outcome.error {
            None => CallState::Completed,
            Some(failure) if failure.is_refusal => CallState::Refused,
            Some(_) => CallState::Failed,
        };
        let ended = state == CallState::Completed;
        if ended {
            sayings.borrow_mut()[call] = Some(Rc::new(said.answered(&outcome.answer)));
        }
        self.record((program, call), |record| {
            record.state = state;
            record.outcome = outcome;
            // Nobody reads it again, and long runs have many.
            record.outcome.answer.ids = Vec::new();
            record.outcome.answer.text = String::new();
        });
        (call, ended)
    }

    fn record(&self, (program, call): (usize, usize), change: impl FnOnce(&mut CallRecord)) {
        change(&mut self.sheet.borrow_mut().programs[program].calls[call]);
    }

    async fn send(&self, spec: &ProgramSpec, call: usize, said: &Said) -> Outcome {
        let call_spec = &spec.calls[call];
        let output = call_spec.output.0;
        if self.wire.plain {
            return self.wire.call(said, output, &[]).await;
        }
        let program = self.name(spec);
        let own = self.call_name(spec, call);
        let parents: Vec<_> = call_spec
            .parents
            .iter()
            .map(|parent| self.call_name(spec, *parent))
            .collect();
        let parents = parents.join(",");
        let mut headers: Vec<Header<'_>> = vec![
            (header::PROGRAM_ID, &program),
            (header::THREAD_ID, call_spec.thread.as_str()),
            (header::CALL_ID, &own),
        ];
        if call_spec.says_parents {
            headers.push((header::PARENT_CALL_IDS, &parents));
        }
        headers.extend(tenant(spec));
        self.wire.call(said, output, &headers).await
    }

    /// The program's name at the server.
    fn name(&self, spec: &ProgramSpec) -> String {
        format!("{}{}", self.prefix, spec.program)
    }

    /// A call's name at the server, where names are unique in their tenant.
    fn call_name(&self, spec: &ProgramSpec, call: usize) -> String {
        format!("{}{}.{}", self.prefix, spec.program, spec.calls[call].call)
    }

    /// Tells our router the program's class. Its calls are served without, so that a refusal is only logged.
    async fn open(&self, spec: &ProgramSpec) {
        if self.wire.plain {
            return;
        }
        let body = json!({"id": self.name(spec), "class": spec.class.as_str()});
        let headers: Vec<_> = tenant(spec).into_iter().collect();
        let opening = self.wire.client.post_with("/v1/programs", &body, &headers);
        match tokio::time::timeout(ROW_TIMEOUT, opening).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!("program {} is not opened: {error}", spec.program),
            Err(_) => tracing::warn!("program {} is not opened in time", spec.program),
        }
    }

    /// Keeps what our router counted of a program.
    async fn read_row(&self, index: usize) {
        if self.wire.plain {
            return;
        }
        let spec = &self.workload.programs[index];
        let path = format!("/v1/programs/{}", path_part(&self.name(spec)));
        let headers: Vec<_> = tenant(spec).into_iter().collect();
        let reading = self.wire.client.get_with(&path, &headers);
        match tokio::time::timeout(ROW_TIMEOUT, reading).await {
            Ok(Ok(row)) => {
                let names: Vec<_> = (0..spec.calls.len())
                    .map(|call| self.call_name(spec, call))
                    .collect();
                let find = |id: &str| names.iter().position(|name| name == id);
                self.sheet.borrow_mut().programs[index].take_row(row, find);
            }
            Ok(Err(error)) => tracing::warn!("the row of {}: {error}", spec.program),
            Err(_) => tracing::warn!("the row of {} does not come in time", spec.program),
        }
    }

    /// Ends or cancels a program at our router.
    async fn close(&self, spec: &ProgramSpec, how: &str) {
        if self.wire.plain {
            return;
        }
        let path = format!("/v1/programs/{}/{how}", path_part(&self.name(spec)));
        let headers: Vec<_> = tenant(spec).into_iter().collect();
        let none = json!({});
        let closing = self.wire.client.post_with(&path, &none, &headers);
        // A program that is not ended so expires.
        let _ = tokio::time::timeout(ROW_TIMEOUT, closing).await;
    }

    /// After a run that was cut: keeps the rows of what was open, and cancels it.
    pub(super) async fn give_up(&self) {
        let open: Vec<usize> = {
            let sheet = self.sheet.borrow();
            let records = sheet.programs.iter().enumerate();
            let is_open = |record: &ProgramRecord| {
                record.arrival.is_some() && record.end.is_none() && record.row.is_null()
            };
            records
                .filter(|(_, record)| is_open(record))
                .map(|(index, _)| index)
                .collect()
        };
        let endings = open.into_iter().map(|index| async move {
            self.read_row(index).await;
            self.close(&self.workload.programs[index], "cancel").await;
        });
        let endings = futures::stream::iter(endings).buffer_unordered(16);
        endings.for_each(async |()| {}).await;
    }
}

fn tenant(spec: &ProgramSpec) -> Option<Header<'_>> {
    let is_named = spec.tenant != TenantId::anonymous();
    is_named.then_some((header::TENANT_ID, spec.tenant.as_str()))
}
