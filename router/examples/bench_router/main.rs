//! The two ends of `make bench-router`: an engine that answers at once, and clients. Owns: the command line. Must not know
//! which router stands between them.
//!
//!     cargo run --release -p lps-router --example bench_router -- engine
//!     cargo run --release -p lps-router --example bench_router -- load --to 127.0.0.1:8080 --body FILE --connections 32

mod engine;
mod ledger;
mod load;
mod pieces;
mod stamp;
mod wire;

use clap::Parser;

/// What this process is.
#[derive(Debug, Parser)]
enum Cli {
    /// Engines' side. Prints its two addresses as a line of JSON: where calls go, and where it is told how to answer them.
    Engine,
    /// Clients' side. Prints what was measured as a line of JSON.
    Load(load::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // One thread each: on a small machine the router between them is to have the rest.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match cli {
        Cli::Engine => runtime.block_on(engine::run()),
        Cli::Load(options) => runtime.block_on(load::run(options)),
    }
}
