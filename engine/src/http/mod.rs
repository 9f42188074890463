//! HTTP: what clients and the router ask of this engine. Owns: paths, parsing, answers. It decides nothing about when a
//! call runs.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Chats and plain prompts, from bytes to answer.
mod inference;
/// Vectors of texts, from bytes to answer.
mod embeddings;
/// Connections that routers make over TLS.
mod listener;
/// What router and engine say to each other.
mod internal;
/// The small paths: models, tokens, health.
mod models;
/// What a router needs to have an answer gone on with elsewhere.
mod checkpoint;
/// What an answer looks like.
mod answer;
/// A request's calls while they run.
mod running;
/// What the answer must look like.
mod form;
/// From messages and texts to token ids.
mod prompt;
/// Who shares cached prefixes with whom.
pub mod salt;
/// Whose call a request is.
mod identity;
/// From fields to rules.
pub mod parse;
/// Every error that a client can see.
mod error;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use lps_api::openai::Object;
use lps_api::wellknown::path;
use lps_runtime::clock::Clock;
use lps_runtime::tls::Acceptor;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::executor::Handle;
use crate::http::error::Error;
use crate::http::listener::Secured;
use crate::http::parse::ModelFacts;
use crate::http::salt::Salts;
use crate::text::Text;

/// Largest body, as at the router.
const BODY_BYTES_MAX: usize = 32 << 20;

/// What all requests share.
#[derive(Debug)]
pub struct Shared {
    /// To the engine's thread.
    pub engine: Handle,
    /// Tokenizer and template.
    pub text: Text,
    /// What the model allows.
    pub facts: ModelFacts,
    /// Seeds calls that bring none.
    pub seed: u64,
    /// The process's clock.
    pub clock: Clock,
    /// Seconds since 1970 at the clock's zero.
    pub started_unix_s: u64,
    /// Cancelled when nothing new is taken.
    pub drain: CancellationToken,
    /// Cancelled when what runs has finished: event streams end.
    pub closed: CancellationToken,
    /// Keeps tenants' prefixes apart.
    pub salts: Salts,
    /// Calls that came so far.
    pub arrivals: AtomicI64,
}

impl Shared {
    fn check_open(&self) -> Result<(), Error> {
        if self.drain.is_cancelled() {
            return Err(Error::draining());
        }
        Ok(())
    }

    /// Seconds since 1970.
    fn unix_s(&self) -> u64 {
        self.started_unix_s + self.clock.now().as_secs()
    }

    fn arrival(&self) -> i64 {
        self.arrivals.fetch_add(1, Ordering::Relaxed)
    }

    /// A name for a call that has none.
    fn mint(&self) -> String {
        format!("e{:x}-{}", self.engine.hello().incarnation, self.arrival())
    }
}

/// Serves until `shared.closed` is cancelled and all answers are out. With an `acceptor` nobody is served in plain HTTP.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    acceptor: Option<Acceptor>,
    shared: Arc<Shared>,
) -> io::Result<()> {
    let closed = shared.closed.clone();
    let app = Router::new()
        .route("/v1/chat/completions", post(inference::chat))
        .route("/v1/completions", post(inference::completions))
        .route("/v1/embeddings", post(embeddings::embeddings))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::one))
        .route("/tokenize", post(models::tokenize))
        .route("/detokenize", post(models::detokenize))
        .route("/health", get(models::health))
        .route(path::EVENTS, get(internal::events))
        .route(path::CALLS, post(internal::calls))
        .route(path::RELEASE, post(internal::release))
        .route(path::DRAIN, post(internal::drain))
        .fallback(async || Error::no_route())
        .method_not_allowed_fallback(async || Error::no_method())
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(shared);
    let listener = listener.tap_io(|stream| {
        // Only a slower stream if it fails.
        let _ = stream.set_nodelay(true);
    });
    let end = async move { closed.cancelled().await };
    match acceptor {
        None => axum::serve(listener, app).with_graceful_shutdown(end).await,
        Some(acceptor) => {
            let listener = Secured::new(listener, acceptor);
            axum::serve(listener, app).with_graceful_shutdown(end).await
        }
    }
}

fn bytes(body: Result<Bytes, BytesRejection>) -> Result<Bytes, Error> {
    body.map_err(|rejection| {
        let text = rejection.body_text();
        match rejection.into_response().status() {
            StatusCode::PAYLOAD_TOO_LARGE => Error::too_large(BODY_BYTES_MAX),
            _ => Error::body_lost(text),
        }
    })
}

fn object(body: Result<Bytes, BytesRejection>) -> Result<Object, Error> {
    serde_json::from_slice(&bytes(body)?)
        .map_err(|error| Error::malformed(format!("the body is no JSON object: {error}")))
}
