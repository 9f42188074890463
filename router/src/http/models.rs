//! What is served. Owns: the list of models, a model without engines included, with the calls of each, and what the
//! router says of itself.

use axum::Json;
use axum::extract::State;
use lps_api::ids::ModelName;
use serde_json::{Value, json};

use crate::discovery::Pool;
use crate::dispatcher::View;
use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::extract::Path;
use crate::state::view::OpenCalls;

/// `GET /v1/models`.
pub(super) async fn list(State(context): State<Context>) -> Result<Json<Value>, Error> {
    let pools = context.pools.borrow().clone();
    let count = move |view: View<'_>| {
        let count = |pool: &Pool| model(&pool.model, view.state.open_calls(&pool.model));
        pools.iter().map(count).collect::<Vec<Value>>()
    };
    let data = context.dispatcher.read(count).await?;
    Ok(Json(json!({"object": "list", "data": data})))
}

/// `GET /v1/models/{id}`.
pub(super) async fn one(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Error> {
    let name = context.pool(&name)?;
    let count = move |view: View<'_>| model(&name, view.state.open_calls(&name));
    Ok(Json(context.dispatcher.read(count).await?))
}

/// OpenAI's fields, and the model's open calls, whosever they are.
fn model(name: &ModelName, calls: OpenCalls) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "lps", "calls": calls})
}

/// `GET /health`: the router answers. Whether it may be sent work is the admin endpoint's to say.
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// `GET /version`.
pub(super) async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}
