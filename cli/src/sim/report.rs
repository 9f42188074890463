//! What a simulation says. Owns: the tables (CSV), the summary and its figures. All of it is the same bytes for the same
//! workload, rules and seed.

use std::fs;
use std::path::Path;

use lps_api::quantity::Micros;
use lps_router::process_table::Phase;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::plot;
use super::record::{ProgramEnd, Record};
use crate::workload::Workload;
use crate::workload::statistics::Spread;

/// Columns of the table for people.
pub(super) const HEADER: [&str; 9] = [
    "POLICY",
    "PROGRAMS",
    "MEAN S",
    "P50 S",
    "P95 S",
    "P99 S",
    "SLOWDOWN",
    "PREEMPTIONS",
    "MAKESPAN S",
];

/// Figures of one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) policy: String,
    programs: usize,
    unfinished_programs: usize,
    /// Programs of which a call was refused, and calls that were not served therefore.
    refused_programs: usize,
    refused_calls: usize,
    calls: usize,
    /// Seconds from a program's arrival to the end of its last call.
    pub(super) completion_s: Spread,
    /// The same over what the program takes alone.
    slowdown: Spread,
    /// A program's completion time over the tokens that it produced (Autellix, section 6).
    token_latency_s: Spread,
    /// Seconds that calls waited, by reason.
    waits_s: Map<String, Value>,
    /// Cached prompt tokens over all prompt tokens.
    hit_rate: f64,
    recomputed_tokens: u64,
    moves: u64,
    pauses: u64,
    forced_admissions: u64,
    demotions: u64,
    promotions: u64,
    preemptions: u64,
    /// Of all calls the longest wait, in dispatches over one more than the calls that were held when it came.
    starvation: f64,
    /// Jain's fairness index of the programs' slowdowns: 1 where all are alike.
    jain_index: f64,
    /// Seconds from the first arrival to the last end.
    makespan_s: f64,
    /// Completion times, ascending; for plots.
    #[serde(skip)]
    pub(super) completions_s: Vec<f64>,
}

impl Summary {
    /// `alone`: how long each program takes by itself.
    pub(super) fn new(
        policy: &str,
        (workload, alone): (&Workload, &[Micros]),
        record: &Record,
    ) -> Self {
        let refused = record.refused_programs();
        let ended = |(index, end): (usize, &Option<ProgramEnd>)| {
            let end = end.clone().filter(|_| !refused.contains(&index))?;
            Some((index, end))
        };
        let ends = record.programs.iter().enumerate().filter_map(ended);
        let ends: Vec<(usize, ProgramEnd)> = ends.collect();
        let took = |(index, end): &(usize, ProgramEnd)| end.end - workload.programs[*index].arrival;
        let mut completions_s: Vec<f64> = ends.iter().map(|it| took(it).as_secs_f64()).collect();
        let slowdowns: Vec<f64> = ends
            .iter()
            .map(|it| ratio(took(it).0 as f64, alone[it.0].0 as f64))
            .collect();
        let per_token = ends.iter().map(|it| {
            let tokens = it.1.row.output_tokens as f64;
            ratio(took(it).as_secs_f64(), tokens)
        });
        let calls: Vec<_> = record.calls.iter().flatten().flatten().collect();
        let sum = |of: fn(&super::record::CallEnd) -> u64| calls.iter().map(|call| of(call)).sum();
        let prompt: u64 = ends.iter().map(|(_, end)| end.row.prompt_tokens).sum();
        let cached: u64 = ends.iter().map(|(_, end)| end.row.cached_tokens).sum();
        let first = workload
            .programs
            .iter()
            .map(|program| program.arrival)
            .min();
        let last = ends
            .iter()
            .map(|(_, end)| end.end)
            .max()
            .unwrap_or_default();
        let summary = Self {
            policy: policy.to_owned(),
            programs: workload.programs.len(),
            unfinished_programs: workload.programs.len() - ends.len() - refused.len(),
            refused_programs: refused.len(),
            refused_calls: record.refused.iter().map(|(.., unsent)| unsent).sum(),
            calls: calls.len(),
            completion_s: Spread::of(completions_s.clone()),
            token_latency_s: Spread::of(per_token.collect()),
            jain_index: jain(&slowdowns),
            slowdown: Spread::of(slowdowns),
            waits_s: waits(record),
            hit_rate: rounded(ratio(cached as f64, prompt as f64)),
            recomputed_tokens: record.computed_tokens.saturating_sub(uncached(record)),
            moves: sum(|call| u64::from(call.view.moved)),
            pauses: record.residency.pauses,
            forced_admissions: record.residency.forced,
            demotions: sum(|call| u64::from(call.view.demotions)),
            promotions: sum(|call| u64::from(call.view.promotions)),
            preemptions: sum(|call| u64::from(call.view.preemptions)),
            starvation: rounded(record.starvation),
            makespan_s: last.saturating_sub(first.unwrap_or_default()).as_secs_f64(),
            completions_s: Vec::new(),
        };
        completions_s.sort_by(f64::total_cmp);
        Self {
            completions_s,
            ..summary
        }
    }

    /// A line of the table for people.
    pub(super) fn row(&self) -> Vec<String> {
        let seconds = |value: f64| format!("{value:.2}");
        vec![
            self.policy.clone(),
            self.programs.to_string(),
            seconds(self.completion_s.mean),
            seconds(self.completion_s.p50),
            seconds(self.completion_s.p95),
            seconds(self.completion_s.p99),
            seconds(self.slowdown.mean),
            self.preemptions.to_string(),
            seconds(self.makespan_s),
        ]
    }
}

