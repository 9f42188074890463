//! Programs: open, read, end, cancel. Owns: their JSON. A program of another tenant is not there.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use lps_api::ids::{ClassName, ProgramId, TenantId};
use lps_api::quantity::Micros;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::engine_client::Failure;
use crate::http::body::{self, Unread};
use crate::http::context::{Context, tenant};
use crate::http::error::Error;
use crate::http::extract::{Path, Query};
use crate::http::gate::Scope;
use crate::http::told::{List, Object};
use crate::message::{Event, ProgramKey};
use crate::state::view::{ProgramFilter, ProgramState, ProgramSummary, ProgramView, Sort};

/// Longest life without a call that a client may ask for: a day.
const TTL_S_MAX: f64 = 86_400.0;
/// Programs that one list shows at most.
const LISTED_MAX: usize = 1_000;

/// A program that is to be opened.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Opening {
    /// Its name; made where it is absent.
    id: Option<ProgramId>,
    /// What programs of its kind are called.
    class: Option<ClassName>,
    /// How long it lives without a call.
    #[schemars(extend("exclusiveMinimum" = 0, "maximum" = TTL_S_MAX))]
    ttl_s: Option<f64>,
    /// The program that it is a part of.
    parent: Option<ProgramId>,
    /// Whether the parent waits for it: then its calls are the parent's.
    #[serde(default)]
    blocking: bool,
}

/// When a tenant with too many programs may try again: about as long as programs take to end.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(10);

/// `POST /v1/programs`: opens a program; opening a live one again only changes how long it lives.
pub(super) async fn open(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Unread,
) -> Result<(StatusCode, Json<Program>), Error> {
    let tenant = tenant(&headers)?;
    let opening: Opening = body::read_json(&context, body).await?;
    if context.shutdown.is_draining() {
        return Err(Error::draining());
    }
    let ttl = match opening.ttl_s {
        None => None,
        Some(seconds) if seconds > 0.0 && seconds <= TTL_S_MAX => Micros::from_secs_f64(seconds),
        Some(_) => {
            return Err(Error::invalid(
                "ttl_s",
                format!("ttl_s is above 0 and at most {TTL_S_MAX}"),
            ));
        }
    };
    let program = opening.id.unwrap_or_else(|| context.names.fresh().program);
    let key = ProgramKey { tenant, program };
    let blocks = opening.parent.filter(|_| opening.blocking);
    let blocks = blocks.map(|program| ProgramKey {
        tenant: key.tenant.clone(),
        program,
    });
    let look = (key.clone(), blocks.clone());
    let (may_begin, is_orphan) = context
        .dispatcher
        .read(move |view| {
            let (program, parent) = look;
            let is_orphan = parent.is_some_and(|parent| !view.state.is_live(&parent));
            (view.may_begin(&program), is_orphan)
        })
        .await?;
    if is_orphan {
        let problem = "parent is no program that is live; open it first, or leave blocking out";
        return Err(Error::invalid("parent", problem));
    }
    may_begin.map_err(|full| Failure::Full {
        message: full.to_string(),
        retry_after: RETRY_AFTER,
    })?;
    let class = opening.class.unwrap_or_else(ClassName::unnamed);
    context
        .dispatcher
        .tell(Event::ProgramOpened {
            program: key.clone(),
            class,
            ttl,
            blocks,
        })
        .await?;
    Ok((StatusCode::CREATED, Json(row(&context, key).await?)))
}

/// Which programs are listed, and how.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Listing {
    /// In this state only: `live`, `in_tool`, `ending`, `ended` or `expired`, or several of them with commas.
    #[schemars(regex(
        pattern = "^(live|in_tool|ending|ended|expired)(,(live|in_tool|ending|ended|expired))*$"
    ))]
    state: Option<String>,
    /// Of this tenant only. A key that is no administrator's has no other.
    tenant: Option<TenantId>,
    /// What stands first: who came first, or who has most of it.
    #[schemars(extend("enum" = ["arrival", "service", "critical_path", "wait"]))]
    sort: Option<String>,
}

