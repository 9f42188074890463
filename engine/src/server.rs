//! The process as a whole. Owns: the order in which it starts (configuration, files, sockets, weights, warm-up, API) and
//! ends (nothing new, what runs finishes, streams close).

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::time::Duration;

use lps_api::ids::EngineId;
use lps_api::protocol::{self, Hello};
use lps_api::quantity::Tokens;
use lps_engine_kernels::memory;
use lps_runtime::admin::{Admin, Readiness};
use lps_runtime::clock::Clock;
use lps_runtime::shutdown::Shutdown;
use lps_runtime::tls::{self, Acceptor};
use lps_runtime::watched::Problem;
use lps_runtime::{task, telemetry};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::certificate::Certificate;
use crate::config::{self, BLOCK_TOKENS, Config};
use crate::executor::metrics::Metrics;
use crate::executor::{self, Fatal, Handle, Running};
use crate::http::parse::ModelFacts;
use crate::http::salt::Salts;
use crate::http::{self, Shared};
use crate::loading::{self, Loading};
use crate::model::directory::ModelDirectory;
use crate::model::embedding::Embedding;
use crate::model::{self, LoadOptions};
use crate::text::Text;
use crate::text::tokenizer::Tokenizer;

/// How long answers may take to reach their clients after the engine failed.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Why the process cannot start, or must end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting has no use.
    #[error(transparent)]
    Config(#[from] config::Error),
    /// Logs cannot be set up as asked.
    #[error("--log-level: {0}")]
    Logs(#[from] telemetry::Error),
    /// The model's files have no use.
    #[error(transparent)]
    Files(model::Error),
    /// Routers cannot be shown a certificate, or told from others.
    #[error("--tls-cert: {0}")]
    Tls(#[from] Problem),
    /// An address cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The addresses cannot be told.
    #[error("address file {path}: {source}")]
    AddressFile {
        /// Which.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The model cannot be loaded.
    #[error(transparent)]
    Start(Fatal),
    /// The engine failed while it ran.
    #[error("the engine failed: {0}")]
    Failed(Fatal),
    /// A server failed.
    #[error("the {0} server failed: {1}")]
    Server(&'static str, std::io::Error),
}

impl Error {
    /// As sysexits.h: 64 for a configuration that has no use, 70 for a failure inside, 1 for the rest.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) | Self::Logs(_) | Self::Files(_) | Self::Tls(_) => 64,
            Self::Failed(_) => 70,
            _ => 1,
        }
    }
}

/// What the surrounding program gives.
#[derive(Debug, Clone)]
pub struct Host {
    /// Says when to end.
    pub shutdown: Shutdown,
    /// The process's clock.
    pub clock: Clock,
    /// Time since 1970 at the clock's zero.
    pub started: Duration,
    /// For `/log-level`.
    pub telemetry: Option<telemetry::Handle>,
}

/// An engine that serves.
#[derive(Debug)]
pub struct Server {
    /// Where the API is.
    pub http: SocketAddr,
    /// Where metrics and health are.
    pub admin: SocketAddr,
    shutdown: Shutdown,
    engine: Handle,
    drain: CancellationToken,
    closed: CancellationToken,
    readiness: watch::Sender<Readiness>,
    ended: oneshot::Receiver<Result<(), Fatal>>,
    api: JoinHandle<std::io::Result<()>>,
    admin_server: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Starts serving; resolves when the engine is ready.
    ///
    /// # Errors
    /// One line that names what is wrong. Nothing is left running but a thread that loads, which ends when it has.
    pub async fn start(config: Config, host: Host) -> Result<Self, Error> {
        config.check()?;
        let directory = ModelDirectory::open(&config.model).map_err(Error::Files)?;
        let embedding = Embedding::read(&directory).map_err(Error::Files)?;
        let max_model_len = longest(&config, &directory, embedding.as_ref())?;
        let facts = facts(&config, &directory, (max_model_len, embedding.clone()))?;
        let registry = Registry::new();
        let (readiness, ready) = loading::readiness();
        let loading = Loading {
            thread: thread_options(&config, &host, &registry)?,
            options: load_options(&config, &directory, max_model_len, &readiness)?,
            batching: config.batching,
            directory: directory.clone(),
            embedding,
        };
        let acceptor = acceptor(&config, &registry).await?;
        // Weights load while text is made ready and addresses are bound.
        let running = task::spawn("load", loading.run());
        let text = open_text(directory).await?;
        let (listener, http) = listen(SocketAddr::new(config.host, config.port)).await?;
        let (admin_listener, admin) =
            listen(SocketAddr::new(config.host, config.admin_port())).await?;
        if let Some(path) = &config.address_file {
            tell_addresses(path, http, admin)?;
        }
        let closed = CancellationToken::new();
        let closing = closed.clone().drop_guard();
        let admin_server = Admin {
            registry,
            ready,
            telemetry: host.telemetry,
            gate: None,
            beside: None,
        };
        let admin_server = admin_server.serve(admin_listener, closed.clone().cancelled_owned());
        let admin_server = task::spawn("admin", admin_server);

        let running = loaded(running).await?;
        let shared = Arc::new(Shared {
            engine: running.handle.clone(),
            text,
            facts,
            seed: config.seed,
            clock: host.clock,
            started_unix_s: host.started.as_secs(),
            drain: CancellationToken::new(),
            closed: closed.clone(),
            salts: Salts::default(),
            arrivals: AtomicI64::new(1),
        });
        let drain = shared.drain.clone();
        let api = task::spawn("api", http::serve(listener, acceptor, shared));
        readiness.send_replace(Readiness::Ready);
        let hello = running.handle.hello();
        closing.disarm();
        tracing::info!(%http, %admin, engine = %hello.engine, model = %hello.model, kv_blocks = hello.kv_blocks_total, "ready");
        Ok(Self {
            http,
            admin,
            shutdown: host.shutdown,
            engine: running.handle,
            drain,
            closed,
            readiness,
            ended: running.ended,
            api,
            admin_server,
        })
    }

    /// Serves until told to end and idle, or told twice, or the engine fails.
    ///
    /// # Errors
    /// When the engine or a server failed.
    pub async fn finish(mut self) -> Result<(), Error> {
        let drained = async {
            tokio::select! {
                () = self.shutdown.drain() => self.drain.cancel(),
                () = self.drain.cancelled() => {}
            }
            self.readiness.send_replace(Readiness::Draining);
            tracing::info!("draining: nothing new is taken, what runs finishes");
            // Where the thread is gone, `ended` says so.
            let _ = self.engine.drain().await;
        };
        tokio::select! {
            () = self.shutdown.cut() => return Ok(()),
            failed = &mut self.ended => {
                let failure = failed.unwrap_or(Err(Fatal::Panic)).err().unwrap_or(Fatal::Panic);
                self.closed.cancel();
                let _ = tokio::time::timeout(LAST_WORDS, &mut self.api).await;
                return Err(Error::Failed(failure));
            }
            served = &mut self.api => return Err(server_error("api", served)),
            served = &mut self.admin_server => return Err(server_error("admin", served)),
            () = drained => {}
        }
        self.closed.cancel();
        tokio::select! {
            () = self.shutdown.cut() => {}
            _ = &mut self.api => {}
        }
        tracing::info!("ended");
        Ok(())
    }
}

/// The longest prompt plus output, or the longest text.
fn longest(
    config: &Config,
    directory: &ModelDirectory,
    embedding: Option<&Embedding>,
) -> Result<u32, Error> {
    let mut context = directory.context_tokens;
    if let Some(embedding) = embedding {
        config.check_for_vectors()?;
        context = embedding.longest(context);
    }
    Ok(config.model_len(context)?)
}

/// What routers are shown, where they are asked for a certificate.
async fn acceptor(config: &Config, registry: &Registry) -> Result<Option<Acceptor>, Error> {
    let Some((own, client_ca)) = config.tls() else {
        return Ok(None);
    };
    let metrics = Certificate::new(registry).expect("names of metrics are distinct");
    let told = move |expires| metrics.told(expires);
    let side = tls::server(own, Some(client_ca), told).await?;
    Ok(Some(Acceptor::new(side)))
}

fn server_error(
    name: &'static str,
    served: Result<std::io::Result<()>, tokio::task::JoinError>,
) -> Error {
    let error = match served {
        Ok(Err(error)) => error,
        Ok(Ok(())) => std::io::Error::other("it ended"),
        Err(error) => std::io::Error::other(error),
    };
    Error::Server(name, error)
}

/// Waits for the weights, and lets go of what was read on the way there.
async fn loaded(loading: JoinHandle<Result<Running, Fatal>>) -> Result<Running, Error> {
    let running = loading.await.unwrap_or(Err(Fatal::Panic));
    let running = running.map_err(Error::Start)?;
    memory::give_back_unused();
    Ok(running)
}

fn facts(
    config: &Config,
    directory: &ModelDirectory,
    (max_model_len, embedding): (u32, Option<Embedding>),
) -> Result<ModelFacts, Error> {
    Ok(ModelFacts {
        name: config.name()?.as_str().to_owned(),
        max_model_len,
        vocab_size: directory.vocab_size,
        end_tokens: directory.end_tokens.clone(),
        generation: directory.generation,
        embedding,
    })
}

async fn open_text(directory: ModelDirectory) -> Result<Text, Error> {
    let text = tokio::task::spawn_blocking(move || Text::open(&directory)).await;
    let text = text.map_err(|_| Error::Start(Fatal::Panic))?;
    text.map_err(Error::Files)
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Whoever sees the file sees all of it.
fn tell_addresses(path: &Path, http: SocketAddr, admin: SocketAddr) -> Result<(), Error> {
    let draft = path.with_extension("draft");
    let write = || {
        let mut file = std::fs::File::create(&draft)?;
        writeln!(file, "{http}\n{admin}")?;
        file.sync_all()?;
        std::fs::rename(&draft, path)
    };
    write().map_err(|source| Error::AddressFile {
        path: path.display().to_string(),
        source,
    })
}

fn load_options(
    config: &Config,
    directory: &ModelDirectory,
    max_model_len: u32,
    readiness: &watch::Sender<Readiness>,
) -> Result<LoadOptions, Error> {
    let printable_tokens = if directory.is_sim() {
        let tokenizer = Tokenizer::open(directory).map_err(Error::Files)?;
        tokenizer.printable_tokens()
    } else {
        Vec::new()
    };
    Ok(LoadOptions {
        dtype: config.dtype.or(directory.dtype_preferred()),
        kernels: config.kernels,
        quantization: config.quantization,
        device: config.device,
        block_tokens: BLOCK_TOKENS,
        kv: config.kv(),
        max_model_len,
        max_num_seqs: config.max_num_seqs,
        max_batched_tokens: config.max_batched_tokens,
        sim: config.sim(),
        printable_tokens,
        progress: loading::told_by(readiness.clone()),
    })
}

fn thread_options(
    config: &Config,
    host: &Host,
    registry: &Registry,
) -> Result<executor::Options, Error> {
    let incarnation = host.started.as_nanos() as u64 ^ u64::from(std::process::id()) << 48;
    let made = || EngineId::parse(&format!("engine-{incarnation:x}"));
    let engine = match &config.engine_id {
        Some(engine) => engine.clone(),
        None => made().expect("a word and digits are an id"),
    };
    Ok(executor::Options {
        core: lps_engine_core::core::Config {
            max_num_seqs: config.max_num_seqs,
            max_batched_tokens: config.max_batched_tokens,
            max_model_len: 0,
            block_tokens: BLOCK_TOKENS,
            kv_blocks: 0,
            max_calls: config.max_calls,
            batching: config.batching,
            prefix_cache: !config.no_prefix_cache,
            preemption: config.preemption,
        },
        hello: Hello {
            protocol: protocol::VERSION,
            engine,
            model: config.name()?,
            incarnation,
            max_num_seqs: 0,
            max_model_len: Tokens(0),
            max_batched_tokens: Tokens(0),
            block_tokens: Tokens(0),
            kv_blocks_total: 0,
        },
        step_log: config.step_log.clone(),
        clock: host.clock,
        metrics: Metrics::new(registry).expect("names of metrics are distinct"),
    })
}
