//! Step logs, as an engine with `--step-log` writes them. Owns: their lines, and what of them tells what steps cost.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use lps_api::ids::CallId;
use lps_api::protocol::Hello;
use lps_api::quantity::Micros;
use serde::Deserialize;

use super::fit::Sample;
use crate::sim::Load;

/// One log's steps, in their order.
#[derive(Debug)]
pub(super) struct Steps {
    /// Whose they are.
    pub(super) engine: Hello,
    pub(super) samples: Vec<Sample>,
    /// Time between the end of a step and the beginning of the next one, over pairs that a call took part in both of;
    /// and how many such pairs there are.
    pub(super) between: (Micros, u64),
}

#[derive(Debug, Deserialize)]
struct Head {
    engine: Hello,
}

#[derive(Debug, Deserialize)]
struct Line {
    time_us: Micros,
    duration_us: Micros,
    sequences: Vec<Part>,
}

#[derive(Debug, Deserialize)]
struct Part {
    call: CallId,
    computed: u32,
    len: u32,
}

impl Line {
    fn sample(&self) -> Option<Sample> {
        let mut load = Load::default();
        for part in &self.sequences {
            load.add(part.len, part.computed);
        }
        let us = self.duration_us.0 as f64;
        (load.tokens > 0 && us > 0.0).then_some(Sample { load, us })
    }

    fn goes_on(&self, next: &Self) -> bool {
        let is_there = |part: &Part| next.sequences.iter().any(|other| other.call == part.call);
        self.sequences.iter().any(is_there)
    }
}

/// The logs that are named, and those in folders that are named.
///
/// # Errors
/// When one cannot be read, is no step log, or is of an engine with other sizes than the first.
pub(super) fn read(paths: &[PathBuf]) -> anyhow::Result<Vec<Steps>> {
    let mut logs: Vec<(PathBuf, Steps)> = Vec::new();
    for path in files(paths)? {
        let steps = log(&path).with_context(|| format!("step log {}", path.display()))?;
        if let Some((first, other)) = logs.first() {
            let (a, b) = (&steps.engine, &other.engine);
            ensure!(
                (&a.model, sizes(a)) == (&b.model, sizes(b)),
                "{} is of {} with {} and {} of {} with {}: calibrate engines of one kind at a time",
                path.display(),
                a.model,
                told(a),
                first.display(),
                b.model,
                told(b)
            );
        }
        logs.push((path, steps));
    }
    Ok(logs.into_iter().map(|(_, steps)| steps).collect())
}

const fn sizes(engine: &Hello) -> [u64; 3] {
    [
        engine.max_num_seqs as u64,
        engine.max_batched_tokens.0 as u64,
        engine.kv_blocks_total as u64 * engine.block_tokens.0 as u64,
    ]
}

fn told(engine: &Hello) -> String {
    let [seqs, batch, kv] = sizes(engine);
    format!("{seqs} sequences, {batch} tokens a step and {kv} KV tokens")
}

fn files(paths: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = path.read_dir().and_then(|entries| {
            let entries: Result<Vec<_>, _> = entries.map(|entry| Ok(entry?.path())).collect();
            entries
        });
        let mut inside = entries.with_context(|| format!("read {}", path.display()))?;
        inside.retain(|file| file.extension().is_some_and(|ending| ending == "jsonl"));
        inside.sort_unstable();
        ensure!(
            !inside.is_empty(),
            "{} holds no .jsonl file: start engines with --step-log {0}, put load on them, and try again",
            path.display()
        );
        files.append(&mut inside);
    }
    Ok(files)
}

fn log(path: &Path) -> anyhow::Result<Steps> {
    let mut lines = BufReader::new(File::open(path)?).lines();
    let head = lines.next().transpose()?.unwrap_or_default();
    let head: Head = serde_json::from_str(&head).context(
        "line 1 does not say whose steps these are; is it what an engine's --step-log writes?",
    )?;
    let mut steps = Steps {
        engine: head.engine,
        samples: Vec::new(),
        between: (Micros::ZERO, 0),
    };
    let mut before: Option<Line> = None;
    let mut broken = None;
    for (number, line) in (2..).zip(lines) {
        if let Some(broken) = broken {
            return Err(broken);
        }
        let line: Line = match serde_json::from_str(&line?) {
            Ok(line) => line,
            // The last line may be half a line: the engine still runs, or was killed.
            Err(error) => {
                broken = Some(anyhow::Error::from(error).context(format!("line {number}")));
                continue;
            }
        };
        // The warm-up comes first, when nothing is in any cache yet.
        if number > 2 {
            steps.samples.extend(line.sample());
        }
        if let Some(before) = before.filter(|before| before.goes_on(&line)) {
            let ended = before.time_us + before.duration_us;
            steps.between.0 += line.time_us.saturating_sub(ended);
            steps.between.1 += 1;
        }
        before = Some(line);
    }
    if steps.samples.is_empty() {
        bail!("no step is in it: put load on the engine and try again");
    }
    Ok(steps)
}
