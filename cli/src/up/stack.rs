//! A running stack. Owns: the order in which its parts start and end: ports first, then engines; at the end the
//! router's streams first, then engines. After its end nothing is left.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use lps_api::resource::ScalingMode;
use lps_operator::validate::Validated;
use lps_router::config::{Config, EngineTls};
use lps_router::discovery::{self, Sources};
use lps_router::server::{self, Process};
use lps_runtime::clock::Clock;
use lps_runtime::shutdown::{Shutdown, ShutdownTrigger};
use lps_runtime::{task, telemetry};
use rustix::fs::{FlockOperation, flock};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::engines::Engines;
use super::flags::Share;
use super::home::Machine;

/// Reports of processes that wait to be read; a process whose report has no room waits.
const REPORTS_MAX: usize = 64;

/// How long the router may take to end after a cut.
const ROUTER_END: Duration = Duration::from_secs(1);

/// What a stack is made from.
#[derive(Debug)]
pub struct Plan {
    /// The pools.
    pub pools: Vec<Validated>,
    /// The router's settings.
    pub router: Config,
    /// The engine's program; `None`: the one beside this program.
    pub engine_program: Option<PathBuf>,
    /// Where addresses and logs are kept, and what the router learns.
    pub state_dir: PathBuf,
    /// For the router's `/log-level`.
    pub telemetry: Option<telemetry::Handle>,
}

/// A stack that runs.
#[derive(Debug)]
pub struct Stack {
    /// Where clients call.
    pub address: SocketAddr,
    /// Where the router's metrics are.
    pub admin_address: SocketAddr,
    /// Ends it.
    pub trigger: ShutdownTrigger,
    scheme: &'static str,
    started: oneshot::Receiver<()>,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Stack {
    /// Starts the router, then the engines; returns before these are ready.
    ///
    /// # Errors
    /// When the state folder, the engine's program or a port cannot be had. Nothing is left running then.
    pub async fn start(plan: Plan) -> anyhow::Result<Self> {
        let program = engine_program(plan.engine_program)?;
        let (folder, lock) = engines_folder(&plan.state_dir)?;
        let (trigger, shutdown) = Shutdown::manual();
        let (endpoints, engines) = watch::channel(Vec::new());
        // Engines on this machine are made as they are wanted: nobody writes another number.
        let (_, written) = watch::channel(BTreeMap::new());
        let (pools_tell, pools) = watch::channel(plan.pools.iter().map(routed).collect());
        let process = Process {
            shutdown: shutdown.clone(),
            telemetry: plan.telemetry,
            state_dir: Some(plan.state_dir.join("router")),
            engine_tls: EngineTls::default(),
        };
        let scheme = plan.router.tls().map_or("http", |_| "https");
        let router = server::start(
            plan.router,
            Sources {
                pools,
                engines,
                written,
            },
            process,
        )
        .await?;

        let (reports_tell, reports) = mpsc::channel(REPORTS_MAX);
        let machine = Machine {
            program,
            folder,
            share: share(&plan.pools),
            clock: Clock::start(),
            endpoints,
            reports: reports_tell,
        };
        let told = (router.scale, router.dispatcher);
        let engines = Engines::new(plan.pools, machine, reports, told);
        let (started_tell, started) = oneshot::channel();
        let running = Running {
            engines,
            router: router.task,
            shutdown,
            trigger: trigger.clone(),
            _kept: (pools_tell, lock),
        };
        let task = Some(task::spawn("engines", running.attend(started_tell)));
        let (address, admin_address) = (router.addr, router.admin_addr);
        Ok(Self {
            address,
            admin_address,
            trigger,
            scheme,
            started,
            task,
        })
    }

    /// The address for a client on this machine.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, reachable(self.address))
    }

