//! `lps sim`: the production scheduler in virtual time. Owns: its flags, and running each policy on the same workload.
//!
//! Inside: `world` passes time between `clients` (what is sent when), the router's state, whose `actions` it does, and
//! `engine`s; `naming` says which programs calls are of, `faults` say what goes wrong, `losses` what follows, `reports` what is heard; `checks` watch, and `progress`
//! shows how far it is. What happened is a `record`, of which `report` and `plot` make files.

mod actions;
mod checks;
mod clients;
mod engine;
mod faults;
mod losses;
mod naming;
mod plot;
mod progress;
mod record;
mod report;
mod reports;
#[cfg(test)]
mod tests;
mod world;

use std::path::PathBuf;

use anyhow::Context;
use lps_api::quantity::Micros;
use lps_api::scheduling::Settings;

use crate::console;
use crate::workload::{Place, ProgramSpec, Workload};
pub use engine::EngineSpec;
pub(crate) use engine::{Costs, Load, Profile};
pub use faults::FaultPlan;
pub use naming::Naming;
pub(crate) use naming::{Finder, Put};
use progress::Progress;
use report::Summary;
pub use world::{Setup, simulate, simulate_watched};

/// Flags of `lps sim`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A file of programs (JSON lines), trace:FILE of recorded calls, or a generator with `,key=value` for each setting:
    /// uniform, chat, react, mcts, map-reduce, swe-bench, coding, deep-research, mixed
    #[arg(long, value_name = "FILE|NAME[,k=v...]")]
    pub workload: String,
    /// Policies to compare: fcfs, program-fcfs, mlfq, plas, atlas, gittins, and srpt, which is told what each program
    /// will still need
    #[arg(long, value_delimiter = ',', default_value = "atlas")]
    pub policy: Vec<String>,
    /// One scheduling setting; repeats. Lists by comma, `none` turns a rule off
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// What the engines are: unit:slots=B[,kv=TOKENS] runs B calls at a second per second; roofline:PROFILE and
    /// core:PROFILE take steps, with PROFILE a100-8b, h200-8b or a file, and behind it [,slots=B][,kv=TOKENS][,batch=TOKENS]
    #[arg(long, default_value = "unit:slots=8")]
    pub engine: String,
    /// How many engines
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub engines: u32,
    /// Seed of the generator: the same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Faults a minute: engines that die, slow down and return, lost, late and repeated reports, clients that leave
    #[arg(long, value_name = "PER_MINUTE", value_parser = faults_per_minute)]
    pub faults: Option<f64>,
    /// Stop at this virtual second; programs that have not ended by then count as unfinished
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub until: Option<u64>,
    /// Leave the checks of invariants out, for speed
    #[arg(long)]
    pub no_checks: bool,
    /// Folder for the tables and plots, one folder a policy in it
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When a flag or the workload is not valid, or a file cannot be written.
pub fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let engine: EngineSpec = args.engine.parse()?;
    let place = Place {
        seed: args.seed,
        slots: u64::from(engine.slots()) * u64::from(args.engines),
    };
    let workload = Workload::open(&args.workload, place)?;
    let progress = |what: &str| Progress::new(what, workload.programs.len(), !json);
    let alone = alone(&workload, &engine, &progress("each alone"))?;
    let mut summaries = Vec::new();
    for policy in &args.policy {
        let setup = Setup {
            settings: settings(policy, &args.settings)?,
            engine: engine.clone(),
            engines: args.engines,
            faults: args.faults.map(|per_minute| FaultPlan {
                per_minute,
                seed: args.seed,
            }),
            checks: !args.no_checks,
            until: args.until.map(Micros::from_secs),
            clairvoyant: policy == CLAIRVOYANT,
            naming: Naming::Said,
        };
        let bar = progress(policy);
        let record = simulate_watched(&workload, &setup, &mut |far| bar.tell(far))?;
        drop(bar);
        let summary = Summary::new(policy, (&workload, &alone), &record);
        for (at, reason, unsent) in &record.refused {
            let spec = &workload.programs[at.0];
            tracing::warn!(
                program = %spec.program,
                call = %spec.calls[at.1].call,
                ?reason,
                unsent,
                "a call was refused; it and those behind it were not served"
            );
        }
        if let Some(out) = &args.out {
            let folder = out.join(policy);
            report::write(&folder, &workload, &record, &summary)
                .with_context(|| format!("write {}", folder.display()))?;
        }
        summaries.push(summary);
    }
    if let Some(out) = &args.out {
        plot::compare(&out.join("completion.svg"), &summaries)?;
    }
    if json {
        console::json(&serde_json::to_value(&summaries)?)?;
    } else {
        console::table(
            &report::HEADER,
            summaries.iter().map(Summary::row).collect(),
            "no policy",
        )?;
    }
    Ok(())
}

/// How long each program takes on an engine of its own.
fn alone(
    workload: &Workload,
    engine: &EngineSpec,
    progress: &Progress,
) -> anyhow::Result<Vec<Micros>> {
    let programs = workload.programs.iter();
    if matches!(engine, EngineSpec::Unit { .. }) {
        return Ok(programs.map(ProgramSpec::alone).collect());
    }
    let setup = Setup {
        settings: settings("fcfs", &["working_set=off".to_owned()])?,
        engine: engine.alone(),
        engines: 1,
        faults: None,
        checks: false,
        until: None,
        clairvoyant: false,
        naming: Naming::Said,
    };
    let alone = |spec: &ProgramSpec| {
        let programs = vec![spec.clone()];
        let record = simulate(&Workload { programs }, &setup)?;
        progress.more();
        let end = record.programs.into_iter().flatten().next();
        Ok(end.map_or(Micros::ZERO, |end| end.end - spec.arrival))
    };
    programs.map(alone).collect()
}

/// Gittins' order where the size of each program is known: shortest remaining processing time.
const CLAIRVOYANT: &str = "srpt";

fn faults_per_minute(text: &str) -> Result<f64, String> {
    let rate: Option<f64> = text.parse().ok();
    let rate = rate.filter(|rate| (0.001..=600.0).contains(rate));
    rate.ok_or_else(|| "its range is 0.001..=600 a minute".to_owned())
}

/// The rules of one policy.
pub(crate) fn settings(policy: &str, pairs: &[String]) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .with_context(|| format!("--set {pair:?} is not KEY=VALUE"))?;
        settings.set(key, value).context("--set")?;
    }
    let policy = if policy == CLAIRVOYANT {
        "gittins"
    } else {
        policy
    };
    settings.set("policy", policy).context("--policy")?;
    settings.check().context("--set")?;
    Ok(settings)
}
