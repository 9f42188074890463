//! `lps bench`: load on a running server, and pages about it. Owns: which studies there are.
//!
//! Inside, in the order in which data flows: `run` → `target`, `replay` → `prompt`, `wire` → `record` → `summary`;
//! `batch` → `target`, `wire`; `report` reads what they wrote; `calibrate` reads what engines wrote meanwhile; `identity` runs the
//! simulator.

/// `lps bench batch`: runs × prompts × concurrency.
pub mod batch;
mod batch_table;
/// `lps bench calibrate`: what steps cost, for the simulator.
pub mod calibrate;
/// `lps bench identity`: how well programs are found.
pub mod identity;
mod prompt;
mod record;
mod replay;
/// `lps bench report`: one page with plots.
pub mod report;
/// `lps bench run`: replays programs.
pub mod run;
mod sample;
mod summary;
mod target;
#[cfg(test)]
mod tests;
mod wire;

use crate::client::Client;

/// What can be measured.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Replay programs against a server: ours, or with --plain any that speaks OpenAI's API
    Run(Box<run::Args>),
    /// Send the same prompts at several concurrencies, several times over, and time every answer
    Batch(Box<batch::Args>),
    /// Make one page with plots from folders that `run`, `batch` and `lps sim` wrote
    Report(report::Args),
    /// Strip all ids from programs, and tell how well the router finds them again and what that is worth
    Identity(identity::Args),
    /// Make a profile for `lps sim` from the step logs of engines
    Calibrate(calibrate::Args),
}

/// Does it.
///
/// # Errors
/// What the command says.
pub async fn run(
    command: Command,
    client: impl AsyncFnOnce() -> anyhow::Result<Client>,
    json: bool,
) -> anyhow::Result<()> {
    match command {
        Command::Run(args) => {
            let client = client().await?.with_key(args.target.api_key.as_ref())?;
            run::run(*args, &client, json).await
        }
        Command::Batch(args) => {
            let client = client().await?.with_key(args.target.api_key.as_ref())?;
            batch::run(*args, &client, json).await
        }
        Command::Identity(args) => identity::run(&args, json),
        Command::Report(args) => report::run(&args),
        Command::Calibrate(args) => calibrate::run(&args, json),
    }
}
