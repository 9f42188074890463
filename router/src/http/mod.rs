//! What clients speak. Owns: routes, reading requests, writing answers. It must not decide anything about calls: it
//! checks, hands over, and passes on what comes back.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Connections: their bounds, their times, their end.
pub mod listener;
/// Anthropic's messages, and what they would count.
mod messages;
/// OpenAI's responses: made, kept, read, cancelled, forgotten.
mod responses;
/// Requests and answers in another form than a chat's.
mod translated;
/// Chat and plain completions, and vectors.
mod inference;
/// `/tokenize` and `/detokenize`, forwarded to any engine of the model.
mod tokens;
/// What is served.
mod models;
/// Programs: open, read, end, cancel.
mod programs;
/// Calls: read, cancel.
mod calls;
/// Engines: read, drain.
mod engines;
/// A call's answer on its way out.
mod answer;
/// A streamed answer that begins late.
mod held;
/// Reading a request's body.
mod body;
/// What of an inference request the router needs.
mod facts;
/// A request's path and query.
mod extract;
/// What every handler finds beside its request.
mod context;
/// Every error that a client can see.
mod error;

use axum::Router;
use axum::routing::{get, post};

pub use context::{Context, Limits, Names};

/// All routes.
pub fn routes(context: Context) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(inference::chat))
        .route("/v1/completions", post(inference::plain))
        .route("/v1/embeddings", post(inference::vectors))
        .route("/v1/messages", post(messages::create))
        .route("/v1/messages/count_tokens", post(messages::count))
        .route("/v1/responses", post(responses::create))
        .route(
            "/v1/responses/{response}",
            get(responses::one).delete(responses::delete),
        )
        .route("/v1/responses/{response}/cancel", post(responses::cancel))
        .route(
            "/v1/responses/{response}/input_items",
            get(responses::items),
        )
        .route("/tokenize", post(tokens::tokenize))
        .route("/detokenize", post(tokens::detokenize))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{*model}", get(models::one))
        .route("/v1/programs", get(programs::list).post(programs::open))
        .route("/v1/programs/{program}", get(programs::one))
        .route("/v1/programs/{program}/end", post(programs::end))
        .route("/v1/programs/{program}/cancel", post(programs::cancel))
        .route("/v1/calls/{call}", get(calls::one))
        .route("/v1/calls/{call}/cancel", post(calls::cancel))
        .route("/v1/engines", get(engines::list))
        .route("/v1/engines/{engine}/drain", post(engines::drain))
        .route(
            "/v1/engines/{namespace}/{pod}/drain",
            post(engines::drain_pod),
        )
        .route("/health", get(models::health))
        .route("/version", get(models::version))
        .fallback(async || error::Error::no_route())
        .method_not_allowed_fallback(async || error::Error::no_method())
        .with_state(context)
}
