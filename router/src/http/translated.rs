//! Requests and answers in another form than a chat's. Owns: how large such a request may be, and passing an answer on
//! piece by piece. It must not know which form it is.

use std::convert::Infallible;

use axum::body::{Body, BodyDataStream};
use axum::http::header;
use axum::response::Response;
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::BodyExt;

use crate::admission::BodyPermit;
use crate::http::body::{self, Unread};
use crate::http::context::Context;
use crate::http::error::Error;
use crate::translation::stream::{Stream, Target};

/// They are read as values to make a chat of them, which takes many times their bytes: so there may be fewer.
pub(super) const BODY_BYTES_MAX: u32 = 4 << 20;

/// The whole body, and the room that it takes.
pub(super) async fn read(context: &Context, body: Unread) -> Result<(Bytes, BodyPermit), Error> {
    body::read_most(context, body, BODY_BYTES_MAX).await
}

/// Whether an answer comes event by event.
pub(super) fn is_stream(answer: &Response) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// All of a body; nothing, where it broke off.
pub(super) async fn bytes(body: Body) -> Bytes {
    match body.collect().await {
        Ok(whole) => whole.to_bytes(),
        Err(_) => Bytes::new(),
    }
}

/// A chat's stream as what it is told as; `seen` is shown where that stands before each piece is sent. The chat's own end
/// is read too: only then is its call complete.
pub(super) fn stream<T: Target + Send + 'static>(
    chat: Response,
    told: Stream<T>,
    seen: impl FnMut(&T) + Send + 'static,
) -> Response {
    let (head, body) = chat.into_parts();
    let state = Some((body.into_data_stream(), told, seen));
    Response::from_parts(head, Body::from_stream(stream::unfold(state, next)))
}

type Rest<T, S> = Option<(BodyDataStream, Stream<T>, S)>;

async fn next<T: Target, S: FnMut(&T)>(
    state: Rest<T, S>,
) -> Option<(Result<Bytes, Infallible>, Rest<T, S>)> {
    let (mut chat, mut told, mut seen) = state?;
    loop {
        let Some(Ok(bytes)) = chat.next().await else {
            let last = told.finish();
            seen(told.target());
            return (!last.is_empty()).then_some((Ok(last), None));
        };
        let events = told.push(&bytes);
        if !events.is_empty() {
            seen(told.target());
            return Some((Ok(events), Some((chat, told, seen))));
        }
    }
}
