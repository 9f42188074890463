//! Errors in Anthropic's shape. Owns: which of its kinds an error of ours is. The kinds are told by its own page:
//! <https://docs.anthropic.com/en/api/errors>.

use lps_api::openai::{ErrorBody, ErrorObject};
use serde_json::{Value, json};

/// An error as a body or an event.
pub fn translated(told: &ErrorBody) -> Value {
    let error = json!({"type": kind(&told.error), "message": message(&told.error)});
    let mut body = json!({"type": "error", "error": error});
    if let Some(code) = &told.error.code {
        body["error"]["details"] = json!({"error_code": code});
    }
    if let Some(usage) = &told.lps {
        body["lps"] = json!(usage);
    }
    body
}

fn kind(error: &ErrorObject) -> &'static str {
    match (error.code.as_deref(), error.r#type.as_str()) {
        (Some("invalid_api_key"), _) => "authentication_error",
        (Some("insufficient_permissions"), _) => "permission_error",
        (Some("model_not_found"), _) => "not_found_error",
        (Some("body_too_large"), _) => "request_too_large",
        (Some("no_engine" | "engines_busy" | "draining"), _) => "overloaded_error",
        (_, "rate_limit_error") => "rate_limit_error",
        (_, "invalid_request_error") => "invalid_request_error",
        _ => "api_error",
    }
}

/// Agents shorten their context when they read Anthropic's own words for a prompt that does not fit.
fn message(error: &ErrorObject) -> String {
    match error.code.as_deref() {
        Some("context_length_exceeded") => format!("prompt is too long: {}", error.message),
        _ => error.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translation::error::read;

    fn of(code: &str, r#type: &str) -> Value {
        let body =
            json!({"error": {"message": "why", "type": r#type, "param": null, "code": code}});
        translated(&read(body.to_string().as_bytes()))
    }

    #[test]
    fn an_error_has_the_kind_that_clients_of_anthropic_know() {
        for (code, r#type, kind) in [
            (
                "invalid_value",
                "invalid_request_error",
                "invalid_request_error",
            ),
            (
                "invalid_api_key",
                "invalid_request_error",
                "authentication_error",
            ),
            (
                "insufficient_permissions",
                "invalid_request_error",
                "permission_error",
            ),
            (
                "model_not_found",
                "invalid_request_error",
                "not_found_error",
            ),
            (
                "body_too_large",
                "invalid_request_error",
                "request_too_large",
            ),
            ("too_many_calls", "rate_limit_error", "rate_limit_error"),
            ("no_engine", "server_error", "overloaded_error"),
            ("engines_busy", "server_error", "overloaded_error"),
            ("draining", "server_error", "overloaded_error"),
            ("engine_lost", "server_error", "api_error"),
        ] {
            let details = json!({"error_code": code});
            let error = json!({"type": kind, "message": "why", "details": details});
            assert_eq!(of(code, r#type), json!({"type": "error", "error": error}));
        }
    }

    #[test]
    fn what_does_not_fit_is_said_in_anthropics_words() {
        let error = of("context_length_exceeded", "invalid_request_error");
        assert_eq!(error["error"]["message"], "prompt is too long: why");
    }

    #[test]
    fn what_is_no_error_of_ours_is_an_error_all_the_same() {
        for body in ["", "<html>", "{}", r#"{"error":"x"}"#] {
            let error = translated(&read(body.as_bytes()));
            assert_eq!(
                (&error["type"], &error["error"]["type"]),
                (&json!("error"), &json!("api_error"))
            );
        }
    }

    #[test]
    fn the_figures_of_a_call_that_failed_stay() {
        let usage =
            json!({"prompt_tokens": 1, "cached_tokens": 0, "output_tokens": 2, "executor_us": 3});
        let error = json!({"message": "nan", "type": "server_error", "code": "numeric_error"});
        let body = json!({"error": error, "lps": usage});
        assert_eq!(translated(&read(body.to_string().as_bytes()))["lps"], usage);
    }
}
