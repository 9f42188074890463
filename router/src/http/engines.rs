//! Engines: read, drain. Owns: their JSON: what each said last, beside what the router counts there.

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use lps_api::ids::EngineId;
use lps_api::wellknown::path;
use serde_json::{Value, json};

use crate::dispatcher::{Engine, View};
use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::extract::Path;
use crate::message::{Event, Intake, NO_POOL_TOKENS};
use crate::state::view::EngineLoad;

/// `GET /v1/engines`: those that answer.
pub(super) async fn list(State(context): State<Context>) -> Result<Json<Value>, Error> {
    let data = context.dispatcher.read(|view| all(&view)).await?;
    Ok(Json(json!({"object": "list", "data": data})))
}

/// `POST /v1/engines/{id}/drain`: it takes nothing new, and ends when it is idle.
pub(super) async fn drain(
    State(context): State<Context>,
    Path(engine): Path<String>,
) -> Result<Json<Value>, Error> {
    end(&context, &engine).await
}

/// `POST /v1/engines/{namespace}/{pod}/drain`: the same for clients behind a proxy that takes an escaped slash for a
/// slash, as a Kubernetes API server does.
pub(super) async fn drain_pod(
    State(context): State<Context>,
    Path((namespace, pod)): Path<(String, String)>,
) -> Result<Json<Value>, Error> {
    end(&context, &format!("{namespace}/{pod}")).await
}

async fn end(context: &Context, engine: &str) -> Result<Json<Value>, Error> {
    let id = EngineId::parse(engine)
        .map_err(|error| Error::invalid("engine", format!("the engine's id is none: {error}")))?;
    let wanted = id.clone();
    let find = context.dispatcher.read(move |view| {
        view.fleet
            .get(&wanted)
            .map(|engine| engine.endpoint.url.clone())
    });
    let url = find
        .await?
        .ok_or_else(|| Error::not_found("engine", id.as_str()))?;
    // First here, so that no call is sent there while the engine is told.
    context
        .dispatcher
        .tell(Event::EngineIntake {
            engine: id.clone(),
            intake: Intake::Nothing,
        })
        .await?;
    context
        .connections
        .post(url.at(path::DRAIN), Bytes::new())
        .await?;
    Ok(Json(
        json!({"object": "engine", "id": id, "draining": true}),
    ))
}

/// Each engine that answers.
pub(super) fn all(view: &View<'_>) -> Vec<Value> {
    let loads = view.state.engine_loads();
    let counted = |id: &EngineId| loads.iter().find(|load| load.engine == *id);
    let up = view
        .fleet
        .iter()
        .filter(|(_, engine)| engine.hello.is_some());
    up.map(|(id, engine)| one(id, engine, counted(id)))
        .collect()
}

fn one(id: &EngineId, engine: &Engine, counted: Option<&EngineLoad>) -> Value {
    let blocks_total = engine
        .hello
        .as_ref()
        .map_or(0, |hello| hello.kv_blocks_total);
    let pool_tokens = counted
        .map(|load| load.kv_tokens)
        .filter(|tokens| *tokens != NO_POOL_TOKENS);
    let unused = engine.load.kv_blocks_free + engine.load.kv_blocks_cached;
    json!({
        "id": id,
        "object": "engine",
        "model": engine.endpoint.model,
        "url": engine.endpoint.url.to_string(),
        "draining": engine.intake().min(counted.map_or(Intake::All, |load| load.intake)) != Intake::All,
        "slots": engine.hello.as_ref().map_or(0, |hello| hello.max_num_seqs),
        "load": engine.load,
        "calls": counted.map_or(0, |load| load.running + load.waiting),
        "kv": {
            "blocks_total": blocks_total,
            "blocks_used": blocks_total.saturating_sub(unused),
            "tokens_total": pool_tokens.unwrap_or(0),
            "tokens_booked": counted.map_or(0, |load| load.kv_booked_tokens),
        },
        "pinned_programs": counted.map_or(0, |load| load.pinned_programs),
        "home_programs": counted.map_or(0, |load| load.home_programs),
    })
}
