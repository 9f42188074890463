//! The two ends of `make bench-router` and `make soak`: an engine that answers at once, and clients. Owns: the command line.
//! Must not know which router stands between them.
//!
//!     cargo run --release -p lps-router --example bench_router -- engine
//!     cargo run --release -p lps-router --example bench_router -- load --to 127.0.0.1:8080 --body FILE --connections 32
//!     cargo run --release -p lps-router --example bench_router -- soak --to 127.0.0.1:8080 --programs 500

mod engine;
mod ledger;
mod load;
mod pieces;
mod programs;
mod soak;
mod stamp;
mod talk;
mod wire;

use clap::Parser;

/// What this process is.
#[derive(Debug, Parser)]
enum Cli {
    /// Engines' side. Prints its two addresses as a line of JSON: where calls go, and where it is told how to answer them.
    Engine(engine::Options),
    /// Clients' side. Prints what was measured as a line of JSON.
    Load(load::Options),
    /// Clients of many kinds of programs. Prints how far they are as lines of JSON.
    Soak(soak::Options),
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    // One thread each: on a small machine the router between them is to have the rest.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    match cli {
        Cli::Engine(options) => runtime.block_on(engine::run(options)),
        Cli::Load(options) => runtime.block_on(load::run(options)),
        Cli::Soak(options) => runtime.block_on(soak::run(options)),
    }
}
