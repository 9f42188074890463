//! `lps-router`: a router on a fixed list of engines, or in a cluster. Owns: its command line, and its end.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::Context;
use clap::Parser;
use lps_api::ids::{EngineId, ModelName, Revision};
use lps_api::quantity::Micros;
use lps_api::scheduling::Settings;
use lps_router::config::Config;
use lps_router::discovery::{EngineEndpoint, EngineUrl, Pool, Scaling, Sources};
use lps_router::kubernetes;
use lps_router::message::Intake;
use lps_router::server::{self, Process};
use lps_runtime::shutdown::Shutdown;
use lps_runtime::telemetry::{self, Format};
use tokio::sync::watch;

/// Routes the calls of LLM programs to engines.
#[derive(Debug, Parser)]
#[command(name = "lps-router", version)]
struct Cli {
    /// An engine, as MODEL=http://HOST:PORT; repeat it for each.
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
    cluster: kubernetes::Options,
    /// How log lines look: plain or json.
    #[arg(long, env = "LPS_LOG_FORMAT", default_value = "plain")]
    log_format: Format,
    /// Which log lines are written: error, warn, info, debug, trace, or a list of module=level.
    #[arg(long, env = "LPS_LOG_LEVEL", default_value = "info,kube_runtime=warn")]
    log_level: String,
}

/// `MODEL=URL`.
#[derive(Debug, Clone)]
struct Served {
    model: ModelName,
    url: EngineUrl,
}

impl FromStr for Served {
    type Err = anyhow::Error;
    fn from_str(text: &str) -> anyhow::Result<Self> {
        let (model, url) = text
            .split_once("=http")
            .context("an engine is MODEL=http://HOST:PORT")?;
        let model = ModelName::parse(model).context("the model's name")?;
        Ok(Self {
            model,
            url: format!("http{url}").parse()?,
        })
    }
}

/// How long calls are held while no engine of a fixed list answers.
const COLD_START_HOLD: Micros = Micros::from_secs(300);

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
    match runtime
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(run(cli, telemetry)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: Cli, telemetry: telemetry::Handle) -> anyhow::Result<()> {
    let shutdown = Shutdown::on_signals().context("signals")?;
    let process = Process {
        shutdown,
        telemetry: Some(telemetry),
    };
    if cli.cluster.kubernetes {
        return kubernetes::run(cli.config, &cli.cluster, process).await;
    }
    let (_engines_tell, engines) = watch::channel(endpoints(&cli.engines)?);
    let (_written_tell, written) = watch::channel(BTreeMap::new());
    let (_pools_tell, pools) = watch::channel(pools(&cli.engines));
    let router = server::start(
        cli.config,
        Sources {
            pools,
            engines,
            written,
        },
        process,
    )
    .await?;
    tracing::info!(address = %router.addr, admin = %router.admin_addr, "the router listens");
    router.task.await.context("the router's task failed")
}

fn endpoints(served: &[Served]) -> anyhow::Result<Vec<EngineEndpoint>> {
    let named = served
        .iter()
        .enumerate()
        .map(|(index, Served { model, url })| {
            let id = EngineId::parse(&format!("engine-{}", index + 1))?;
            Ok(EngineEndpoint {
                id,
                uid: String::new(),
                model: model.clone(),
                revision: Revision::default(),
                url: url.clone(),
                intake: Intake::All,
            })
        });
    named.collect()
}

fn pools(served: &[Served]) -> Vec<Pool> {
    let mut models: Vec<&ModelName> = served.iter().map(|engine| &engine.model).collect();
    models.sort();
    let pool = |group: &[&ModelName]| Pool {
        model: group[0].clone(),
        aliases: Vec::new(),
        settings: Settings::default(),
        cold_start_hold: COLD_START_HOLD,
        scaling: Scaling::fixed(u32::try_from(group.len()).unwrap_or(u32::MAX)),
    };
    models.chunk_by(|a, b| a == b).map(pool).collect()
}
