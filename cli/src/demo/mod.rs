//! `lps demo`. Owns: a stack of its own where none is named, the program that is run on it, and that nothing is left.
//!
//! Inside, in the order in which data flows: `program` → `calculator`, `check`.

mod calculator;
mod check;
mod program;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use lps_router::config::Config;
use lps_runtime::shutdown::Shutdown;
use lps_runtime::task;
use serde_json::json;

use crate::chat::{first_model, fresh_id};
use crate::client::Client;
use crate::up::stack::{Plan, Stack};
use crate::up::{forward, manifest};
use crate::{console, show};
use program::Run;

/// The manifest of the demo's own stack.
const MANIFEST: &str = include_str!("../../../examples/quickstart.yaml");
/// How long streams may take to finish after Ctrl-C.
const PATIENCE: Duration = Duration::from_secs(10);

/// Flags of `lps demo`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which model; by default the first that the router serves.
    #[arg(long, short)]
    pub model: Option<String>,
    /// The engine's program; by default `lps-engine` beside this one.
    #[arg(long, env = "LPS_ENGINE_BIN", value_name = "FILE")]
    pub engine_bin: Option<PathBuf>,
}

/// Runs the demo on a router, or on a stack of its own.
///
/// # Errors
/// When the stack does not start, an answer is not complete, or the row is not what the calls say.
pub async fn run(args: Args, router: Option<Client>, json: bool) -> anyhow::Result<()> {
    if let Some(router) = router {
        return play(&router, args.model, json).await;
    }
    let folder = std::env::temp_dir().join(fresh_id("lps-demo"));
    let result = with_own_stack(&args, &folder, json).await;
    if result.is_ok() {
        std::fs::remove_dir_all(&folder).with_context(|| format!("remove {}", folder.display()))?;
    } else if folder.exists() && !json {
        // Where it failed, the engines' logs stay for whoever looks for the reason.
        console::line(&format!("\nthe engines' logs are in {}", folder.display()))?;
    }
    result
}

async fn with_own_stack(args: &Args, folder: &Path, json: bool) -> anyhow::Result<()> {
    let signals = Shutdown::on_signals()?;
    if !json {
        console::line("starting a router and two engines with the built-in demo model")?;
    }
    let mut stack = Stack::start(Plan {
        pools: manifest::parse(Path::new("examples/quickstart.yaml"), MANIFEST)?,
        router: Config {
            port: 0,
            admin_port: 0,
            ..Config::default()
        },
        engine_program: args.engine_bin.clone(),
        state_dir: folder.to_owned(),
        telemetry: None,
    })
    .await?;
    task::spawn(
        "forward signals",
        forward(signals.clone(), stack.trigger.clone(), PATIENCE),
    );
    let client = Client::new(&stack.url(), None)?;
    let played = tokio::select! {
        played = async {
            anyhow::ensure!(stack.started().await?, "the stack was told to end");
            play(&client, args.model.clone(), json).await
        } => played,
        () = signals.drain() => Err(anyhow::anyhow!("stopped by a signal")),
    };
    stack.trigger.drain();
    let ended = stack.ended().await;
    played?;
    ended?;
    if !json {
        console::line("\nstack ended")?;
    }
    Ok(())
}

async fn play(client: &Client, model: Option<String>, json: bool) -> anyhow::Result<()> {
    let model = match model {
        Some(model) => model,
        None => first_model(client).await?,
    };
    let program = fresh_id("demo");
    if !json {
        console::line(&format!(
            "program {program} on {}, model {model}\n",
            client.url()
        ))?;
    }
    let mut run = Run::new(client, &program, model, json);
    run.play().await?;
    let path = format!("/v1/programs/{program}");
    let row = client.get(&path).await?;
    client.post(&format!("{path}/end"), &json!({})).await?;
    if json {
        console::json(&row)?;
    } else {
        console::line("")?;
        show::print_program(&row)?;
    }
    let verdict = check::verdict(&row, run.calls())?;
    if !json {
        console::line("")?;
        for line in verdict {
            console::line(&line)?;
        }
    }
    Ok(())
}
