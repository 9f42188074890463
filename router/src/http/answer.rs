//! A call's answer on its way out. Owns: the response's headers, and how an answer ends when it is not complete: one
//! error event and the end of the stream, never a silent cut and never `[DONE]`.

use std::convert::Infallible;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::stream;
use lps_api::ids::{CallId, ModelName, ProgramId};
use lps_api::quantity::Micros;
use lps_api::wellknown::header as known;
use lps_runtime::clock::Clock;

use crate::allowance::Standing;
use crate::dispatcher::CallStream;
use crate::engine_client::{Head, Piece};
use crate::http::error::Error;
use crate::http::heard::Heard;
use crate::http::{held, limits};
use crate::metrics::Metrics;

/// What an answer's headers need beside the answer.
pub(super) struct Asked {
    /// Its program, as told to the client.
    pub(super) program: ProgramId,
    /// Its name.
    pub(super) call: CallId,
    /// Its model.
    pub(super) model: ModelName,
    /// When the request came.
    pub(super) since: Micros,
    /// Of a streamed answer: how long its client hears nothing before it gets a sign of life, before it begins, while
    /// another engine is to go on with it, and while the model thinks what is not to be told.
    pub(super) heartbeat: Option<Duration>,
    /// How its tenant's limits stood when it came, where there are some.
    pub(super) standing: Arc<OnceLock<Standing>>,
}

/// Waits for the answer's beginning (or, where it is not streamed, for all of it) and passes it on.
pub(super) async fn pass(
    mut call: CallStream,
    asked: Asked,
    (clock, metrics): (Clock, Metrics),
) -> Response {
    let first = match asked.heartbeat {
        None => call.next().await,
        Some(period) => match tokio::time::timeout(period, call.next()).await {
            Ok(first) => first,
            Err(_) => {
                let call = Heard::new(call, period, clock);
                return with_names(held::stream(call), &asked);
            }
        },
    };
    let head = match first {
        Piece::Head(head) => head,
        Piece::Failed(failure) => return with_names(Error::from(failure).into_response(), &asked),
        Piece::Data(_) | Piece::End => unreachable!("an answer begins with its head"),
    };
    let body = if is_stream(&head) {
        let period = asked.heartbeat.unwrap_or(Duration::MAX);
        let call = Heard::new(call, period, clock);
        Body::from_stream(stream::unfold(Some(call), next_bytes))
    } else {
        match whole(call).await {
            Ok(bytes) => Body::from(bytes),
            Err(error) => return with_names(error.into_response(), &asked),
        }
    };
    let total = Micros::from(clock.now()).saturating_sub(asked.since);
    let overhead = total
        .saturating_sub(head.queued)
        .saturating_sub(head.in_engine);
    metrics.overhead(&asked.model, overhead);
    let mut response = Response::new(body);
    *response.status_mut() = head.status;
    fill(response.headers_mut(), head, overhead);
    with_names(response, &asked)
}

/// Whether the answer is a stream of events.
pub(super) fn is_stream(head: &Head) -> bool {
    let kind = head.content_type.as_ref();
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}

/// The body's next bytes, or a sign of life when none came for a while; the error event is the last.
pub(super) async fn next_bytes(
    call: Option<Heard>,
) -> Option<(Result<Bytes, Infallible>, Option<Heard>)> {
    let mut call = call?;
    // What comes is whole events, so a comment may stand between any two.
    match call.next().await {
        None => Some((Ok(held::WAITING), Some(call))),
        Some(Piece::Data(bytes)) => Some((Ok(bytes), Some(call))),
        Some(Piece::Failed(failure)) => Some((Ok(Error::from(failure).event()), None)),
        Some(Piece::End | Piece::Head(_)) => None,
    }
}

pub(super) async fn whole(mut call: CallStream) -> Result<Bytes, Error> {
    let mut body = BytesMut::new();
    loop {
        match call.next().await {
            Piece::Data(bytes) if body.is_empty() => body = BytesMut::from(bytes),
            Piece::Data(bytes) => body.extend_from_slice(&bytes),
            Piece::Failed(failure) => return Err(failure.into()),
            Piece::End | Piece::Head(_) => return Ok(body.freeze()),
        }
    }
}

fn fill(headers: &mut HeaderMap, head: Head, overhead: Micros) {
    if let Some(kind) = head.content_type {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    set(headers, known::ENGINE, head.engine.as_str());
    set(headers, known::QUEUE_MS, &milliseconds(head.queued));
    set(headers, known::OVERHEAD_MS, &milliseconds(overhead));
    if let Some(cached) = head.cached_tokens {
        headers.insert(
            HeaderName::from_static(known::CACHED_TOKENS),
            HeaderValue::from(cached.0),
        );
    }
}

fn with_names(mut response: Response, asked: &Asked) -> Response {
    set(
        response.headers_mut(),
        known::PROGRAM_ID,
        asked.program.as_str(),
    );
    set(response.headers_mut(), known::CALL_ID, asked.call.as_str());
    if let Some(standing) = asked.standing.get() {
        limits::tell(response.headers_mut(), standing);
    }
    response
}

/// Sets a header to an id or a number.
pub(super) fn set(headers: &mut HeaderMap, name: &'static str, text: &str) {
    let value = HeaderValue::from_str(text).expect("ids and numbers are printable");
    headers.insert(HeaderName::from_static(name), value);
}

fn milliseconds(time: Micros) -> String {
    format!("{}.{:03}", time.0 / 1_000, time.0 % 1_000)
}
