//! Why there is no answer. Owns: the words for what a user can mend; the rest is as `async-openai` has it.

use async_openai::error::OpenAIError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens.
    #[error("no router answers at {url}: start one with `lps up FILE`, or give another address")]
    Unreachable {
        /// Where.
        url: String,
        /// What the system says.
        source: reqwest::Error,
    },
    /// A server without programs.
    #[error("{url} answers ({status}), but knows no programs: is this a router of lps?")]
    NotARouter {
        /// Where.
        url: String,
        /// How it answers.
        status: reqwest::StatusCode,
    },
    /// The program's id is so long that its calls have no names.
    #[error("the program's id is too long to name its calls by it: {0}")]
    Id(#[from] lps_api::ids::Error),
    /// Everything else.
    #[error(transparent)]
    Refused(#[from] OpenAIError),
}
