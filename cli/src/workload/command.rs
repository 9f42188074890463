//! `lps workload`. Owns: its flags, and what it prints and writes.

use std::fs::File;
use std::io::BufWriter;
use std::path::PathBuf;

use anyhow::Context;

use super::statistics::{HEADER, Statistics};
use super::{Place, Workload};
use crate::console;

/// Flags of `lps workload`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A file of programs (JSON lines), trace:FILE of recorded calls, or a generator with `,key=value` for each setting:
    /// uniform, chat, react, mcts, map-reduce, swe-bench, coding, deep-research, mixed
    #[arg(value_name = "FILE|NAME[,k=v...]")]
    pub workload: String,
    /// Seed of the generator: the same seed gives the same bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Calls that the engines run at once: what `load` is a share of
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub slots: u64,
    /// File to write the programs to, as JSON lines
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Makes or reads it, and says what is in it.
///
/// # Errors
/// When the workload is not valid, or the file cannot be written.
pub fn run(args: &Args, json: bool) -> anyhow::Result<()> {
    let place = Place {
        seed: args.seed,
        slots: args.slots,
    };
    let workload = Workload::open(&args.workload, place)?;
    if let Some(out) = &args.out {
        let at = || format!("write {}", out.display());
        let file = File::create(out).with_context(at)?;
        workload.write(BufWriter::new(file)).with_context(at)?;
    }
    let statistics = Statistics::of(&workload);
    if json {
        return Ok(console::json(&serde_json::to_value(&statistics)?)?);
    }
    console::line(&statistics.heading())?;
    console::line("")?;
    console::table(&HEADER, statistics.rows(), "nothing")?;
    let sources = statistics.sources();
    if !sources.is_empty() {
        console::line("\npublished:")?;
    }
    for source in sources {
        console::line(&format!("  {source}"))?;
    }
    Ok(())
}
