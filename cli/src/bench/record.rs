//! What a replay leaves. Owns: an entry for each call and program, and their tables. Times are since the replay's start.

use std::collections::BTreeMap;

use lps_api::quantity::Micros;
use serde_json::Value;

use super::wire::{Failure, Outcome};
use crate::workload::Workload;

/// Where a call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum CallState {
    /// Its program has not come so far.
    #[default]
    NotReached,
    /// Sent, and not at its end.
    Open,
    /// Answered.
    Completed,
    /// The server does not take such a call.
    Refused,
    /// The answer broke off, or there was none.
    Failed,
}

impl CallState {
    const fn name(self) -> &'static str {
        match self {
            Self::NotReached => "not_reached",
            Self::Open => "unfinished",
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One call.
#[derive(Debug, Clone, Default)]
pub(super) struct CallRecord {
    pub(super) state: CallState,
    /// When it was due: its last parent's end and its gap.
    pub(super) ready: Option<Micros>,
    pub(super) outcome: Outcome,
    pub(super) engine: String,
    /// As the router counted.
    pub(super) service: Option<Micros>,
    /// As the router counted.
    pub(super) wait: Option<Micros>,
}

/// Where a program stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum ProgramState {
    /// It was never begun: the window, or the run, ended before.
    NotStarted,
    /// It was cut off by the end of the run.
    Unfinished,
    /// All its calls were answered.
    Completed,
    /// The server does not take one of its calls.
    Refused,
    /// One of its calls failed.
    Failed,
}

impl ProgramState {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::NotStarted => "not_started",
            Self::Unfinished => "unfinished",
            Self::Completed => "completed",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// One program.
#[derive(Debug, Clone, Default)]
pub(super) struct ProgramRecord {
    /// When it was begun.
    pub(super) arrival: Option<Micros>,
    /// When its last call ended, where all were answered.
    pub(super) end: Option<Micros>,
    pub(super) calls: Vec<CallRecord>,
    /// Its row at the router.
    pub(super) row: Value,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub(super) struct Sheet {
    pub(super) programs: Vec<ProgramRecord>,
    /// When the replay ended.
    pub(super) end: Micros,
}

impl ProgramRecord {
    pub(super) fn state(&self) -> ProgramState {
        let has = |state| self.calls.iter().any(|call| call.state == state);
        if self.arrival.is_none() {
            ProgramState::NotStarted
        } else if has(CallState::Refused) {
            ProgramState::Refused
        } else if has(CallState::Failed) {
            ProgramState::Failed
        } else if self.end.is_some() {
            ProgramState::Completed
        } else {
            ProgramState::Unfinished
        }
    }

    /// The first failure of its calls, in the order of the workload.
    pub(super) fn failure(&self) -> Option<&Failure> {
        self.calls
            .iter()
            .find_map(|call| call.outcome.error.as_ref())
    }

    /// Takes over what the router counted.
    pub(super) fn take_row(&mut self, row: Value, names: impl Fn(&str) -> Option<usize>) {
        for view in row["calls"].as_array().into_iter().flatten() {
            let Some(index) = view["id"].as_str().and_then(&names) else {
                continue;
            };
            let call = &mut self.calls[index];
            let micros = |name: &str| view[name].as_u64().map(Micros);
            (call.service, call.wait) = (micros("service_us"), micros("wait_us"));
            view["engine"]
                .as_str()
                .unwrap_or_default()
                .clone_into(&mut call.engine);
        }
        self.row = row;
    }

    /// Seconds that its calls waited, by reason, as the router counted.
    pub(super) fn add_waits(&self, waits: &mut BTreeMap<String, f64>) {
        let calls = self.row["calls"].as_array().into_iter().flatten();
        let entries = calls.flat_map(|call| call["waits"].as_array().into_iter().flatten());
        for wait in entries {
            let (Some(reason), Some(us)) = (wait["reason"].as_str(), wait["wait_us"].as_u64())
            else {
                continue;
            };
            *waits.entry(reason.to_owned()).or_default() += us as f64 / 1e6;
        }
    }

    pub(super) fn worst_ttft(&self) -> Option<Micros> {
        self.calls.iter().filter_map(CallRecord::ttft).max()
    }

