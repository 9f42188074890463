//! `lps-operator`: reads the command line and does what it says.

use std::io::Write as _;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lps-operator: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Crd => std::io::stdout().write_all(lps_operator::crd::yaml()?.as_bytes())?,
    }
    Ok(())
}
