//! Reading a request's body. Owns: its bounds in bytes and time. Room is reserved before the first byte is read.

use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::admission::BodyPermit;
use crate::http::context::Context;
use crate::http::error::Error;

/// A client that sends too much is heard out up to this many bytes and this long, so that it reads the refusal instead
/// of a broken connection.
const DISCARDED_BYTES_MAX: usize = 128 << 20;
const DISCARDED_TIME_MAX: Duration = Duration::from_secs(10);

/// The whole body, and the room that it takes.
pub(super) async fn read(context: &Context, body: Body) -> Result<(Bytes, BodyPermit), Error> {
    let limit = context.limits.body_bytes;
    let announced = body.size_hint().upper();
    if announced.is_some_and(|bytes| bytes > u64::from(limit)) {
        discard(body).await;
        return Err(Error::too_large(limit));
    }
    let room = announced
        .and_then(|bytes| u32::try_from(bytes).ok())
        .unwrap_or(limit);
    let permit = context.bodies.reserve(room)?;
    let mut limited = Limited::new(body, limit as usize);
    match tokio::time::timeout(context.limits.body_time, (&mut limited).collect()).await {
        Ok(Ok(whole)) => Ok((whole.to_bytes(), permit)),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Error::too_large(limit)),
        Ok(Err(_)) => Err(Error::body_lost("the body broke off")),
        Err(_) => Err(Error::body_lost("the body did not come in time")),
    }
}

/// A small JSON body; an empty one is an empty object.
pub(super) async fn read_json<T: DeserializeOwned>(
    context: &Context,
    body: Body,
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
