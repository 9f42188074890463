//! From a checkpoint to a model that has said its first token. Owns: what is told meanwhile, and the call that is made
//! before any client's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lps_api::ids::{CallId, ProgramId};
use lps_api::quantity::{Attempt, Order};
use lps_engine_core::core::Batching;
use lps_engine_core::embedding;
use lps_engine_core::request::{Request, SamplingParams, Stopping};
use lps_runtime::admin::Readiness;
use tokio::sync::watch;

use crate::executor::{self, CallEvent, Fatal, Handle, Running};
use crate::model::directory::ModelDirectory;
use crate::model::embedding::Embedding;
use crate::model::progress::Progress;
use crate::model::{self, LoadOptions};

/// The call that is made before any client's.
const WARM_UP: &str = "warm-up";

/// What is to be loaded, and where it is to run.
pub(crate) struct Loading {
    /// The engine's thread.
    pub(crate) thread: executor::Options,
    /// The checkpoint.
    pub(crate) directory: ModelDirectory,
    /// What it says of vectors, if it makes them.
    pub(crate) embedding: Option<Embedding>,
    /// How it is loaded.
    pub(crate) options: LoadOptions,
    /// How its sequences are batched.
    pub(crate) batching: Batching,
}

/// Of an engine that begins to load.
pub(crate) fn readiness() -> (watch::Sender<Readiness>, watch::Receiver<Readiness>) {
    watch::channel(Readiness::Starting("loading weights".to_owned()))
}

/// Tells how much of the weights is there: in `/readyz`, and once a quarter in the log.
pub(crate) fn told_by(readiness: watch::Sender<Readiness>) -> Progress {
    let logged = AtomicU64::new(0);
    Progress::new(move |taken, all| {
        let (taken_mb, all_mb) = (taken / 1_000_000, all / 1_000_000);
        let said = format!("loading weights: {taken_mb} of {all_mb} MB");
        readiness.send_replace(Readiness::Starting(said));
        let quarter = 4 * taken / all.max(1);
        if logged.swap(quarter, Ordering::Relaxed) < quarter {
            tracing::info!(taken_mb, all_mb, "loading weights");
        }
    })
}

impl Loading {
    /// Loads it and lets it say a token, or make a vector.
    ///
    /// # Errors
    /// When it cannot be loaded, or fails at once.
    pub(crate) async fn run(self) -> Result<Running, Fatal> {
        match self.embedding.clone() {
            None => self.run_text().await,
            Some(embedding) => self.run_vectors(embedding).await,
        }
    }

    async fn run_text(self) -> Result<Running, Fatal> {
        let Self {
            thread,
            directory,
            options,
            ..
        } = self;
        // A static batch starts only when it is full.
        let sequences = match self.batching {
            Batching::Static => options.max_num_seqs,
            Batching::Continuous | Batching::Timeout(_) => 1,
        };
        let load = move || model::load(&directory, &options);
        let running = executor::start(thread, load).await?;
        say(&running.handle, sequences).await?;
        Ok(running)
    }

    async fn run_vectors(self, embedding: Embedding) -> Result<Running, Fatal> {
        let Self {
            mut thread,
            directory,
            options,
            ..
        } = self;
        thread.core.max_model_len = options.max_model_len;
        let load = move || model::load_embedder(&directory, &embedding, &options);
        let running = executor::start_embedding(thread, load).await?;
        let request = embedding::Request {
            call: CallId::parse(WARM_UP).expect("a word is an id"),
            attempt: Attempt(0),
            program: ProgramId::parse(WARM_UP).expect("a word is an id"),
            order: Order::default(),
            texts: vec![Arc::from([0])],
        };
        let made = running.handle.embed(request).await;
        let made = made.map_err(|_| Fatal::Panic)?;
        made.end().await.map_err(|_| Fatal::Panic)?;
        Ok(running)
    }
}

/// One token of each sequence, so that the first client does not pay for what happens once. What the model says does not
/// matter: if it gives no numbers, this call's end says so, and other tokens' may be sound.
async fn say(engine: &Handle, sequences: u32) -> Result<(), Fatal> {
    let request = Request {
        call: CallId::parse(WARM_UP).expect("a word is an id"),
        attempt: Attempt(0),
        program: ProgramId::parse(WARM_UP).expect("a word is an id"),
        order: Order::default(),
        prompt: Arc::from([0]),
        resumed: Vec::new(),
        cache_salt: u64::MAX,
        choices: sequences,
        sampling: SamplingParams::default(),
        stopping: Stopping {
            max_tokens: 1,
            min_tokens: 0,
            stop_tokens: Vec::new(),
        },
    };
    let mut call = engine
        .submit(request, Vec::new())
        .await
        .map_err(|_| Fatal::Panic)?;
    loop {
        match call.next().await {
            None => return Err(Fatal::Panic),
            Some(CallEvent::Ended { .. }) => return Ok(()),
            Some(_) => {}
        }
    }
}
