//! `/tokenize` and `/detokenize`, forwarded to any engine of the model. Owns: which engine. These are no calls: they
//! wait in no queue and are charged to nobody.

use axum::extract::State;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Deserialize;

use crate::discovery::EngineUrl;
use crate::http::body::{self, Unread};
use crate::http::context::Context;
use crate::http::error::Error;

#[derive(Deserialize)]
struct Named {
    model: Option<String>,
}

/// `POST /tokenize`.
pub(super) async fn tokenize(
    State(context): State<Context>,
    body: Unread,
) -> Result<Response, Error> {
    forward(&context, "/tokenize", body).await
}

/// `POST /detokenize`.
pub(super) async fn detokenize(
    State(context): State<Context>,
    body: Unread,
) -> Result<Response, Error> {
    forward(&context, "/detokenize", body).await
}

async fn forward(context: &Context, path: &str, body: Unread) -> Result<Response, Error> {
    let (bytes, _room) = body::read(context, body).await?;
    let named: Named = serde_json::from_slice(&bytes)
        .map_err(|error| Error::malformed(format!("the body is not valid: {error}")))?;
    let only_model = || {
        let pools = context.pools.borrow();
        (pools.len() == 1).then(|| pools[0].model.to_string())
    };
    let name = named.model.or_else(only_model);
    let name = name.ok_or_else(|| Error::invalid("model", "model is missing"))?;
    ask(context, &name, (path, bytes)).await
}

/// What the least busy engine of a model answers.
pub(super) async fn ask(
    context: &Context,
    name: &str,
    (path, body): (&str, Bytes),
) -> Result<Response, Error> {
    let model = context.pool(name)?;
    let wanted = model.clone();
    let engine: Option<EngineUrl> = context
        .dispatcher
        .read(move |view| {
            let least = view
                .fleet
                .up(&wanted)
                .min_by_key(|e| e.load.running + e.load.waiting);
            least.map(|engine| engine.endpoint.url.clone())
        })
        .await?;
    let url = engine.ok_or_else(|| Error::no_engine(&model))?;
    let answer = context.connections.post(url.at(path), body).await?;
    let json = HeaderValue::from_static("application/json");
    let content_type = (header::CONTENT_TYPE, answer.content_type.unwrap_or(json));
    Ok((answer.status, [content_type], answer.body).into_response())
}
