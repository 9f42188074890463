//! What clients speak. Owns: routes, reading requests, writing answers. It must not decide anything about calls: it
//! checks, hands over, and passes on what comes back.
//!
//! Modules in the order in which data flows: a module uses only those after it.

/// Connections: their bounds, their times, their end.
pub mod listener;
/// What of all this a client is told as an OpenAPI document.
pub mod openapi;
/// Anthropic's messages, and what they would count.
mod messages;
/// OpenAI's responses: made, kept, read, cancelled, forgotten.
mod responses;
/// Requests and answers in another form than a chat's.
mod translated;
/// Chat and plain completions, and vectors.
mod inference;
/// Where a call belongs whose client did not say so.
mod belonging;
/// `/tokenize` and `/detokenize`, forwarded to any engine of the model.
mod tokens;
/// What is served.
mod models;
/// The administrators' page.
mod ui;
/// Programs: open, read, end, cancel.
mod programs;
/// What changes of programs and calls.
mod watch;
/// What tenants used.
mod usage;
/// Calls: read, cancel.
mod calls;
/// Engines: read, drain.
mod engines;
/// One call's answer for several requests.
mod shared;
/// A call's answer on its way out.
mod answer;
/// A streamed answer that begins late.
mod held;
/// A streamed answer with its silences.
mod heard;
/// How a tenant's limits stand, told in headers.
mod limits;
/// What our own answers have in common.
mod told;
/// Reading a request's body.
mod body;
/// What a request says of where it belongs, for whoever finds that without a running router.
mod says;
/// What of an inference request the router needs.
mod facts;
/// A request's path and query.
mod extract;
/// The gate before every route.
mod gate;
/// What every handler finds beside its request.
mod context;
/// Every error that a client can see.
mod error;

use axum::Router;
use axum::http::Method;

use crate::dispatcher::View;
use crate::keys::Role;
pub use context::{Context, Limits, Names};
pub use engines::{EngineRow, KvRow};
pub use gate::{Access, Gate};
use gate::{Route, delete, get, post};
pub use says::ChatSays;

const OPEN: Access = Access::Open;
const INFER: Access = Access::Role(Role::Infer);
const CANCEL: Access = Access::Role(Role::Cancel);
const METRICS: Access = Access::Role(Role::Metrics);
const ADMIN: Access = Access::Role(Role::Admin);

/// Every route, and who may ask for it. Health, version and this table as a
/// document are open: probes have no key, and nothing of a tenant is in them.
fn table() -> Vec<Route> {
    let in_anthropics_shape = |route: Route| Route {
        refused: messages::refused,
        ..route
    };
    vec![
        post("/v1/chat/completions", INFER, inference::chat),
        post("/v1/completions", INFER, inference::plain),
        post("/v1/embeddings", INFER, inference::vectors),
        in_anthropics_shape(post("/v1/messages", INFER, messages::create)),
        in_anthropics_shape(post("/v1/messages/count_tokens", INFER, messages::count)),
        post("/v1/responses", INFER, responses::create),
        get("/v1/responses/{response}", INFER, responses::one),
        delete("/v1/responses/{response}", INFER, responses::delete),
        // Who cancels one is given all of it.
        post("/v1/responses/{response}/cancel", INFER, responses::cancel),
        get(
            "/v1/responses/{response}/input_items",
            INFER,
            responses::items,
        ),
        post("/tokenize", INFER, tokens::tokenize),
        post("/detokenize", INFER, tokens::detokenize),
        get("/v1/models", INFER, models::list),
        get("/v1/models/{*model}", INFER, models::one),
        get("/v1/programs", INFER, programs::list),
        post("/v1/programs", INFER, programs::open),
        get("/v1/programs/events", INFER, watch::programs),
        get("/v1/programs/{program}", INFER, programs::one),
        post("/v1/programs/{program}/end", INFER, programs::end),
        post("/v1/programs/{program}/cancel", CANCEL, programs::cancel),
        get("/v1/calls/{call}", INFER, calls::one),
        post("/v1/calls/{call}/cancel", CANCEL, calls::cancel),
        get("/v1/usage", INFER, usage::list),
        get("/v1/engines", METRICS, engines::list),
        post("/v1/engines/{engine}/drain", ADMIN, engines::drain),
        post(
            "/v1/engines/{namespace}/{pod}/drain",
            ADMIN,
            engines::drain_pod,
        ),
        get("/health", OPEN, models::health),
        get("/version", OPEN, models::version),
        get("/openapi.json", OPEN, openapi::get),
    ]
}

/// What `GET /v1/engines` lists, for whoever runs engines beside the router in one process.
pub fn engines(view: &View<'_>) -> Vec<EngineRow> {
    engines::all(view)
}

/// Method, path and access of every route.
pub fn accesses() -> Vec<(Method, &'static str, Access)> {
    told(table())
}

/// The same of the page's routes, which are on the admin port.
pub fn page_accesses() -> Vec<(Method, &'static str, Access)> {
    told(ui::table())
}

fn told(routes: Vec<Route>) -> Vec<(Method, &'static str, Access)> {
    let access = |route: Route| (route.method, route.path, route.access);
    routes.into_iter().map(access).collect()
}

/// All routes, behind the gate where there is one.
pub fn routes(context: Context, gate: Option<&Gate>) -> Router {
    guarded(table(), gate)
        .fallback(async || error::Error::no_route())
        .method_not_allowed_fallback(async || error::Error::no_method())
        .with_state(context)
}

/// The administrators' page, behind the gate where there is one.
pub fn page(context: Context, gate: Option<&Gate>) -> Router {
    guarded(ui::table(), gate).with_state(context)
}

fn guarded(routes: Vec<Route>, gate: Option<&Gate>) -> Router<Context> {
    routes.into_iter().fold(Router::new(), |router, route| {
        router.route(route.path, route.guarded(gate))
    })
}
