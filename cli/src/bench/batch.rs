//! `lps bench batch`. Owns: its flags, and that prompts are sent so many at once, run by run. How steps are filled is the
//! engine's own setting (`--batching`): one study for each mode, each with its label, and the report lays them side by side.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use futures::stream::StreamExt;
use lps_runtime::shutdown::Shutdown;

use super::batch_table::{Row, Summary, csv};
use super::prompt::{Palette, Prompter, Said};
use super::run::bar;
use super::target::Target;
use super::wire::Wire;
use crate::client::Client;
use crate::console::{self, plain};

/// Longest prompt file, in lines.
const PROMPTS_MAX: usize = 100_000;

/// Flags of `lps bench batch`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// How often all of it is done
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub runs: u32,
    /// How many prompts a run sends at each concurrency
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub prompts: u32,
    /// Calls at once; a list by comma
    #[arg(long, value_delimiter = ',', default_value = "1,4,16", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub concurrency: Vec<u32>,
    /// Tokens of a prompt
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub prompt_tokens: u32,
    /// Tokens of an answer; with `--vary` the most
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub output_tokens: u32,
    /// Answers of different lengths, evenly from 1 to the most: where batches that wait for each other lose
    #[arg(long)]
    pub vary: bool,
    /// A file with a prompt a line, sent as text in turn instead of made prompts
    #[arg(long, value_name = "FILE")]
    pub prompt_file: Option<PathBuf>,
    /// Folder for batch.csv and summary.json
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What is asked.
    #[command(flatten)]
    pub target: Target,
    /// What the report calls this study, such as the engine's batching: continuous, static, timeout
    #[arg(long, default_value = "batch")]
    pub label: String,
    /// Seed of the prompts
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// One prompt of the study.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) run: u32,
    pub(super) seq: u32,
    pub(super) concurrency: u32,
    pub(super) said: Said,
    /// The prompt as the table shows it.
    pub(super) shown: String,
    pub(super) output: u32,
}

/// Sends all prompts and leaves a table and a summary.
///
/// # Errors
/// When the server does not answer at the start, no prompt was answered, or a file cannot be written.
pub async fn run(args: Args, client: &Client, json: bool) -> anyhow::Result<()> {
    let texts = match &args.prompt_file {
        Some(file) => Some(read_prompts(file)?),
        None => None,
    };
    if let Some(out) = &args.out {
        fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    }
    let signals = Shutdown::on_signals()?;
    let wire = args.target.wire(client).await?;
    let palette = match &texts {
        // They are sent as they are: nothing is counted beforehand.
        Some(_) => Palette::Words {
            tokens: 1.0,
            overhead: 0.0,
        },
        None => wire.palette().await?,
    };
    let prompter = Prompter {
        palette,
        seed: args.seed,
    };
    let asks = asks(&args, texts.as_deref(), &prompter);
    let mut rows = Vec::new();
    let all = study(&wire, &asks, &args, &mut rows);
    let is_cut = tokio::select! {
        () = all => false,
        () = signals.drain() => true,
    };
    let summary = Summary::new(&args.label, &rows, is_cut);
    if let Some(out) = &args.out {
        write(&out.join("batch.csv"), csv(&rows)?)?;
        let text = format!("{:#}\n", serde_json::to_value(&summary)?);
        write(&out.join("summary.json"), text.into_bytes())?;
    }
    if json {
        console::json(&serde_json::to_value(&summary)?)?;
    } else {
        summary.tell()?;
    }
    if !rows.is_empty() && rows.iter().all(|row| row.error.is_some()) {
        let error = rows[0].error.clone().unwrap_or_default();
        bail!("no prompt was answered: {}", plain(&error));
    }
    Ok(())
}

/// Every concurrency once in each run, so that what drifts while it runs meets all of them alike.
async fn study(wire: &Wire<'_>, asks: &[Ask], args: &Args, rows: &mut Vec<Row>) {
    let bar = bar(asks.len(), "prompts");
    for run in 1..=args.runs {
        for (batch, concurrency) in (1..).zip(&args.concurrency) {
            let of_batch = asks
                .iter()
                .filter(|ask| ask.run == run && ask.concurrency == *concurrency);
            let calls = of_batch.map(|ask| async move {
                let outcome = wire.call(&ask.said, ask.output, &[]).await;
                Row::new(ask, batch, outcome)
            });
            let mut answers = futures::stream::iter(calls).buffer_unordered(*concurrency as usize);
            while let Some(row) = answers.next().await {
                rows.push(row);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
}

/// The prompts of all runs. None is sent twice, so that a prefix cache tells nothing of batching.
pub(super) fn asks(args: &Args, texts: Option<&[String]>, prompter: &Prompter) -> Vec<Ask> {
    let mut asks = Vec::new();
    for run in 1..=args.runs {
        for concurrency in &args.concurrency {
            for seq in 1..=args.prompts {
                let name = format!("batch {run} {concurrency} {seq}");
                let (said, shown) = match texts {
                    Some(texts) => {
                        let text = texts[(seq - 1) as usize % texts.len()].clone();
                        let said = Said::Text {
                            text: text.clone(),
                            tokens: 0.0,
                        };
                        (said, text)
                    }
                    None => {
                        let said = prompter.alone(&name, args.prompt_tokens);
                        let shown = match &said {
                            Said::Text { text, .. } => text.clone(),
                            Said::Ids(ids) => {
                                let ids: Vec<_> = ids.iter().map(u32::to_string).collect();
                                ids.join(" ")
                            }
                        };
                        (said, shown)
                    }
                };
                let output = if args.vary {
                    // Spread evenly, and in no order: 7919 is a prime.
                    let place = (u64::from(seq) * 7_919) % u64::from(args.prompts);
                    let most = u64::from(args.output_tokens);
                    (1 + place * most.saturating_sub(1) / u64::from(args.prompts.max(2) - 1)) as u32
                } else {
                    args.output_tokens
                };
                asks.push(Ask {
                    run,
                    seq,
                    concurrency: *concurrency,
                    said,
                    shown,
                    output,
                });
            }
        }
    }
    asks
}

fn read_prompts(file: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let prompts: Vec<String> = lines.map(str::to_owned).collect();
    match prompts.len() {
        0 => bail!("{}: no prompt in it", file.display()),
        1..=PROMPTS_MAX => Ok(prompts),
        count => bail!("{}: {count} prompts; at most {PROMPTS_MAX}", file.display()),
    }
}

fn write(path: &Path, bytes: Vec<u8>) -> anyhow::Result<()> {
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}
