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
use crate::workload::{Place as Slots, ProgramSpec, Workload};

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
    /// Seeds of the generators; with several, times are told as median with least and most
    #[arg(long, value_delimiter = ',', default_value = "1")]
    pub seeds: Vec<u64>,
}

/// How long programs take, on the average.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Took {
    /// From arrival to end.
    completion_s: f64,
    /// The same over the tokens that a program produces, as Autellix measures it: short programs count as much as long ones.
    token_latency_s: f64,
}

/// The same programs of one seed, four times.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Runs {
    seed: u64,
    /// Clients say where calls belong.
    said: Took,
    /// The router finds it.
    found: Took,
    /// Each call is a program.
    alone: Took,
    /// First come, first served.
    fcfs: Took,
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Row {
    workload: String,
    /// Of all seeds together.
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    runs: Vec<Runs>,
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
            runs: Vec::new(),
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
        runs: Vec::new(),
    });
    if json {
        console::json(&serde_json::to_value(&rows)?)?;
        return Ok(());
    }
    let cells = rows.iter().map(Row::cells).collect();
    console::table(&HEADER, cells, "nothing")?;
    if args.trace.is_empty() {
        console::line("")?;
        let times = rows.iter().flat_map(Row::times).collect();
        console::table(&TIMES, times, "nothing")?;
    }
    console::line("")?;
    let sources = rows.iter().flat_map(Row::sources).collect();
    console::table(&SOURCES, sources, "nothing")?;
    Ok(())
}

fn generated(args: &Args, text: &str) -> anyhow::Result<Row> {
    let (mut verdict, mut runs) = (Verdict::default(), Vec::new());
    for seed in &args.seeds {
        let (of_seed, its_runs) = seeded(args, text, *seed)?;
        verdict.add(&of_seed);
        runs.push(its_runs);
    }
    Ok(Row {
        workload: text.to_owned(),
        verdict,
        runs,
    })
}

fn seeded(args: &Args, text: &str, seed: u64) -> anyhow::Result<(Verdict, Runs)> {
    let engine: EngineSpec = args.engine.parse()?;
    let slots = u64::from(engine.slots());
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
        let took =
            programs.filter_map(|(spec, end)| Some((spec, end.as_ref()?.end - spec.arrival)));
        let took: Vec<(&ProgramSpec, f64)> = took
            .map(|(spec, time)| (spec, time.as_secs_f64()))
            .collect();
        let per_token = took.iter().map(|(spec, time)| {
            let tokens = spec.calls.iter().map(|call| u64::from(call.output.0));
            time / tokens.sum::<u64>().max(1) as f64
        });
        let count = took.len().max(1) as f64;
        let mean = Took {
            completion_s: took.iter().map(|(_, time)| time).sum::<f64>() / count,
            token_latency_s: per_token.sum::<f64>() / count,
        };
        anyhow::Ok((mean, record))
    };
    let chats = Chats { alike: args.alike };
    let (found, record) = run(&args.policy, Naming::Found(chats))?;
    let runs = Runs {
        seed,
        said: run(&args.policy, Naming::Said)?.0,
        found,
        alone: run(&args.policy, Naming::Alone)?.0,
        fcfs: run("fcfs", Naming::Alone)?.0,
    };
    Ok((Verdict::of(&calls(&workload, &record.put)), runs))
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

const HEADER: [&str; 8] = [
    "workload",
    "calls",
    "program P",
    "R",
    "thread P",
    "R",
    "parent P",
    "R",
];
const TIMES: [&str; 6] = ["workload", "mean", "said", "found", "alone", "fcfs"];
const SOURCES: [&str; 5] = ["workload", "source", "calls", "parent P", "R"];

impl Row {
    fn cells(&self) -> Vec<String> {
        let verdict = &self.verdict;
        let mut cells = vec![self.workload.clone(), verdict.calls.to_string()];
        for score in [verdict.programs, verdict.threads, verdict.parents] {
            cells.extend(shares(score));
        }
        cells
    }

    /// Those who say it in a unit, the others as factors of that, of the same seed.
    fn times(&self) -> Vec<Vec<String>> {
        if self.runs.is_empty() {
            return Vec::new();
        }
        let line = |name: &str, units: f64, of: fn(Took) -> f64| {
            let said = self.runs.iter().map(|runs| of(runs.said) * units);
            let said = spread(said.collect(), |time| format!("{time:.1}"));
            let others: [fn(&Runs) -> Took; 3] = [|it| it.found, |it| it.alone, |it| it.fcfs];
            let others = others.map(|other| {
                let factors = self.runs.iter().map(|it| of(other(it)) / of(it.said));
                spread(factors.collect(), |factor| format!("×{factor:.2}"))
            });
            let mut cells = vec![self.workload.clone(), name.to_owned(), said];
            cells.extend(others);
            cells
        };
        vec![
            line("completion (s)", 1.0, |took| took.completion_s),
            line("a token (ms)", 1e3, |took| took.token_latency_s),
        ]
    }

    fn sources(&self) -> impl Iterator<Item = Vec<String>> {
        self.verdict.sources.iter().map(|(name, of)| {
            let [precision, recall] = shares(of.parents);
            let (workload, calls) = (self.workload.clone(), of.calls.to_string());
            vec![workload, (*name).to_owned(), calls, precision, recall]
        })
    }
}

/// The median, with the least and the most where there are several.
fn spread(mut values: Vec<f64>, text: impl Fn(f64) -> String) -> String {
    values.sort_by(f64::total_cmp);
    let middle = text(values[values.len() / 2]);
    match &values[..] {
        [least, .., most] => format!("{middle} ({}–{})", text(*least), text(*most)),
        _ => middle,
    }
}

fn shares(score: Score) -> [String; 2] {
    let text = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{share:.3}"));
    [text(score.precision()), text(score.recall())]
}