/// A program's row, its threads and its calls.
pub(super) type Program = Object<ProgramView>;

/// `GET /v1/programs`: the caller's programs, live ones and those that ended lately.
pub(super) async fn list(
    State(context): State<Context>,
    scope: Scope,
    Query(listing): Query<Listing>,
) -> Result<Json<List<ProgramSummary>>, Error> {
    let states = listing.state.as_deref().into_iter();
    let states = states.flat_map(|list| list.split(',')).map(parse_state);
    let sort = parse_sort(listing.sort.as_deref())?;
    let states = states.collect::<Result<_, _>>()?;
    let tenant = scope.within(listing.tenant, &context.metrics)?;
    let filter = ProgramFilter { tenant, states };
    let listed = context
        .dispatcher
        .read(move |view| view.state.first_programs(&filter, sort, LISTED_MAX))
        .await?;
    Ok(Json(List::first(listed.programs, listed.total)))
}

fn parse_state(text: &str) -> Result<ProgramState, Error> {
    Ok(match text {
        "live" => ProgramState::Live,
        "in_tool" => ProgramState::InTool,
        "ending" => ProgramState::Ending,
        "ended" => ProgramState::Ended,
        "expired" => ProgramState::Expired,
        _ => {
            let message =
                "state is live, in_tool, ending, ended or expired, or several of them with commas";
            return Err(Error::invalid("state", message));
        }
    })
}

pub(super) fn parse_sort(text: Option<&str>) -> Result<Sort, Error> {
    Ok(match text {
        None | Some("arrival") => Sort::Arrival,
        Some("service") => Sort::Service,
        Some("critical_path") => Sort::CriticalPath,
        Some("wait") => Sort::Wait,
        Some(_) => {
            let message = "sort is arrival, service, critical_path or wait";
            return Err(Error::invalid("sort", message));
        }
    })
}

/// `GET /v1/programs/{id}`: row, threads, calls, and why each call waits.
pub(super) async fn one(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(program): Path<String>,
) -> Result<Json<Program>, Error> {
    let key = key(&headers, &program)?;
    Ok(Json(row(&context, key).await?))
}

/// `POST /v1/programs/{id}/end`: open calls finish, and the program ends.
pub(super) async fn end(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(program): Path<String>,
) -> Result<Json<Program>, Error> {
    let key = key(&headers, &program)?;
    close(&context, key, |program| Event::ProgramEnd { program }).await
}

/// `POST /v1/programs/{id}/cancel`: its open calls are cancelled, and it has ended.
pub(super) async fn cancel(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(program): Path<String>,
) -> Result<Json<Program>, Error> {
    let key = key(&headers, &program)?;
    close(&context, key, |program| Event::ProgramCancel { program }).await
}

async fn close(
    context: &Context,
    key: ProgramKey,
    how: impl FnOnce(ProgramKey) -> Event,
) -> Result<Json<Program>, Error> {
    let before = row(context, key.clone()).await?;
    context.dispatcher.tell(how(key.clone())).await?;
    // A blocking child has its parent's row, and none once it has ended.
    Ok(Json(row(context, key).await.unwrap_or(before)))
}

fn key(headers: &HeaderMap, program: &str) -> Result<ProgramKey, Error> {
    let tenant = tenant(headers)?;
    let program = ProgramId::parse(program)
        .map_err(|error| Error::invalid("program", format!("the program's id is none: {error}")))?;
    Ok(ProgramKey { tenant, program })
}

async fn row(context: &Context, key: ProgramKey) -> Result<Program, Error> {
    let name = key.program.clone();
    let program = context
        .dispatcher
        .read(move |view| view.state.program(&key))
        .await?;
    let program = program.ok_or_else(|| Error::not_found("program", name.as_str()))?;
    Ok(Object::new("program", program))
}
