//! The engine's thread and the handle to it. Owns: the thread that owns core, model and every tensor, and the channels
//! around it. Must not know HTTP, and no text: tokens go out as they are drawn.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// What others hold: submit, command, watch.
pub mod handle;
/// The loop: commands, schedule, step, complete.
mod step_loop;
/// The loop of models that make vectors.
mod embedding_loop;
/// What the grammars of open calls allow next.
mod grammars;
/// One JSON line a step, for those who want to see each decision.
mod step_log;
/// What event streams are told, and when.
mod reporter;
/// Counters and gauges of the loop.
pub mod metrics;
/// The words between handle and loop.
mod message;

use std::path::PathBuf;
use std::sync::mpsc;

use lps_api::protocol::{Hello, Load};
use lps_api::quantity::Tokens;
use lps_engine_core::core::{Config, Core};
use lps_engine_core::embedding::{self, Queue};
use lps_engine_core::model::Embedder;
use lps_runtime::clock::Clock;
use tokio::sync::{oneshot, watch};

use crate::executor::embedding_loop::EmbeddingLoop;
pub use crate::executor::handle::{Gone, Handle, OpenCall, OpenEmbedding, SubmitError};
pub use crate::executor::message::CallEvent;
use crate::executor::message::Command;
use crate::executor::metrics::Metrics;
use crate::executor::step_log::StepLog;
use crate::executor::step_loop::StepLoop;
use crate::model::{self, Loaded};

/// Commands that may wait for the thread: more than it can be sent within one long step.
const COMMANDS_MAX: usize = 16_384;

/// Tokens of texts that may wait for vectors; 32 MiB of them.
const HELD_TOKENS_MAX: u64 = 8 << 20;

