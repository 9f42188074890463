//! Anthropic's messages, and what they would count. Owns: that who asks in Anthropic's form is answered in it, errors
//! included. On its way the call is a chat like any other.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use lps_api::wellknown::header as known;
use serde_json::Value;

use crate::anthropic::stream::Message;
use crate::anthropic::{answer, error, request};
use crate::http::body::Unread;
use crate::http::context::Context;
use crate::http::error::Error;
use crate::http::facts::Form;
use crate::http::inference::Asking;
use crate::http::{inference, tokens, translated};
use crate::translation;
use crate::translation::stream::Stream;

/// Where clients of Anthropic look for the id of their request.
const REQUEST_ID: &str = "request-id";

/// `POST /v1/messages`.
pub(super) async fn create(
    State(context): State<Context>,
    headers: HeaderMap,
    body: Unread,
) -> Response {
    let mut chat = inference::answered(&context, &headers, asked(&context, body)).await;
    name_request(chat.headers_mut());
    let call = chat.headers().get(known::CALL_ID);
    let id = format!(
        "msg_{}",
        call.map_or("", |call| call.to_str().unwrap_or_default())
    );
    if translated::is_stream(&chat) {
        let message = Stream::new(Message::new(id));
        return translated::stream(chat, message, |_| {});
    }
    whole(chat, |body| answer::message(&id, body)).await
}

/// `POST /v1/messages/count_tokens`.
pub(super) async fn count(State(context): State<Context>, body: Unread) -> Response {
    let counted = counted(&context, body).await;
    let tokens = counted.unwrap_or_else(IntoResponse::into_response);
    whole(tokens, answer::count).await
}

async fn asked(context: &Context, body: Unread) -> Result<Asking, Error> {
    let (body, room) = translated::read(context, body).await?;
    Ok(Asking {
        body: Bytes::from(request::chat(&body)?),
        form: Form::Chat,
        echoes: None,
        room,
    })
}

async fn counted(context: &Context, body: Unread) -> Result<Response, Error> {
    let (bytes, _room) = translated::read(context, body).await?;
    let asked = request::counted(&bytes)?;
    let body = Bytes::from(asked.body);
    tokens::ask(context, &asked.model, ("/tokenize", body)).await
}

/// A refusal of a request that was not looked at.
pub(super) fn refused(refusal: Error) -> Response {
    let told = error::translated(&translation::error::read(&refusal.json())).to_string();
    refusal.into_response().map(|_| Body::from(told))
}

/// The same answer in Anthropic's form; `of_success` makes it where it is no error.
async fn whole(
    response: Response,
    of_success: impl Fn(&[u8]) -> serde_json::Result<Value>,
) -> Response {
    let (mut head, body) = response.into_parts();
    let told = translated::bytes(body).await;
    let of_error = || error::translated(&translation::error::read(&told));
    let value = if head.status.is_success() {
        of_success(&told).unwrap_or_else(|_| {
            head.status = StatusCode::BAD_GATEWAY;
            of_error()
        })
    } else {
        of_error()
    };
    let json = HeaderValue::from_static("application/json");
    head.headers.insert(header::CONTENT_TYPE, json);
    Response::from_parts(head, Body::from(value.to_string()))
}

fn name_request(headers: &mut HeaderMap) {
    if let Some(id) = headers.get(known::REQUEST_ID).cloned() {
        headers.insert(REQUEST_ID, id);
    }
}
