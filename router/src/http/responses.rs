//! OpenAI's responses: made, kept, read, cancelled, forgotten. Owns: that who asks for a response is answered with one, and
//! when it is kept. On its way the call is a chat like any other. A response of another tenant is not there.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use lps_api::ids::TenantId;
use lps_api::openai::Object;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::body::Unread;
use crate::http::context::{Context, tenant};
use crate::http::error::Error;
use crate::http::extract::{Path, Query};
use crate::http::facts::Form;
use crate::http::inference::Asking;
use crate::http::{inference, translated};
use crate::responses::listed::Page;
use crate::responses::request::Request;
use crate::responses::shelf::{Place, Shelf};
use crate::responses::store::{Kept, Key};
use crate::responses::stream::Telling;
use crate::responses::{answer, ids};
use crate::translation::stream::Stream;

/// What an answer needs of its request.
struct Asked {
    /// What the response repeats of it.
    told: Object,
    /// Where it is kept, if it is.
    keeping: Option<Keeping>,
}

/// A response that is to be kept. One whose client leaves before its end is kept as cancelled.
struct Keeping {
    tenant: TenantId,
    /// All items, as JSON.
    input: Arc<str>,
    begin: Option<Place>,
    /// Of a response that has begun.
    begun: Option<Value>,
    end: Option<Place>,
}

/// `POST /v1/responses`.
pub(super) async fn create(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Unread,
) -> Response {
    let mut asked = None;
    let asking = asking(&context, (&headers, body), &mut asked);
    let chat = inference::answered(&context, &headers, asking).await;
    let asked = asked.filter(|_| chat.status().is_success());
    let Some(Asked { told, mut keeping }) = asked else {
        return chat;
    };
    if translated::is_stream(&chat) {
        let keep = move |telling: &Telling| {
            if let (Some(keeping), Some(response)) = (&mut keeping, telling.latest()) {
                keeping.see(response);
            }
        };
        let told = Stream::new(Telling::new(told));
        return translated::stream(chat, told, keep);
    }
    let (mut head, body) = chat.into_parts();
    let Ok(response) = answer::whole(&told, &translated::bytes(body).await) else {
        let refused = Error::no_answer().into_response();
        head.status = refused.status();
        return Response::from_parts(head, refused.into_body());
    };
    if let Some(keeping) = &mut keeping {
        keeping.see(&response);
    }
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::CONTENT_TYPE, json);
    Response::from_parts(head, Body::from(response.to_string()))
}

async fn asking(
    context: &Context,
    (headers, body): (&HeaderMap, Unread),
    told: &mut Option<Asked>,
) -> Result<Asking, Error> {
    let tenant = tenant(headers)?;
    let (body, room) = translated::read(context, body).await?;
    let request = Request::read(&body)?;
    let before = match request.previous() {
        Some(id) => {
            let left = translated::BODY_BYTES_MAX as usize - body.len();
            items_until(context, (tenant.clone(), id.to_owned()), left).await?
        }
        None => Vec::new(),
    };
    let asked = request.asked(before)?;
    drop(room);
    let room = context
        .bodies
        .reserve(u32::try_from(asked.chat.len()).unwrap_or(u32::MAX))?;
    let keeping = if asked.is_kept {
        Some(Keeping::of(tenant, &asked.input, &context.responses).await?)
    } else {
        None
    };
    *told = Some(Asked {
        told: asked.told,
        keeping,
    });
    Ok(Asking {
        body: Bytes::from(asked.chat),
        form: Form::Response,
        echoes: asked.echoes,
        room,
    })
}

/// All items of the conversation up to a response, its own included, if they have at most so many bytes.
async fn items_until(context: &Context, key: Key, bytes_max: usize) -> Result<Vec<Value>, Error> {
    const FIELD: &str = "previous_response_id";
    let id = key.1.clone();
    let kept = kept(&context.responses, key).await?;
    let kept = kept.ok_or_else(|| Error::no_previous(&id))?;
    if kept.bytes() > bytes_max {
        let message =
            format!("{FIELD}: the conversation is too large to go on; begin another, with less");
        return Err(Error::invalid(FIELD, message));
    }
    let mut response = response(&kept);
    if answer::is_in_progress(&response) {
        let message = format!("{FIELD}: this response has not ended yet");
        return Err(Error::invalid(FIELD, message));
    }
    let mut items = items_of(&kept);
    if let Value::Array(output) = response["output"].take() {
        items.extend(output);
    }
    Ok(items)
}

