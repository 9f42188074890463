//! One running router. Owns: putting the pieces together, and the order in which they end. Embedded by `lps up` and
//! by this crate's binary alike.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lps_api::ids::ModelName;
use lps_runtime::admin::{Admin, Readiness};
use lps_runtime::clock::Clock;
use lps_runtime::shutdown::Shutdown;
use lps_runtime::tls::{self, Acceptor};
use lps_runtime::watched::Problem;
use lps_runtime::{task, telemetry};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::JoinHandle;

use crate::admission::{self, BodyBudget};
use crate::batches::Taking;
use crate::config::{Config, EngineTls};
use crate::conversations::Conversations;
use crate::discovery::Sources;
use crate::dispatcher::{self, Bounds, Handle, Setup, Told};
use crate::engine_client::Connections;
use crate::engine_client::secure::{self, Secured};
use crate::http::listener::{self, Door};
use crate::http::{self, Context, Gate};
use crate::keys;
use crate::learned::{self, Keeping, Recalled};
use crate::metrics::{Metrics, Shown};
use crate::programs_log;
use crate::responses::shelf;
use crate::scale::{Scale, Wanted};
use crate::state::view::ProgramFilter;
use crate::traces;

/// A body has this many header times to come.
const BODY_TIMES: u32 = 4;
/// How long the last spans and lines may take when the router ends.
const LAST_BATCH_LIMIT: Duration = Duration::from_secs(5);
/// How often a drain looks whether anything is left to wait for.
const DRAIN_LOOK: Duration = Duration::from_millis(50);

/// What the router takes from the process that it runs in.
#[derive(Debug, Clone)]
pub struct Process {
    /// Tells when to drain and when to cut.
    pub shutdown: Shutdown,
    /// For the admin endpoint's `/log-level`; `None` where logs are someone else's.
    pub telemetry: Option<telemetry::Handle>,
    /// Where what is learned is kept over restarts; `None`: it is not kept.
    pub state_dir: Option<PathBuf>,
    /// How engines are spoken to.
    pub engine_tls: EngineTls,
}

/// A router that listens.
#[derive(Debug)]
pub struct RunningRouter {
    /// Where clients call.
    pub addr: SocketAddr,
    /// Where `/metrics` is.
    pub admin_addr: SocketAddr,
    /// Its time.
    pub clock: Clock,
    /// Reads what it knows.
    pub dispatcher: Handle,
    /// Engines that each model should have, and why.
    pub scale: watch::Receiver<BTreeMap<ModelName, Wanted>>,
    /// Ends when the router has drained, or was cut.
    pub task: JoinHandle<()>,
}

