//! Engines: read, drain. Owns: their JSON: what each said last, beside what the router counts there.

use axum::Json;
use axum::extract::State;
use bytes::Bytes;
use lps_api::ids::{EngineId, ModelName};
use lps_api::protocol::Load;
use lps_api::wellknown::path;
use schemars::JsonSchema;
use serde::Serialize;

use crate::dispatcher::{Engine, View};
use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::extract::Path;
use crate::http::told::{List, Object};
use crate::message::{Event, Intake, NO_POOL_TOKENS};
use crate::state::view::EngineLoad;

/// What an engine holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct EngineRow {
    /// Its name.
    pub id: EngineId,
    /// What it serves.
    pub model: ModelName,
    /// Where it listens.
    pub url: String,
    /// Whether it takes no calls, or only those of programs that can go on there alone.
    pub draining: bool,
    /// Sequences that it runs at once.
    pub slots: u32,
    /// What it said last.
    pub load: Load,
    /// Calls there, as the router counts them.
    pub calls: u32,
    /// Its KV pool.
    pub kv: KvRow,
    /// Live programs that can go on there only.
    pub pinned_programs: u64,
    /// Live programs whose context it holds.
    pub home_programs: u64,
}

/// An engine's KV pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct KvRow {
    /// Pages.
    pub blocks_total: u32,
    /// Of those, pages that a call holds.
    pub blocks_used: u32,
    /// Tokens that it holds; 0 where it has no bound of its own.
    pub tokens_total: u64,
    /// Of those, booked for calls.
    pub tokens_booked: u64,
}

/// An engine that is told to end.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Drained {
    /// Its name.
    id: EngineId,
    /// Always.
    draining: bool,
}

/// `GET /v1/engines`: those that answer.
pub(super) async fn list(
    State(context): State<Context>,
) -> Result<Json<List<Object<EngineRow>>>, Error> {
    let rows = context.dispatcher.read(|view| all(&view)).await?;
    let engines = rows.into_iter().map(|row| Object::new("engine", row));
    Ok(Json(List::of(engines.collect())))
}

/// `POST /v1/engines/{id}/drain`: it takes nothing new, and ends when it is idle.
pub(super) async fn drain(
    State(context): State<Context>,
    Path(engine): Path<String>,
) -> Result<Json<Object<Drained>>, Error> {
    end(&context, &engine).await
}

/// `POST /v1/engines/{namespace}/{pod}/drain`: the same for clients behind a proxy that takes an escaped slash for a
/// slash, as a Kubernetes API server does.
pub(super) async fn drain_pod(
    State(context): State<Context>,
    Path((namespace, pod)): Path<(String, String)>,
) -> Result<Json<Object<Drained>>, Error> {
    end(&context, &format!("{namespace}/{pod}")).await
}

async fn end(context: &Context, engine: &str) -> Result<Json<Object<Drained>>, Error> {
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
    let drained = Drained { id, draining: true };
    Ok(Json(Object::new("engine", drained)))
}

/// Each engine that answers.
pub(super) fn all(view: &View<'_>) -> Vec<EngineRow> {
    let loads = view.state.engine_loads();
    let counted = |id: &EngineId| loads.iter().find(|load| load.engine == *id);
    let up = view
        .fleet
        .iter()
        .filter(|(_, engine)| engine.hello.is_some());
    up.map(|(id, engine)| one(id, engine, counted(id)))
        .collect()
}

fn one(id: &EngineId, engine: &Engine, counted: Option<&EngineLoad>) -> EngineRow {
    let blocks_total = engine
        .hello
        .as_ref()
        .map_or(0, |hello| hello.kv_blocks_total);
    let pool_tokens = counted
        .map(|load| load.kv_tokens)
        .filter(|tokens| *tokens != NO_POOL_TOKENS);
    let unused = engine.load.kv_blocks_free + engine.load.kv_blocks_cached;
    EngineRow {
        id: id.clone(),
        model: engine.endpoint.model.clone(),
        url: engine.endpoint.url.to_string(),
        draining: engine
            .intake()
            .min(counted.map_or(Intake::All, |load| load.intake))
            != Intake::All,
        slots: engine.hello.as_ref().map_or(0, |hello| hello.max_num_seqs),
        load: engine.load,
        calls: counted.map_or(0, |load| load.running + load.waiting),
        kv: KvRow {
            blocks_total,
            blocks_used: blocks_total.saturating_sub(unused),
            tokens_total: pool_tokens.unwrap_or(0),
            tokens_booked: counted.map_or(0, |load| load.kv_booked_tokens),
        },
        pinned_programs: counted.map_or(0, |load| load.pinned_programs),
        home_programs: counted.map_or(0, |load| load.home_programs),
    }
}