async fn kept(shelf: &Shelf, key: Key) -> Result<Option<Kept>, Error> {
    let kept = shelf.with(move |store, now| store.get(&key, now).cloned());
    Ok(kept.await?)
}

fn items_of(kept: &Kept) -> Vec<Value> {
    serde_json::from_str(&kept.input).expect("it was written as a list")
}

fn response(kept: &Kept) -> Value {
    serde_json::from_str(&kept.response).expect("it was written as JSON")
}

impl Keeping {
    async fn of(tenant: TenantId, input: &[Value], shelf: &Shelf) -> Result<Self, Error> {
        let input = serde_json::to_string(input).expect("what was read from JSON can be written");
        Ok(Self {
            tenant,
            input: input.into(),
            begin: Some(shelf.place().await?),
            begun: None,
            end: Some(shelf.place().await?),
        })
    }

    /// Keeps the response as it stands: once when it begins, and once when it has ended.
    fn see(&mut self, response: &Value) {
        let is_over = !answer::is_in_progress(response);
        if let Some(place) = self.begin.take() {
            let (key, input) = (self.key(response), Arc::clone(&self.input));
            let text = Arc::from(response.to_string());
            let kept = Kept {
                response: text,
                input,
            };
            place.fill(move |store, now| store.add(key, kept, now));
            self.begun = (!is_over).then(|| response.clone());
        } else if is_over && self.begun.take().is_some() {
            self.end(response);
        }
    }

    fn end(&mut self, response: &Value) {
        if let Some(place) = self.end.take() {
            let key = self.key(response);
            let response = Arc::from(response.to_string());
            place.fill(move |store, now| store.update(&key, response, now));
        }
    }

    fn key(&self, response: &Value) -> Key {
        let id = response["id"].as_str().unwrap_or_default();
        (self.tenant.clone(), id.to_owned())
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        if let Some(begun) = self.begun.take() {
            self.end(&answer::cancelled(begun));
        }
    }
}

/// How a response is to be read.
#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Reading {
    /// Not to be had: a response that began is not streamed again.
    #[schemars(extend("enum" = [false]))]
    stream: Option<bool>,
}

/// `GET /v1/responses/{id}`.
pub(super) async fn one(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(reading): Query<Reading>,
) -> Result<Json<Value>, Error> {
    if reading.stream == Some(true) {
        let message = "stream: a response that began is not streamed again; leave it out";
        return Err(Error::invalid("stream", message));
    }
    Ok(Json(found(&context, (tenant(&headers)?, id)).await?))
}

/// `DELETE /v1/responses/{id}`.
pub(super) async fn delete(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let key = (tenant(&headers)?, id.clone());
    let removed = context.responses.with(move |store, _| store.remove(&key));
    if !removed.await? {
        return Err(Error::not_found("response", &id));
    }
    Ok(Json(
        json!({"id": id, "object": "response", "deleted": true}),
    ))
}

/// `POST /v1/responses/{id}/cancel`: an ended response stays as it ended.
pub(super) async fn cancel(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Json<Value>, Error> {
    let tenant = tenant(&headers)?;
    let key = (tenant.clone(), id.clone());
    let response = found(&context, key.clone()).await?;
    let call = ids::call_of_response(&id).filter(|_| answer::is_in_progress(&response));
    let Some(call) = call else {
        return Ok(Json(response));
    };
    let (whose, asked) = (tenant.clone(), call);
    let origin = context
        .dispatcher
        .read(move |view| view.origin(&whose, &asked));
    let was_open = match origin.await? {
        Some(origin) => context.dispatcher.cancel(tenant, origin.call).await?,
        None => false,
    };
    if was_open {
        return Ok(Json(answer::cancelled(response)));
    }
    Ok(Json(found(&context, key).await?))
}

/// `GET /v1/responses/{id}/input_items`.
pub(super) async fn items(
    State(context): State<Context>,
    headers: HeaderMap,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Value>, Error> {
    let kept = kept(&context.responses, (tenant(&headers)?, id.clone())).await?;
    let kept = kept.ok_or_else(|| Error::not_found("response", &id))?;
    Ok(Json(page.of(items_of(&kept))))
}

async fn found(context: &Context, key: Key) -> Result<Value, Error> {
    let id = key.1.clone();
    let kept = kept(&context.responses, key).await?;
    let kept = kept.ok_or_else(|| Error::not_found("response", &id))?;
    Ok(response(&kept))
}
