//! Anthropic's messages, and what they would count. Owns: that who asks in Anthropic's form is answered in it, errors
//! included. On its way the call is a chat like any other.

use std::convert::Infallible;

use axum::body::{Body, BodyDataStream};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;
use lps_api::wellknown::header as known;
use serde_json::Value;

use crate::anthropic::stream::Events;
use crate::anthropic::{answer, error, request};
use crate::http::body;
use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::facts::Form;
use crate::http::{inference, tokens};

/// Where clients of Anthropic look for the id of their request.
const REQUEST_ID: &str = "request-id";

/// `POST /v1/messages`.
pub(super) async fn create(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let chat = inference::answered(context, headers, (body, Form::Messages)).await;
    let call = text(chat.headers(), known::CALL_ID);
    let id = format!("msg_{call}");
    if text(chat.headers(), header::CONTENT_TYPE.as_str()).starts_with("text/event-stream") {
        return told_by(chat, Events::new(id));
    }
    translated(chat, |body| answer::message(&id, body)).await
}

/// `POST /v1/messages/count_tokens`.
pub(super) async fn count(State(context): State<Context>, body: Body) -> Response {
    let counted = counted(&context, body).await;
    let tokens = counted.unwrap_or_else(IntoResponse::into_response);
    translated(tokens, answer::count).await
}

async fn counted(context: &Context, body: Body) -> Result<Response, Error> {
    let (bytes, _room) = body::read(context, body).await?;
    let asked = request::counted(&bytes)?;
    let body = Bytes::from(asked.body);
    tokens::ask(context, &asked.model, ("/tokenize", body)).await
}

/// A refusal of a request that was not looked at.
pub(super) fn refused(refusal: Error) -> Response {
    let told = error::translated(&refusal.json()).to_string();
    refusal.into_response().map(|_| Body::from(told))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// The same answer in Anthropic's form; `of_success` makes it where it is no error.
async fn translated(
    response: Response,
    of_success: impl Fn(&[u8]) -> serde_json::Result<Value>,
) -> Response {
    let (mut head, body) = response.into_parts();
    name_request(&mut head.headers);
    let told = match body.collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(_) => Bytes::new(),
    };
    let value = if head.status.is_success() {
        of_success(&told).unwrap_or_else(|_| {
            head.status = StatusCode::BAD_GATEWAY;
            error::translated(&told)
        })
    } else {
        error::translated(&told)
    };
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::CONTENT_TYPE, json);
    Response::from_parts(head, Body::from(value.to_string()))
}

/// A stream's answer, event by event. The chat's own end is read too: only then is its call complete.
fn told_by(chat: Response, events: Events) -> Response {
    let (mut head, body) = chat.into_parts();
    name_request(&mut head.headers);
    let state = Some((body.into_data_stream(), events));
    Response::from_parts(head, Body::from_stream(stream::unfold(state, next)))
}

type Rest = Option<(BodyDataStream, Events)>;

async fn next(state: Rest) -> Option<(Result<Bytes, Infallible>, Rest)> {
    let (mut chat, mut events) = state?;
    loop {
        let Some(Ok(bytes)) = chat.next().await else {
            let last = events.finish();
            return (!last.is_empty()).then_some((Ok(last), None));
        };
        let told = events.push(&bytes);
        if !told.is_empty() {
            return Some((Ok(told), Some((chat, events))));
        }
    }
}

fn name_request(headers: &mut HeaderMap) {
    if let Some(id) = headers.get(known::REQUEST_ID).cloned() {
        headers.insert(REQUEST_ID, id);
    }
}
