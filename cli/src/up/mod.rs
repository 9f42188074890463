//! `lps up`: the router in this process, engines as child processes. Owns: the command, from its files to its end.
//!
//! Inside, in the order in which data flows: `manifest` → `stack` → `engines` → `home` → `process`.

mod engines;
mod flags;
mod home;
mod locate;
pub mod manifest;
mod process;
pub mod stack;

use std::path::PathBuf;
use std::time::Duration;

use lps_operator::validate::Validated;
use lps_router::config::{Config, duration};
use lps_runtime::shutdown::{Shutdown, ShutdownTrigger};
use lps_runtime::{task, telemetry};

use crate::console;
use stack::{Plan, Stack};

/// Flags of `lps up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Manifests of kind LLMProgramServing: YAML, one or more documents each.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where engines' addresses and logs are kept, and what the router learns from finished programs.
    #[arg(
        long,
        env = "LPS_STATE_DIR",
        default_value = ".lps",
        value_name = "DIR"
    )]
    pub state_dir: PathBuf,
    /// The engine's program; by default `lps-engine` beside this one.
    #[arg(long, env = "LPS_ENGINE_BIN", value_name = "FILE")]
    pub engine_bin: Option<PathBuf>,
    /// How long streams may take to finish after Ctrl-C; a second Ctrl-C ends them at once.
    #[arg(long, env = "LPS_DRAIN_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// The router's settings.
    #[command(flatten)]
    pub router: Config,
}

/// Serves the manifests until Ctrl-C.
///
/// # Errors
/// [`manifest::Problems`] when they make no sense; else why it does not start or ended by itself.
pub async fn run(args: Args, telemetry: Option<telemetry::Handle>) -> anyhow::Result<()> {
    let pools = manifest::load(&args.files)?;
    let signals = Shutdown::on_signals()?;
    let greeting = Greeting::of(&pools);
    let mut stack = Stack::start(Plan {
        pools,
        router: args.router,
        engine_program: args.engine_bin,
        state_dir: args.state_dir,
        telemetry,
    })
    .await?;
    tracing::info!(
        "router on {} (admin on http://{admin}, for a browser http://{admin}/ui)",
        stack.url(),
        admin = stack.admin_address
    );
    task::spawn(
        "forward signals",
        forward(signals, stack.trigger.clone(), args.drain_timeout),
    );
    if stack.started().await? {
        greeting.print(&stack.url())?;
        stack.ended().await?;
    }
    tracing::info!("all ended");
    Ok(())
}

/// The first signal drains; the second, or the end of the patience, cuts.
pub(crate) async fn forward(signals: Shutdown, trigger: ShutdownTrigger, patience: Duration) {
    signals.drain().await;
    tracing::info!("draining: streams finish; Ctrl-C again ends them at once");
    trigger.drain();
    if tokio::time::timeout(patience, signals.cut()).await.is_err() {
        tracing::warn!(
            "streams that still run after {} s are cut",
            patience.as_secs()
        );
    }
    trigger.cut();
}

/// What is printed when all is ready.
struct Greeting {
    models: Vec<String>,
}

impl Greeting {
    fn of(pools: &[Validated]) -> Self {
        Self {
            models: pools
                .iter()
                .map(|pool| pool.template.model.to_string())
                .collect(),
        }
    }

    fn print(&self, url: &str) -> std::io::Result<()> {
        let model = self.models.first().map_or("demo", String::as_str);
        console::line(&format!(
            "\nServing {} on {url}/v1; Ctrl-C drains. Try:\n\n  \
             curl -N {url}/v1/chat/completions -H 'content-type: application/json' \\\n    \
             -d '{{\"model\": \"{model}\", \"stream\": true, \
             \"messages\": [{{\"role\": \"user\", \"content\": \"What is a program?\"}}]}}'\n",
            self.models.join(", "),
        ))
    }
}