    /// Waits until every pool has the engines that it starts with; `false` when the stack is told to end before.
    ///
    /// # Errors
    /// When one does not start. The stack has ended then.
    pub async fn started(&mut self) -> anyhow::Result<bool> {
        if (&mut self.started).await.is_ok() {
            return Ok(true);
        }
        self.ended().await.map(|()| false)
    }

    /// Waits until everything has ended; asked again, waits for nothing.
    ///
    /// # Errors
    /// Why it ended, if nobody asked it to.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        match self.task.take() {
            Some(task) => task.await.context("the task of the engines failed")?,
            None => Ok(()),
        }
    }
}

struct Running {
    engines: Engines,
    router: JoinHandle<()>,
    shutdown: Shutdown,
    trigger: ShutdownTrigger,
    /// The router reads the pools, and the folder is ours, until the end.
    _kept: (watch::Sender<Vec<discovery::Pool>>, File),
}

impl Running {
    async fn attend(mut self, started: oneshot::Sender<()>) -> anyhow::Result<()> {
        let result = self
            .engines
            .serve(&mut self.router, started, &self.shutdown)
            .await;
        if result.is_err() {
            self.trigger.cut();
        }
        if !self.router.is_finished() {
            self.engines.outlive(&mut self.router, &self.shutdown).await;
        }
        self.engines.end(&self.shutdown).await;
        // Cut, it ends at once; what it has to say comes before the reason of the end.
        if !self.router.is_finished() && timeout(ROUTER_END, &mut self.router).await.is_err() {
            self.router.abort();
        }
        result
    }
}

fn routed(pool: &Validated) -> discovery::Pool {
    let scaling = &pool.scaling;
    let is_decided_by_router = scaling.mode == ScalingMode::Router && !scaling.suspended;
    discovery::Pool {
        model: pool.template.model.clone(),
        aliases: Vec::new(),
        settings: pool.settings.clone(),
        cold_start_hold: scaling.cold_start_hold,
        scaling: if is_decided_by_router {
            discovery::Scaling {
                rule: scaling.rule,
                target: scaling.target_calls_per_engine,
                min: scaling.min,
                max: scaling.max,
                idle_after: scaling.idle_after,
                scale_down_delay: scaling.scale_down_delay,
                dry_run: scaling.dry_run,
            }
        } else {
            discovery::Scaling::fixed(scaling.written)
        },
    }
}

fn share(pools: &[Validated]) -> Share {
    let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32);
    Share::of(
        cores,
        pools
            .iter()
            .map(|pool| pool.scaling.max.max(pool.scaling.written))
            .sum(),
    )
}

/// The address to use for one's own listener, which may listen on all.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

fn engine_program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let program = match given {
        Some(program) => program,
        None => std::env::current_exe()
            .context("this program's own path cannot be had; name the engine with --engine-bin")?
            .with_file_name("lps-engine"),
    };
    if !program.is_file() {
        anyhow::bail!(
            "there is no engine at {}; build it with `make run`, or name it with --engine-bin",
            program.display()
        );
    }
    Ok(program)
}

/// An empty folder for the engines' files, locked against another stack.
fn engines_folder(state_dir: &Path) -> anyhow::Result<(PathBuf, File)> {
    let cannot = || format!("state folder {}", state_dir.display());
    std::fs::create_dir_all(state_dir).with_context(cannot)?;
    let lock = File::create(state_dir.join("lock")).with_context(cannot)?;
    if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
        anyhow::bail!(
            "state folder {} is in use by another `lps up`; choose another with --state-dir DIR or LPS_STATE_DIR=DIR \
             (and other ports: --port, --admin-port; for `make run` PORT=… ADMIN_PORT=…)",
            state_dir.display()
        );
    }
    let folder = state_dir.join("engines");
    match std::fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(error).with_context(cannot);
        }
        _ => {}
    }
    std::fs::create_dir_all(&folder).with_context(cannot)?;
    let folder = folder.canonicalize().with_context(cannot)?;
    Ok((folder, lock))
}
