//! The commands about checkpoints.

/// Subcommands of `lps model`.
#[derive(Debug, clap::Subcommand)]
pub enum Command {}

/// Runs one.
///
/// # Errors
/// When it cannot.
pub fn run(command: Command, _: bool) -> anyhow::Result<()> {
    match command {}
}
