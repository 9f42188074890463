//! Reading a request's body. Owns: its bounds in bytes and time. Room is reserved before the first byte is read.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{Version, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::admission::BodyPermit;
use crate::http::context::Context;
use crate::http::error::Error;

/// A client that sends too much is heard out up to this many bytes and this long, so that it reads the refusal instead
/// of a broken connection.
const DISCARDED_BYTES_MAX: usize = 128 << 20;
const DISCARDED_TIME_MAX: Duration = Duration::from_secs(10);

/// A request's body before anything of it is read.
pub(super) struct Unread {
    body: Body,
    /// Whether its client may hold it back until it is asked for, as reading does.
    is_held_back: bool,
}

impl<S: Send + Sync> FromRequest<S> for Unread {
    type Rejection = Infallible;

    async fn from_request(request: Request, _: &S) -> Result<Self, Infallible> {
        let knows = request.version() >= Version::HTTP_11;
        let expects = request.headers().get(header::EXPECT).filter(|_| knows);
        Ok(Self {
            is_held_back: expects
                .is_some_and(|what| what.as_bytes().eq_ignore_ascii_case(b"100-continue")),
            body: request.into_body(),
        })
    }
}

/// The whole body, and the room that it takes.
pub(super) async fn read(context: &Context, body: Unread) -> Result<(Bytes, BodyPermit), Error> {
    read_most(context, body, context.limits.body_bytes).await
}

/// The same of a body that may have so many bytes at most.
pub(super) async fn read_most(
    context: &Context,
    Unread { body, is_held_back }: Unread,
    most: u32,
) -> Result<(Bytes, BodyPermit), Error> {
    let limit = most.min(context.limits.body_bytes);
    let announced = body.size_hint().upper();
    if announced.is_some_and(|bytes| bytes > u64::from(limit)) {
        if !is_held_back {
            discard(body).await;
        }
        return Err(Error::too_large(limit));
    }
    let room = announced
        .and_then(|bytes| u32::try_from(bytes).ok())
        .unwrap_or(limit);
    let permit = context.bodies.reserve(room)?;
    let limited = Limited::new(body, limit as usize);
    match tokio::time::timeout(context.limits.body_time, whole(limited)).await {
        Ok(Ok(whole)) => Ok((whole, permit)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::too_large(limit)),
        Ok(Err(_)) => Err(Error::body_lost("the body broke off")),
        Err(_) => Err(Error::body_lost("the body did not come in time")),
    }
}

/// All pieces in one. Each is copied as it comes, so that the connection reads the next one into the same memory.
async fn whole(mut body: Limited<Body>) -> Result<Bytes, axum::BoxError> {
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or_default();
    let mut whole = BytesMut::with_capacity(announced);
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame?.into_data() {
            whole.extend_from_slice(&piece);
        }
    }
    Ok(whole.freeze())
}

/// A small JSON body; an empty one is an empty object.
pub(super) async fn read_json<T: DeserializeOwned>(
    context: &Context,
    body: Unread,
) -> Result<T, Error> {
    let (bytes, _room) = read(context, body).await?;
    let text: &[u8] = if bytes.trim_ascii().is_empty() {
        b"{}"
    } else {
        &bytes
    };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        if inner.is_data() && path != "." {
            Error::invalid(path.clone(), format!("{path}: {inner}"))
        } else {
            Error::malformed(format!("the body is not valid: {inner}"))
        }
    })
}

async fn discard(body: Body) {
    let rest = async {
        let mut limited = Limited::new(body, DISCARDED_BYTES_MAX);
        while let Some(Ok(_)) = limited.frame().await {}
    };
    let _ = tokio::time::timeout(DISCARDED_TIME_MAX, rest).await;
}