/// Why the thread ended before its time. The process ends with it: its calls are resumed elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// The model could not be loaded.
    #[error(transparent)]
    Load(#[from] model::Error),
    /// A step could not be computed.
    #[error(transparent)]
    Step(#[from] lps_engine_core::model::StepError),
    /// The step log cannot be written.
    #[error("step log {path}: {source}")]
    StepLog {
        /// Where it is.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The thread cannot be started.
    #[error("the engine's thread cannot be started: {0}")]
    Thread(std::io::Error),
    /// A programmer's error; the message was printed where it happened.
    #[error("the engine's thread panicked")]
    Panic,
}

/// What the thread is started with.
#[derive(Debug)]
pub struct Options {
    /// Sizes; `kv_blocks` and `max_model_len` are set from what was loaded.
    pub core: Config,
    /// Who the engine is; sizes are filled in alike.
    pub hello: Hello,
    /// Where each step is logged, if anywhere.
    pub step_log: Option<PathBuf>,
    /// The process's clock.
    pub clock: Clock,
    /// Where figures go.
    pub metrics: Metrics,
}

/// A thread that runs, and how to learn of its end.
#[derive(Debug)]
pub struct Running {
    /// To talk to it.
    pub handle: Handle,
    /// Resolves when the thread ends: by error, or after all handles are gone.
    pub ended: oneshot::Receiver<Result<(), Fatal>>,
}

/// Starts the thread. `load` runs in it, because what it makes stays in it; this resolves when it is done.
///
/// # Errors
/// When the model cannot be loaded or the step log not be opened.
pub async fn start<L>(options: Options, load: L) -> Result<Running, Fatal>
where
    L: FnOnce() -> Result<Loaded, model::Error> + Send + 'static,
{
    run(move |load_now| {
        let (mut step_loop, hello) = build(options, load, load_now)?;
        let body: Body = Box::new(move |inbox| step_loop.run(inbox));
        Ok((body, hello))
    })
    .await
}

/// The same for a model that makes vectors of texts of up to `options.core.max_model_len` tokens.
///
/// # Errors
/// As [`start`].
pub async fn start_embedding<L>(options: Options, load: L) -> Result<Running, Fatal>
where
    L: FnOnce() -> Result<Box<dyn Embedder + Send>, model::Error> + Send + 'static,
{
    run(move |load_now| {
        let (mut step_loop, hello) = build_embedding(options, load, load_now)?;
        let body: Body = Box::new(move |inbox| step_loop.run(inbox));
        Ok((body, hello))
    })
    .await
}

/// What the thread does once it has its model.
type Body = Box<dyn FnOnce(&mpsc::Receiver<Command>) -> Result<(), Fatal>>;

async fn run<B>(build: B) -> Result<Running, Fatal>
where
    B: FnOnce(watch::Sender<Load>) -> Result<(Body, Hello), Fatal> + Send + 'static,
{
    let (commands, inbox) = mpsc::sync_channel(COMMANDS_MAX);
    let (loaded, is_loaded) = oneshot::channel();
    let (end, ended) = oneshot::channel();
    let (load_now, load_seen) = watch::channel(Load::default());
    let thread = std::thread::Builder::new().name("engine".to_owned());
    let body = move || -> Result<(), Fatal> {
        let body = match build(load_now) {
            Ok((body, hello)) => {
                // The receiver waits below; when it is gone the process is ending.
                let _ = loaded.send(Ok(hello));
                body
            }
            Err(error) => {
                let _ = loaded.send(Err(error));
                return Ok(());
            }
        };
        body(&inbox)
    };
    let guarded = move || {
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        let _ = end.send(result.unwrap_or(Err(Fatal::Panic)));
    };
    thread.spawn(guarded).map_err(Fatal::Thread)?;
    let hello = is_loaded.await.map_err(|_| Fatal::Panic)??;
    Ok(Running {
        handle: Handle::new(commands, hello, load_seen),
        ended,
    })
}

fn build<L>(
    options: Options,
    load: L,
    load_now: watch::Sender<Load>,
) -> Result<(StepLoop, Hello), Fatal>
where
    L: FnOnce() -> Result<Loaded, model::Error>,
{
    let engine = options.hello.engine.clone();
    let create = |path| StepLog::create(path, &engine);
    let mut step_log = options.step_log.map(create).transpose()?;
    let loaded = load()?;
    let config = Config {
        kv_blocks: loaded.kv_blocks,
        max_model_len: loaded.max_model_len,
        ..options.core
    };
    let hello = sized(options.hello, &config);
    if let Some(step_log) = &mut step_log {
        step_log.head(&hello)?;
    }
    let core = Core::new(config);
    load_now.send_replace(core.load());
    let step_loop = StepLoop::new(step_loop::Parts {
        core,
        model: loaded.model,
        clock: options.clock,
        step_log,
        metrics: options.metrics.sized(hello.kv_blocks_total),
        load: load_now,
    });
    Ok((step_loop, hello))
}

fn build_embedding<L>(
    options: Options,
    load: L,
    load_now: watch::Sender<Load>,
) -> Result<(EmbeddingLoop, Hello), Fatal>
where
    L: FnOnce() -> Result<Box<dyn Embedder + Send>, model::Error>,
{
    let engine = options.hello.engine.clone();
    let create = |path| StepLog::create(path, &engine);
    let mut step_log = options.step_log.map(create).transpose()?;
    let embedder = load()?;
    let hello = sized(options.hello, &options.core);
    if let Some(step_log) = &mut step_log {
        step_log.head(&hello)?;
    }
    let queue = Queue::new(embedding::Config {
        max_batched_tokens: options.core.max_batched_tokens,
        max_calls: options.core.max_calls,
        max_held_tokens: HELD_TOKENS_MAX,
    });
    let embedding_loop = EmbeddingLoop::new(embedding_loop::Parts {
        queue,
        embedder,
        clock: options.clock,
        step_log,
        metrics: options.metrics.sized(0),
        load: load_now,
    });
    Ok((embedding_loop, hello))
}

fn sized(hello: Hello, config: &Config) -> Hello {
    Hello {
        max_num_seqs: config.max_num_seqs,
        max_batched_tokens: Tokens(config.max_batched_tokens),
        max_model_len: Tokens(config.max_model_len),
        block_tokens: Tokens(config.block_tokens),
        kv_blocks_total: config.kv_blocks,
        ..hello
    }
}
