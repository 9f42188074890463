//! The table of a batch study, and its figures by concurrency.

use std::collections::BTreeMap;

use lps_api::quantity::Micros;
use serde::Serialize;

use super::batch::Ask;
use super::record::seconds;
use super::wire::Outcome;
use crate::console;
use crate::workload::statistics::Spread;

/// Characters of a prompt and of an answer that the table keeps.
const SHOWN_MAX: usize = 400;

/// One prompt.
#[derive(Debug, Clone)]
pub(super) struct Row {
    run: u32,
    seq: u32,
    concurrency: u32,
    /// Which of the run's concurrencies it was, from 1.
    batch: u32,
    outcome: Outcome,
    prompt: String,
    pub(super) error: Option<String>,
}

impl Row {
    pub(super) fn new(ask: &Ask, batch: u32, outcome: Outcome) -> Self {
        Self {
            run: ask.run,
            seq: ask.seq,
            concurrency: ask.concurrency,
            batch,
            prompt: ask.shown.chars().take(SHOWN_MAX).collect(),
            error: outcome
                .error
                .as_ref()
                .map(|failure| failure.message.clone()),
            outcome,
        }
    }

    fn latency(&self) -> Micros {
        self.outcome.end.saturating_sub(self.outcome.sent)
    }

    fn ttft(&self) -> Option<Micros> {
        Some(self.outcome.first_token?.saturating_sub(self.outcome.sent))
    }
}

/// A row for each prompt, in order of run, batch and prompt.
pub(super) fn csv(rows: &[Row]) -> anyhow::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "run_num",
        "seq",
        "status",
        "batch_num",
        "input_tokens",
        "output_tokens",
        "total_tokens",
        "latency",
        "ttft",
        "tokens_per_sec",
        "prompt",
        "output_prompt",
        "error",
    ])?;
    let mut rows: Vec<&Row> = rows.iter().collect();
    rows.sort_by_key(|row| (row.run, row.batch, row.seq));
    for row in rows {
        let (input, output) = (row.outcome.prompt_tokens, row.outcome.answer.tokens);
        let per_second = rate(u64::from(output), row.latency().as_secs_f64());
        let shown: String = row.outcome.answer.text.chars().take(SHOWN_MAX).collect();
        table.write_record([
            row.run.to_string(),
            row.seq.to_string(),
            if row.error.is_none() { "ok" } else { "error" }.to_owned(),
            row.batch.to_string(),
            input.to_string(),
            output.to_string(),
            (u64::from(input) + u64::from(output)).to_string(),
            seconds(Some(row.latency())),
            seconds(row.ttft()),
            format!("{per_second:.3}"),
            row.prompt.clone(),
            shown,
            row.error.clone().unwrap_or_default(),
        ])?;
    }
    Ok(table.into_inner()?)
}

/// Figures of one concurrency over all runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Level {
    batch_num: u32,
    concurrency: u32,
    answered: usize,
    failed: usize,
    latency_s: Spread,
    ttft_s: Spread,
    /// Output tokens a second of all calls together, in each run.
    output_tokens_per_s: Spread,
}

/// Figures of a study.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Summary {
    label: String,
    /// Whether Ctrl-C cut it.
    is_cut: bool,
    levels: Vec<Level>,
}

const HEADER: [&str; 9] = [
    "CONCURRENCY",
    "ANSWERED",
    "FAILED",
    "LATENCY S",
    "P95",
    "TTFT S",
    "P95",
    "TOKENS/S",
    "SD OF RUNS",
];

impl Summary {
    pub(super) fn new(label: &str, rows: &[Row], is_cut: bool) -> Self {
        let mut levels: BTreeMap<u32, Vec<&Row>> = BTreeMap::new();
        for row in rows {
            levels.entry(row.batch).or_default().push(row);
        }
        Self {
            label: label.to_owned(),
            is_cut,
            levels: levels.into_values().map(|rows| Level::of(&rows)).collect(),
        }
    }

    pub(super) fn tell(&self) -> std::io::Result<()> {
        let row = |level: &Level| {
            let figures = [
                level.latency_s.mean,
                level.latency_s.p95,
                level.ttft_s.mean,
                level.ttft_s.p95,
                level.output_tokens_per_s.mean,
                level.output_tokens_per_s.deviation,
            ];
            let counts = [level.concurrency as usize, level.answered, level.failed];
            let counts = counts.map(|count| count.to_string());
            let figures = figures.map(|figure| format!("{figure:.3}"));
            counts.into_iter().chain(figures).collect()
        };
        console::table(&HEADER, self.levels.iter().map(row).collect(), "nothing")
    }
}

impl Level {
    fn of(rows: &[&Row]) -> Self {
        let answered: Vec<&&Row> = rows.iter().filter(|row| row.error.is_none()).collect();
        let latencies = answered.iter().map(|row| row.latency().as_secs_f64());
        let firsts = answered.iter().filter_map(|row| row.ttft());
        // By run: when the first was sent, when the last ended, tokens.
        let mut runs: BTreeMap<u32, (Micros, Micros, u64)> = BTreeMap::new();
        for row in &answered {
            let run = runs
                .entry(row.run)
                .or_insert((Micros::MAX, Micros::ZERO, 0));
            run.0 = run.0.min(row.outcome.sent);
            run.1 = run.1.max(row.outcome.end);
            run.2 += u64::from(row.outcome.answer.tokens);
        }
        let speeds = runs
            .values()
            .map(|(from, to, tokens)| rate(*tokens, to.saturating_sub(*from).as_secs_f64()));
        Self {
            batch_num: rows[0].batch,
            concurrency: rows[0].concurrency,
            answered: answered.len(),
            failed: rows.len() - answered.len(),
            latency_s: Spread::of(latencies.collect()),
            ttft_s: Spread::of(firsts.map(Micros::as_secs_f64).collect()),
            output_tokens_per_s: Spread::of(speeds.collect()),
        }
    }
}

fn rate(tokens: u64, seconds: f64) -> f64 {
    if seconds > 0.0 {
        tokens as f64 / seconds
    } else {
        0.0
    }
}
