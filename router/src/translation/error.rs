//! What an engine says against a chat. Owns: that there always is something to be said.

use lps_api::openai::{ErrorBody, ErrorObject};

/// An error, given as the body or event that OpenAI's clients get.
pub fn read(body: &[u8]) -> ErrorBody {
    serde_json::from_slice(body)
        .unwrap_or_else(|_| failed("the engine's answer is not what an engine answers"))
}

/// An error that is the server's own.
pub fn failed(message: &str) -> ErrorBody {
    let error = ErrorObject {
        message: message.to_owned(),
        r#type: "server_error".to_owned(),
        param: None,
        code: None,
    };
    ErrorBody { error, lps: None }
}
