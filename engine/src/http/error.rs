//! Every error that a client can see. Owns: their statuses, codes and words, in OpenAI's shape, as an answer or as the
//! last event of a stream.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use lps_api::openai::{ErrorBody, ErrorObject, FieldError};
use lps_api::protocol::{CallUsage, ENGINE_FAILED};
use lps_engine_core::core::Refusal;
use lps_engine_core::defect::Failure;
use lps_engine_core::embedding;

use crate::executor::SubmitError;

/// After how many seconds a refused client may come again.
const RETRY_AFTER_S: u64 = 1;

/// An error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Error {
    status: StatusCode,
    code: &'static str,
    message: String,
    param: Option<String>,
    usage: Option<CallUsage>,
}

impl Error {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            param: None,
            usage: None,
        }
    }

    /// A field or header has no use as it is.
    pub(super) fn invalid(param: &str, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "invalid_value", message);
        error.about(param)
    }

    /// A field asks for what this engine does not do.
    pub(super) fn unsupported(param: &str, message: impl Into<String>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, "unsupported_value", message);
        error.about(param)
    }

    /// The body is no JSON object.
    pub(super) fn malformed(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid_json", message)
    }

    /// A model that is not the one that is served.
    pub(super) fn unknown_model(asked: &str, served: &str) -> Self {
        let shown: String = asked.chars().take(128).collect();
        let message = format!("model {shown:?} is not served here; served is: {served}");
        Self::new(StatusCode::NOT_FOUND, "model_not_found", message).about("model")
    }

    /// A prompt that leaves no room for an answer.
    pub(super) fn too_long(param: &str, prompt_tokens: usize, limit: u32) -> Self {
        let message = format!(
            "the prompt has {prompt_tokens} tokens; with at least one of output that is over the context of {limit}"
        );
        let error = Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message);
        error.about(param)
    }

    /// A text of which no vector can be made.
    pub(super) fn text_too_long(param: &str, (index, tokens): (usize, usize), limit: u32) -> Self {
        let message =
            format!("{param}[{index}] has {tokens} tokens; the model takes at most {limit}");
        let error = Self::new(StatusCode::BAD_REQUEST, "context_length_exceeded", message);
        error.about(param)
    }

    /// A body over the limit.
    pub(super) fn too_large(limit_bytes: usize) -> Self {
        let message =
            format!("the body is larger than {limit_bytes} bytes, the most that is taken");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", message)
    }

    /// A body that broke off.
    pub(super) fn body_lost(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "body_incomplete", message)
    }

    /// A path that nobody serves.
    pub(super) fn no_route() -> Self {
        let message = "there is nothing at this path";
        Self::new(StatusCode::NOT_FOUND, "unknown_url", message)
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

    /// The engine ends.
    pub(super) fn draining() -> Self {
        let message = "the engine is ending and takes no new calls; try another, or later";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "draining", message)
    }

    /// The call was cancelled from outside.
    pub(super) fn cancelled(usage: CallUsage) -> Self {
        let error = Self::new(StatusCode::CONFLICT, "cancelled", "the call was cancelled");
        Self {
            usage: Some(usage),
            ..error
        }
    }

    /// The model gave not-a-number or infinity. What computed it goes on with its other calls; this one would end like
    /// that on every engine of the model.
    pub(super) fn numeric(model: &str, failure: Failure, usage: CallUsage) -> Self {
        let message = format!(
            "model {model} cannot go on with this call: {failure}; if other inputs give this too, its weights are \
             damaged or overflow: load them anew, or in another --dtype"
        );
        let error = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "numeric_error", message);
        Self {
            usage: Some(usage),
            ..error
        }
    }

    /// The call's grammar came to where it allows no token, or could not tell which.
    pub(super) fn grammar(failure: Failure, usage: CallUsage) -> Self {
        let message = format!(
            "the form that was asked for cannot be followed any further: {failure}; it needs more than one form may: make it \
             simpler"
        );
        let error = Self::new(StatusCode::BAD_REQUEST, "grammar_error", message);
        Self {
            usage: Some(usage),
            ..error
        }
    }

    /// The engine failed, and with it all that it had.
    pub(super) fn engine_failed() -> Self {
        let message = "the engine failed and ends; what it had done of this call is gone";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, ENGINE_FAILED, message)
    }

    fn duplicate(message: String) -> Self {
        let error = Self::new(StatusCode::CONFLICT, "duplicate_call", message);
        error.about(lps_api::wellknown::header::CALL_ID)
    }

    fn about(self, param: &str) -> Self {
        Self {
            param: Some(param.to_owned()),
            ..self
        }
    }

    fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_client_error() => "invalid_request_error",
            _ => "server_error",
        }
    }

    /// As JSON.
    pub(super) fn json(&self) -> Vec<u8> {
        let body = ErrorBody {
            error: ErrorObject {
                message: self.message.clone(),
                r#type: self.kind().to_owned(),
                param: self.param.clone(),
                code: Some(self.code.to_owned()),
            },
            lps: self.usage,
        };
        serde_json::to_vec(&body).expect("an error has text and numbers only")
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let content_type = (
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        let mut response = (self.status, [content_type], self.json()).into_response();
        let later = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        if later.contains(&self.status) {
            let seconds = HeaderValue::from(RETRY_AFTER_S);
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

impl From<FieldError> for Error {
    fn from(error: FieldError) -> Self {
        let code = "invalid_type";
        Self::new(StatusCode::BAD_REQUEST, code, error.to_string()).about(error.field)
    }
}

impl From<SubmitError> for Error {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Refused(refusal) => refusal.into(),
            SubmitError::RefusedTexts(refusal) => refusal.into(),
            SubmitError::Gone(_) => Self::engine_failed(),
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::TooLong { prompt, limit } => Self::too_long("prompt", prompt as usize, limit),
            Refusal::Full(_) => {
                let status = StatusCode::TOO_MANY_REQUESTS;
                Self::new(status, "too_many_calls", refusal.to_string())
            }
            Refusal::Duplicate(_) => Self::duplicate(refusal.to_string()),
        }
    }
}

impl From<embedding::Refusal> for Error {
    fn from(refusal: embedding::Refusal) -> Self {
        let (status, message) = (StatusCode::TOO_MANY_REQUESTS, refusal.to_string());
        match refusal {
            embedding::Refusal::Calls(_) => Self::new(status, "too_many_calls", message),
            embedding::Refusal::Tokens { .. } => Self::new(status, "too_many_tokens", message),
            embedding::Refusal::Duplicate(_) => Self::duplicate(message),
        }
    }
}
