//! Every error that a client can see. Owns: their statuses, codes and words, in OpenAI's shape, as an answer or as the
//! last event of a stream.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use lps_api::ids::ModelName;
use serde::Serialize;

use crate::admission::NoRoom;
use crate::dispatcher::Ended;
use crate::engine_client::Failure;
use crate::engine_client::connection;
use crate::identity;
use crate::keys::Denied;
use crate::message::Refusal;
use crate::translation;

/// Known models that an error names at most.
const MODELS_NAMED_MAX: usize = 32;
/// Characters of an id that an error names at most.
const ID_SHOWN_MAX: usize = 160;
/// When a client should come back after a refusal that says nothing better.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// An error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    status: StatusCode,
    code: &'static str,
    message: String,
    param: Option<String>,
    retry_after: Option<Duration>,
    close: bool,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Object<'a>,
}

#[derive(Serialize)]
struct Object<'a> {
    message: &'a str,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

impl Error {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let (message, param, retry_after) = (message.into(), None, None);
        Self {
            status,
            code,
            message,
            param,
            retry_after,
            close: false,
        }
    }

    fn param(self, param: impl Into<String>) -> Self {
        Self {
            param: Some(param.into()),
            ..self
        }
    }

    fn later(self, retry_after: Duration) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..self
        }
    }

    /// A field or header has no use as it is.
    pub(super) fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_value", message).param(param)
    }

    /// There is no room for another of its kind.
    pub(super) fn too_many(
        code: &'static str,
        message: impl Into<String>,
        retry_after: Duration,
    ) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, code, message).later(retry_after)
    }

    /// The body is not JSON, or not of the expected form as a whole.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    }

    /// A model that is not served.
    pub(super) fn unknown_model(model: &str, known: &[&ModelName]) -> Self {
        let shown: String = model.chars().take(128).collect();
        let names: Vec<&str> = known
            .iter()
            .take(MODELS_NAMED_MAX)
            .map(|name| name.as_str())
            .collect();
        let message = if names.is_empty() {
            format!("model {shown:?} is not served here, and no other is")
        } else {
            format!(
                "model {shown:?} is not served here; served are: {}",
                names.join(", ")
            )
        };
        Self::new(StatusCode::NOT_FOUND, "model_not_found", message).param("model")
    }

    /// A program, call, response or engine that is not there (or is another tenant's).
    pub(super) fn not_found(kind: &'static str, id: &str) -> Self {
        let code = match kind {
            "program" => "program_not_found",
            "call" => "call_not_found",
            "engine" => "engine_not_found",
            "response" => "response_not_found",
            _ => "not_found",
        };
        let shown: String = id.chars().take(ID_SHOWN_MAX).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            code,
            format!("there is no {kind} {shown:?}"),
        )
    }

    /// A response that another is to go on from, and that is not kept.
    pub(super) fn no_previous(id: &str) -> Self {
        let error = Self::not_found("response", id);
        let message = format!(
            "{}: it is kept no more, or never was; send all items instead",
            error.message
        );
        Self { message, ..error }.param("previous_response_id")
    }

    /// An engine whose answer makes no sense.
    pub(super) fn no_answer() -> Self {
        let message = "the engine's answer is not what an engine answers";
        Self::new(StatusCode::BAD_GATEWAY, "engine_lost", message)
    }

    /// A path that nobody serves.
    pub(super) fn no_route() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "unknown_url",
            "there is nothing at this path",
        )
    }

    /// A path that is served for another method.
    pub(super) fn no_method() -> Self {
        let message = "this path does not take this method";
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            message,
        )
    }

    /// A body over the limit; the connection ends, because what is left of the body is not read.
    pub(super) fn too_large(limit_bytes: u32) -> Self {
        let message =
            format!("the body is larger than {limit_bytes} bytes, the most that is taken");
        let error = Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message);
        Self {
            close: true,
            ..error
        }
    }

    /// A body that did not come, or broke off.
    pub(super) fn body_lost(message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::REQUEST_TIMEOUT, "body_incomplete", message);
        Self {
            close: true,
            ..error
        }
    }

    /// The model has no engine that answers.
    pub(super) fn no_engine(model: &ModelName) -> Self {
        let message = format!("no engine of model {model} answers now; try again later");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "no_engine", message).later(RETRY_AFTER)
    }

    /// The router drains.
    pub(super) fn draining() -> Self {
        let message = "the router is ending and takes no new programs; try another, or later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message).later(RETRY_AFTER)
    }

    /// What the client is answered with.
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The field or header that is at fault.
    #[cfg(test)]
    pub(super) fn param_name(&self) -> Option<&str> {
        self.param.as_deref()
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// As an answer's body.
    pub(super) fn json(&self) -> Vec<u8> {
        let (message, param) = (self.message.as_str(), self.param.as_deref());
        let error = Object {
            message,
            r#type: self.kind(),
            param,
            code: self.code,
        };
        serde_json::to_vec(&Envelope { error }).expect("an error has text fields only")
    }

    /// As the last event of a stream that has begun.
    pub(super) fn event(&self) -> Bytes {
        let mut event = b"data: ".to_vec();
        event.extend_from_slice(&self.json());
        event.extend_from_slice(b"\n\n");
        Bytes::from(event)
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let content_type = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let mut response = (self.status, [content_type], self.json()).into_response();
        if let Some(after) = self.retry_after {
            let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.close {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        let unavailable = StatusCode::SERVICE_UNAVAILABLE;
        match failure {
            Failure::EngineLost => Self::new(
                StatusCode::BAD_GATEWAY,
                "engine_lost",
                "the engine that ran this call is gone, and what it had done with it",
            ),
            Failure::EnginesBusy { retry_after } => {
                let message = "the engines kept refusing this call as overloaded; try again later";
                Self::new(unavailable, "engines_busy", message).later(retry_after)
            }
            Failure::Cancelled => {
                Self::new(StatusCode::CONFLICT, "cancelled", "the call was cancelled")
            }
            Failure::Full {
                message,
                retry_after,
            } => Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_calls", message)
                .later(retry_after),
            Failure::Limited {
                message,
                retry_after,
            } => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "rate_limit_exceeded",
                message,
            )
            .later(retry_after),
            Failure::DuplicateCall => {
                let message = "a call of this name is open already; a call runs once at a time";
                Self::new(StatusCode::CONFLICT, "duplicate_call", message).param("x-call-id")
            }
            Failure::Draining => Self::draining(),
            Failure::Refused(Refusal::Cancelled) => Failure::Cancelled.into(),
            Failure::Refused(Refusal::NoPool) => {
                let message = "the call's model is served no more";
                Self::new(StatusCode::NOT_FOUND, "model_not_found", message).param("model")
            }
            Failure::Refused(Refusal::NoEngine) => {
                let message = "no engine of this model became ready within its coldStartHold, or it is suspended; try again later";
                Self::new(unavailable, "no_engine", message).later(Duration::from_secs(5))
            }
            Failure::Refused(Refusal::TooLong) => {
                let message =
                    "the prompt is longer than the KV pool of any engine of this model; shorten it";
                Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message)
                    .param("messages")
            }
        }
    }
}

