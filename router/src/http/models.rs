//! What is served. Owns: the list of models, a model without engines included, with the calls of each, and what the
//! router says of itself.

use axum::Json;
use axum::extract::State;
use lps_api::ids::ModelName;
use lps_api::openai::Model;
use schemars::JsonSchema;
use serde::Serialize;

use crate::discovery::Pool;
use crate::dispatcher::View;
use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::extract::Path;
use crate::http::told::List;
use crate::state::view::OpenCalls;

/// A model that is served: OpenAI's fields, and its open calls, whosever they are.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Served {
    #[serde(flatten)]
    model: Model,
    /// Its open calls.
    calls: OpenCalls,
}

/// The router answers.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Health {
    /// `ok`.
    status: &'static str,
}

/// Which router it is.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Version {
    /// Its version.
    version: &'static str,
}

/// `GET /v1/models`.
pub(super) async fn list(State(context): State<Context>) -> Result<Json<List<Served>>, Error> {
    let pools = context.pools.borrow().clone();
    let count = move |view: View<'_>| {
        let count = |pool: &Pool| model(&pool.model, view.state.open_calls(&pool.model));
        pools.iter().map(count).collect()
    };
    Ok(Json(List::of(context.dispatcher.read(count).await?)))
}

/// `GET /v1/models/{id}`.
pub(super) async fn one(
    State(context): State<Context>,
    Path(name): Path<String>,
) -> Result<Json<Served>, Error> {
    let name = context.pool(&name)?;
    let count = move |view: View<'_>| model(&name, view.state.open_calls(&name));
    Ok(Json(context.dispatcher.read(count).await?))
}

fn model(name: &ModelName, calls: OpenCalls) -> Served {
    let model = Model {
        id: name.to_string(),
        object: "model".to_owned(),
        created: 0,
        owned_by: "lps".to_owned(),
        max_model_len: None,
    };
    Served { model, calls }
}

/// `GET /health`: the router answers. Whether it may be sent work is the admin endpoint's to say.
pub(super) async fn health() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// `GET /version`.
pub(super) async fn version() -> Json<Version> {
    let version = env!("CARGO_PKG_VERSION");
    Json(Version { version })
}
