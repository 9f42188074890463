//! What is served. Owns: the list of models, a model without engines included, and what the router says of itself.

use axum::Json;
use axum::extract::State;
use lps_api::ids::ModelName;
use serde_json::{Value, json};

use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::extract::Path;

/// `GET /v1/models`.
pub(super) async fn list(State(context): State<Context>) -> Json<Value> {
    let data: Vec<Value> = context
        .pools
        .borrow()
        .iter()
        .map(|pool| model(&pool.model))
        .collect();
    Json(json!({"object": "list", "data": data}))
}

/// `GET /v1/models/{id}`.
pub(super) async fn one(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Error> {
    Ok(Json(model(&context.pool(&name)?)))
}

fn model(name: &ModelName) -> Value {
    json!({"id": name, "object": "model", "created": 0, "owned_by": "lps"})
}

/// `GET /health`: the router answers. Whether it may be sent work is the admin endpoint's to say.
pub(super) async fn health() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// `GET /version`.
pub(super) async fn version() -> Json<Value> {
    Json(json!({"version": env!("CARGO_PKG_VERSION")}))
}
