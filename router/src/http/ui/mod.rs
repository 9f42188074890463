//! The administrators' page on the admin port. Owns: its files, which are part of the program, and the one answer that it
//! is drawn from. It shows the programs of every tenant, so its data is for administrators.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{AppendHeaders, IntoResponse, Response};
use lps_api::ids::{ModelName, ProgramId, TenantId};
use serde::{Deserialize, Serialize};

use crate::dispatcher::View;
use crate::http::context::Context;
use crate::http::engines::EngineRow;
use crate::http::error::Error;
use crate::http::extract::Query;
use crate::http::gate::{Route, get};
use crate::http::programs::parse_sort;
use crate::http::{ADMIN, OPEN, engines};
use crate::message::ProgramKey;
use crate::state::view::{
    Listed, OpenCalls, ProgramFilter, ProgramState, ProgramSummary, ProgramView, Reason, Sort,
    TenantCall,
};

/// Programs that the page lists.
const PROGRAMS_MAX: usize = 100;
/// Waiting calls of each model that it lists.
const QUEUE_MAX: usize = 20;
/// Calls of the chosen program that it draws, the last ones.
const CALLS_MAX: usize = 300;

/// The page asks nobody but its own router for anything, and nobody shows it inside of another page.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// One file of the page.
macro_rules! file {
    ($path:literal, $name:literal, $kind:literal) => {
        get($path, OPEN, async || file($kind, include_str!($name)))
    };
}

/// Every route of the page. Its files hold nothing of a tenant: they are open, as the form that asks for a key must be.
pub(super) fn table() -> Vec<Route> {
    vec![
        file!("/ui", "index.html", "text/html; charset=utf-8"),
        file!("/ui/ui.css", "ui.css", "text/css; charset=utf-8"),
        file!("/ui/ui.js", "ui.js", "text/javascript; charset=utf-8"),
        file!("/ui/graph.js", "graph.js", "text/javascript; charset=utf-8"),
        file!("/ui/icon.svg", "icon.svg", "image/svg+xml"),
        get("/ui/state", ADMIN, state),
    ]
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(POLICY),
        ),
        (
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        ),
        (
            header::REFERRER_POLICY,
            HeaderValue::from_static("no-referrer"),
        ),
        // Another version of the router has other files.
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
    ];
    (AppendHeaders(headers), text).into_response()
}

/// `GET /ui/state?sort=&ended=&tenant=&program=`.
#[derive(Debug, Deserialize)]
struct Asked {
    sort: Option<String>,
    /// Whether programs that have ended are listed, too.
    #[serde(default)]
    ended: bool,
    /// The program whose calls are shown.
    tenant: Option<TenantId>,
    program: Option<ProgramId>,
}

/// What the page shows.
#[derive(Debug, Serialize)]
struct Shown {
    version: &'static str,
    programs: Programs,
    models: Vec<Model>,
    engines: Vec<EngineRow>,
    /// The program that was asked for; `None` where nothing is known of it.
    program: Option<ProgramView>,
    /// What each reason to wait means.
    reasons: BTreeMap<&'static str, &'static str>,
}

#[derive(Debug, Serialize)]
struct Programs {
    data: Vec<ProgramSummary>,
    total: usize,
}

#[derive(Debug, Serialize)]
struct Model {
    id: ModelName,
    calls: OpenCalls,
    /// The first of those that wait.
    queue: Vec<TenantCall>,
}

async fn state(
    State(context): State<Context>,
    Query(asked): Query<Asked>,
) -> Result<Json<Shown>, Error> {
    let sort = parse_sort(asked.sort.as_deref())?;
    let chosen = asked.tenant.zip(asked.program);
    let chosen = chosen.map(|(tenant, program)| ProgramKey { tenant, program });
    let served = context
        .pools
        .borrow()
        .iter()
        .map(|pool| pool.model.clone())
        .collect();
    let filter = ProgramFilter {
        tenant: None,
        states: if asked.ended {
            Vec::new()
        } else {
            LIVE.to_vec()
        },
    };
    let look = Look {
        filter,
        sort,
        served,
        chosen,
    };
    Ok(Json(
        context.dispatcher.read(move |view| look.at(&view)).await?,
    ))
}

const LIVE: [ProgramState; 3] = [
    ProgramState::Live,
    ProgramState::InTool,
    ProgramState::Ending,
];

struct Look {
    filter: ProgramFilter,
    sort: Sort,
    served: Vec<ModelName>,
    chosen: Option<ProgramKey>,
}

impl Look {
    fn at(self, view: &View<'_>) -> Shown {
        let state = view.state;
        let Listed { programs, total } =
            state.first_programs(&self.filter, self.sort, PROGRAMS_MAX);
        let model = |id: ModelName| Model {
            calls: state.open_calls(&id),
            queue: state.queue(&id, QUEUE_MAX),
            id,
        };
        Shown {
            version: env!("CARGO_PKG_VERSION"),
            programs: Programs {
                data: programs,
                total,
            },
            models: self.served.into_iter().map(model).collect(),
            engines: engines::all(view),
            program: self
                .chosen
                .and_then(|key| state.program_cut(&key, CALLS_MAX)),
            reasons: Reason::ALL
                .iter()
                .map(|reason| (reason.as_str(), reason.meaning()))
                .collect(),
        }
    }
}