/// Why a router does not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be had.
    #[error("cannot listen on {address}; choose another port with --port or --admin-port")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// There are no keys.
    #[error("the API keys: {0}")]
    Keys(#[source] Problem),
    /// Clients cannot be shown a certificate.
    #[error("--tls-cert: {0}")]
    Tls(#[source] Problem),
    /// Engines cannot be told from others.
    #[error("--engine-tls-ca: {0}")]
    EngineTls(#[from] secure::Error),
    /// Traces have nowhere to go.
    #[error("traces: {0}")]
    Traces(#[from] traces::Error),
    /// Programs cannot be logged.
    #[error(transparent)]
    ProgramsLog(#[from] programs_log::Error),
}

/// Starts a router on what `sources` tell.
///
/// # Errors
/// When a port cannot be had, the files of keys or certificates make no sense, or traces or programs have nowhere to go.
pub async fn start(
    config: Config,
    sources: Sources,
    process: Process,
) -> Result<RunningRouter, Error> {
    let registry = Registry::new();
    let metrics = Metrics::register(&registry);
    let (door, addr) = door(&config, &metrics).await?;
    let (admin_listener, admin_addr) = listen(config.admin_ip(), config.admin_port).await?;
    let keys = keys_of(&config, &metrics).await?;
    let (clock, connections) = (Clock::start(), connections(&process, &metrics).await?);
    let (pools, written) = (sources.pools.clone(), sources.written.clone());
    let stranded = Arc::new(Notify::new());
    let recalled = Recalled::from(process.state_dir).await;
    let (told, taking) = told(&config, clock, &metrics)?;
    let setup = Setup {
        bounds: bounds(&config),
        keys: keys.clone(),
        connections: connections.clone(),
        clock,
        metrics: metrics.clone(),
        told,
        stranded: Arc::clone(&stranded),
        learned: recalled.models,
    };
    let dispatcher = dispatcher::start(setup, sources);
    let (wanted, scale) = watch::channel(BTreeMap::new());
    let scaling = Scale {
        dispatcher: dispatcher.clone(),
        pools: pools.clone(),
        written,
        wanted,
        stranded,
        queue_period: config.scale_period,
        clock,
        metrics: metrics.clone(),
    };
    let gate = keys.map(|keys| Gate::new(keys, metrics.clone(), config.metrics_need_key));
    let context = Context {
        dispatcher: dispatcher.clone(),
        connections,
        responses: shelf::start(shelf_limits(&config), clock),
        conversations: Conversations::start(clock),
        pools,
        bodies: BodyBudget::new(config.bodies_limit_bytes),
        limits: http_limits(&config),
        tenants_are_apart: gate.is_some() && !config.share_prefix_cache,
        names: Arc::default(),
        clock,
        metrics,
        shutdown: process.shutdown.clone(),
    };
    let (admin, ready_tell) = admin(registry, process.telemetry, gate.as_ref(), &context);
    let serving = Serving {
        door,
        context,
        gate,
        dispatcher: dispatcher.clone(),
        scaling: task::spawn("scale", scaling.run()),
        keeping: learned::keep(recalled.place, &dispatcher, config.keep_period),
        taking,
        admin: (admin, admin_listener, ready_tell),
        config,
        shutdown: process.shutdown,
    };
    Ok(RunningRouter {
        addr,
        admin_addr,
        clock,
        dispatcher,
        scale,
        task: task::spawn("router", serving.run()),
    })
}

/// Where traces go, and programs that ended, if anywhere; and the tasks that bring them there.
fn told(config: &Config, clock: Clock, metrics: &Metrics) -> Result<(Told, Vec<Taking>), Error> {
    let mut told = Told::default();
    let mut tasks = Vec::new();
    if let Some(endpoint) = config.otlp_endpoint.clone() {
        let ratio = config.trace_ratio;
        let settings = traces::Settings { endpoint, ratio };
        let (sink, taking) = traces::start(&settings, clock, metrics.clone())?;
        told.traces = Some(sink);
        tasks.push(taking);
    }
    if let Some(path) = config.programs_log.clone() {
        let (log, taking) = programs_log::start(path, clock, metrics.clone())?;
        told.programs_log = Some(log);
        tasks.push(taking);
    }
    Ok((told, tasks))
}

/// The keys, where there is a file of them.
async fn keys_of(config: &Config, metrics: &Metrics) -> Result<keys::Current, Error> {
    let Some(file) = config.keys.clone() else {
        if !config.host.is_loopback() {
            tracing::warn!(
                host = %config.host,
                "there are no API keys (--keys): whoever reaches this address may do everything, in every tenant's name"
            );
        }
        return Ok(None);
    };
    Ok(Some(
        keys::open(file, metrics.clone())
            .await
            .map_err(Error::Keys)?,
    ))
}

/// Where clients come in, and what they are shown where they speak TLS.
async fn door(config: &Config, metrics: &Metrics) -> Result<(Door, SocketAddr), Error> {
    let acceptor = match config.tls() {
        None => None,
        Some(own) => {
            let metrics = metrics.clone();
            let told = move |expires| metrics.certificate(Shown::Clients, expires);
            let side = tls::server(own, None, told).await.map_err(Error::Tls)?;
            Some(Acceptor::new(side))
        }
    };
    let (listener, addr) = listen(config.host, config.port).await?;
    Ok((Door { listener, acceptor }, addr))
}

async fn connections(process: &Process, metrics: &Metrics) -> Result<Connections, Error> {
    let settings = &process.engine_tls;
    let secured = match settings.files() {
        None => None,
        Some(files) => {
            let name = settings.engine_tls_name.clone();
            Some(Secured::open(files, name, metrics.clone()).await?)
        }
    };
    Ok(Connections::new(secured))
}

fn admin(
    registry: Registry,
    telemetry: Option<telemetry::Handle>,
    gate: Option<&Gate>,
    context: &Context,
) -> (Admin, watch::Sender<Readiness>) {
    let (ready_tell, ready) = watch::channel(Readiness::Ready);
    let page = http::page(context.clone(), gate);
    let gate = gate.map(|gate| Arc::new(gate.clone()) as Arc<dyn lps_runtime::admin::Gate>);
    let admin = Admin {
        registry,
        ready,
        telemetry,
        gate,
        beside: Some(page),
    };
    (admin, ready_tell)
}

fn bounds(config: &Config) -> Bounds {
    let ready = admission::Limits {
        ready: config.ready_limit,
        ready_per_tenant: config.ready_limit_per_tenant,
        live_per_tenant: config.live_limit_per_tenant,
    };
    Bounds {
        ready,
        // A connection carries one call at a time.
        open_max: config.connection_limit as usize,
        stall_limit: config.stall_limit,
    }
}

fn shelf_limits(config: &Config) -> shelf::Limits {
    shelf::Limits {
        bytes: config.responses_limit_bytes as usize,
        // A connection carries one stream at a time.
        streams: config.connection_limit as usize,
    }
}

fn http_limits(config: &Config) -> http::Limits {
    http::Limits {
        body_bytes: config.body_limit_bytes,
        body_time: config.header_limit * BODY_TIMES,
        heartbeat: config.heartbeat,
    }
}

async fn listen(host: IpAddr, port: u16) -> Result<(TcpListener, SocketAddr), Error> {
    let address = SocketAddr::new(host, port);
    let bound = async {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        Ok((listener, address))
    };
    bound
        .await
        .map_err(|source| Error::Listen { address, source })
}

struct Serving {
    door: Door,
    context: Context,
    gate: Option<Gate>,
    dispatcher: Handle,
    scaling: JoinHandle<()>,
    keeping: Option<Keeping>,
    taking: Vec<Taking>,
    admin: (Admin, TcpListener, watch::Sender<Readiness>),
    config: Config,
    shutdown: Shutdown,
}

impl Serving {
    async fn run(self) {
        let Self {
            door,
            context,
            gate,
            dispatcher,
            scaling,
            keeping,
            taking,
            admin,
            config,
            shutdown,
        } = self;
        let (admin, admin_listener, ready) = admin;
        let (admin_end, admin_ended) = oneshot::channel::<()>();
        let admin_stop = async {
            // Dropped or said: the same.
            let _ = admin_ended.await;
        };
        let admin = task::spawn("admin", admin.serve(admin_listener, admin_stop));
        let bounds = listener::Bounds {
            connections: config.connection_limit,
            header_time: config.header_limit,
        };
        let drained = drained(&shutdown, &dispatcher, ready, config.drain_grace);
        let routes = http::routes(context, gate.as_ref());
        let serve = listener::serve(door, routes, bounds, drained);
        tokio::select! {
            () = serve => {}
            () = shutdown.cut() => tracing::info!("cut"),
        }
        scaling.abort();
        if let Some(keeping) = keeping {
            keeping.end().await;
        }
        // What ended before this is told then; where the dispatcher ended, all is.
        let _ = dispatcher.read(|_| ()).await;
        futures::future::join_all(taking.into_iter().map(|it| it.end(LAST_BATCH_LIMIT))).await;
        drop(admin_end);
        match admin.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the admin endpoint failed"),
            Err(error) => tracing::warn!(%error, "the admin endpoint's task failed"),
        }
    }
}

/// Resolves when, after the first signal, no new connection is to be taken: no program is live any more, or the grace
/// for their next calls is over.
async fn drained(
    shutdown: &Shutdown,
    dispatcher: &Handle,
    ready: watch::Sender<Readiness>,
    grace: Duration,
) {
    shutdown.drain().await;
    tracing::info!(
        grace_s = grace.as_secs(),
        "draining: new programs are refused; live ones may make their next calls for so long"
    );
    ready.send_replace(Readiness::Draining);
    let quiet = async {
        // An error means that the dispatcher ended: nothing is left to wait for.
        while dispatcher.drain().await.is_ok() {
            let left = dispatcher.read(|view| {
                let programs = view.state.programs(&ProgramFilter::default());
                view.open_calls() > 0 || programs.iter().any(|program| !program.state.is_end())
            });
            if !left.await.unwrap_or(false) {
                return;
            }
            tokio::time::sleep(DRAIN_LOOK).await;
        }
    };
    // Whichever comes first: both mean that it is time.
    let _ = tokio::time::timeout(grace, quiet).await;
}
