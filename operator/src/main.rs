//! `lps-operator`: reads the command line and does what it says.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use lps_operator::config::{Config, Departure};
use lps_operator::{departure, process};
use lps_runtime::shutdown::Shutdown;
use lps_runtime::telemetry;

/// Turns LLMProgramServing resources into engine pods.
#[derive(Debug, Parser)]
#[command(name = "lps-operator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the resource's definition, for `kubectl apply --server-side -f -`.
    Crd,
    /// Reconcile until told to end.
    Run(Box<Config>),
    /// End the operator, and let its resources go: what a chart does before it is removed.
    Release(Departure),
}

/// A configuration error, as in sysexits.h.
const EXIT_CONFIGURATION: u8 = 64;

fn main() -> ExitCode {
    let cli = Cli::try_parse().unwrap_or_else(|error| {
        let code = if error.use_stderr() {
            i32::from(EXIT_CONFIGURATION)
        } else {
            0
        };
        // Nothing can be done when even this cannot be printed.
        let _ = error.print();
        std::process::exit(code)
    });
    let result = match cli.command {
        Command::Crd => print_definition(),
        Command::Run(config) => run(*config),
        Command::Release(departure) => release(&departure),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lps-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_definition() -> anyhow::Result<()> {
    let yaml = lps_operator::crd::yaml()?;
    Ok(std::io::stdout().write_all(yaml.as_bytes())?)
}

fn run(config: Config) -> anyhow::Result<()> {
    let telemetry = telemetry::init(config.log_format, &config.log_level)?;
    runtime()?.block_on(async {
        let shutdown = Shutdown::on_signals().context("signals")?;
        process::run(config, telemetry, shutdown).await?;
        tracing::info!("ended");
        Ok(())
    })
}

fn release(departure: &Departure) -> anyhow::Result<()> {
    let say = |line: String| {
        // What is done counts, not whether anybody reads it.
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    runtime()?.block_on(async {
        let client = kube::Client::try_default()
            .await
            .context("no cluster: neither a kubeconfig nor a service account")?;
        Ok(departure::depart(&client, departure, say).await?)
    })
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")
}
