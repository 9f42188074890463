//! A streamed answer that begins late: its call waits for an engine, or for its turn. Owns: the signs of life that keep
//! clients and proxies between from giving up. They are comments, which readers of events skip.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use bytes::Bytes;
use futures::stream;

use super::answer::{is_stream, next_bytes, whole};
use crate::engine_client::Piece;
use crate::http::error::Error;
use crate::http::heard::Heard;

/// A sign of life.
pub(super) const WAITING: Bytes = Bytes::from_static(b": waiting\n\n");

/// Where the answer stands.
enum State {
    /// Nothing has come.
    Waiting(Heard),
    /// It comes.
    Passing(Option<Heard>),
}

/// The answer from now on; until it begins, signs of life.
pub(super) fn stream(call: Heard) -> Response {
    let body = stream::unfold((State::Waiting(call), true), next);
    let mut response = Response::new(Body::from_stream(body));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

type Next = Option<(Result<Bytes, Infallible>, (State, bool))>;

async fn next((state, is_first): (State, bool)) -> Next {
    let mut call = match state {
        State::Passing(call) => return pass(call).await,
        State::Waiting(call) => call,
    };
    if is_first {
        // The period before the head was sent is over.
        return Some((Ok(WAITING), (State::Waiting(call), false)));
    }
    match call.next().await {
        None => Some((Ok(WAITING), (State::Waiting(call), false))),
        Some(Piece::Head(head)) if is_stream(&head) => pass(Some(call)).await,
        // The status is sent already: what the engine says against the call is an event.
        Some(Piece::Head(_)) => {
            let event = match whole(call.into_call()).await {
                Ok(body) => Bytes::from([b"data: ", &body[..], b"\n\n"].concat()),
                Err(error) => error.event(),
            };
            Some((Ok(event), (State::Passing(None), false)))
        }
        Some(Piece::Failed(failure)) => {
            let event = Error::from(failure).event();
            Some((Ok(event), (State::Passing(None), false)))
        }
        Some(Piece::Data(_) | Piece::End) => unreachable!("an answer begins with its head"),
    }
}

async fn pass(call: Option<Heard>) -> Next {
    let (bytes, call) = next_bytes(call).await?;
    Some((bytes, (State::Passing(call), false)))
}
