//! `lps-operator`: reads the command line and does what it says.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use lps_operator::build::Release;
use lps_operator::config::Config;
use lps_operator::controller;
use lps_operator::round::Tools;
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
    Run(Config),
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crd => print_definition(),
        Command::Run(options) => run(options),
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

fn run(options: Config) -> anyhow::Result<()> {
    telemetry::init(options.log_format, &options.log_level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("no runtime")?;
    runtime.block_on(async {
        let shutdown = Shutdown::on_signals().context("signals")?;
        let client = kube::Client::try_default()
            .await
            .context("no cluster: neither a kubeconfig nor a service account")?;
        let tools = Tools {
            client: client.clone(),
            release: Arc::new(Release {
                engine_image: options.engine_image,
            }),
        };
        let namespace = options.namespace.as_deref();
        tracing::info!(namespace = namespace.unwrap_or("all"), "the operator works");
        controller::run(client, namespace, tools, shutdown).await;
        tracing::info!("ended");
        Ok(())
    })
}
