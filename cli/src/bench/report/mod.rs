//! `lps bench report`. Owns: its flags, and that one page comes of many folders.

mod page;
mod plots;
mod read;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;

use crate::console;

/// Flags of `lps bench report`.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// Folders that `lps bench run`, `lps bench batch` or `lps sim` wrote, or folders of such folders
    #[arg(required = true, value_name = "DIR")]
    pub folders: Vec<PathBuf>,
    /// The page
    #[arg(long, value_name = "FILE", default_value = "report.html")]
    pub out: PathBuf,
    /// What stands above it
    #[arg(long, default_value = "Load study")]
    pub title: String,
}

/// Makes the page.
///
/// # Errors
/// When a folder holds no study, a file in it is not valid, or the page cannot be written.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let found = read::read(&args.folders)?;
    let page = page::page(&args.title, &found)?;
    fs::write(&args.out, page).with_context(|| format!("write {}", args.out.display()))?;
    Ok(console::line(&format!(
        "{}: {} runs, {} batch studies",
        args.out.display(),
        found.runs.len(),
        found.batches.len()
    ))?)
}
