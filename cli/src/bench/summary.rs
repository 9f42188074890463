//! Figures of a replay. Owns: which programs are measured, what happens to those that did not end, and the figures of the
//! rest. It must not know how calls are sent.

use std::collections::BTreeMap;

use lps_api::quantity::Micros;
use serde::Serialize;
use serde_json::Value;

use super::record::{CallRecord, CallState, ProgramRecord, ProgramState, Sheet};
use crate::workload::Workload;
use crate::workload::statistics::Spread;

/// Errors that are told one by one; further ones are counted together.
const ERRORS_MAX: usize = 20;

/// Which programs are measured: those that begin after the warm-up and before the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Window {
    /// Programs that begin earlier run, but are not measured.
    pub(super) from: Micros,
    /// No program begins at this time or later.
    pub(super) until: Option<Micros>,
    /// Once the window is over, how long programs may still take.
    pub(super) patience: Option<Micros>,
}

impl Window {
    /// Whether a program of this time is begun at all.
    pub(super) fn begins(&self, at: Micros) -> bool {
        self.until.is_none_or(|until| at < until)
    }

    /// Whether it is measured.
    pub(super) fn measures(&self, record: &ProgramRecord) -> bool {
        record
            .arrival
            .is_some_and(|at| self.from <= at && self.begins(at))
    }

    /// When the run is cut off.
    pub(super) fn cut(&self) -> Option<Micros> {
        Some(self.until? + self.patience?)
    }

    /// The rule for what did not end, in words.
    pub(super) fn rule(&self) -> String {
        let seconds = |time: Micros| time.as_secs_f64();
        let window = match self.until {
            Some(until) => format!(
                "Measured are programs that began from {} s to {} s.",
                seconds(self.from),
                seconds(until)
            ),
            None => format!(
                "Measured are programs that began from {} s on.",
                seconds(self.from)
            ),
        };
        let cut = match self.cut() {
            Some(cut) => format!(" The run is cut off at {} s.", seconds(cut)),
            None => " Nothing is cut off but by Ctrl-C.".to_owned(),
        };
        format!(
            "{window}{cut} A program that was cut off counts in completion_s with the time that it had so far, so that \
             with unfinished programs these figures are lower bounds. Refused and failed programs are counted apart and \
             are in no figure of programs; answered calls of all measured programs are in the figures of calls."
        )
    }
}

/// What was run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Setup {
    /// What the report calls it, such as the policy.
    pub(super) label: String,
    pub(super) url: String,
    pub(super) model: String,
    pub(super) workload: String,
    pub(super) seed: u64,
    /// `open`, or `closed` with so many programs at once.
    pub(super) pace: String,
    pub(super) plain: bool,
}

/// Programs by how they ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Counts {
    pub(super) measured: usize,
    pub(super) completed: usize,
    pub(super) unfinished: usize,
    pub(super) refused: usize,
    pub(super) failed: usize,
    /// Run, but before the window.
    pub(super) warm_up: usize,
    /// Not begun, since the window or the run ended before.
    pub(super) not_started: usize,
}

/// All figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Summary {
    #[serde(flatten)]
    pub(super) setup: Setup,
    pub(super) censoring: String,
    /// Whether the run was cut, by its patience or by Ctrl-C.
    pub(super) is_cut: bool,
    pub(super) span_s: f64,
    pub(super) programs: Counts,
    pub(super) calls: usize,
    /// Measured programs a second of the time in which they began.
    pub(super) rate: f64,
    pub(super) output_tokens_per_s: f64,
    /// From a program's arrival to its last call's end.
    pub(super) completion_s: Spread,
    /// Completion time over output tokens (Autellix, section 6).
    pub(super) token_latency_s: Spread,
    /// From when a call was due to its first token.
    pub(super) ttft_s: Spread,
    /// From when a call was due to its end.
    pub(super) call_latency_s: Spread,
    /// How late this generator sent calls: where it is not small, it was the bottleneck.
    pub(super) lag_s: Spread,
    /// Cached prompt tokens over all prompt tokens.
    pub(super) hit_rate: f64,
    /// Seconds that calls waited, by reason; empty for plain servers.
    pub(super) waits_s: BTreeMap<String, f64>,
    /// What went wrong, and with how many programs.
    pub(super) errors: BTreeMap<String, usize>,
}

