//! `lps bench identity`: how well the router finds the programs of clients that say nothing. Owns: its flags and tables.
//!
//! A workload runs in virtual time, its calls as chats without ids or headers; the router's own code puts each somewhere
//! (`crate::sim::Naming`), and `judge` compares that with the truth. `recorded` does the same with requests of real clients.

mod judge;
mod recorded;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;

use serde::Serialize;

use self::judge::{Call, Place, Score, Verdict};
use crate::console;
use crate::sim::{EngineSpec, Naming, Put, Setup, settings, simulate};
use crate::workload::chats::Chats;
use crate::workload::{Place as Slots, Workload};

/// Flags of `lps bench identity`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A workload as `lps sim` takes it; repeats
    #[arg(
        long,
        value_name = "FILE|NAME[,k=v...]",
        default_values = [
            "chat,gap=1,load=1.3",
            "react,load=1.3",
            "swe-bench,load=1.3",
            "coding",
            "deep-research",
            "mcts,programs=40",
            "map-reduce",
        ]
    )]
    pub workload: Vec<String>,
    /// Recorded requests instead, one a line (docs/measuring.md); repeats
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    pub trace: Vec<PathBuf>,
    /// The worst case: all programs of a class ask the same, turn by turn
    #[arg(long)]
    pub alike: bool,
    /// The policy that runs them
    #[arg(long, default_value = "atlas")]
    pub policy: String,
    /// What the engines are, as `lps sim` takes it
    #[arg(long, default_value = "unit:slots=8")]
    pub engine: String,
    /// Seed of the generators
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Mean completion times of programs in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Completion {
    /// Clients say where calls belong.
    said_s: f64,
    /// The router finds it.
    found_s: f64,
    /// Each call is a program.
    alone_s: f64,
    /// First come, first served.
    fcfs_s: f64,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    workload: String,
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    completion: Option<Completion>,
}

/// Runs it.
///
/// # Errors
/// When a flag, a workload or a file is not valid.
pub fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let mut rows = Vec::new();
    for path in &args.trace {
        rows.push(Row {
            workload: path.display().to_string(),
            verdict: Verdict::of(&recorded::put(path)?),
            completion: None,
        });
    }
    if args.trace.is_empty() {
        for workload in &args.workload {
            rows.push(generated(args, workload)?);
        }
    }
    let mut total = Verdict::default();
    rows.iter().for_each(|row| total.add(&row.verdict));
    rows.push(Row {
        workload: "all".to_owned(),
        verdict: total,
        completion: None,
    });
    if json {
        console::json(&serde_json::to_value(&rows)?)?;
        return Ok(());
    }
    let header = if args.trace.is_empty() {
        &HEADER[..]
    } else {
        &HEADER[..FOUND_COLUMNS]
    };
    console::table(header, rows.iter().map(Row::cells).collect(), "nothing")?;
    console::line("")?;
    let sources = rows.iter().flat_map(Row::sources).collect();
    console::table(&SOURCES, sources, "nothing")?;
    Ok(())
}

fn generated(args: &Args, text: &str) -> anyhow::Result<Row> {
    let engine: EngineSpec = args.engine.parse()?;
    let slots = u64::from(engine.slots());
    let seed = args.seed;
    let workload = Workload::open(text, Slots { seed, slots })?;
    let run = |policy: &str, naming: Naming| {
        let setup = Setup {
            settings: settings(policy, &[])?,
            engine: engine.clone(),
            engines: 1,
            faults: None,
            checks: false,
            until: None,
            clairvoyant: false,
            naming,
        };
        let record = simulate(&workload, &setup)?;
        let programs = workload.programs.iter().zip(&record.programs);
        let took = programs.filter_map(|(spec, end)| Some(end.as_ref()?.end - spec.arrival));
        let took: Vec<f64> = took.map(|time| time.as_secs_f64()).collect();
        let mean = took.iter().sum::<f64>() / took.len().max(1) as f64;
        anyhow::Ok((mean, record))
    };
    let chats = Chats { alike: args.alike };
    let (found_s, record) = run(&args.policy, Naming::Found(chats))?;
    let completion = Completion {
        said_s: run(&args.policy, Naming::Said)?.0,
        found_s,
        alone_s: run(&args.policy, Naming::Alone)?.0,
        fcfs_s: run("fcfs", Naming::Alone)?.0,
    };
    Ok(Row {
        workload: text.to_owned(),
        verdict: Verdict::of(&calls(&workload, &record.put)),
        completion: Some(completion),
    })
}

/// The calls of a workload, where they belong and where they were put.
fn calls(workload: &Workload, put: &[Put]) -> Vec<Call> {
    let by_place: HashMap<_, usize> = put.iter().enumerate().map(|(n, put)| (put.at, n)).collect();
    let by_name: HashMap<_, usize> = put
        .iter()
        .enumerate()
        .map(|(n, put)| (&put.call, n))
        .collect();
    let call = |put: &Put| {
        let spec = &workload.programs[put.at.0];
        let call = &spec.calls[put.at.1];
        let parents = call.parents.iter();
        let found = put.depends_on.iter().map(|name| by_name[name]);
        Call {
            truth: Place {
                program: spec.program.to_string(),
                thread: call.thread.to_string(),
                parents: parents
                    .map(|parent| by_place[&(put.at.0, *parent)])
                    .collect(),
            },
            found: Place {
                program: put.program.program.to_string(),
                thread: put.thread.to_string(),
                parents: found.collect(),
            },
            source: put.source,
        }
    };
    put.iter().map(call).collect()
}

const HEADER: [&str; 12] = [
    "workload",
    "calls",
    "program P",
    "R",
    "thread P",
    "R",
    "parent P",
    "R",
    "said s",
    "found",
    "alone",
    "fcfs",
];
/// Of them, those before times.
const FOUND_COLUMNS: usize = 8;
const SOURCES: [&str; 5] = ["workload", "source", "calls", "parent P", "R"];

impl Row {
    fn cells(&self) -> Vec<String> {
        let verdict = &self.verdict;
        let mut cells = vec![self.workload.clone(), verdict.calls.to_string()];
        for score in [verdict.programs, verdict.threads, verdict.parents] {
            cells.extend(shares(score));
        }
        if let Some(it) = self.completion {
            cells.push(format!("{:.1}", it.said_s));
            let others = [it.found_s, it.alone_s, it.fcfs_s];
            cells.extend(others.map(|mean| format!("×{:.2}", mean / it.said_s)));
        }
        cells
    }

    fn sources(&self) -> impl Iterator<Item = Vec<String>> {
        self.verdict.sources.iter().map(|(name, of)| {
            let [precision, recall] = shares(of.parents);
            let (workload, calls) = (self.workload.clone(), of.calls.to_string());
            vec![workload, (*name).to_owned(), calls, precision, recall]
        })
    }
}

fn shares(score: Score) -> [String; 2] {
    let text = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.3}"));
    [text(score.precision()), text(score.recall())]
}
