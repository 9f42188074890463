//! `lps model`: checkpoints with random weights, and the checking of any checkpoint. Owns: Hugging Face layout as files.
//! Knows no tensor library: weights are bytes.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Writing a checkpoint.
pub mod make;
/// Reading one critically.
pub mod check;
/// Safetensors files, written and read header first.
mod safetensors_file;
/// `config.json` to and from a shape.
mod config_json;
/// Random weights that are a function of seed, name and place.
mod generator;
/// What a model of a family is made of.
pub mod shape;

use std::path::PathBuf;

use crate::console;

/// Subcommands of `lps model`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {
    /// Make a checkpoint with random weights in Hugging Face layout, without network
    Make(Box<make::Options>),
    /// Check a checkpoint: files, fields, shapes, lengths
    Check {
        /// Its folder.
        folder: PathBuf,
    },
}

/// Runs one.
///
/// # Errors
/// One line that names the file and the field.
pub fn run(command: Command, json: bool) -> anyhow::Result<()> {
    let summary = match command {
        Command::Make(options) => {
            make::make(&options)?;
            check::check(&options.out)?
        }
        Command::Check { folder } => check::check(&folder)?,
    };
    if json {
        console::json(&serde_json::to_value(&summary)?)?;
    } else {
        console::line(&summary.to_string())?;
    }
    Ok(())
}
