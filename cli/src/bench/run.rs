//! `lps bench run`. Owns: its flags, the files that it leaves, and that Ctrl-C leaves them too.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::ProgressBar;
use lps_api::quantity::Micros;
use lps_runtime::clock::Clock;
use lps_runtime::shutdown::Shutdown;

use super::prompt::Prompter;
use super::record::{Sheet, calls_csv, programs_csv};
use super::replay::{Pace, Replay};
use super::sample::{self, Look};
use super::summary::{Setup, Summary, Window};
use super::target::{Target, time};
use crate::chat::fresh_id;
use crate::client::Client;
use crate::console;
use crate::workload::{Place, Workload};

const HEADER: [&str; 7] = ["SECONDS", "N", "MEAN", "P50", "P95", "P99", "MAX"];
const STYLE: &str = "{pos} of {len} {msg} [{wide_bar}] {elapsed}, {eta} left";

/// Flags of `lps bench run`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A file of programs (JSON lines), trace:FILE of recorded calls, or a generator: see `lps workload --help`
    #[arg(value_name = "FILE|NAME[,k=v...]")]
    pub workload: String,
    /// Folder for the tables and the summary
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// What is asked.
    #[command(flatten)]
    pub target: Target,
    /// What the report calls this run, such as the policy
    #[arg(long, default_value = "run")]
    pub label: String,
    /// So many programs at once, one after another, instead of at their arrivals
    #[arg(long, value_name = "PROGRAMS", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub closed: Option<u32>,
    /// Seconds from the start in which programs run, but are not measured
    #[arg(long, value_name = "SECONDS", default_value = "0", value_parser = time)]
    pub warm_up: Micros,
    /// Seconds after the warm-up in which programs begin; later ones are not run [default: all]
    #[arg(long, value_name = "SECONDS", value_parser = time)]
    pub window: Option<Micros>,
    /// Seconds after the window until what still runs is cut off and counted as unfinished
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = time)]
    pub patience: Micros,
    /// Factor on arrivals and gaps
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, value_parser = factor, allow_negative_numbers = true)]
    pub time_scale: f64,
    /// Seed of the generator and of the prompts
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Calls that the server runs at once: what a generator's `load` is a share of
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub slots: u64,
}

fn factor(text: &str) -> Result<f64, String> {
    let factor: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let fits = (0.0..=1e4).contains(&factor);
    fits.then_some(factor)
        .ok_or_else(|| "its range is 0..=10000".to_owned())
}

/// Replays the workload and leaves tables and a summary.
///
/// # Errors
/// When the workload is not valid, the server does not answer at the start, no call was answered, or a file cannot be
/// written.
pub async fn run(args: Args, client: &Client, json: bool) -> anyhow::Result<()> {
    let place = Place {
        seed: args.seed,
        slots: args.slots,
    };
    let mut workload = Workload::open(&args.workload, place)?;
    scale(&mut workload, args.time_scale);
    if let Some(out) = &args.out {
        // Before the load, not after it.
        fs::create_dir_all(out).with_context(|| format!("make {}", out.display()))?;
    }
    let signals = Shutdown::on_signals()?;
    let mut wire = args.target.wire(client).await?;
    let prompter = Prompter {
        palette: wire.palette().await?,
        seed: args.seed,
    };
    // What was asked so far is not part of it.
    wire.clock = Clock::start();
    let window = Window {
        from: args.warm_up,
        until: args.window.map(|window| args.warm_up + window),
        patience: args.window.map(|_| args.patience),
    };
    let replay = Replay {
        sheet: Replay::empty_sheet(&workload),
        workload: &workload,
        wire,
        prompter,
        pace: args.closed.map_or(Pace::Open, |n| Pace::Closed(n as usize)),
        window,
        prefix: format!("{}-", fresh_id("bench")),
        bar: bar(workload.programs.len(), "programs"),
    };
    let looks = RefCell::new(Vec::new());
    let is_cut = drive(&replay, &signals, &looks).await;
    let sheet = replay.sheet.take();
    let setup = Setup {
        label: args.label.clone(),
        url: client.url().to_owned(),
        model: replay.wire.model.clone(),
        workload: args.workload.clone(),
        seed: args.seed,
        pace: match args.closed {
            None => "open".to_owned(),
            Some(programs) => format!("closed, {programs} programs at once"),
        },
        plain: args.target.plain,
    };
    let summary = Summary::new(setup, &workload, &sheet, (&window, is_cut));
    if let Some(out) = &args.out {
        let files = (&workload, &sheet, &looks.take()[..]);
        write(out, files, &summary, &window)?;
    }
    tell(&summary, json)?;
    if summary.programs.measured > 0 && summary.calls > 0 && summary.call_latency_s.count == 0 {
        let error = summary.errors.keys().next().cloned().unwrap_or_default();
        bail!("no call of the window was answered: {error}");
    }
    Ok(())
}