fn waits(record: &Record) -> Map<String, Value> {
    let waits = record.waits.iter();
    waits
        .map(|wait| {
            let reason = wait.reason.as_str().to_owned();
            (reason, json!(wait.wait_us.as_secs_f64()))
        })
        .collect()
}

/// Prompt tokens that were not found when their calls first ran.
fn uncached(record: &Record) -> u64 {
    let calls = record.calls.iter().flatten().flatten();
    let uncached = calls.map(|call| {
        let view = &call.view;
        u64::from(view.prompt_tokens.0.saturating_sub(view.cached_tokens.0))
    });
    uncached.sum()
}

/// Writes the tables, the summary and the plots of one policy.
pub(super) fn write(
    folder: &Path,
    workload: &Workload,
    record: &Record,
    summary: &Summary,
) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("programs.csv"), programs_csv(workload, record)?)?;
    fs::write(folder.join("calls.csv"), calls_csv(workload, record)?)?;
    fs::write(folder.join("slices.csv"), slices_csv(workload, record)?)?;
    fs::write(
        folder.join("summary.json"),
        format!("{:#}\n", serde_json::to_value(summary)?),
    )?;
    plot::compare(
        &folder.join("completion.svg"),
        std::slice::from_ref(summary),
    )
}

pub(super) fn programs_csv(workload: &Workload, record: &Record) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "program",
        "tenant",
        "class",
        "arrival_s",
        "end_s",
        "completion_s",
        "service_s",
        "critical_path_s",
        "wait_s",
        "calls",
        "state",
    ])?;
    let refused = record.refused_programs();
    for (index, (spec, end)) in workload.programs.iter().zip(&record.programs).enumerate() {
        let state = match end {
            _ if refused.contains(&index) => "refused",
            Some(_) => "completed",
            None => "unfinished",
        };
        let mut row = vec![
            spec.program.to_string(),
            spec.tenant.to_string(),
            spec.class.to_string(),
            seconds(spec.arrival),
        ];
        match end {
            Some(end) => row.extend([
                seconds(end.end),
                seconds(end.end - spec.arrival),
                seconds(end.row.service_total_us),
                seconds(end.row.critical_path_us),
                seconds(end.row.wait_total_us),
                spec.calls.len().to_string(),
                state.to_owned(),
            ]),
            None => {
                row.extend(std::iter::repeat_n(String::new(), 5));
                row.extend([spec.calls.len().to_string(), state.to_owned()]);
            }
        }
        table.write_record(row)?;
    }
    Ok(table.into_inner()?)
}

pub(super) fn calls_csv(workload: &Workload, record: &Record) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "program",
        "call",
        "thread",
        "engine",
        "ready_s",
        "start_s",
        "end_s",
        "service_s",
        "wait_s",
        "p_s",
        "queue",
        "demotions",
        "promotions",
        "preemptions",
        "prompt_tokens",
        "cached_tokens",
        "output_tokens",
        "state",
    ])?;
    for (program, ends) in workload.programs.iter().zip(&record.calls) {
        for (spec, end) in program.calls.iter().zip(ends) {
            let Some(end) = end else { continue };
            let view = &end.view;
            table.write_record([
                program.program.to_string(),
                spec.call.to_string(),
                spec.thread.to_string(),
                view.engine
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                seconds(view.ready_us),
                seconds(end.start),
                seconds(view.ended_us.unwrap_or_default()),
                seconds(view.service_us),
                seconds(view.wait_us),
                seconds(view.p_us),
                view.queue.to_string(),
                view.demotions.to_string(),
                view.promotions.to_string(),
                view.preemptions.to_string(),
                view.prompt_tokens.0.to_string(),
                view.cached_tokens.0.to_string(),
                view.output_tokens.0.to_string(),
                state(view.state).to_owned(),
            ])?;
        }
    }
    Ok(table.into_inner()?)
}

pub(super) fn slices_csv(workload: &Workload, record: &Record) -> anyhow::Result<Vec<u8>> {
    let mut slices: Vec<_> = record.slices.iter().collect();
    slices.sort_by_key(|slice| (slice.start, slice.end, slice.program, slice.call));
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(["program", "call", "engine", "start_s", "end_s"])?;
    for slice in slices {
        let program = &workload.programs[slice.program];
        table.write_record([
            program.program.as_str(),
            program.calls[slice.call].call.as_str(),
            slice.engine.as_str(),
            &seconds(slice.start),
            &seconds(slice.end),
        ])?;
    }
    Ok(table.into_inner()?)
}

const fn state(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "pending",
        Phase::Running => "running",
        Phase::Completed => "completed",
        Phase::Cancelled => "cancelled",
        Phase::Failed => "failed",
    }
}

/// To the microsecond, without floating point.
fn seconds(time: Micros) -> String {
    format!("{}.{:06}", time.0 / 1_000_000, time.0 % 1_000_000)
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn ratio(over: f64, under: f64) -> f64 {
    if under > 0.0 { over / under } else { 0.0 }
}

fn jain(values: &[f64]) -> f64 {
    let sum: f64 = values.iter().sum();
    let squares: f64 = values.iter().map(|value| value * value).sum();
    rounded(ratio(sum * sum, values.len() as f64 * squares))
}