impl Summary {
    pub(super) fn new(
        setup: Setup,
        workload: &Workload,
        sheet: &Sheet,
        (window, is_cut): (&Window, bool),
    ) -> Self {
        let records = || sheet.programs.iter();
        let measured: Vec<_> = records().filter(|r| window.measures(r)).collect();
        let count = |state| measured.iter().filter(|r| r.state() == state).count();
        let begun = records().filter(|r| r.arrival.is_some()).count();
        let counts = Counts {
            measured: measured.len(),
            completed: count(ProgramState::Completed),
            unfinished: count(ProgramState::Unfinished),
            refused: count(ProgramState::Refused),
            failed: count(ProgramState::Failed),
            warm_up: begun - measured.len(),
            not_started: workload.programs.len() - begun,
        };
        let calls: Vec<&CallRecord> = measured.iter().flat_map(|r| &r.calls).collect();
        let spread = |of: fn(&CallRecord) -> Option<Micros>| {
            let times = calls.iter().filter_map(|call| of(call));
            Spread::of(times.map(Micros::as_secs_f64).collect())
        };
        let begun = measured.iter().filter_map(|r| r.arrival);
        let first = begun.clone().min().unwrap_or_default();
        let last = begun.max().unwrap_or_default();
        let span = sheet.end.saturating_sub(first).as_secs_f64();
        let outputs: u64 = measured.iter().map(|r| r.sum(|o| o.answer.tokens)).sum();
        let prompts: u64 = measured.iter().map(|r| r.sum(|o| o.prompt_tokens)).sum();
        let cached: u64 = measured.iter().map(|r| r.sum(|o| o.cached_tokens)).sum();
        let mut waits_s = BTreeMap::new();
        for record in &measured {
            record.add_waits(&mut waits_s);
        }
        let apart = measured.len().saturating_sub(1) as f64;
        Self {
            setup,
            censoring: window.rule(),
            is_cut,
            span_s: span,
            programs: counts,
            calls: calls
                .iter()
                .filter(|c| c.state != CallState::NotReached)
                .count(),
            rate: ratio(apart, last.saturating_sub(first).as_secs_f64()),
            output_tokens_per_s: ratio(outputs as f64, span),
            completion_s: Spread::of(completions(&measured, sheet.end)),
            token_latency_s: Spread::of(token_latencies(&measured)),
            ttft_s: spread(CallRecord::ttft),
            call_latency_s: spread(CallRecord::latency),
            lag_s: spread(|call| {
                let was_sent = call.state != CallState::NotReached;
                let ready = call.ready.filter(|_| was_sent)?;
                Some(call.outcome.sent.saturating_sub(ready))
            }),
            hit_rate: ratio(cached as f64, prompts as f64),
            waits_s,
            errors: errors(&measured),
        }
    }

    /// Lines for people.
    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        let of = |name: &str, spread: &Spread| {
            let figures = [spread.mean, spread.p50, spread.p95, spread.p99, spread.max];
            let mut row = vec![name.to_owned(), spread.count.to_string()];
            row.extend(figures.map(|figure| format!("{figure:.3}")));
            row
        };
        vec![
            of("completion of a program", &self.completion_s),
            of("a program's time a token", &self.token_latency_s),
            of("first token of a call", &self.ttft_s),
            of("call", &self.call_latency_s),
            of("late sending", &self.lag_s),
        ]
    }

    pub(super) fn json(&self) -> anyhow::Result<Value> {
        Ok(serde_json::to_value(self)?)
    }
}

/// Seconds from arrival to end; of what was cut off, to the end of the run.
fn completions(measured: &[&ProgramRecord], end: Micros) -> Vec<f64> {
    let of = |record: &&ProgramRecord| {
        let to = match record.state() {
            ProgramState::Completed => record.end?,
            ProgramState::Unfinished => end,
            _ => return None,
        };
        Some(to.saturating_sub(record.arrival?).as_secs_f64())
    };
    measured.iter().filter_map(of).collect()
}

fn token_latencies(measured: &[&ProgramRecord]) -> Vec<f64> {
    let of = |record: &&ProgramRecord| {
        let time = record.end?.saturating_sub(record.arrival?).as_secs_f64();
        let tokens = record.sum(|outcome| outcome.answer.tokens);
        (tokens > 0).then(|| time / tokens as f64)
    };
    measured.iter().filter_map(of).collect()
}

fn errors(measured: &[&ProgramRecord]) -> BTreeMap<String, usize> {
    let mut errors: BTreeMap<String, usize> = BTreeMap::new();
    for failure in measured.iter().filter_map(|record| record.failure()) {
        // Figures differ from call to call where the reason is the same.
        let reason = without_figures(&failure.message);
        let key = if errors.len() < ERRORS_MAX || errors.contains_key(&reason) {
            reason
        } else {
            "other errors".to_owned()
        };
        *errors.entry(key).or_default() += 1;
    }
    errors
}

/// A message with `N` for each figure, but for the status at its end.
fn without_figures(message: &str) -> String {
    let is_status = |end: &str| {
        let code = end.strip_prefix(" (").and_then(|rest| rest.get(..3));
        code.is_some_and(|code| code.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let (said, status) = match message.rfind(" (") {
        Some(at) if is_status(&message[at..]) => message.split_at(at),
        _ => (message, ""),
    };
    let mut text = String::new();
    for c in said.chars() {
        match c {
            c if c.is_ascii_digit() => {
                if !text.ends_with('N') {
                    text.push('N');
                }
            }
            c => text.push(c),
        }
    }
    text + status
}

fn ratio(over: f64, under: f64) -> f64 {
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_the_same_but_for_their_figures() {
        for (message, expected) in [
            ("17 of 300 tokens", "N of N tokens"),
            (
                "9 is too long (400 Bad Request)",
                "N is too long (400 Bad Request)",
            ),
            ("9 is too long (12 µs)", "N is too long (N µs)"),
            ("gone (", "gone ("),
        ] {
            assert_eq!(without_figures(message), expected);
        }
    }
}
