//! What tenants used. Owns: its JSON. Who may see one tenant only is told that one's.

use axum::Json;
use axum::extract::State;
use lps_api::ids::TenantId;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::extract::Query;
use crate::http::gate::Scope;

/// `GET /v1/usage?tenant=`.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    tenant: Option<TenantId>,
}

/// `GET /v1/usage`: sums of ended calls since the router started.
pub(super) async fn list(
    State(context): State<Context>,
    scope: Scope,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Error> {
    let tenant = scope.within(asked.tenant)?;
    let look = context
        .dispatcher
        .read(move |view| (view.state.usage(tenant.as_ref()), view.now));
    let (data, uptime) = look.await?;
    Ok(Json(
        json!({"object": "list", "data": data, "uptime_us": uptime}),
    ))
}
