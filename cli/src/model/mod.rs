//! `lps model`: checkpoints from the Hugging Face hub or with random weights, and the checking of any. Owns: Hugging Face
//! layout as files. Knows no tensor library: weights are bytes.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// A checkpoint out of an image into a folder.
pub mod copy;
/// One from the hub.
pub mod pull;
/// Writing a checkpoint.
pub mod make;
/// Reading one critically.
pub mod check;
/// What stands beside a checkpoint that makes vectors.
pub mod pooling;
/// Safetensors files, written and read header first.
mod safetensors_file;
/// `config.json` to and from a shape.
mod config_json;
/// The same of BERT, and its weights.
mod bert;
/// Random weights that are a function of seed, name and place.
mod generator;
/// What a model of a family is made of.
pub mod shape;

use std::path::PathBuf;

use serde::Serialize;

use crate::console;

/// Subcommands of `lps model`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Fetch a checkpoint from the Hugging Face hub; what is there is not fetched again
    Pull(Box<pull::Args>),
    /// Make a checkpoint with random weights in Hugging Face layout, without network
    Make(Box<make::Options>),
    /// Check a checkpoint: files, fields, shapes, lengths
    Check {
        /// Its folder.
        folder: PathBuf,
    },
    /// Copy the checkpoint of an image into a folder
    #[command(hide = true)]
    Copy {
        /// The image's root.
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        /// The folder.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
    },
    /// Copy this program, to run it in another image
    #[command(hide = true)]
    Tool {
        /// The new file.
        #[arg(long, value_name = "FILE")]
        to: PathBuf,
    },
}

/// Runs one.
///
/// # Errors
/// One line that names the file and the field.
pub async fn run(command: Command, json: bool) -> anyhow::Result<()> {
    match command {
        Command::Pull(args) => pull::run(*args, json).await,
        Command::Make(options) => {
            blocking(move || {
                make::make(&options)?;
                tell(&check::check(&options.out)?, json)
            })
            .await
        }
        Command::Check { folder } => blocking(move || tell(&check::check(&folder)?, json)).await,
        Command::Copy { from, to } => blocking(move || tell(&copy::copy(&from, &to)?, json)).await,
        Command::Tool { to } => blocking(move || Ok(copy::tool(&to)?)).await,
    }
}

async fn blocking(
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<()> {
    tokio::task::spawn_blocking(work).await?
}

fn tell(summary: &(impl Serialize + ToString), json: bool) -> anyhow::Result<()> {
    if json {
        console::json(&serde_json::to_value(summary)?)?;
    } else {
        console::line(&summary.to_string())?;
    }
    Ok(())
}
