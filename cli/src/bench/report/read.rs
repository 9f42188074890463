//! Folders of studies. Owns: finding them, and what the page needs of their files. An error names the file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How deep studies may lie under a folder that is named.
const DEPTH_MAX: usize = 4;

/// All that was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In order of label and rate.
    pub(super) runs: Vec<Run>,
    pub(super) batches: Vec<Batch>,
}

/// A replay, or a simulation.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) folder: String,
    pub(super) label: String,
    /// What was replayed; runs of the same with other seeds are one point.
    pub(super) workload: String,
    /// Programs a second.
    pub(super) rate: f64,
    pub(super) summary: Value,
    /// Seconds of measured programs that ended.
    pub(super) completions_s: Vec<f64>,
    /// Measured programs, whatever became of them.
    pub(super) measured: usize,
    pub(super) looks: Vec<Look>,
}

/// A batch study.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) folder: String,
    pub(super) label: String,
    pub(super) levels: Vec<Level>,
}

/// Figures of one concurrency.
#[derive(Debug, Deserialize)]
pub(super) struct Level {
    pub(super) concurrency: f64,
    pub(super) answered: usize,
    pub(super) failed: usize,
    pub(super) latency_s: Figures,
    pub(super) ttft_s: Figures,
    pub(super) output_tokens_per_s: Figures,
}

/// What is shown of a spread.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Figures {
    pub(super) mean: f64,
    pub(super) p95: f64,
    pub(super) deviation: f64,
}

/// An engine at one time.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Look {
    pub(super) time_s: f64,
    pub(super) engine: String,
    pub(super) running: f64,
    pub(super) waiting: f64,
    pub(super) kv_percent: f64,
}

/// What is read of a row of programs.csv; a simulation's has no `measured`: all of its programs are.
#[derive(Debug, Deserialize)]
struct ProgramRow {
    #[serde(default = "yes")]
    measured: bool,
    arrival_s: Option<f64>,
    completion_s: Option<f64>,
    state: String,
}

const fn yes() -> bool {
    true
}

/// Reads the studies in these folders.
///
/// # Errors
/// When there is none, or a file is not valid.
pub(super) fn read(folders: &[PathBuf]) -> anyhow::Result<Found> {
    let mut found = Found::default();
    for folder in folders {
        let before = (found.runs.len(), found.batches.len());
        look(folder, DEPTH_MAX, &mut found)?;
        if before == (found.runs.len(), found.batches.len()) {
            bail!(
                "{}: no study in it: what `lps bench run --out` or `lps sim --out` wrote has a summary.json",
                folder.display()
            );
        }
    }
    found.runs.sort_by(|a, b| {
        let by_rate = a.rate.total_cmp(&b.rate);
        a.label.cmp(&b.label).then(by_rate)
    });
    Ok(found)
}

fn look(folder: &Path, depth: usize, found: &mut Found) -> anyhow::Result<()> {
    if folder.join("summary.json").is_file() {
        return study(folder, found);
    }
    let at = || format!("read {}", folder.display());
    let mut inside = Vec::new();
    for entry in fs::read_dir(folder).with_context(at)? {
        let path = entry.with_context(at)?.path();
        if path.is_dir() {
            inside.push(path);
        }
    }
    inside.sort();
    for folder in inside.iter().filter(|_| depth > 0) {
        look(folder, depth - 1, found)?;
    }
    Ok(())
}

fn study(folder: &Path, found: &mut Found) -> anyhow::Result<()> {
    let file = folder.join("summary.json");
    let at = || file.display().to_string();
    let text = fs::read_to_string(&file).with_context(at)?;
    let summary: Value = serde_json::from_str(&text).with_context(at)?;
    let word = |name: &str| summary[name].as_str().map(str::to_owned);
    let label = word("label").or_else(|| word("policy"));
    let label = label.with_context(|| format!("{}: no label in it", at()))?;
    let name = folder.display().to_string();
    if summary["levels"].is_array() {
        let levels = serde_json::from_value(summary["levels"].clone()).with_context(at)?;
        found.batches.push(Batch {
            folder: name,
            label,
            levels,
        });
        return Ok(());
    }
    let programs: Vec<ProgramRow> = rows(&folder.join("programs.csv"))?;
    let engines = folder.join("engines.csv");
    let looks = if engines.is_file() {
        rows(&engines)?
    } else {
        Vec::new()
    };
    let measured = || programs.iter().filter(|row| row.measured);
    let ended = measured().filter(|row| row.state == "completed");
    let arrivals: Vec<f64> = measured().filter_map(|row| row.arrival_s).collect();
    let first = arrivals.iter().copied().fold(f64::INFINITY, f64::min);
    let last = arrivals.iter().copied().fold(0.0, f64::max);
    let apart = arrivals.len().saturating_sub(1) as f64;
    found.runs.push(Run {
        workload: word("workload").unwrap_or_else(|| "simulated workload".to_owned()),
        folder: name,
        label,
        rate: if last > first {
            apart / (last - first)
        } else {
            0.0
        },
        completions_s: ended.filter_map(|row| row.completion_s).collect(),
        measured: measured().count(),
        looks,
        summary,
    });
    Ok(())
}

fn rows<T: DeserializeOwned>(file: &Path) -> anyhow::Result<Vec<T>> {
    let at = || file.display().to_string();
    let mut table = csv::Reader::from_path(file).with_context(at)?;
    let rows: Result<Vec<T>, _> = table.deserialize().collect();
    rows.with_context(at)
}

impl Run {
    /// A figure of the summary, such as `/completion_s/mean`.
    pub(super) fn figure(&self, at: &str) -> Option<f64> {
        self.summary.pointer(at)?.as_f64()
    }

    /// Seconds that calls waited, by reason.
    pub(super) fn waits(&self) -> BTreeMap<&str, f64> {
        let waits = self.summary["waits_s"].as_object().into_iter().flatten();
        let waits = waits.filter_map(|(reason, s)| Some((reason.as_str(), s.as_f64()?)));
        waits.filter(|(_, seconds)| *seconds > 0.0).collect()
    }
}