impl From<Denied> for Error {
    fn from(denied: Denied) -> Self {
        let (status, code) = match denied {
            Denied::NoKey | Denied::Unknown | Denied::Expired => {
                (StatusCode::UNAUTHORIZED, "invalid_api_key")
            }
            Denied::Role(_) | Denied::Tenant => (StatusCode::FORBIDDEN, "insufficient_permissions"),
        };
        Self::new(status, code, denied.to_string())
    }
}

impl From<identity::Error> for Error {
    fn from(error: identity::Error) -> Self {
        Self::invalid(error.place(), error.to_string())
    }
}

impl From<translation::request::Error> for Error {
    fn from(error: translation::request::Error) -> Self {
        let message = error.to_string();
        match error {
            translation::request::Error::Body(_) => Self::malformed(message),
            translation::request::Error::Field { field, code, .. } => {
                Self::new(StatusCode::BAD_REQUEST, code, message).param(field)
            }
        }
    }
}

impl From<NoRoom> for Error {
    fn from(error: NoRoom) -> Self {
        let status = StatusCode::TOO_MANY_REQUESTS;
        Self::new(status, "too_many_bytes", error.to_string()).later(RETRY_AFTER)
    }
}

impl From<Ended> for Error {
    fn from(_: Ended) -> Self {
        Self::draining()
    }
}

impl From<connection::Error> for Error {
    fn from(error: connection::Error) -> Self {
        tracing::warn!(%error, "a small request failed");
        let message = "the engine did not answer; try again";
        Self::new(StatusCode::BAD_GATEWAY, "engine_lost", message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_openais_shape() {
        let error = Error::invalid("n", "n is 1 to 128, not 0");
        let json: serde_json::Value = serde_json::from_slice(&error.json()).unwrap();
        let expected = serde_json::json!({"error": {
            "message": "n is 1 to 128, not 0", "type": "invalid_request_error", "param": "n",
            "code": "invalid_value",
        }});
        assert_eq!(json, expected);
        assert!(error.event().starts_with(b"data: {\"error\":"));
        assert!(error.event().ends_with(b"}\n\n"));
    }

    #[test]
    fn who_should_come_back_is_told_when() {
        let retry_after = Duration::from_millis(2_300);
        let full = Failure::Full {
            message: "full".to_owned(),
            retry_after,
        };
        let response = Error::from(full).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "3");
        let response = Error::from(Failure::Refused(Refusal::NoEngine)).into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(response.headers().contains_key(header::RETRY_AFTER));
    }
}