    pub(super) fn sum(&self, of: impl Fn(&Outcome) -> u32) -> u64 {
        self.calls
            .iter()
            .map(|call| u64::from(of(&call.outcome)))
            .sum()
    }
}

impl CallRecord {
    /// From when it was due to its first token.
    pub(super) fn ttft(&self) -> Option<Micros> {
        Some(self.outcome.first_token?.saturating_sub(self.ready?))
    }

    /// From when it was due to its end, where it was answered.
    pub(super) fn latency(&self) -> Option<Micros> {
        let ready = self.ready.filter(|_| self.state == CallState::Completed)?;
        Some(self.outcome.end.saturating_sub(ready))
    }
}

/// A row for each program; `is_measured` tells those of the window.
pub(super) fn programs_csv(
    workload: &Workload,
    sheet: &Sheet,
    is_measured: impl Fn(&ProgramRecord) -> bool,
) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "program",
        "tenant",
        "class",
        "measured",
        "arrival_s",
        "end_s",
        "completion_s",
        "calls",
        "calls_completed",
        "prompt_tokens",
        "cached_tokens",
        "output_tokens",
        "executor_s",
        "worst_ttft_s",
        "service_s",
        "critical_path_s",
        "wait_s",
        "state",
        "error",
    ])?;
    for (spec, record) in workload.programs.iter().zip(&sheet.programs) {
        let completed = |call: &&CallRecord| call.state == CallState::Completed;
        let executor: Micros = record.calls.iter().filter_map(|c| c.outcome.executor).sum();
        let row = |name: &str| seconds(record.row[name].as_u64().map(Micros));
        let took = record
            .arrival
            .and_then(|from| Some(record.end?.saturating_sub(from)));
        table.write_record([
            spec.program.to_string(),
            spec.tenant.to_string(),
            spec.class.to_string(),
            is_measured(record).to_string(),
            seconds(record.arrival),
            seconds(record.end),
            seconds(took),
            spec.calls.len().to_string(),
            record.calls.iter().filter(completed).count().to_string(),
            record.sum(|outcome| outcome.prompt_tokens).to_string(),
            record.sum(|outcome| outcome.cached_tokens).to_string(),
            record.sum(|outcome| outcome.answer.tokens).to_string(),
            seconds(Some(executor)),
            seconds(record.worst_ttft()),
            row("service_total_us"),
            row("critical_path_us"),
            row("wait_total_us"),
            record.state().name().to_owned(),
            record
                .failure()
                .map(|f| f.message.clone())
                .unwrap_or_default(),
        ])?;
    }
    Ok(table.into_inner()?)
}

/// A row for each call.
pub(super) fn calls_csv(workload: &Workload, sheet: &Sheet) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "program",
        "call",
        "thread",
        "ready_s",
        "sent_s",
        "first_token_s",
        "end_s",
        "ttft_s",
        "latency_s",
        "prompt_tokens_wanted",
        "prompt_tokens",
        "cached_tokens",
        "output_tokens_wanted",
        "output_tokens",
        "executor_s",
        "engine",
        "service_s",
        "wait_s",
        "state",
        "error",
    ])?;
    for (program, record) in workload.programs.iter().zip(&sheet.programs) {
        for (spec, call) in program.calls.iter().zip(&record.calls) {
            let outcome = &call.outcome;
            let was_sent = call.state != CallState::NotReached;
            let is_over = was_sent && call.state != CallState::Open;
            table.write_record([
                program.program.to_string(),
                spec.call.to_string(),
                spec.thread.to_string(),
                seconds(call.ready),
                seconds(was_sent.then_some(outcome.sent)),
                seconds(outcome.first_token),
                seconds(is_over.then_some(outcome.end)),
                seconds(call.ttft()),
                seconds(call.latency()),
                spec.prompt.0.to_string(),
                outcome.prompt_tokens.to_string(),
                outcome.cached_tokens.to_string(),
                spec.output.0.to_string(),
                outcome.answer.tokens.to_string(),
                seconds(outcome.executor),
                call.engine.clone(),
                seconds(call.service),
                seconds(call.wait),
                call.state.name().to_owned(),
                outcome
                    .error
                    .as_ref()
                    .map(|f| f.message.clone())
                    .unwrap_or_default(),
            ])?;
        }
    }
    Ok(table.into_inner()?)
}

/// To the microsecond, without floating point; nothing where there is no time.
pub(super) fn seconds(time: Option<Micros>) -> String {
    let Some(Micros(us)) = time else {
        return String::new();
    };
    format!("{}.{:06}", us / 1_000_000, us % 1_000_000)
}
