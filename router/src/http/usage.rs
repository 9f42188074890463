//! What tenants used. Owns: its JSON. Who may see one tenant only is told that one's.

use axum::Json;
use axum::extract::State;
use lps_api::ids::TenantId;
use lps_api::quantity::Micros;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::extract::Query;
use crate::http::gate::Scope;
use crate::http::told::List;
use crate::state::view::UsageView;

/// `GET /v1/usage?tenant=`.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Asked {
    /// Of this tenant only. A key that is no administrator's has no other.
    tenant: Option<TenantId>,
}

/// What was used, and since when.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Usage {
    #[serde(flatten)]
    sums: List<UsageView>,
    /// Time since the router started, in µs.
    uptime_us: Micros,
}

/// `GET /v1/usage`: sums of ended calls since the router started.
pub(super) async fn list(
    State(context): State<Context>,
    scope: Scope,
    Query(asked): Query<Asked>,
) -> Result<Json<Usage>, Error> {
    let tenant = scope.within(asked.tenant, &context.metrics)?;
    let look = context
        .dispatcher
        .read(move |view| (view.state.usage(tenant.as_ref()), view.now));
    let (data, uptime) = look.await?;
    Ok(Json(Usage {
        sums: List::of(data),
        uptime_us: uptime,
    }))
}
