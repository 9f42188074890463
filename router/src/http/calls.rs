//! Calls: read, cancel. Owns: their JSON. A call of another tenant is not there.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use lps_api::ids::{CallId, TenantId};

use crate::http::context::{Context, tenant};
use crate::http::error::Error;
use crate::http::extract::Path;
use crate::http::told::Object;
use crate::state::view::CallView;

/// One call, and why it waits.
pub(super) type Call = Object<CallView>;

/// `GET /v1/calls/{id}`.
pub(super) async fn one(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(call): Path<String>,
) -> Result<Json<Call>, Error> {
    let (tenant, call) = name(&headers, &call)?;
    Ok(Json(row(&context, tenant, call).await?))
}

/// `POST /v1/calls/{id}/cancel`: an ended call stays as it ended.
pub(super) async fn cancel(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(call): Path<String>,
) -> Result<Json<Call>, Error> {
    let (tenant, call) = name(&headers, &call)?;
    context
        .dispatcher
        .cancel(tenant.clone(), call.clone())
        .await?;
    Ok(Json(row(&context, tenant, call).await?))
}

fn name(headers: &HeaderMap, call: &str) -> Result<(TenantId, CallId), Error> {
    let tenant = tenant(headers)?;
    let call = CallId::parse(call)
        .map_err(|error| Error::invalid("call", format!("the call's id is none: {error}")))?;
    Ok((tenant, call))
}

async fn row(context: &Context, tenant: TenantId, call: CallId) -> Result<Call, Error> {
    let id = call.clone();
    let view = context
        .dispatcher
        .read(move |view| view.state.call(&tenant, &call))
        .await?;
    let view = view.ok_or_else(|| Error::not_found("call", id.as_str()))?;
    Ok(Object::new("call", view))
}