/// Runs until all has ended, or it is cut; returns whether it was cut.
async fn drive(replay: &Replay<'_>, signals: &Shutdown, looks: &RefCell<Vec<Look>>) -> bool {
    let cut = async {
        match replay.window.cut() {
            Some(cut) => tokio::time::sleep(cut.as_duration()).await,
            None => std::future::pending().await,
        }
    };
    let watch = async {
        if !replay.wire.plain {
            sample::watch(replay.wire.client, replay.wire.clock, looks).await;
        }
        std::future::pending::<()>().await;
    };
    let is_cut = tokio::select! {
        () = replay.run() => false,
        () = signals.drain() => true,
        () = cut => true,
        () = watch => unreachable!("it never ends"),
    };
    replay.sheet.borrow_mut().end = replay.now();
    replay.bar.finish_and_clear();
    if is_cut && !replay.wire.plain {
        tokio::select! {
            () = replay.give_up() => {}
            () = signals.cut() => {}
        }
    }
    is_cut
}

fn scale(workload: &mut Workload, factor: f64) {
    let scaled =
        |time: Micros| Micros::from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Micros::MAX);
    for program in &mut workload.programs {
        program.arrival = scaled(program.arrival);
        for call in &mut program.calls {
            call.gap = scaled(call.gap);
        }
    }
}

pub(super) fn bar(length: usize, what: &'static str) -> ProgressBar {
    let bar = console::bar(length as u64, STYLE);
    bar.set_message(what);
    bar
}

fn write(
    out: &Path,
    (workload, sheet, looks): (&Workload, &Sheet, &[Look]),
    summary: &Summary,
    window: &Window,
) -> anyhow::Result<()> {
    let programs = programs_csv(workload, sheet, |record| window.measures(record))?;
    let json = format!("{:#}\n", summary.json()?).into_bytes();
    for (name, bytes) in [
        ("programs.csv", programs),
        ("calls.csv", calls_csv(workload, sheet)?),
        ("engines.csv", sample::csv(looks)?),
        ("summary.json", json),
    ] {
        let path = out.join(name);
        fs::write(&path, bytes).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

fn tell(summary: &Summary, json: bool) -> anyhow::Result<()> {
    if json {
        return Ok(console::json(&summary.json()?)?);
    }
    let programs = &summary.programs;
    console::line(&format!(
        "{} programs measured: {} completed, {} unfinished, {} refused, {} failed; beside them {} in the warm-up, {} not \
         begun",
        programs.measured,
        programs.completed,
        programs.unfinished,
        programs.refused,
        programs.failed,
        programs.warm_up,
        programs.not_started
    ))?;
    console::line(&format!(
        "{:.3} programs a second began, {:.1} output tokens a second, {:.0} % of prompt tokens from the cache\n",
        summary.rate,
        summary.output_tokens_per_s,
        100.0 * summary.hit_rate
    ))?;
    console::table(&HEADER, summary.rows(), "nothing")?;
    for (error, programs) in &summary.errors {
        console::line(&format!("\n{programs} programs: {}", console::plain(error)))?;
    }
    console::line(&format!("\n{}", summary.censoring))?;
    Ok(())
}
