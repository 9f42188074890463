//! `lps sim`: the production scheduler in virtual time. Owns: its flags, and running each policy on the same workload.

mod engine;
mod plot;
mod record;
mod report;
#[cfg(test)]
mod tests;
mod world;

use std::path::PathBuf;

use anyhow::Context;
use lps_api::scheduling::Settings;

use crate::console;
use crate::workload::{Place, Workload};
use engine::EngineSpec;
use report::Summary;
pub use world::{Setup, simulate};

/// Flags of `lps sim`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A file of programs (JSON lines), trace:FILE of recorded calls, or a generator with `,key=value` for each setting:
    /// uniform, chat, react, mcts, map-reduce, swe-bench, coding, deep-research, mixed
    #[arg(long, value_name = "FILE|NAME[,k=v...]")]
    pub workload: String,
    /// Policies to compare: fcfs, program-fcfs, mlfq, plas, atlas, gittins
    #[arg(long, value_delimiter = ',', default_value = "atlas")]
    pub policy: Vec<String>,
    /// One scheduling setting; repeats. Lists by comma, `none` turns a rule off
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub settings: Vec<String>,
    /// What the engines are: unit:slots=B[,kv=TOKENS] runs B calls at a second per second
    #[arg(long, default_value = "unit:slots=8")]
    pub engine: String,
    /// How many engines
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    pub engines: u32,
    /// Seed of the generator: the same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Folder for the tables and plots, one folder a policy in it
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

/// Runs it.
///
/// # Errors
/// When a flag or the workload is not valid, or a file cannot be written.
pub fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let EngineSpec::Unit { slots, kv_tokens } = args.engine.parse()?;
    let place = Place {
        seed: args.seed,
        slots: u64::from(slots) * u64::from(args.engines),
    };
    let workload = Workload::open(&args.workload, place)?;
    let mut summaries = Vec::new();
    for policy in &args.policy {
        let setup = Setup {
            settings: settings(policy, &args.settings)?,
            slots,
            kv_tokens,
            engines: args.engines,
        };
        let record = simulate(&workload, &setup)?;
        let summary = Summary::new(policy, &workload, &record);
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

/// The rules of one policy.
fn settings(policy: &str, pairs: &[String]) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    for pair in pairs {
        let (key, value) = pair
            .split_once('=')
            .with_context(|| format!("--set {pair:?} is not KEY=VALUE"))?;
        settings.set(key, value).context("--set")?;
    }
    settings.set("policy", policy).context("--policy")?;
    settings.check().context("--set")?;
    Ok(settings)
}
