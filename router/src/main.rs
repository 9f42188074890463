//! `lps-router`: a router on a fixed list of engines, or in a cluster. Owns: its command line, and its end.

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use lps_router::check;
use lps_router::config::{Alone, Config};
use lps_router::discovery::fixed::{self, Served};
use lps_router::kubernetes;
use lps_router::server::{self, Process};
use lps_runtime::shutdown::Shutdown;
use lps_runtime::telemetry::{self, Format};
use mimalloc::MiMalloc;

/// Between rows that live long the C library's keeps what requests leave (docs/adr/021).
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Routes the calls of LLM programs to engines.
#[derive(Debug, Parser)]
#[command(name = "lps-router", version, subcommand_negates_reqs = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    /// An engine, as MODEL=http://HOST:PORT or MODEL=https://HOST:PORT; repeat it for each.
    #[arg(
        long = "engine",
        env = "LPS_ROUTER_ENGINES",
        value_delimiter = ',',
        required_unless_present = "kubernetes"
    )]
    engines: Vec<Served>,
    #[command(flatten)]
    config: Config,
    #[command(flatten)]
    alone: Alone,
    #[command(flatten)]
    cluster: kubernetes::Options,
    /// How log lines look: plain or json.
    #[arg(long, env = "LPS_LOG_FORMAT", default_value = "plain")]
    log_format: Format,
    /// Which log lines are written: error, warn, info, debug, trace, or a list of module=level.
    #[arg(long, env = "LPS_LOG_LEVEL", default_value = "info")]
    log_level: String,
}

/// What else it can do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Ask a running router for its models, and each of them for a word; exit 0 when all answer.
    Check(check::Options),
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
    let telemetry = match telemetry::init(cli.log_format, &cli.log_level) {
        Ok(telemetry) => telemetry,
        Err(error) => {
            eprintln!("lps-router: {error}");
            return ExitCode::from(EXIT_CONFIGURATION);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let ended = runtime.context("no runtime").and_then(|runtime| {
        let ended = runtime.block_on(run(cli, telemetry));
        // A file that hangs must not hold the process: what could be waited for was.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli, telemetry: telemetry::Handle) -> anyhow::Result<()> {
    if let Some(Command::Check(options)) = &cli.command {
        let found = check::run(options).await?;
        writeln!(std::io::stdout(), "{found}")?;
        return Ok(());
    }
    let shutdown = Shutdown::on_signals().context("signals")?;
    let process = Process {
        shutdown,
        telemetry: Some(telemetry),
        state_dir: cli.alone.state_dir,
        engine_tls: cli.alone.engine_tls,
    };
    if cli.cluster.kubernetes {
        return kubernetes::run(cli.config, &cli.cluster, process).await;
    }
    let (sources, _tell) = fixed::sources(&cli.engines)?;
    let router = server::start(cli.config, sources, process).await?;
    tracing::info!(address = %router.addr, admin = %router.admin_addr, "the router listens");
    router.task.await.context("the router's task failed")
}
